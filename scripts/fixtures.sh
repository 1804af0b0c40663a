# What tests and benchmarks need around them: a PostgreSQL of their own, the guest images, Python packages. Sourced by
# each, after lib.sh, never run.
# shellcheck shell=bash

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

# start_postgres [OPTION...] : a server for this run, with these options besides; only who knows the password gets in.
start_postgres() {
    local bin password port options=$*
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
            "-p $port -k $POSTGRES_DIR -c listen_addresses=127.0.0.1 -c max_connections=300 $options" \
            > /dev/null 2>&1
        then
            export BULUT_TEST_POSTGRES="postgres://bulut:$password@127.0.0.1:$port/postgres"
            say "a PostgreSQL $("$bin/postgres" -V | awk '{ print $3 }') of our own on 127.0.0.1:$port"
            return
        fi
    done
    tail -n 20 "$POSTGRES_DIR/server.log" >&2
    die "PostgreSQL did not start; its last lines are above"
}

# prepare_images RECIPE... : one directory for each content of the recipes, so that a changed recipe makes new images
# and nothing else does.
prepare_images() {
    local recipe name hash
    hash=$(cd images && find lib.sh tiny debian-12 -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
    export BULUT_TEST_IMAGES=$CACHE/test-images/$hash
    mkdir -p "$BULUT_TEST_IMAGES"
    for recipe in "$@"; do
        name=$recipe
        [ "$recipe" != debian-12 ] || name=debian-12-x64
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

# prepare_python : an environment with the Python packages of the tests, one for each content of their list, which names
# versions and digests.
prepare_python() {
    local list=tests/contract/requirements.txt python hash dir
    python=$(python_with_venv) || die "no Python 3.11 or later that can make virtual environments" "apt-get install python3-venv"
    hash=$({ "$python" -V; cat "$list"; } | sha256sum | cut -c 1-16)
    dir=$CACHE/test-python/$hash
    mkdir -p "$CACHE/test-python"
    exec 9> "$CACHE/test-python/.$hash.lock"
    flock 9
    if [ ! -e "$dir/complete" ]; then
        say "fetching the Python packages of the tests (once for this list)"
        rm -rf "$dir"
        "$python" -m venv "$dir" || die "no virtual environment could be made; Python's own lines are above"
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: \
            -r "$list" >&2 || die "the Python packages could not be fetched; pip's own lines are above"
        touch "$dir/complete"
    fi
    exec 9>&-
    export BULUT_TEST_PYTHON=$dir/bin/python
    touch "$dir"
    find "$CACHE/test-python" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
}

# prepare_named : a BIND of the tests' own. Its package is unpacked and not installed, so that no server of names starts on
# this machine. Its libraries are those of dig, so it has to be of the same version.
prepare_named() {
    local version dir
    version=$(dpkg-query -W -f '${Version}' bind9-libs 2> /dev/null) || die "the libraries of BIND are not installed" "apt-get install bind9-dnsutils"
    dir=$CACHE/test-bind/$version
    mkdir -p "$CACHE/test-bind"
    exec 9> "$CACHE/test-bind/.lock"
    flock 9
    if [ ! -x "$dir/usr/sbin/named" ]; then
        say "unpacking BIND $version for the tests (once)"
        rm -rf "$dir" "$dir.part"
        mkdir "$dir.part"
        (cd "$dir.part" && apt-get download -q "bind9=$version" > apt.log 2>&1 && dpkg-deb -x bind9_*.deb . && rm bind9_*.deb) || {
            cat "$dir.part/apt.log" >&2
            die "BIND $version could not be fetched; apt's own lines are above" "apt-get update && apt-get install bind9-dnsutils"
        }
        mv "$dir.part" "$dir"
    fi
    exec 9>&-
    "$dir/usr/sbin/named" -v > /dev/null || die "the BIND in $dir does not run" "remove that directory and run this again"
    export BULUT_TEST_NAMED=$dir/usr/sbin/named
}
