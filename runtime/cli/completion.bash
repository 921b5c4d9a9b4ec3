# bash completion for hmvm(1); installed as share/bash-completion/completions/hmvm.

_hmvm_containers() { # [-a]
    hmvm ps "$@" --format json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p'
}

_hmvm_images() {
    hmvm images 2>/dev/null | sed -n '2,$s/ .*//p' | grep -v '^<none>$'
}

_hmvm() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local commands="run create start restart pause resume unpause exec ps top stats logs events stop kill rm wait inspect
        images image snapshot restore fork template profile guard audit check version"
    local command='' word i words='' value=''
    COMPREPLY=()

    # The command is the first word that is no option; --root and --run-root take a value.
    local operands=0
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [ -n "$value" ]; then
            value=''
        elif [ -z "$command" ]; then
            case $word in
            --root | --run-root) value=1 ;;
            -*) ;;
            *) command=$word ;;
            esac
        else
            case ${command/#run/create}:$word in
            create:--name | create:-[ewum] | create:--env | create:--env-file | create:--workdir | create:--user | \
                create:--hostname | create:--entrypoint | create:--cpus | create:--memory | create:--kernel | \
                create:--platform | create:--seccomp | create:--restart | create:--stop-signal | create:--cpu-shares | \
                create:--cpuset-cpus | create:--memory-swap | create:--pids-limit | create:--device-* | \
                create:--health-cmd | create:--health-interval | create:--health-timeout | create:--health-retries | \
                create:--health-start-period | create:--cap-add | create:--cap-drop | create:--security-opt | create:--security-profile | \
                exec:-[ewu] | exec:--env | exec:--workdir | exec:--user | logs:-n | logs:--tail | \
                stop:-t | stop:--time | restart:-t | restart:--time | events:--since | events:--filter | kill:-s | kill:--signal | *:--format | image:--name | \
                template:--cpus | template:-m | template:--memory | template:--kernel | template:--platform | restore:--name | snapshot:--diff-of | fork:-n | \
                fork:--count) value=1 ;;
            *:-*) ;;
            *) operands=$((operands + 1)) ;;
            esac
        fi
    done

    case $prev in
    --root | --run-root)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --env-file | --kernel)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --platform) words="auto hardware ring3" ;;
    --security-profile) words="default strict" ;;
    --seccomp) words="kill log off" ;;
    --format) words="table json" ;;
    --diff-of) words=$(hmvm snapshot ls --quiet 2>/dev/null) ;;
    --restart) words="no on-failure always unless-stopped" ;;
    --stop-signal) words="HUP INT QUIT KILL USR1 USR2 TERM" ;;
    -s | --signal) [ "$command" = kill ] && words="HUP INT QUIT KILL USR1 USR2 TERM STOP CONT" ;;
    esac
    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        return
    fi
    [ -n "$value" ] && return

    case $command in
    '') words="$commands --root --run-root --help" ;;
    run | create)
        words="--rm --interactive --tty --name --env --env-file --workdir --user --hostname --entrypoint --cpus
               --cpu-shares --cpuset-cpus --memory --memory-swap --pids-limit --device-read-bps --device-write-bps
               --device-read-iops --device-write-iops --cap-add --cap-drop --privileged --security-opt --security-profile
               --read-only --kernel --platform --seccomp --no-template --require-guard --restart --stop-signal --health-cmd
               --health-interval --health-timeout --health-retries --health-start-period --no-healthcheck --help"
        [ "$command" = run ] && words+=" --detach"
        [[ $cur != -* ]] && words=$(_hmvm_images)
        [ "$operands" -gt 0 ] && words=''
        ;;
    exec)
        words="--interactive --tty --privileged --env --workdir --user --help"
        [[ $cur != -* ]] && words=$(_hmvm_containers)
        [ "$operands" -gt 0 ] && words=''
        ;;
    ps) words="--all --quiet --format --help" ;;
    logs) words="--follow --tail --help $(_hmvm_containers -a)" ;;
    start) words="--attach --interactive --help $(_hmvm_containers -a)" ;;
    stop) words="--time --help $(_hmvm_containers)" ;;
    restart) words="--time --help $(_hmvm_containers -a)" ;;
    pause | resume | unpause) words="--help $(_hmvm_containers)" ;;
    stats) words="--no-stream --format --help $(_hmvm_containers)" ;;
    top) words="--format --help $(_hmvm_containers)" ;;
    events) words="--follow --since --filter --help" ;;
    kill) words="--signal --help $(_hmvm_containers)" ;;
    rm) words="--force --help $(_hmvm_containers -a)" ;;
    wait | inspect) words="--help $(_hmvm_containers -a)" ;;
    images) words="--quiet --format --help" ;;
    image)
        if [ "$operands" -eq 0 ]; then
            words="import ls rm --help"
        elif [[ " ${COMP_WORDS[*]} " == *" import "* && $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        elif [[ " ${COMP_WORDS[*]} " == *" rm "* ]]; then
            words=$(_hmvm_images)
        else
            words="--name --quiet --format --help"
        fi
        ;;
    snapshot)
        if [ "$operands" -eq 0 ]; then
            words="create ls inspect rm export import merge --help"
        elif [[ " ${COMP_WORDS[*]} " == *" create "* ]]; then
            words="--diff-of --help $(_hmvm_containers)"
        elif [[ " ${COMP_WORDS[*]} " == *" import "* ||
            " ${COMP_WORDS[*]} " == *" export "* && $operands -eq 2 || $cur == */* ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        else
            words="--quiet --format --help $(hmvm snapshot ls --quiet 2>/dev/null)"
        fi
        ;;
    restore)
        if [[ $cur == */* ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        words="--name --help $(hmvm snapshot ls --quiet 2>/dev/null)"
        ;;
    fork) words="--count --help $(_hmvm_containers)" ;;
    template)
        if [ "$operands" -eq 0 ]; then
            words="build ls rm --help"
        elif [[ " ${COMP_WORDS[*]} " == *" rm "* ]]; then
            words=$(hmvm template ls --quiet 2>/dev/null)
        else
            words="--cpus --memory --kernel --platform --quiet --format --help"
        fi
        ;;
    profile)
        if [ "$operands" -eq 0 ]; then
            words="check show --help"
        else
            mapfile -t COMPREPLY < <(compgen -f -W "default strict" -- "$cur")
            return
        fi
        ;;
    guard)
        words="load unload status --help"
        [ "$operands" -gt 0 ] && words="--exits --format --help"
        ;;
    audit)
        words="verify --help"
        if [ "$operands" -gt 0 ]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        ;;
    check | version) words="--format --help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _hmvm hmvm
