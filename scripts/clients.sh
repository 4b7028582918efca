# The clients that the client tests drive. Sourced by scripts/setup.sh --clients, never run.
#
# pgbouncer, pgjdbc and sqlsmith are Debian's packages; psycopg, node-postgres and oidc-provider are of the versions
# pinned in tests/clients/, below $PGC_STATE/clients. What the machine has already (Python, Node, a JDK) is used.

# Enough of Python for a virtual environment: Debian packages that apart.
has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# `java File.java` compiles, so a JRE is not enough.
has_jdk() { java --list-modules 2>/dev/null | grep -q '^jdk.compiler'; }

lay_down_clients() {
    local packages=(curl pgbouncer libpostgresql-jdbc-java sqlsmith)
    has_venv || packages+=(python3 python3-venv)
    command -v node >/dev/null || packages+=(nodejs)
    command -v npm >/dev/null || packages+=(npm)
    has_jdk || packages+=(default-jdk-headless)
    install_packages "${packages[@]}"
    lay_down_python_clients
    lay_down_node_clients
}

lay_down_python_clients() {
    local wanted=$PGC_ROOT/tests/clients/requirements.txt tree=$PGC_STATE/clients/python
    cmp -s "$wanted" "$tree/.installed" && "$tree/bin/python" -c '' 2>/dev/null && return
    say "installing the Python clients"
    rm -rf "$tree"
    python3 -m venv "$tree"
    "$tree/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary=:all: -r "$wanted"
    cp "$wanted" "$tree/.installed"
}

lay_down_node_clients() {
    local from=$PGC_ROOT/tests/clients tree=$PGC_STATE/clients/node
    cmp -s "$from/package-lock.json" "$tree/.installed" && return
    say "installing the Node clients"
    rm -rf "$tree"
    mkdir -p "$tree"
    cp "$from/package.json" "$from/package-lock.json" "$tree/"
    # The lock names versions and hashes and no registry: the machine's own is asked.
    (cd "$tree" && npm ci --silent --ignore-scripts --no-audit --no-fund)
    cp "$from/package-lock.json" "$tree/.installed"
}
