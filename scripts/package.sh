#!/usr/bin/env bash
# Builds for a PostgreSQL of yours:
#
#     scripts/package.sh install pg_config     into that PostgreSQL
#     scripts/package.sh package pg_config     into a folder, to be copied onto a server
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$PGC_ROOT"

verb=$1
config=$(command -v "$2") || die "no $2: install the PostgreSQL you want it for, with its development files"
major=$("$config" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
scripts/setup.sh

# A pgrx of its own, so that the headers are those of this PostgreSQL.
export PGRX_HOME=$PGC_STATE/pgrx-$verb
export CARGO_TARGET_DIR=$PGC_ROOT/target/$verb-$major
mkdir -p "$PGRX_HOME"
cargo pgrx init "--pg$major=$config" >"$PGC_STATE/pgrx-init.log" 2>&1 ||
    { cat "$PGC_STATE/pgrx-init.log" >&2; die "cargo pgrx init failed; are the development files of PostgreSQL $major installed?"; }
# Both build a release: package does by itself.
[ "$verb" = install ] && release=--release || release=
cargo pgrx "$verb" $release --pg-config "$config" $(features "$major")

# What runs outside of the server goes where PostgreSQL keeps such things.
root=
[ "$verb" = install ] || root=$CARGO_TARGET_DIR/release/pg_custodian-pg$major
for script in refresh-jwks.sh adopt.sh; do
    install -D -m 755 "contrib/$script" "$root$("$config" --sharedir)/contrib/pg_custodian/$script"
done
