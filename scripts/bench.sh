#!/usr/bin/env bash
# The benchmarks: builds the program as `make run` does, starts a PostgreSQL of their own, and prints the table.
#
# BULUT_TEST_POSTGRES and BULUT_TEST_IMAGES, where set, are used as they are. Arguments choose single benchmarks:
# `scripts/bench.sh list memory`. Figures mean something on an otherwise idle machine only.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/fixtures.sh"
cd "$PROJECT"

PROFILE=${PROFILE:-quick}

scripts/setup.sh bench
say "building bulut and its benchmarks (profile $PROFILE)"
cargo build --quiet --profile "$PROFILE" -p bulut -p bulut-bench
# As safe as PostgreSQL is by default, since the figures are to be those of an installation.
[ -n "${BULUT_TEST_POSTGRES:-}" ] || start_postgres -c fsync=on
[ -n "${BULUT_TEST_IMAGES:-}" ] || prepare_images tiny
target=${CARGO_TARGET_DIR:-target}/$PROFILE
say "measuring; this takes about ten minutes, and whatever else runs here meanwhile shows in the figures"
"$target/bulut-bench" run --binary "$target/bulut" "$@"
