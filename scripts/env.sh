# Where everything lives that the scripts build for themselves. Sourced, never run.
#
# Nothing outside these directories is written, except Debian packages: a developer's
# ~/.pgrx, his PostgreSQL and his cargo-pgrx stay as they are.

# Backtraces would reach the clients of our servers in the DETAIL of errors.
unset RUST_BACKTRACE

# make hands its job server down; cargo has its own.
unset MAKEFLAGS MFLAGS MAKELEVEL

PGC_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PGC_ROOT
PGRX_VERSION=0.18.1

say() {
    if [ -t 2 ]; then printf '\033[1m== %s\033[0m\n' "$*" >&2; else printf '== %s\n' "$*" >&2; fi
}
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# As root, servers run as postgres, who must be able to reach what we install.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

state_directory() {
    local inside=$PGC_ROOT/target/state
    if [ "$(id -u)" != 0 ]; then
        echo "$inside"
        return
    fi
    # The user postgres exists only after the packages are installed; "nobody" stands in
    # for him before, because what matters is the permission of others.
    if (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$PGC_ROOT/Makefile") 2>/dev/null; then
        echo "$inside"
    else
        # One directory per checkout, so that two of them do not install over each other.
        echo "/var/tmp/pg_custodian-build/$(printf %s "$PGC_ROOT" | cksum | cut -d' ' -f1)"
    fi
}

PGC_STATE=${PGC_STATE:-$(state_directory)}
export PGC_STATE
export PGRX_HOME=$PGC_STATE/pgrx
export PATH=$PGC_STATE/tools/bin:$PATH

# pg_config of our private installation of one major version.
pg_config_of() {
    case $1 in
        15) echo "$PGC_STATE/postgresql/15/lib/postgresql/15/bin/pg_config" ;;
        *) echo "$PGC_STATE/postgresql/$1/bin/pg_config" ;;
    esac
}

# Build outputs of one major version: pgrx does not notice that the headers changed.
use_target_of() {
    export CARGO_TARGET_DIR=$PGC_ROOT/target/pg$1
}

# Arguments of cargo that select one major version.
features() { echo --no-default-features --features "pg$1"; }
