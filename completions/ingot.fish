# fish completion for ingot. Options come from the commands' own --help, so that they are always the right ones.

set -l top serve img io nbd storage-daemon info create convert check map resize compare measure
set -l image amend bench bitmap check commit compare convert create dd info map measure rebase resize snapshot

function __ingot_options
    set -l words (commandline -opc)
    set -l tool $words[1..2]
    if test "$words[2]" = img
        set tool $words[1..3]
    end
    $tool --help 2>/dev/null | string match -rg '^  (?:-[a-zA-Z], )?(--[a-z-]+)'
end

complete -c ingot -n "not __fish_seen_subcommand_from $top" -f -a "$top"
complete -c ingot -n "__fish_seen_subcommand_from img; and not __fish_seen_subcommand_from $image" -f -a "$image"
complete -c ingot -n "__fish_seen_subcommand_from $top" -a "(__ingot_options)"
complete -c ingot -l format -s f -x -a "raw qcow2"
complete -c ingot -l output -x -a "human json"
complete -c ingot -l cache -x -a "none writeback writethrough directsync unsafe"
