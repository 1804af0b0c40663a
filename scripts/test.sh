#!/usr/bin/env bash
# Every test: sets up what they need, starts a PostgreSQL of their own, makes the guest images, runs them.
#
# BULUT_TEST_POSTGRES and BULUT_TEST_IMAGES, where set, are used as they are. Arguments go to the test runner, so that
# `scripts/test.sh store` runs the tests whose names contain "store".
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$PROJECT"

POSTGRES_DIR=''

# A PostgreSQL refuses to run as root, so root runs it as another user that owns nothing of ours.
as_postgres() {
    if ! is_root; then "$@"; return; fi
    local user=nobody
    ! id postgres > /dev/null 2>&1 || user=postgres
    (cd / && exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@")
}

postgres_bin() {
    if have initdb && have pg_ctl; then dirname "$(command -v initdb)"; return; fi
    local newest
    newest=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1) || true
    [ -n "$newest" ] || die "no PostgreSQL server: initdb was not found" "apt-get install postgresql"
    dirname "$newest"
}

stop_postgres() {
    [ -n "$POSTGRES_DIR" ] || return 0
    local pid
    if pid=$(head -n 1 "$POSTGRES_DIR/data/postmaster.pid" 2> /dev/null); then
        kill -QUIT "$pid" 2> /dev/null || true
        wait_for 10 "PostgreSQL to end" not_running "$pid" || kill -KILL "$pid" 2> /dev/null || true
    fi
    rm -rf "$POSTGRES_DIR"
}
not_running() { ! kill -0 "$1" 2> /dev/null; }

# Nothing in it is worth keeping, so it neither syncs nor survives; only who knows the password gets in.
start_postgres() {
    local bin password port
    bin=$(postgres_bin)
    POSTGRES_DIR=$(mktemp -d /tmp/bulut-postgres.XXXXXX)
    trap stop_postgres EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "$password" > "$POSTGRES_DIR/password"
    ! is_root || chown -R "$(as_postgres id -u):$(as_postgres id -g)" "$POSTGRES_DIR"
    as_postgres "$bin/initdb" -D "$POSTGRES_DIR/data" -U bulut -A password --pwfile="$POSTGRES_DIR/password" \
        --no-sync -E UTF8 --locale=C > "$POSTGRES_DIR/initdb.log" 2>&1 || {
        cat "$POSTGRES_DIR/initdb.log" >&2
        die "initdb failed; its lines are above"
    }
    for _ in 1 2 3; do
        port=$(free_port)
        if as_postgres "$bin/pg_ctl" -D "$POSTGRES_DIR/data" -l "$POSTGRES_DIR/server.log" -w -t 60 -s start -o \
            "-p $port -k $POSTGRES_DIR -c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300" \
            > /dev/null 2>&1
        then
            export BULUT_TEST_POSTGRES="postgres://bulut:$password@127.0.0.1:$port/postgres"
            say "PostgreSQL $("$bin/postgres" -V | awk '{ print $3 }') for the tests on 127.0.0.1:$port"
            return
        fi
    done
    tail -n 20 "$POSTGRES_DIR/server.log" >&2
    die "PostgreSQL did not start; its last lines are above"
}

# One directory for each content of the recipes, so that a changed recipe makes new images and nothing else does.
prepare_images() {
    local recipe name hash
    hash=$(cd images && find lib.sh tiny debian-12 -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
    export BULUT_TEST_IMAGES=$CACHE/test-images/$hash
    mkdir -p "$BULUT_TEST_IMAGES"
    for recipe in tiny debian-12; do
        name=$recipe
        [ $recipe != debian-12 ] || name=debian-12-x64
        # Two runs of the tests may start together: the second waits for the first one's image.
        exec 9> "$BULUT_TEST_IMAGES/.$name.lock"
        flock 9
        if [ ! -e "$BULUT_TEST_IMAGES/$name/image.json" ]; then
            say "building the $name image for real guests (once for this recipe)"
            "images/$recipe/build.sh" "$BULUT_TEST_IMAGES/$name" > /dev/null || die "the $name image could not be built; the recipe's lines are above"
        fi
        exec 9>&-
    done
    # Images of recipes that no run has asked for in a month make room.
    touch "$BULUT_TEST_IMAGES"
    find "$CACHE/test-images" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
}

run_tests() {
    if cargo nextest --version > /dev/null 2>&1; then
        cargo nextest run --workspace --no-fail-fast "$@"
    else
        say "cargo-nextest is not installed; taking cargo test, real guests apart and two at a time"
        cargo test --quiet --workspace --lib --bins --tests --no-fail-fast -- --skip guest "$@"
        cargo test --quiet --workspace --lib --bins --tests --no-fail-fast -- --test-threads=2 guest "$@"
    fi
    [ $# -gt 0 ] || cargo test --quiet --workspace --doc
}

scripts/setup.sh test
say "building the tests"
cargo test --quiet --workspace --no-run
[ -n "${BULUT_TEST_POSTGRES:-}" ] || start_postgres
[ -n "${BULUT_TEST_IMAGES:-}" ] || prepare_images
say "$(if is_root; then echo "root: routed networking is tested in network namespaces of its own"; else echo "not root: routed networking needs root and is left out"; fi)"
run_tests "$@"
say "all tests passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
