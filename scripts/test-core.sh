#!/usr/bin/env bash
# PostgreSQL's own regression and isolation suites, on a server with pg_custodian that records everybody:
#
#     scripts/test-core.sh 15                    both suites, without and with the extension
#     scripts/test-core.sh 15 regress            one of them
#     scripts/test-core.sh --assert 15           on a server that checks its assertions, built for it
#     scripts/test-core.sh --beside 15           beside pgaudit, pg_stat_statements and auto_explain, loaded first
#                                                and last, instead of alone
#
# after scripts/install.sh 15. The suites run on a bare server, on one with the extension, and on one with the
# extension in maintenance. What differs from PostgreSQL's expectations on the bare server is owed to the
# machine. What differs only with the extension must stand in tests/core/MAJOR/SUITE/TEST.diff, line by line, with
# the reason for it.
#
# The extension is created in the database that pg_regress makes, by its own --load-extension. pg_regress
# makes it from template0, so that an extension in template1 would not be in it.
#
# PGC_ACCEPT=1 writes the differences: read them, then give the reasons.
set -euo pipefail
source "$(dirname "$0")/env.sh"
source "$(dirname "$0")/core.sh"

assertions=false beside=false
while [ "${1:0:2}" = -- ]; do
    case $1 in
        --assert) assertions=true ;;
        --beside) beside=true ;;
        *) die "no option $1: --assert or --beside" ;;
    esac
    shift
done
major=${1:-15}
shift || true
suites=${*:-regress isolation}
"$PGC_ROOT/scripts/setup.sh" --sources "$major"
home=$PGC_STATE/core/$major
mkdir -p "$home"
cd "$PGC_ROOT"
lay_down_source
if "$assertions"; then
    build_core_server
    config=$home/assert/bin/pg_config lib=$home/lib-assert outcome=$home/outcome-assert
else
    config=$(pg_config_of "$major") lib=$home/lib outcome=$home/outcome
fi
if "$beside"; then outcome=$outcome-beside; fi
build_libraries
bin=$("$config" --bindir)
runners=$("$config" --pkglibdir)/pgxs/src/test
[ -f "$("$config" --pkglibdir)/pg_custodian.so" ] || die "pg_custodian is not installed: scripts/install.sh $major"
[ -x "$runners/regress/pg_regress" ] || die "PostgreSQL $major came without pg_regress"

work=$(as_postgres mktemp -d "${TMPDIR:-/tmp}/pg_custodian-core.XXXXXX")
as_postgres chmod 755 "$work"
cluster=
finish() {
    if [ -n "$cluster" ]; then
        as_postgres "$bin/pg_ctl" -D "$cluster/data" -m immediate -s stop || true
        # Whatever went wrong: a crash shows here first.
        cp "$cluster/log" "$outcome/$(basename "$cluster").log" || true
        (check_log "$outcome/$(basename "$cluster").log") || true
    fi
    rm -rf "$work"
}
trap finish EXIT

# The server's directory and its outcomes are in $cluster.
start_cluster() {
    cluster=$work/$1
    as_postgres mkdir "$cluster"
    as_postgres "$bin/initdb" -D "$cluster/data" -U postgres -E UTF8 --no-locale --no-sync --no-instructions \
        -A trust >"$cluster/initdb.log"
    {
        # What pg_regress gives its own servers.
        echo "max_prepared_transactions = 2"
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$cluster'"
        echo "fsync = off"
        # Suites count parallel workers. Ours are more workers, and must not be missing there.
        echo "max_worker_processes = 24"
        cat
    } | as_postgres tee -a "$cluster/data/postgresql.conf" >"$cluster/added.conf" 2>/dev/null ||
        die "could not write postgresql.conf"
    as_postgres "$bin/pg_ctl" -D "$cluster/data" -l "$cluster/log" -w -s start ||
        { tail -20 "$cluster/log" >&2; die "the server did not start"; }
}

stop_cluster() {
    as_postgres "$bin/pg_ctl" -D "$cluster/data" -m fast -w -s stop
    rm -rf "$cluster"
    cluster=
}

sql() { as_postgres "$bin/psql" -h "$cluster" -U postgres -XAtq -v ON_ERROR_STOP=1 -d "$1" -c "$2"; }

# Runs one suite; leaves its differences, one file per test, in $outcome/NAME/SUITE.
run_suite() {
    local name=$1 suite=$2 runner schedule options=() out=$cluster/$2 database
    shift 2
    case $suite in
        regress) runner=$runners/regress/pg_regress schedule=parallel_schedule database=regression ;;
        isolation) runner=$runners/isolation/pg_isolation_regress schedule=isolation_schedule
            database=isolation_regression ;;
        *) die "no suite $suite: regress or isolation" ;;
    esac
    schedule=$home/source/src/test/$suite/$schedule
    local extension
    for extension in "$@"; do options+=("--load-extension=$extension"); done
    as_postgres mkdir "$out"
    # It fails where anything differs; whether that may be is judged below.
    as_postgres "$runner" --bindir="$bin" --host="$cluster" --user=postgres --inputdir="$home/source/src/test/$suite" \
        --outputdir="$out" --dlpath="$lib" --max-concurrent-tests=20 --schedule="$schedule" \
        --dbname="$database" ${options[@]+"${options[@]}"} >"$cluster/$suite.out" 2>&1 || true
    local into=$outcome/$name/$suite
    rm -rf "$into"
    mkdir -p "$into"
    cp "$cluster/$suite.out" "$into/.out"
    [ ! -f "$out/regression.diffs" ] || cp "$out/regression.diffs" "$into/.diffs"
    count_tests "$into"
    [ "$(<"$into/.run")" -gt 0 ] || { tail -20 "$into/.out" >&2; die "no test of $suite was run"; }
    [ ! -f "$into/.diffs" ] || split_diffs "$into"
}

# Runs the suites on a server of this name that loads these libraries, with the settings from standard input.
run_suites() {
    local name=$1 libraries=$2 suite extensions
    say "PostgreSQL $major: its own tests, $name, ${libraries:-nothing} loaded"
    # The neighbours' hooks work without their extensions, whose objects would only differ.
    extensions=$(tr , '\n' <<<"$libraries" | grep -x pg_custodian || true)
    start_cluster "$name" < <(cat && settings "$libraries")
    for suite in $suites; do
        run_suite "$name" "$suite" $extensions
        [ "$name" = bare ] || check_ledger "$name" "$suite"
    done
    mv "$cluster/log" "$outcome/$name/log"
    check_log "$outcome/$name/log"
    stop_cluster
}

settings() {
    echo "shared_preload_libraries = '$1'"
    case $1 in *pg_custodian*) echo "pg_custodian.audit_roles = 'all'" ;; esac
    echo "pgaudit.log = 'all'"
    echo "pgaudit.log_relation = on"
    echo "pgaudit.log_parameter = on"
    echo "auto_explain.log_min_duration = 0"
    # Enough of them to meet, without gigabytes of log.
    echo "auto_explain.sample_rate = 0.1"
    # As auto, but EXPLAIN does not show it: the tests were made without.
    echo "compute_query_id = regress"
    echo "auto_explain.log_nested_statements = on"
}

# What the suite did is in the ledger, whole and linked.
check_ledger() {
    local database=regression rows ok problem
    [ "$2" = regress ] || database=isolation_regression
    sql "$database" "select audit.sync('10 min')" >/dev/null || die "the ledger of $2 does not catch up"
    IFS='|' read -r ok rows problem < <(sql "$database" "select ok, rows, problem from audit.verify()")
    [ "$ok" = t ] || die "the ledger of $2 does not hold: $problem"
    sql "$database" "select outcome, count(*) from audit.statements group by 1 order by 1" |
        tr '\n' ' ' | sed "s/.*/   $2: the ledger holds, $rows rows: &\n/" >&2
    sql "$database" "select outcome, sqlstate, command, count(*) from audit.statements group by 1, 2, 3 order by 1, 2, 3" \
        >"$outcome/$1/$2/.ledger"
}

# A crash ends the connections of a suite, and shows as differences as well; this says which it was.
check_log() {
    if grep -nE 'PANIC:|was terminated by signal|TRAP:|internal error while an event|events are not being recorded' "$1" >&2; then
        die "the server log shows faults (see above): $1"
    fi
}

failed=false
judge_all() {
    local run suite
    for run in "$@"; do
        for suite in $suites; do judge "$run" "$suite" || failed=true; done
    done
}

if "$beside"; then
    neighbours=pg_stat_statements,auto_explain
    # Debian has it for its own PostgreSQL.
    [ ! -f "$("$config" --pkglibdir)/pgaudit.so" ] || neighbours=pgaudit,$neighbours
    run_suites bare "$neighbours" </dev/null
    for order in "$neighbours,pg_custodian" "pg_custodian,$neighbours"; do
        run_suites custodian "$order" </dev/null
        judge_all custodian
    done
else
    run_suites bare "" </dev/null
    run_suites custodian pg_custodian </dev/null
    # The guards of the ledger refuse to write to some catalogs, and what the tests do after that is lost. So
    # once more with the guards open.
    run_suites maintenance pg_custodian <<<"pg_custodian.maintenance = on"
    judge_all custodian maintenance
fi
! "$failed" || die "PostgreSQL's own tests differ with pg_custodian: see above and $outcome"
