#!/usr/bin/env bash
#
# Installs the Debian 12 packages that the build and the conformance tests
# need, those that are missing and nothing else. Needs root only when
# something is missing.
#
# usage: packages.sh            install what is missing
#        packages.sh --check    only say what is missing (exit 1 if anything is)

set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(
    # native compilation of the binary
    gcc libc6-dev zlib1g-dev make
    # the programs we are compared with, and servers to check the peers against
    qemu-utils
    qemu-system-x86         # with qemu-system-common: qemu-storage-daemon
    # clients, guests and their tools
    user-mode-linux
    busybox-static
    fio
    e2fsprogs
    util-linux
    # making the Debian 13 tree and the guest's initial file system
    debootstrap
    cpio
    zstd
    xz-utils
    ca-certificates
    python3-minimal         # vhost-user-trace
)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done

if ((${#missing[@]} == 0)); then
    exit 0
fi
if [[ ${1-} == --check ]]; then
    echo "missing packages: ${missing[*]}"
    exit 1
fi
if ((EUID != 0)); then
    die "run as root: apt-get install --no-install-recommends ${missing[*]}"
fi

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# Package lists may be absent (a fresh container) or name versions that the
# mirror no longer has; fetching them first costs more than the install.
say "installing ${missing[*]}"
if ! install; then
    apt-get update -q
    install
fi
