#!/usr/bin/env bash
# Release build into the private PostgreSQL of each major named: scripts/install.sh 15 18
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$PGC_ROOT"

majors=${*:-15}
scripts/setup.sh $majors
for major in $majors; do
    use_target_of "$major"
    cargo pgrx install --release --pg-config "$(pg_config_of "$major")" $(features "$major") \
        >"$PGC_STATE/install-$major.log" ||
        { cat "$PGC_STATE/install-$major.log" >&2; die "the release build for PostgreSQL $major failed"; }
done
