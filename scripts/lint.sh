#!/usr/bin/env bash
# Formatting and clippy, for one PostgreSQL major: scripts/lint.sh 15
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$PGC_ROOT"

major=${1:-15}
scripts/setup.sh "$major"
use_target_of "$major"

cargo fmt --all --check
# pg_test compiles the tests that run inside the server; all targets, the other tests and
# the bench as well.
cargo clippy --all-targets $(features "$major"),pg_test -- -D warnings
# What is shipped must not owe its silence to code that only tests use.
cargo clippy --lib $(features "$major") -- -D warnings
cargo clippy -p pg_custodian_verifier --all-targets -- -D warnings
