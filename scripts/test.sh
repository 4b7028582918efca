#!/usr/bin/env bash
# Everything that must hold before a change lands, for each PostgreSQL major named:
#
#     scripts/test.sh 15 18
#
# lint, tests of the pure parts, tests inside a server, tests as a client sees it.
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$PGC_ROOT"

majors=${*:-15}
first=${majors%% *}
scripts/setup.sh $majors

scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT

pure_tests() {
    say "PostgreSQL $1: what needs no server"
    # In the same module tree are the tests that run inside a server: next step.
    cargo test --lib $(features "$1") -- --skip pg_test
    cargo test -p pg_custodian_verifier
}

server_tests() {
    say "PostgreSQL $1: inside the server"
    local options=()
    if [ "$(id -u)" = 0 ]; then
        # The server's directory is made by its user, in a directory of his.
        scratch=$(as_postgres mktemp -d "${TMPDIR:-/tmp}/pg_custodian.XXXXXX")
        options=(--runas postgres --pgdata "$scratch/data")
    fi
    cargo pgrx test "pg$1" ${options[@]+"${options[@]}"} $(features "$1")
}

say "lint"
scripts/lint.sh "$first"
for major in $majors; do
    use_target_of "$major"
    # What needs no server does not depend on its version.
    [ "$major" != "$first" ] || pure_tests "$major"
    server_tests "$major"
    say "PostgreSQL $major: release build"
    scripts/install.sh "$major"
    say "PostgreSQL $major: as a client sees it"
    # They wait more than they work.
    RUST_TEST_THREADS=$(($(nproc) + 1)) PGC_BUILT_FOR=$first scripts/client.sh "$major" test --no-fail-fast --test '*'
done
