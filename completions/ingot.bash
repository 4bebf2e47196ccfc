# bash completion for ingot and for links to it that are named after QEMU's tools. Options come from the commands' own --help, so that they are always the right ones.

_ingot_options() {
    "$@" --help 2>/dev/null | sed -n 's/^  \(-[a-zA-Z], \)\{0,1\}\(--[a-z-]*\).*/\2/p'
}

_ingot() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local image="amend bench bitmap check commit compare convert create dd info map measure rebase resize snapshot"
    local top="serve img io rings nbd storage-daemon info create convert check map resize compare measure"
    local tool=("${COMP_WORDS[0]}") first=1
    case $(basename -- "${COMP_WORDS[0]}") in
        qemu-img) top=$image ;;
        qemu-*) first=0 ;;
    esac

    if (( first && COMP_CWORD == 1 )); then
        mapfile -t COMPREPLY < <(compgen -W "$top --help --version" -- "$cur")
        return
    fi
    if (( first )); then
        tool+=("${COMP_WORDS[1]}")
        if [[ ${COMP_WORDS[1]} == img ]]; then
            if (( COMP_CWORD == 2 )); then
                mapfile -t COMPREPLY < <(compgen -W "$image --help --version" -- "$cur")
                return
            fi
            tool+=("${COMP_WORDS[2]}")
        elif [[ ${COMP_WORDS[1]} == rings ]]; then
            if (( COMP_CWORD == 2 )); then
                mapfile -t COMPREPLY < <(compgen -W "bench compare --help" -- "$cur")
                return
            fi
            tool+=("${COMP_WORDS[2]}")
        fi
    fi

    case $prev in
        -f|-O|-F|--format|--target-format|--source-format|--output-format|--backing-format)
            mapfile -t COMPREPLY < <(compgen -W "raw qcow2 luks" -- "$cur") ; return ;;
        -t|-T|--cache|--target-cache|--source-cache)
            mapfile -t COMPREPLY < <(compgen -W "none writeback writethrough directsync unsafe" -- "$cur") ; return ;;
        --output)
            mapfile -t COMPREPLY < <(compgen -W "human json" -- "$cur") ; return ;;
        --preallocation)
            mapfile -t COMPREPLY < <(compgen -W "off metadata falloc full" -- "$cur") ; return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_ingot_options "${tool[@]}")" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        compopt -o filenames 2>/dev/null
    fi
}

complete -F _ingot ingot qemu-img qemu-io qemu-nbd qemu-storage-daemon
