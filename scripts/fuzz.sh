#!/usr/bin/env bash
# The random tests of masking, for as long as PGC_FUZZ_SECONDS says each: scripts/fuzz.sh 15
#
# PGC_FUZZ_SEED repeats a run.
set -euo pipefail
cd "$(dirname "$0")/.."

major=${1:-15}
seconds=${PGC_FUZZ_SECONDS:-60}
export PGC_FUZZ_SECONDS=$seconds PGC_SWITCHES=$((20 * seconds)) PGC_SQLSMITH=$((5 * seconds))
for test in masking_fuzz masking_interference; do
    scripts/client.sh "$major" test --no-fail-fast --test "$test" -- --nocapture --test-threads 1
done
