#!/usr/bin/env bash
# A test or bench that talks to a server from outside, against the private PostgreSQL of one
# major, where scripts/install.sh has put the extension:
#
#     scripts/client.sh 15 test --test crash -- --nocapture
#
# These programs do not depend on the version: PGC_BUILT_FOR names the one whose build
# outputs to use, so that a run over several versions compiles them once.
set -euo pipefail
source "$(dirname "$0")/env.sh"
cd "$PGC_ROOT"

major=$1 verb=$2
shift 2
built_for=${PGC_BUILT_FOR:-$major}
use_target_of "$built_for"
PGC_PG_CONFIG=$(pg_config_of "$major")
export PGC_PG_CONFIG
# The version before, for pg_upgrade.
if [ "$built_for" != "$major" ]; then
    PGC_OLD_PG_CONFIG=$(pg_config_of "$built_for")
    export PGC_OLD_PG_CONFIG
fi
# Only these drive clients of others; the rest shall not wait for their installation.
case " $* " in
    *' clients '* | *' poolers '* | *' provider '* | *' masking_interference '* | *' * '*) scripts/setup.sh --clients "$major" ;;
esac
exec cargo "$verb" $(features "$built_for") "$@"
