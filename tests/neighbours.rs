//! Errors of others pass through our hooks as they are: every field that a client of a server without the
//! extension gets, a client of a server with it gets too, whoever else is loaded and in whichever order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Cluster, bare, custodian, has_library};
use postgres::error::DbError;
use postgres::{Client, SimpleQueryMessage};

const PREPARATION: &str = "
    create schema s;
    create table s.parent (id int primary key, name text not null, code varchar(3));
    create table s.child (
        id int constraint child_key primary key,
        parent int constraint child_parent references s.parent (id),
        amount int constraint amount_is_positive check (amount > 0),
        span int4range,
        constraint no_overlap exclude using gist (span with &&));
    create domain s.percent as int constraint at_most_100 check (value <= 100);
    create type s.mood as enum ('calm', 'cross');
    insert into s.parent values (1, 'one', 'a');
    insert into s.child values (1, 1, 1, '[1,10)');
    create view s.names as select name from s.parent;
    create function s.raise_all() returns void language plpgsql as $$
    begin
        raise exception 'all fields' using errcode = 'P4711', detail = 'a detail', hint = 'a hint',
            column = 'a column', constraint = 'a constraint', datatype = 'a type', table = 'a table',
            schema = 'a schema';
    end $$;
    create function s.divide(a int) returns int language plpgsql as $$ begin return 1 / a; end $$;
    create function s.nested(a int) returns int language sql as $$ select s.divide(a) $$;
    create function s.caught() returns text language plpgsql as $$
    declare told text; named text;
    begin
        insert into s.child values (1, 1, 1, null);
        return 'not reached';
    exception when unique_violation then
        get stacked diagnostics told = constraint_name, named = table_name;
        raise exception 'caught % on %', told, named;
    end $$;
    create function s.refuse() returns trigger language plpgsql as $$
    begin raise exception 'the trigger refuses %', new.id using errcode = 'check_violation'; end $$;
    create table s.guarded (id int);
    create trigger guard before insert on s.guarded for each row execute function s.refuse();
    create table s.deferred (id int constraint late unique deferrable initially deferred);
    create role powerless;
";

/// Statements that fail in the parser, the analyser, the rewriter, the planner, at start, while running,
/// at the end, in utilities, in nested calls and at commit. Of several, the last one fails.
const FAILURES: &[&str] = &[
    "selec 1",
    "select 1 +",
    "select 'no end",
    "select * from no_such_table",
    "select no_such_column from s.parent",
    "select\n  id,\n  nmae\nfrom s.parent",
    "select no_such_function(1)",
    "select 1 + 'x'",
    "select 'x'::int",
    "select '1999-99-99'::date",
    "select 1/0",
    "select 1/(id - id) from s.parent",
    "select id::s.percent + 0, (id + 100)::s.percent from s.parent",
    "select 'sad'::s.mood",
    "select (select id from s.parent union all select 2)",
    "insert into s.child values (1, 1, 1, null)",
    "insert into s.child values (2, 7, 1, null)",
    "insert into s.child values (2, 1, -1, null)",
    "insert into s.child values (2, 1, 1, '[5,6)')",
    "insert into s.parent values (2, null, null)",
    "insert into s.parent values (2, 'two', 'long')",
    "insert into s.parent (id, nmae) values (2, 'x')",
    "insert into s.guarded values (3)",
    "update s.child set amount = 0",
    "update s.names set nmae = 'x'",
    "delete from s.parent",
    "select s.raise_all()",
    "select s.divide(0)",
    "select s.nested(0)",
    "select s.caught()",
    "do $$ begin perform s.divide(0); end $$",
    "do $$ begin execute 'select * frm s.parent'; end $$",
    "create table s.parent (id int)",
    "create schema temporal create temporary view v as select 1",
    "create view pg_temp.s.v as select 1",
    "set role powerless; update pg_catalog.pg_class set relname = 'other'",
    "set role powerless; create view s.names as select 1",
    "truncate no_such_schema.no_such_table",
    "create table s.other (id no_such_type)",
    "drop table s.no_such_table",
    "drop table s.parent",
    "alter table s.parent add constraint short check (length(name) < 2)",
    "alter table s.parent alter column name type int using name::int",
    "create index on s.parent (no_such_column)",
    "create unique index on s.parent ((1)); insert into s.parent values (5, 'five', null)",
    "grant select on s.parent to no_such_role",
    "set no_such_setting = 1",
    "set work_mem = 'lots'",
    "show no_such_setting",
    "explain select 1/0",
    "prepare p as select 1/$1::int; execute p(0)",
    "execute no_such_statement",
    "declare c cursor for select 1",
    "fetch no_such_cursor",
    "begin; declare c cursor for select 1/(2 - n) from generate_series(1, 3) n; fetch 1 from c; fetch 1 from c",
    "begin; select 1/0; select 2",
    "begin; savepoint a; release savepoint b",
    "begin; insert into s.deferred values (1), (1); commit",
    "begin read only; insert into s.parent values (9, 'nine', null)",
    "copy s.parent from '/no/such/file'",
    "copy s.no_such_table to stdout",
    "set role powerless; select * from s.parent",
    "set role powerless; insert into s.parent values (9, 'nine', null)",
    "set role powerless; drop table s.parent",
    // Enough to get there, on a busy machine, too: the error tells where it was.
    "set statement_timeout = 1000; select pg_sleep(60)",
    "set lock_timeout = 50; lock table s.nothing",
    "vacuum s.no_such_table",
    "begin; vacuum s.parent",
    "call s.divide(1)",
    "select count(*) over (partition by) from s.parent",
    "with recursive r as (select 1 union all select n from r) select * from r",
    "select * from s.parent for update of x",
    "select 1 limit -1",
    "select chr(0)",
    "select repeat('x', 2000000000)",
];

/// The same in the extended protocol: parse, bind with parameters, execute.
const WITH_A_PARAMETER: &[&str] = &[
    "select 1/$1::int",
    "select 1/($1::int * id) from s.parent",
    "insert into s.child values ($1::int + 1, 1, 1, null)",
    "insert into s.child values (5, $1::int + 50, 1, null)",
    "insert into s.child values (5, 1, $1::int, null)",
    "select s.divide($1::int)",
    "select s.nested($1::int)",
    "select $1::int from nowhere",
    "select repeat('x', $1::int + 2000000000)",
];

/// Every field of an error response (protocol, 55.8), one line each.
fn fields(error: &DbError) -> String {
    format!(
        "severity {:?}\nparsed severity {:?}\ncode {:?}\nmessage {:?}\ndetail {:?}\nhint {:?}\nposition {:?}\n\
         where {:?}\nschema {:?}\ntable {:?}\ncolumn {:?}\ndatatype {:?}\nconstraint {:?}\nfile {:?}\nline {:?}\n\
         routine {:?}\n",
        error.severity(),
        error.parsed_severity(),
        error.code(),
        error.message(),
        error.detail(),
        error.hint(),
        error.position(),
        error.where_(),
        error.schema(),
        error.table(),
        error.column(),
        error.datatype(),
        error.constraint(),
        error.file(),
        error.line(),
        error.routine(),
    )
}

fn told<T>(result: Result<T, postgres::Error>) -> String {
    match result {
        Ok(_) => "no error".to_string(),
        Err(error) => match error.as_db_error() {
            Some(error) => fields(error),
            None => format!("no answer: {error:?}"),
        },
    }
}

/// What a server answers to everything that fails.
fn answers(cluster: &Cluster) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for statement in FAILURES {
        // A session each: none starts from the wreckage of another.
        let mut client = cluster.superuser("compared");
        let result: Result<Vec<SimpleQueryMessage>, _> = client.simple_query(statement);
        answers.push((statement.to_string(), told(result)));
        let _ = client.simple_query("rollback");
        // The session is usable afterwards.
        client.simple_query("reset role; select 1").unwrap();
    }
    for statement in WITH_A_PARAMETER {
        let mut client = cluster.superuser("compared");
        // Twice: the second time there is a plan already.
        for time in ["first", "second"] {
            answers.push((format!("{statement} ({time})"), told(client.query(*statement, &[&0_i32]))));
        }
    }
    answers
}

fn prepare(cluster: &Cluster, extensions: &[&str]) {
    cluster.superuser("postgres").batch_execute("create database compared").unwrap();
    let mut client: Client = cluster.superuser("compared");
    for extension in extensions {
        client.batch_execute(&format!("create extension {extension}")).unwrap();
    }
    client.batch_execute(PREPARATION).unwrap();
}

/// Compares a server that loads these libraries with one that loads none.
fn assert_errors_are_the_same(libraries: &[&str]) {
    let yardstick = bare().start();
    prepare(&yardstick, &[]);
    let expected = answers(&yardstick);
    drop(yardstick);

    let cluster = custodian()
        .preload(libraries)
        .conf("pg_custodian.audit_roles = 'all'")
        .conf("pgaudit.log = 'all'")
        .conf("pgaudit.log_relation = on")
        .start();
    prepare(&cluster, libraries);
    let mut different = Vec::new();
    for ((statement, expected), (_, actual)) in expected.iter().zip(answers(&cluster)) {
        if *expected != actual {
            let lines = expected.lines().zip(actual.lines()).filter(|(one, other)| one != other);
            let lines: Vec<String> = lines.map(|(one, other)| format!("  - {one}\n  + {other}")).collect();
            different.push(format!("{statement}\n{}", lines.join("\n")));
        }
    }
    let failing = expected.iter().filter(|(_, told)| told.starts_with("severity")).count();
    assert_eq!(failing, expected.len(), "these do not fail on a bare server: {:#?}", not_failing(&expected));
    assert!(
        different.is_empty(),
        "{} errors differ with {libraries:?}:\n{}",
        different.len(),
        different.join("\n")
    );
}

fn not_failing(answers: &[(String, String)]) -> Vec<&str> {
    answers
        .iter()
        .filter(|(_, told)| !told.starts_with("severity"))
        .map(|(statement, _)| statement.as_str())
        .collect()
}

#[test]
fn errors_pass_through_unchanged() {
    assert_errors_are_the_same(&["pg_custodian"]);
}

#[test]
fn errors_pass_through_unchanged_beside_pg_stat_statements() {
    assert_errors_are_the_same(&["pg_stat_statements", "pg_custodian"]);
    assert_errors_are_the_same(&["pg_custodian", "pg_stat_statements"]);
}

/// Debian has pgaudit for its own PostgreSQL; on the others there is nothing to be a neighbour of.
#[test]
fn errors_pass_through_unchanged_beside_pgaudit() {
    let available = has_library("pgaudit");
    let probe = bare().start();
    let version: i32 = probe
        .superuser("postgres")
        .query_one("select current_setting('server_version_num')::int", &[])
        .unwrap()
        .get(0);
    drop(probe);
    assert!(available || version / 10_000 != 15, "pgaudit is missing from PostgreSQL 15");
    if available {
        assert_errors_are_the_same(&["pgaudit", "pg_custodian"]);
        assert_errors_are_the_same(&["pg_custodian", "pgaudit"]);
    }
}

#[test]
fn a_recursion_without_end_is_an_error_and_no_crash() {
    let cluster = custodian().conf("pg_custodian.audit_roles = 'all'").start();
    prepare(&cluster, &["pg_custodian"]);
    // A backend that crashes takes all others along.
    let mut witness = cluster.superuser("compared");
    let mut client = cluster.superuser("compared");
    client
        .batch_execute(
            "create function s.endless(a int) returns int language sql as $$ select s.endless(a + 1) $$;
             create function s.endless() returns int language plpgsql as $$ begin return s.endless(); end $$;",
        )
        .unwrap();
    for text in ["select s.endless(1)", "select s.endless()"] {
        let error = harness::refusal(client.simple_query(text));
        assert_eq!(error.code(), &postgres::error::SqlState::STATEMENT_TOO_COMPLEX, "{error:?}");
    }
    witness.simple_query("select 1").unwrap();
    client.simple_query("select 1").unwrap();
}

/// A role may make things in a schema that it cannot look into.
#[test]
fn names_in_utility_statements_are_for_postgresql_to_judge() {
    let cluster = custodian().conf("pg_custodian.audit_roles = 'all'").start();
    prepare(&cluster, &["pg_custodian"]);
    let mut client = cluster.superuser("compared");
    client.batch_execute("grant create on schema s to powerless; set role powerless").unwrap();
    client.batch_execute("create view s.made as select 1 as one").unwrap();
    client.batch_execute("create table s.made_too (id int)").unwrap();
}

#[test]
fn everything_is_still_recorded_beside_the_neighbours() {
    for libraries in [["pg_stat_statements", "pg_custodian"], ["pg_custodian", "pg_stat_statements"]] {
        let cluster = custodian().preload(&libraries).start();
        prepare(&cluster, &libraries);
        let mut client = cluster.superuser("compared");
        client.simple_query("select count(*) as beside_neighbours from s.parent").unwrap();
        let _ = client.simple_query("select 1/0 as beside_neighbours");
        harness::shop::sync(&mut client);
        let outcomes: Vec<String> = client
            .query(
                "select outcome from audit.statements
                 where statement like '%as beside\\_neighbours%' and statement not like '%audit.%' order by seq",
                &[],
            )
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(outcomes, ["ok", "error"], "{libraries:?}");
        let counted: i64 = client
            .query_one("select count(*) from pg_stat_statements where query like '%beside_neighbours%'", &[])
            .unwrap()
            .get(0);
        assert!(counted > 0, "{libraries:?}");
    }
}
