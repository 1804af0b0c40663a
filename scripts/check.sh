#!/usr/bin/env bash
# Everything about the code that is not a test: format, lints, documentation, licences and sources, shell scripts.
#
# cargo-deny and shellcheck run where they are installed; DENY=1 installs cargo-deny first, which takes minutes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$PROJECT"

scripts/setup.sh check

say "cargo fmt --check"
cargo fmt --all --check

say "cargo clippy, warnings are errors"
cargo clippy --quiet --workspace --all-targets -- -D warnings

say "cargo doc, warnings are errors"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps

if ! have cargo-deny && [ -n "${DENY:-}" ]; then
    say "installing cargo-deny (a few minutes)"
    cargo install --quiet --locked cargo-deny
fi
if have cargo-deny; then
    say "cargo deny: bans, licences, sources"
    cargo deny --log-level error check --show-stats bans licenses sources
else
    say "skipped cargo deny: it is not installed; DENY=1 make check installs it"
fi

if have shellcheck; then
    say "shellcheck"
    find scripts images .ci -type f \( -name '*.sh' -o -path .ci/run \) -print0 | xargs -0 shellcheck -x --source-path=SCRIPTDIR
else
    say "skipped shellcheck: it is not installed"
fi
say "check: all is well"
