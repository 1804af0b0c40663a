# What the scripts share: how they speak, and where things are. Sourced by each, never run.
# shellcheck shell=bash

PATH=$PATH:/usr/sbin:/sbin              # a plain user's PATH often lacks ip and the PostgreSQL tools
[ -z "${HOME:-}" ] || PATH=$PATH:$HOME/.cargo/bin
# shellcheck disable=SC2034  # the scripts that source this use both
PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034
CACHE=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/bulut

# Everything that is said goes to stderr, so that a script's stdout stays its result.
say() { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }

# die WHAT [HINT]
die() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

have() { command -v "$1" > /dev/null; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# A Python that can make virtual environments, new enough for the packages of the tests.
python_with_venv() {
    local python
    for python in python3 /usr/bin/python3; do
        ! "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { echo "$python"; return; }
    done
    return 1
}

# wait_for SECONDS WHAT COMMAND... : tries the command until it succeeds; says what it waits for when that takes longer
# than a moment. 0 done, 1 the time is over.
wait_for() {
    local limit=$1 what=$2 begun=$SECONDS said=$SECONDS
    shift 2
    until "$@"; do
        [ $((SECONDS - begun)) -lt "$limit" ] || return 1
        if [ $((SECONDS - said)) -ge 10 ]; then
            said=$SECONDS
            note "waiting for $what ($((SECONDS - begun)) of at most $limit s)"
        fi
        sleep 0.2
    done
}

# One free port on the loopback: tried by connecting, which is enough for something that starts at once.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)) && (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do :; done
    echo "$port"
}
