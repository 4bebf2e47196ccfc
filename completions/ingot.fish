# fish completion for ingot and for links to it that are named after QEMU's tools. Options come from the commands' own --help, so that they are always the right ones.

set -l top serve img io nbd storage-daemon info create convert check map resize compare measure
set -l image amend bench bitmap check commit compare convert create dd info map measure rebase resize snapshot

function __ingot_options
    set -l words (commandline -opc)
    set -l tool $words[1..2]
    switch (basename $words[1])
        case qemu-img
        case 'qemu-*'
            set tool $words[1]
        case '*'
            if test "$words[2]" = img
                set tool $words[1..3]
            end
    end
    $tool --help 2>/dev/null | string match -rg '^  (?:-[a-zA-Z], )?(--[a-z-]+)'
end

complete -c ingot -n "not __fish_seen_subcommand_from $top" -f -a "$top"
complete -c ingot -n "__fish_seen_subcommand_from img; and not __fish_seen_subcommand_from $image" -f -a "$image"
complete -c ingot -n "__fish_seen_subcommand_from $top" -a "(__ingot_options)"
complete -c qemu-img -n "not __fish_seen_subcommand_from $image" -f -a "$image"
complete -c qemu-img -n "__fish_seen_subcommand_from $image" -a "(__ingot_options)"
for tool in qemu-io qemu-nbd qemu-storage-daemon
    complete -c $tool -a "(__ingot_options)"
end
for tool in ingot qemu-img qemu-io qemu-nbd qemu-storage-daemon
    complete -c $tool -l format -s f -x -a "raw qcow2 luks"
    complete -c $tool -l output -x -a "human json"
    complete -c $tool -l cache -x -a "none writeback writethrough directsync unsafe"
end
