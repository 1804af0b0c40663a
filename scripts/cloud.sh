# The local cloud of `make run`: where it is, how it is started and stopped, and who its demo users are. Sourced.
# shellcheck shell=bash
#
# Set by the Makefile: STATE LISTEN IMAGE PROFILE. Each has a default, so that the scripts run by themselves too.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${STATE:=$PROJECT/.bulut} in /*) ;; *) STATE=$PWD/$STATE ;; esac
STATE=$(realpath -m "$STATE")
LISTEN=${LISTEN:-127.0.0.1:8080}
PROFILE=${PROFILE:-quick}
BULUT=${CARGO_TARGET_DIR:-$PROJECT/target}/${PROFILE/#dev/debug}/bulut
ENV_FILE=$STATE/demo.env
PID_FILE=$STATE/serve.pid
LOG_FILE=$STATE/serve.log
CLOUDE_USER=demo@example.com
OPERATOR_USER=operator@example.com
CLOUDE_PASS='' OPERATOR_PASS='' CAC_KEY=''

# For `bulut` commands on this machine. A session of the user's own is neither used nor disturbed.
export BULUT_STATE=$STATE BULUT_LISTEN=$LISTEN
case $LISTEN in
    0.0.0.0:*) BULUT_URL=http://127.0.0.1:${LISTEN##*:} ;;
    '[::]:'*) BULUT_URL="http://[::1]:${LISTEN##*:}" ;;
    *) BULUT_URL=http://$LISTEN ;;
esac
export BULUT_URL

# The passwords and the key of an earlier run.
load_users() {
    [ -e "$ENV_FILE" ] || return 0
    [ -O "$ENV_FILE" ] || die "$ENV_FILE belongs to somebody else" "choose another directory with STATE="
    # shellcheck disable=SC1090,SC2030  # the file is written by run.sh; a subshell keeps its other variables out
    CLOUDE_PASS=$(. "$ENV_FILE" && echo "${CLOUDE_PASS:-}")
    # shellcheck disable=SC1090
    OPERATOR_PASS=$(. "$ENV_FILE" && echo "${OPERATOR_PASS:-}")
    # shellcheck disable=SC1090,SC2034  # run.sh writes it down again
    CAC_KEY=$(. "$ENV_FILE" && echo "${CAC_KEY:-}")
}

# as_demo COMMAND... / as_operator COMMAND... : a client's command as that user.
as_demo() { BULUT_USER=$CLOUDE_USER BULUT_PASSWORD=$CLOUDE_PASS XDG_CONFIG_HOME=$STATE/demo "$BULUT" "$@"; }
as_operator() { BULUT_USER=$OPERATOR_USER BULUT_PASSWORD=$OPERATOR_PASS XDG_CONFIG_HOME=$STATE/operator "$BULUT" "$@"; }

# Prints the id of the process that serves STATE, if there is one: the pid file may be older than the process it names.
serving() {
    local pid
    pid=$(cat "$PID_FILE" 2> /dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    [ "$(tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | cut -d ' ' -f 2)" = serve ] || return 1
    case $(readlink "/proc/$pid/exe" 2> /dev/null) in */bulut | */bulut\ \(deleted\)) echo "$pid" ;; *) return 1 ;; esac
}
serves() { serving > /dev/null; }
not_serving() { ! serves; }

# Starts `bulut serve` and waits until it is ready. Its log goes to a file; a large one makes room at the start.
start_serving() {
    if [ -e "$LOG_FILE" ] && [ "$(stat -c %s "$LOG_FILE")" -gt 10000000 ]; then mv "$LOG_FILE" "$LOG_FILE.1"; fi
    say "starting bulut serve on $LISTEN (log: $LOG_FILE)"
    (umask 077 && : >> "$LOG_FILE")
    # A session of its own: what ends this script, or a Ctrl-C meant for it, reaches the cloud only through us.
    setsid "$BULUT" serve < /dev/null >> "$LOG_FILE" 2>&1 &
    echo $! > "$PID_FILE"
    # shellcheck disable=SC2034  # run.sh waits for it
    SERVE_PID=$!
    if ! wait_for 120 "the cloud to be ready" ready_or_dead; then serve_failed "bulut serve was not ready after 120 s"; fi
    kill -0 "$SERVE_PID" 2> /dev/null || serve_failed "bulut serve ended at its start"
}
ready_or_dead() {
    ! kill -0 "$SERVE_PID" 2> /dev/null || curl -fsS --noproxy '*' --max-time 2 -o /dev/null "$BULUT_URL/readyz" 2> /dev/null
}

serve_failed() {
    note "the last lines of $LOG_FILE:"
    tail -n 15 "$LOG_FILE" | sed 's/^/    | /' >&2
    die "$1"
}

# Ends `bulut serve`; guests are processes of their own and keep running.
stop_serving() {
    local pid
    pid=$(serving) || return 0
    kill -TERM "$pid"
    wait_for 60 "bulut serve to end" not_serving || die "process $pid did not end after 60 s" "its log is $LOG_FILE; kill -9 $pid ends it, and no guest with it"
    rm -f "$PID_FILE"
}

# choose_dns RUNNING — where the cloud answers for names: DNS_LISTEN, else where it did before, else a free port. One that
# runs already has chosen. Its servers are called server-1.cloud.test and so on, in a domain that nobody else can have.
choose_dns() {
    local before=''
    # shellcheck disable=SC1090
    [ ! -e "$ENV_FILE" ] || before=$(. "$ENV_FILE" && echo "${DNS_ADDR:-}")
    DNS_ADDR=${DNS_LISTEN:-${BULUT_DNS_LISTEN:-${before:-127.0.0.1:5300}}}
    if [ -z "$1${DNS_LISTEN:-}${BULUT_DNS_LISTEN:-}" ] && (exec 3<> "/dev/tcp/${DNS_ADDR%:*}/${DNS_ADDR##*:}") 2> /dev/null; then
        DNS_ADDR=127.0.0.1:$(free_port)
    fi
    export BULUT_DNS_LISTEN=$DNS_ADDR BULUT_DNS_ZONE=${BULUT_DNS_ZONE:-cloud.test}
}

# for_each_server COMMAND... : `bulut COMMAND... ID` for every server of the demo account and of the operator.
for_each_server() {
    local who id
    for who in as_demo as_operator; do
        [ "$who" = as_demo ] || [ -n "$OPERATOR_PASS" ] || continue
        for id in $($who --json server list | jq -r '.[].id'); do
            $who "$@" "$id" > /dev/null || note "server $id: that did not work"
        done
    done
}
