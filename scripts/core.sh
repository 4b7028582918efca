# What scripts/test-core.sh is made of: PostgreSQL's sources, and how differences are judged.
# Sourced, after env.sh.

# The tests are in no binary package. Debian's source packages have them, each major in one of its releases.
# It is asked in directories of our own: the machine's list need not have sources, nor that release.
# The minor version can differ from the server's; the run without the extension tells what comes of that.
fetch_core_source() {
    local major=$1 into=$2 release site apt
    case $major in
        15) release=bookworm ;;
        17) release=trixie ;;
        18) release=forky ;;
        *) die "Debian has no sources of PostgreSQL $major" ;;
    esac
    site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1 || true)
    [ -n "$site" ] || die "apt knows no archive of Debian: add one to its sources"
    mkdir -p "$into/lists/partial"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "$site $release main" >"$into/sources.list"
    apt=(apt-get -qq -o "Dir::Etc::SourceList=$into/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$into/lists" -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= -o APT::Sandbox::User=)
    (cd "$into" && "${apt[@]}" update && "${apt[@]}" source "postgresql-$major") >"$into/apt.log" 2>&1 ||
        { tail -5 "$into/apt.log" >&2; die "apt-get source postgresql-$major failed"; }
    rm -rf "$into/lists"
}

# PostgreSQL's sources in $home/source.
lay_down_source() {
    local fetched
    [ ! -f "$home/source/src/test/regress/parallel_schedule" ] || return 0
    say "fetching the sources of PostgreSQL $major"
    rm -rf "$home/fetch" "$home/source"
    mkdir -p "$home/fetch"
    fetch_core_source "$major" "$home/fetch"
    fetched=$(find "$home/fetch" -mindepth 1 -maxdepth 1 -type d | head -1)
    mv "$fetched" "$home/source"
    rm -rf "$home/fetch"
    chmod -R a+rX "$home/source"
}

# A server that checks its own assertions, from the same sources, in $home/assert, and the extension in it.
# Such a server finds what others forgive.
build_core_server() {
    if [ ! -x "$home/assert/bin/pg_config" ]; then
        say "building PostgreSQL $major with assertions (some minutes, once)"
        rm -rf "$home/build"
        mkdir -p "$home/build"
        (cd "$home/build" && "$home/source/configure" --prefix="$home/assert" --enable-cassert --enable-debug \
            --with-icu --without-readline CFLAGS="-O1 -g" && make -s -j"$(nproc)" && make -s install) \
            >"$home/build.log" 2>&1 || { tail -20 "$home/build.log" >&2; die "the build of PostgreSQL $major failed"; }
        rm -rf "$home/build"
        chmod -R a+rX "$home/assert"
    fi
    CARGO_TARGET_DIR=$PGC_ROOT/target/pg$major-assert \
        cargo pgrx install --pg-config "$home/assert/bin/pg_config" $(features "$major") >"$home/install.log" 2>&1 ||
        { cat "$home/install.log" >&2; die "the build for PostgreSQL $major with assertions failed"; }
}

# The C functions that the tests call, and triggers that some of them borrow from contrib, in $lib.
build_libraries() {
    local source library
    mkdir -p "$lib"
    for source in src/test/regress/regress.c contrib/spi/refint.c contrib/spi/autoinc.c; do
        source=$home/source/$source
        library=$lib/$(basename "$source" .c).so
        [ ! "$library" -nt "$source" ] || continue
        # As contrib/spi/Makefile has it.
        # shellcheck disable=SC2046
        cc -shared -fPIC -O2 -w -DREFINT_VERBOSE $("$config" --cppflags) -I"$("$config" --includedir-server)" -o "$library" "$source"
    done
}

# The numbers of a run, from what pg_regress said.
count_tests() {
    local said=$1/.out
    # Up to 15 "test name ... ok  1 ms", from 16 "ok 1 - name  1 ms".
    { grep -cE '^(test| ) .* \.\.\. |^(not )?ok [0-9]+ ' "$said" || true; } >"$1/.run"
    { grep -cE '\.\.\. (FAILED|failed)|^not ok [0-9]+ ' "$said" || true; } >"$1/.differing"
}

# One file per test out of regression.diffs, without paths, times and line numbers.
split_diffs() {
    awk -v into="$1" '
        /^diff / { name = $NF; sub(/.*\//, "", name); sub(/\.out$/, "", name); file = into "/" name ".diff"; header = 2; next }
        header > 0 && /^(---|\+\+\+) / { header--; next }
        /^@@ / { print "@@" > file; next }
        # OIDs of what was made later depend on what was made before.
        /^[-+ ] +[0-9][0-9][0-9][0-9][0-9]+ \|/ { sub(/ +[0-9]+ \|/, " OID |") }
        { sub(/\| [0-9][0-9][0-9][0-9][0-9]+ \|/, "| OID |") }
        file { print > file }
    ' "$1/.diffs"
}

# Compares what differs in the run of this name, and does not on the bare server, with what is documented.
judge() {
    local run=$1 suite=$2 bare=$outcome/bare/$2 ours=$outcome/$1/$2 known=$PGC_ROOT/tests/core/$major/$2
    local file name wrong=0 same=0 documented=0
    for file in "$ours"/*.diff; do
        [ -e "$file" ] || continue
        name=$(basename "$file")
        if cmp -s "$file" "$bare/$name"; then
            same=$((same + 1))
            continue
        fi
        if [ "${PGC_ACCEPT:-}" = 1 ] && [ "$run" = custodian ]; then
            mkdir -p "$known"
            { grep '^# ' "$known/$name" 2>/dev/null || echo "# No reason given yet."; cat "$file"; } >"$known/.new"
            mv "$known/.new" "$known/$name"
        fi
        if [ -f "$known/$name" ] && grep -v '^# ' "$known/$name" | cmp -s - "$file"; then
            documented=$((documented + 1))
        else
            wrong=$((wrong + 1))
            say "$suite, $run: ${name%.diff} differs"
            # In what differs from the documented difference, if there is one.
            grep -v '^# ' "$known/$name" 2>/dev/null | diff - "$file" | head -40 >&2 || true
        fi
    done
    say "$suite, bare: $(<"$bare/.run") tests, $(<"$bare/.differing") differ;" \
        "$run: $(<"$ours/.run") tests, $(<"$ours/.differing") differ," \
        "$same as on the bare server, $documented as documented, $wrong otherwise"
    [ "$wrong" = 0 ] && [ "$(<"$bare/.run")" = "$(<"$ours/.run")" ]
}
