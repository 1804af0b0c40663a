#!/usr/bin/env bash
# Installs through apt what is missing, and says what and why.
#
#   setup.sh [run|test|bench|check]      what is to be done next; `run` by default
#
# Says nothing when nothing is missing. Without root and without sudo it prints the command to run, and goes on
# unless what is missing is needed in any case. On a system without apt it names what is missing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Packages to install; the subset without which the next step cannot work.
MISSING=() NEEDED=()
UPDATED=''

# group WHY needed|wanted PROBE:PACKAGE... — a probe is a command, or a file by its absolute path.
group() {
    local why=$1 weight=$2 pair probe missing=()
    shift 2
    for pair in "$@"; do
        probe=${pair%%:*}
        case $probe in
            /*) compgen -G "$probe" > /dev/null ;;
            *) have "$probe" ;;
        esac || missing+=("${pair#*:}")
    done
    note_missing "$why" "$weight" "${missing[@]}"
}

# packages WHY needed|wanted PACKAGE... — for those that no single command stands for: dpkg is asked.
packages() {
    local why=$1 weight=$2 missing=()
    shift 2
    [ $# -gt 0 ] && have dpkg-query || return 0
    mapfile -t missing < <(
        comm -23 <(printf '%s\n' "$@" | sort -u) \
            <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2> /dev/null | sed -n 's/^installed //p' | sort -u)
    )
    note_missing "$why" "$weight" "${missing[@]}"
}

note_missing() {
    local why=$1 weight=$2
    shift 2
    [ $# -gt 0 ] || return 0
    say "missing: $* ($why)"
    MISSING+=("$@")
    [ "$weight" != needed ] || NEEDED+=("$@")
}

privileged() {
    if is_root; then "$@"; else sudo -- "$@"; fi
}

may_install() { is_root || { have sudo && { sudo -n true 2> /dev/null || [ -t 0 ]; }; }; }

apt() { privileged env DEBIAN_FRONTEND=noninteractive apt-get "$@" >&2; }

update_lists() {
    [ -z "$UPDATED" ] || return 0
    UPDATED=1
    say "apt-get update, because $1"
    apt update -q || note "apt-get update failed; going on with the lists that are there"
}

# A package that apt has never heard of, or lists that are two weeks old, ask for fresh lists.
update_lists_if_needed() {
    local package
    if ! compgen -G '/var/lib/apt/lists/*_Packages*' > /dev/null; then
        update_lists "there are no package lists"
    elif [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_InRelease' -mtime -14 -print -quit)" ]; then
        update_lists "the package lists are older than two weeks"
    fi
    for package in "$@"; do
        [ -n "$(apt-cache show "$package" 2> /dev/null)" ] || update_lists "$package is not in the package lists"
    done
}

# A package, and what it depends on or what is installed from the same source, each in the version of the running release.
# That is what a machine needs that holds a part from elsewhere (say qemu-utils from the backports): apt never goes back by itself.
own_release() {
    local codename source
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || return 0
    source=$(source_of "$1")
    {
        echo "$1"
        apt-cache depends --important "$1" | awk '$1 == "Depends:" && $2 !~ /^</ { print $2 }' | while read -r package; do
            [ "$(source_of "$package")" != "$source" ] || echo "$package"
        done
        dpkg-query -W -f '${db:Status-Status} ${source:Package} ${Package}\n' 2> /dev/null |
            awk -v source="$source" '$1 == "installed" && $2 == source { print $3 }'
    } | sort -u | sed "s|\$|/$codename|"
}

source_of() { apt-cache show "$1" 2> /dev/null | awk '$1 == "Package:" { name = $2 } $1 == "Source:" { name = $2 } /^$/ { exit } END { print name }'; }

install_one() {
    local pinned
    apt install -y -q --no-remove --no-install-recommends "$1" && return
    mapfile -t pinned < <(own_release "$1")
    [ ${#pinned[@]} -gt 0 ] || return 1
    say "$1 does not fit what is installed; trying this release's own versions, going back where something newer is there: ${pinned[*]}"
    apt install -y -q --no-remove --no-install-recommends --allow-downgrades "${pinned[@]}"
}

# Nothing that is installed is ever taken away (--no-remove): where that would be needed, apt fails and the next way is tried.
install() {
    local package failed=0
    update_lists_if_needed "$@"
    say "installing: $*"
    apt install -y -q --no-remove --no-install-recommends "$@" && return
    if [ -z "$UPDATED" ]; then
        update_lists "the installation failed"
        apt install -y -q --no-remove --no-install-recommends "$@" && return
    fi
    say "that failed as a whole; installing one by one"
    for package in "$@"; do install_one "$package" || failed=1; done
    return $failed
}

# Debian's own rustc is older than what the project needs, so the toolchain comes from rustup.
rust() {
    local wanted oldest version
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$PROJECT/rust-toolchain.toml")
    oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$PROJECT/Cargo.toml")
    if ! have cargo && ! have rustup && have apt-get && [ -n "$(apt-cache show rustup 2> /dev/null)" ] && may_install; then
        say "missing: rustup (brings the Rust toolchain $wanted)"
        install rustup || true
    fi
    if ! have cargo && ! have rustup; then
        die "no Rust toolchain: cargo is not in the PATH" \
            "install rustup as https://rustup.rs says (no root needed), then run this again; it brings Rust $wanted by itself"
    fi
    version=$(cd "$PROJECT" && rustc --version 2> /dev/null | cut -d ' ' -f 2) || version=''
    if [ -z "$version" ] && have rustup; then
        say "fetching the Rust toolchain $wanted (rust-toolchain.toml asks for it)"
        rustup toolchain install "$wanted" --profile minimal --component rustfmt --component clippy >&2 ||
            die "rustup could not fetch Rust $wanted" "is the network reachable? rustup's own lines are above"
        version=$wanted
    fi
    [ "$(printf '%s\n' "$oldest" "${version:-0}" | sort -V | head -n 1)" = "$oldest" ] ||
        die "Rust ${version:-of no known version} is too old: $oldest or later is needed, $wanted is what the project is built with" \
            "install rustup as https://rustup.rs says"
}

image_packages() {
    local recipe
    for recipe in "$PROJECT"/images/*/build.sh; do
        [ -x "$recipe" ] || continue
        "$recipe" --packages
    done | tr ' ' '\n' | sort -u
}

run_groups() {
    local network=wanted
    ! is_root || network=needed
    group "a C compiler, for SQLite and the cryptography library" needed cc:gcc /usr/include/stdlib.h:libc6-dev
    group "QEMU runs the guests" needed qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils
    group "to look at the networks of guests, and to clear them away" $network ip:iproute2
    group "to log in to guests" needed ssh:openssh-client
    group "to talk to the API" needed curl:curl jq:jq
    group "Node.js makes the pages of the console and the fonts of invoices" wanted node:nodejs npm:npm
    # shellcheck disable=SC2046  # one word a package
    packages "to build guest images" wanted $(image_packages)
}

test_groups() {
    group "tests ask for names as everybody does, and a BIND that is only unpacked takes updates" needed dig:bind9-dnsutils
    group "Node.js makes the pages of the console and the fonts of invoices, and drives the browser that looks at them" needed node:nodejs npm:npm
    group "tests look at the rules of guests' networks, and harm them" needed nft:nftables
    group "a browser looks at the pages" needed chromium:chromium
    group "tests read invoices as they were printed" needed pdftotext:poppler-utils
    group "a payment is signed as its document says, and a mail server has a certificate" needed openssl:openssl
    group "clients of Cloud at Cost are of many languages" needed wget:wget perl:perl vncsnapshot:vncsnapshot vncpasswd:tigervnc-tools
    python_with_venv > /dev/null ||
        note_missing "Python packages hold the API against its description; they stay in an environment of their own" needed python3-venv
    if ! have initdb; then
        group "tests and benchmarks run on PostgreSQL too, on a private server; the one that Debian starts is not touched" \
            needed '/usr/lib/postgresql/*/bin/initdb:postgresql'
    fi
}

case ${1:-run} in
    run) run_groups ;;
    test) run_groups; test_groups ;;
    bench) run_groups; test_groups; group "load for the benchmarks of the API" wanted wrk:wrk ;;
    check)
        group "a C compiler, for SQLite and the cryptography library" needed cc:gcc /usr/include/stdlib.h:libc6-dev
        group "Node.js makes the pages of the console and the fonts of invoices" wanted node:nodejs npm:npm
        ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

if [ ${#MISSING[@]} -gt 0 ]; then
    mapfile -t MISSING < <(printf '%s\n' "${MISSING[@]}" | sort -u)
    if have apt-get && may_install; then
        install "${MISSING[@]}" || {
            [ ${#NEEDED[@]} -eq 0 ] || die "apt-get could not install: ${MISSING[*]}" "its own lines are above"
            note "apt-get could not install them; going on, what needs them will say so"
        }
    else
        if have apt-get; then
            say "neither root nor sudo: please have this run as root"
            note "apt-get install --no-install-recommends ${MISSING[*]}"
        else
            say "no apt-get here: please install what Debian calls ${MISSING[*]}"
        fi
        [ ${#NEEDED[@]} -eq 0 ] || die "cannot go on without: ${NEEDED[*]}"
        note "going on; what needs them will say so"
    fi
fi
rust
