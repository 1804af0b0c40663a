# What the recipes share: progress, checks, the package cache and the last steps. Sourced by each build.sh, never run.
# shellcheck shell=bash
#
# A recipe gets its packages by name from a Debian mirror, through mmdebstrap; nothing here mounts a file system
# or needs a loop device, so that the same script works for root, for a plain user and inside a container.

PATH=$PATH:/usr/sbin:/sbin            # a plain user's PATH often lacks sfdisk and mke2fs
SUITE=bookworm
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
CACHE_DIR=${CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/bulut/images}

# One line per stage on stderr; stdout is kept for the result.
stage() { printf '%s: %3ds  %s\n' "$RECIPE" "$SECONDS" "$*" >&2; }

die() {
    printf '%s: error: %s\n' "$RECIPE" "$1" >&2
    [ $# -lt 2 ] || printf '%s: hint: %s\n' "$RECIPE" "$2" >&2
    exit 1
}

# require COMMAND-OR-FILE:PACKAGE... — all that is missing is named at once, with the command that installs it.
require() {
    local pair missing=()
    for pair in "$@"; do
        case $pair in
            /*) [ -e "${pair%%:*}" ] ;;
            *) command -v "${pair%%:*}" >/dev/null ;;
        esac || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] || die "these Debian packages are missing: ${missing[*]}" "apt-get install ${missing[*]}"
}

# The one temporary directory of a build, in WORK; it goes away however the build ends.
make_workdir() {
    WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/bulut-$RECIPE.XXXXXX")
    trap 'rm -rf "$WORK" ${STAGED:+"$STAGED"}' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Files in an image belong to root. Who is not root packs them under fakeroot.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else fakeroot -- "$@"; fi
}

# The apt sources of a build, one line each: DEBIAN_MIRROR if it is set, else the Debian mirrors that this host's
# own apt uses for the suite. No line at all means mmdebstrap's default mirrors.
debian_sources() {
    local option="[signed-by=$KEYRING]"
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        printf 'deb %s %s %s main\n' "$option" "$DEBIAN_MIRROR" "$SUITE" "$option" "$DEBIAN_MIRROR" "$SUITE-updates"
        [ -z "${DEBIAN_SECURITY_MIRROR:-}" ] ||
            printf 'deb %s %s %s main\n' "$option" "$DEBIAN_SECURITY_MIRROR" "$SUITE-security"
        return
    fi
    # Without fetched lists the origin is not known and stays empty, and the suite and component decide alone.
    # shellcheck disable=SC2016  # apt expands these names
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$SUITE" -v option="$option" '
            $2 !~ "^" suite "(-updates|-security)?$" || $3 != "main" || ($4 != "" && $4 != "Debian") { next }
            { print "deb", option, $1, $2, $3 }' | sort -u
}

# bootstrap TARGET PACKAGE,PACKAGE... MMDEBSTRAP-OPTION...
# Runs mmdebstrap with the package cache: .debs and package lists of earlier runs are copied in, and what this run
# fetched is kept. OFFLINE=1 builds from the cache alone. The hooks are mmdebstrap's own sync-in and sync-out, which
# run outside of its namespace and so may read and write the cache in every mode.
bootstrap() {
    local target=$1 packages=$2 sources=() options=() proxy value
    shift 2
    mkdir -p "$CACHE_DIR/debs" "$CACHE_DIR/lists" "$WORK/fetched/debs" "$WORK/fetched/lists" ||
        die "cannot write to the cache directory $CACHE_DIR" "set CACHE_DIR to a directory of yours"
    debian_sources > "$WORK/sources.list"
    [ ! -s "$WORK/sources.list" ] || sources=("$WORK/sources.list")
    # mmdebstrap does not read the host's apt settings; the proxy is the one that a download cannot do without.
    for proxy in http https; do
        value=$(apt-config shell v "Acquire::$proxy::Proxy" | sed "s/^v='\(.*\)'$/\1/")
        [ -z "$value" ] || options+=(--aptopt="Acquire::$proxy::Proxy \"$value\"")
    done
    [ -z "${OFFLINE:-}" ] || options+=(--skip=update)
    # shellcheck disable=SC2016  # $1 is the hook's own: the directory that mmdebstrap fills
    if ! mmdebstrap --architectures=amd64 --keyring="$KEYRING" --include="$packages" \
        --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::GzipIndexes "true"' \
        --setup-hook='mkdir -p "$1/var/cache/apt/archives" "$1/var/lib/apt/lists"' \
        --setup-hook="sync-in '$CACHE_DIR/debs' /var/cache/apt/archives" \
        --setup-hook="sync-in '$CACHE_DIR/lists' /var/lib/apt/lists" \
        "${options[@]}" "$@" "$SUITE" "$target" "${sources[@]}" 2> "$WORK/mmdebstrap.log"
    then
        tail -n 25 "$WORK/mmdebstrap.log" >&2
        bootstrap_failed
    fi
    keep_fetched
}

bootstrap_failed() {
    local hint="is the mirror reachable? see the lines above; DEBIAN_MIRROR=URL names another one, OFFLINE=1 uses only the cache"
    [ "$(id -u)" -eq 0 ] ||
        hint="$hint; without root, user namespaces are surer than fakechroot: they need the package uidmap and a line for $(id -un) in /etc/subuid and /etc/subgid"
    die "mmdebstrap could not make the tree" "$hint"
}

# The options by which bootstrap hands out what it fetched; a variant decides at which hook that is possible.
fetched_hooks() {
    printf '%s\n' "--$1-hook=sync-out /var/cache/apt/archives '$WORK/fetched/debs'" \
        "--$1-hook=sync-out /var/lib/apt/lists '$WORK/fetched/lists'"
}

# Builds may run side by side: each file enters the cache by a rename, and only packages that no build has used
# for two months leave it.
keep_fetched() {
    local file kept
    for file in "$WORK"/fetched/debs/*.deb "$WORK"/fetched/lists/*_*; do
        [ -f "$file" ] || continue
        case $file in *.deb) kept=$CACHE_DIR/debs ;; *) kept=$CACHE_DIR/lists ;; esac
        if [[ $file == *.deb && -e $kept/${file##*/} ]]; then
            touch -c "$kept/${file##*/}"
        else
            cp --preserve=timestamps "$file" "$kept/.${file##*/}.$$" && mv "$kept/.${file##*/}.$$" "$kept/${file##*/}"
            [[ $file != *.deb ]] || touch "$kept/${file##*/}"
        fi
    done
    rm -rf "$WORK/fetched"
    find "$CACHE_DIR/debs" -maxdepth 1 -name '*.deb' -mtime +60 -delete
}

# With SOURCE_DATE_EPOCH set, nothing in a tree is younger than that moment.
clamp_times() {
    [ -z "${SOURCE_DATE_EPOCH:-}" ] ||
        find "$1" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# publish OUT_DIR FILE... — every file is staged inside OUT_DIR, then renamed; image.json is named last, so that a
# directory that has one is complete.
publish() {
    local out=$1 file
    shift
    STAGED=$(mktemp -d "$out/.staged.XXXXXX")
    cp "$@" "$STAGED/"
    chmod 0644 "$STAGED"/*
    for file in "$@"; do mv -f "$STAGED/${file##*/}" "$out/${file##*/}"; done
    rmdir "$STAGED"
}

# compress RAW QCOW2: zstd reads back several times faster than zlib, which counts when a guest boots from it.
compress() {
    qemu-img convert -c -m 4 -W -o compression_type=zstd -O qcow2 "$1" "$2"
}
