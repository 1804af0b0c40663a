#!/usr/bin/env bash
# Every test: sets up what they need, starts a PostgreSQL of their own, makes the guest images, runs them.
#
# BULUT_TEST_POSTGRES, BULUT_TEST_IMAGES, BULUT_TEST_PYTHON and BULUT_TEST_NAMED, where set, are used as they are. Arguments
# go to the test runner, so that `scripts/test.sh store` runs the tests whose names contain "store".
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/fixtures.sh"
cd "$PROJECT"

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
# Nothing in it is worth keeping, so it does not sync.
[ -n "${BULUT_TEST_POSTGRES:-}" ] || start_postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off
[ -n "${BULUT_TEST_IMAGES:-}" ] || prepare_images tiny debian-12
[ -n "${BULUT_TEST_PYTHON:-}" ] || prepare_python
[ -n "${BULUT_TEST_NAMED:-}" ] || prepare_named
say "$(if is_root; then echo "root: routed networking is tested in network namespaces of its own"; else echo "not root: routed networking needs root and is left out"; fi)"
run_tests "$@"
say "all tests passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
