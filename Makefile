# Everything goes through dotnet; make only gives the usual names to it.
PREFIX ?= /usr/local
DESTDIR ?=
RID ?= linux-x64
BUILD = artifacts/bin
TOOLS = qemu-img qemu-io qemu-nbd qemu-storage-daemon

prefix = $(DESTDIR)$(PREFIX)

.PHONY: all run test bench install uninstall

all:
	dotnet publish src/Ingot.Cli -c Release -r $(RID) -o $(BUILD) -v quiet

run:
	bash scripts/demo

test:
	bash scripts/test

bench: all
	bash bench/run

install: all
	install -d "$(prefix)/bin" "$(prefix)/libexec/ingot/qemu" "$(prefix)/share/man/man1"
	install -m 755 $(BUILD)/ingot "$(prefix)/bin/ingot"
	for tool in $(TOOLS); do ln -sf ../../../bin/ingot "$(prefix)/libexec/ingot/qemu/$$tool"; done
	install -m 644 docs/man/*.1 "$(prefix)/share/man/man1/"
	install -D -m 644 completions/ingot.bash "$(prefix)/share/bash-completion/completions/ingot"
	for tool in $(TOOLS); do ln -sf ingot "$(prefix)/share/bash-completion/completions/$$tool"; done
	install -D -m 644 completions/_ingot "$(prefix)/share/zsh/site-functions/_ingot"
	install -D -m 644 completions/ingot.fish "$(prefix)/share/fish/vendor_completions.d/ingot.fish"

uninstall:
	rm -f "$(prefix)/bin/ingot" $(patsubst docs/man/%,"$(prefix)/share/man/man1/%",$(wildcard docs/man/*.1))
	rm -rf "$(prefix)/libexec/ingot"
	for tool in $(TOOLS); do rm -f "$(prefix)/share/bash-completion/completions/$$tool"; done
	rm -f "$(prefix)/share/bash-completion/completions/ingot" "$(prefix)/share/zsh/site-functions/_ingot" \
	      "$(prefix)/share/fish/vendor_completions.d/ingot.fish"
