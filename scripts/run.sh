#!/usr/bin/env bash
# A cloud on this machine, with a first server that answers ssh.
#
#   run.sh foreground      until Ctrl-C
#   run.sh background      until `make down`
#
# Builds, gets the image, makes the state directory and two accounts, serves, orders the server, and says how to go on.
# What it made is remembered in $STATE/demo.env; a second run finds it all and takes seconds.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cd "$PROJECT"

IMAGE=${IMAGE:-debian-12-x64}
PACKAGE=${PACKAGE:-eos1}
SERVER_NAME=demo
KEY_FILE=$STATE/demo_ed25519
# The first boot of Debian takes two minutes where QEMU has to translate every instruction, and more on a busy machine.
SSH_LIMIT=${SSH_LIMIT:-900}
SERVE_PID='' READY=''
SERVER_ID='' SERVER_IP='' SSH_HOST='' SSH_PORT='' SSH_COMMAND=''

case ${1:-} in
    foreground | background) MODE=$1 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

# Whatever goes wrong before the end, a cloud that this run started does not stay behind half made.
clean_up() {
    [ -z "$READY" ] && [ -n "$SERVE_PID" ] || return 0
    kill -TERM "$SERVE_PID" 2> /dev/null || true
    wait "$SERVE_PID" 2> /dev/null || true
    rm -f "$PID_FILE"
}

build() {
    if [ -x "$BULUT" ]; then
        cargo build --quiet --profile "$PROFILE" -p bulut
    else
        say "building bulut (profile $PROFILE; some minutes the first time)"
        cargo build --profile "$PROFILE" -p bulut
    fi
}

prepare_state() {
    [ -d "$STATE" ] || say "making the state directory $STATE"
    mkdir -p "$STATE"
    load_users
    "$BULUT" --quiet migrate
    [ -e "$KEY_FILE" ] || ssh-keygen -q -t ed25519 -N '' -C "bulut demo" -f "$KEY_FILE"
}

# An image that this machine can make from packages is made: that needs a package mirror and nothing else.
prepare_image() {
    local image
    image=$("$BULUT" --json image list --local | jq -c --arg slug "$IMAGE" '.[] | select(.slug == $slug)')
    [ -n "$image" ] || die "the catalogue has no image '$IMAGE'" "IMAGE= takes one of: $("$BULUT" --json image list --local | jq -r '[.[].slug] | join(" ")')"
    [ "$(jq .ready <<< "$image")" != true ] || return 0
    if [ "$(jq .can_build <<< "$image")" = true ]; then
        say "building the image $IMAGE from Debian packages (once)"
        "$BULUT" image build "$IMAGE" >&2 && return
        [ "$(jq .can_pull <<< "$image")" = true ] || die "the image $IMAGE could not be built"
    fi
    say "fetching the image $IMAGE from its distribution (once)"
    "$BULUT" image pull "$IMAGE" >&2 || die "the image $IMAGE could not be got" "IMAGE=tiny is small and is built from a package mirror"
}

# ensure_account E-MAIL PASSWORD CREATE-OPTION... — the account with this password, whatever was there before.
ensure_account() {
    local email=$1 password=$2
    shift 2
    if "$BULUT" --json account list | jq -e --arg email "$email" 'any(.[]; .email == $email)' > /dev/null; then
        "$BULUT" --quiet account set-password "$email" --password-stdin <<< "$password" > /dev/null
    else
        "$BULUT" --quiet account create --email "$email" --password-stdin "$@" <<< "$password" > /dev/null
    fi
}

new_password() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }

# The passwords are written down before the accounts get them, so that no interrupted run can lose them.
prepare_accounts() {
    local new=''
    [ -n "$CLOUDE_PASS" ] || { CLOUDE_PASS=$(new_password); new="$new demo"; }
    [ -n "$OPERATOR_PASS" ] || { OPERATOR_PASS=$(new_password); new="$new operator"; }
    "$BULUT" --json account list | jq -e 'length >= 2' > /dev/null || new="$new demo operator"
    [ -n "$new" ] || return 0
    write_env
    case $new in *demo*) ensure_account "$CLOUDE_USER" "$CLOUDE_PASS" --first-name Demo --credit 100 ;; esac
    case $new in *operator*) ensure_account "$OPERATOR_USER" "$OPERATOR_PASS" --first-name Operator --operator ;; esac
}

# A key for Cloud at Cost clients on this machine, and a pool for what they build. Nobody can look a key up later: one that
# demo.env does not have any more is replaced.
prepare_cac() {
    local keys
    keys=$("$BULUT" --json api-key list --account "$CLOUDE_USER")
    if [ -z "$CAC_KEY" ] || ! CAC_KEY=$CAC_KEY jq -e 'any(.[]; .revoked_at == null and (.prefix as $begins | env.CAC_KEY | startswith($begins)))' <<< "$keys" > /dev/null; then
        CAC_KEY=$("$BULUT" --quiet api-key create --account "$CLOUDE_USER" --name demo --allow 127.0.0.0/8,::1)
        write_env
    fi
    "$BULUT" --json pool list | jq -e --arg email "$CLOUDE_USER" 'any(.[]; .account == $email)' > /dev/null ||
        "$BULUT" --quiet pool set "$CLOUDE_USER" --cpu 8 --ram 8192 --storage 120 > /dev/null
}

# Shell variables, quoted; replaced as a whole, readable by the owner alone.
write_env() {
    local new name
    new=$(mktemp "$STATE/.demo.env.XXXXXX")
    # shellcheck disable=SC2034  # read by name below
    local CAC_LOGIN=$CLOUDE_USER CAC_SID=$SERVER_ID SSH_KEY=$KEY_FILE
    {
        echo "# Made by make $([ "$MODE" = foreground ] && echo run || echo up). Read it with: . '$ENV_FILE'"
        for name in BULUT_URL CLOUDE_USER CLOUDE_PASS OPERATOR_USER OPERATOR_PASS SSH_KEY SERVER_ID SERVER_IP SSH_COMMAND CAC_KEY CAC_LOGIN CAC_SID DNS_ADDR; do
            printf "%s='%s'\n" "$name" "${!name//\'/\'\\\'\'}"
        done
    } > "$new"
    chmod 0600 "$new"
    mv "$new" "$ENV_FILE"
}

ensure_server() {
    local found state
    found=$(as_demo --json server list | jq -c --arg name "$SERVER_NAME" '[.[] | select(.name == $name)] | sort_by(.id) | .[0] // empty')
    if [ -z "$found" ]; then
        say "ordering the server '$SERVER_NAME': package $PACKAGE, image $IMAGE"
        rm -f "$STATE/demo_known_hosts"
        SERVER_ID=$(as_demo --quiet server create --name "$SERVER_NAME" --package "$PACKAGE" --image "$IMAGE" \
            --ssh-key "$KEY_FILE.pub" --wait --timeout 300) || serve_failed "the server could not be made"
    else
        SERVER_ID=$(jq .id <<< "$found")
        state=$(jq -r .state <<< "$found")
        # Starting what runs changes nothing, and it waits for an operation that an earlier run has left under way.
        if [ "$state" != Running ]; then
            say "starting the server '$SERVER_NAME' ($SERVER_ID), which is $state"
            as_demo --quiet server start "$SERVER_ID" --wait --timeout 300 > /dev/null || serve_failed "the server could not be started"
        fi
    fi
}

# Where ssh reaches the server: its own address, or a forwarded port of this machine.
locate_server() {
    local shown
    shown=$(as_demo --json server show "$SERVER_ID")
    SERVER_IP=$(jq -r '.networks.v4.ip // ""' <<< "$shown")
    SSH_HOST=$(jq -r '.ssh.host // ""' <<< "$shown")
    SSH_PORT=$(jq -r '.ssh.port // ""' <<< "$shown")
    [ -n "$SSH_HOST$SSH_PORT" ] || serve_failed "server $SERVER_ID has no ssh address"
    SSH_ARGUMENTS=(-i "$KEY_FILE" -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new
        -o "UserKnownHostsFile=$STATE/demo_known_hosts" -p "$SSH_PORT" "root@$SSH_HOST")
    SSH_COMMAND="ssh$(printf ' %q' "${SSH_ARGUMENTS[@]}")"
}

# Logs in for real: a port that accepts, or a banner, is not yet a guest that knows the key.
ssh_answers() {
    kill -0 "${SERVE_PID:-$(serving)}" 2> /dev/null || serve_failed "bulut serve ended while the server booted"
    timeout 30 ssh -o BatchMode=yes -o ConnectTimeout=5 -o LogLevel=ERROR "${SSH_ARGUMENTS[@]}" true < /dev/null 2> "$STATE/.ssh.log"
}

wait_for_ssh() {
    local begun=$SECONDS
    if ! wait_for "$SSH_LIMIT" "the server's ssh" ssh_answers; then
        note "ssh says: $(tail -n 1 "$STATE/.ssh.log")"
        note "the end of the guest's serial log:"
        as_demo server log "$SERVER_ID" 2> /dev/null | tail -n 10 | sed 's/^/    | /' >&2
        serve_failed "the server's ssh did not answer within $SSH_LIMIT s"
    fi
    rm -f "$STATE/.ssh.log"
    [ $((SECONDS - begun)) -lt 3 ] || say "ssh answered after $((SECONDS - begun)) s"
}

show() {
    cat <<TEXT

  The cloud is up at $BULUT_URL after $SECONDS s.

  First server   $SERVER_NAME, id $SERVER_ID, address $SERVER_IP
                 $SSH_COMMAND
  Its name       dig @${DNS_ADDR%:*} -p ${DNS_ADDR##*:} -x $SERVER_IP
  Customer       $CLOUDE_USER   $CLOUDE_PASS
  Operator       $OPERATOR_USER   $OPERATOR_PASS
  All of it      . $(printf %q "$ENV_FILE")

  Through the API:
    TOKEN=\$(curl -s $BULUT_URL/v1/user/login -d username=$CLOUDE_USER -d password=$CLOUDE_PASS | jq -r .data.token)
    curl -s -H "Authorization: Bearer \$TOKEN" $BULUT_URL/v1/server/list | jq
  As a Cloud at Cost client:
    curl -s "$BULUT_URL/api/v1/listservers.php?key=$CAC_KEY&login=$CLOUDE_USER" | jq
  With the command line:
    $(printf %q "$BULUT") login $BULUT_URL --user $CLOUDE_USER

TEXT
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

scripts/setup.sh run
build
running=$(serving) || running=''
[ -z "$running" ] || [ "$MODE" = background ] || die "the cloud of $STATE runs already, as process $running" "make down ends it; STATE= and LISTEN= make another one beside it"
prepare_state
prepare_image
choose_dns "$running"
prepare_accounts
prepare_cac
if [ -n "$running" ]; then say "the cloud of $STATE runs already, as process $running"; else start_serving; fi
ensure_server
locate_server
write_env
wait_for_ssh
show
READY=1
if [ "$MODE" = background ]; then
    echo "  make down ends the cloud; guests keep running, unless GUESTS=stop."
    exit
fi

echo "  Ctrl-C ends the cloud; guests keep running. make down GUESTS=stop, from another terminal, ends them too."
echo
# What the cloud says from here on is shown, until it ends or we are told to end it.
trap '' HUP
trap 'say "stopping"; kill -TERM "$SERVE_PID" 2> /dev/null || true' INT TERM
tail -n 0 -F --pid="$SERVE_PID" "$LOG_FILE" 2> /dev/null &
tail_pid=$!
# A signal ends a wait early, so it is waited for until the process is gone.
code=0
while kill -0 "$SERVE_PID" 2> /dev/null; do wait "$SERVE_PID" && code=0 || code=$?; done
kill "$tail_pid" 2> /dev/null || true
rm -f "$PID_FILE"
[ $code -eq 0 ] || serve_failed "bulut serve ended with code $code"
say "the cloud has ended; guests keep running. Run make run again to take them back, then make down GUESTS=stop to end them."
