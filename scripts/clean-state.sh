#!/usr/bin/env bash
# Destroys the servers of STATE through its running cloud, ends the cloud, and removes the directory.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"

[ -e "$STATE" ] || { say "there is no $STATE"; exit; }
[ -e "$STATE/serve.lock" ] || die "$STATE does not look like a state directory: it has no serve.lock" "nothing was removed"
load_users
if compgen -G "$STATE/machines/*" > /dev/null; then
    serves || die "$STATE has servers, which only its cloud can take down in order" "make up, then make clean-state again"
    # shellcheck disable=SC1090
    BULUT_URL=$(. "$ENV_FILE" && echo "$BULUT_URL")
    export BULUT_URL
    say "destroying the servers"
    for_each_server --quiet server destroy --yes --wait
    ! compgen -G "$STATE/machines/*" > /dev/null ||
        die "servers are left in $STATE/machines" "destroy those of other accounts first; nothing was removed"
fi
stop_serving
say "removing $STATE"
rm -rf -- "$STATE"
