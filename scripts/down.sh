#!/usr/bin/env bash
# Ends the cloud of STATE. Guests keep running; with GUESTS=stop the demo account's and the operator's are powered off first.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"

load_users
case ${GUESTS:-} in '' | stop) ;; *) die "GUESTS is '$GUESTS', but can only be: stop" ;; esac
if ! serves; then
    say "no cloud of $STATE is running"
    [ -z "${GUESTS:-}" ] || note "guests are stopped through a running cloud: make up, then make down GUESTS=stop"
    exit
fi
if [ "${GUESTS:-}" = stop ]; then
    # shellcheck disable=SC1090  # the address under which this cloud was started
    BULUT_URL=$(. "$ENV_FILE" && echo "$BULUT_URL")
    export BULUT_URL
    say "powering off the servers"
    for_each_server --quiet server stop --wait
fi
say "ending bulut serve (process $(serving))"
stop_serving
say "down$([ "${GUESTS:-}" = stop ] || echo "; guests keep running")"
