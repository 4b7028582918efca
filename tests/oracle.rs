//! The functions that use the key are no oracle: a person on a shared role gets no mask of a value of his
//! choosing, and compares with none, whatever way he takes; and he reads masked columns all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop};
use harness::text;
use postgres::SimpleQueryMessage;
use postgres::error::SqlState;
use std::io::Write;

/// Ways to run an expression that calls one of the functions; `$hash` stands for it, `$name` for a function
/// of text. The last statement shows what came of it.
const WAYS: &[(&str, &str)] = &[
    ("outright", "select $hash"),
    ("by name", "set search_path = mask; select hash(value => 'chosen')"),
    ("where", "select 1 where $hash <> ''"),
    ("subquery", "with w as (select $hash as h) select h from w"),
    ("default", "create temp table t (a text default $hash, b int); insert into t (b) values (1); select a from t"),
    (
        "check",
        "create temp table t (a text check (mask.$name(a) <> '')); insert into t values ('chosen'); select a from t",
    ),
    ("domain", "create domain pg_temp.d as text check (mask.$name(value) <> ''); select 'chosen'::pg_temp.d"),
    (
        "final function",
        "create aggregate pg_temp.a (text) (sfunc = pg_catalog.textcat, stype = text, initcond = '', finalfunc = mask.$name);
         select pg_temp.a('chosen')",
    ),
    (
        "transition function",
        "create aggregate pg_temp.a (*) (sfunc = mask.$name, stype = text, initcond = 'chosen');
         select pg_temp.a(*) from generate_series(1, 1)",
    ),
    (
        "atomic body",
        "create function pg_temp.f(text) returns text language sql stable begin atomic select mask.$name($1); end;
         select pg_temp.f('chosen')",
    ),
    (
        "body that was not looked at",
        "set check_function_bodies = off;
         create function pg_temp.f(text) returns text language sql stable as 'select mask.$name($1)';
         select pg_temp.f('chosen')",
    ),
    (
        "rows of a function",
        "set check_function_bodies = off;
         create function pg_temp.f(text) returns setof text language sql stable as 'select mask.$name($1)';
         select * from pg_temp.f('chosen')",
    ),
    (
        "plpgsql",
        "create function pg_temp.f(text) returns text language plpgsql as 'begin return mask.$name($1); end';
         select pg_temp.f('chosen')",
    ),
    (
        "dynamic",
        "create function pg_temp.f(q text) returns text language plpgsql as 'declare r text; begin execute q into r; return r; end';
         select pg_temp.f('select ' || 'mask.' || '$name(''chosen'')')",
    ),
    ("block", "do $$ begin raise exception '%', $hash; end $$"),
    ("parameter of EXECUTE", "prepare p (text) as select $1; execute p ($hash)"),
    ("retyped", "create temp table t (a text); insert into t values ('chosen'); alter table t alter a type text using mask.$name(a); select a from t"),
    (
        "bound of a partition",
        "create temp table p (a text) partition by list (a); create temp table p1 partition of p for values in ($hash);
         select pg_get_expr(relpartbound, oid) from pg_class where relname = 'p1'",
    ),
    (
        "argument of CALL",
        "create procedure pg_temp.p(inout a text) language plpgsql as 'begin end'; call pg_temp.p($hash)",
    ),
    ("operator", "create operator pg_temp.#! (rightarg = text, function = mask.$name); select operator(pg_temp.#!) 'chosen'::text"),
    ("view", "create temp view v as select $hash as a; select a from v"),
    ("view over a table", "create temp table t (a text); insert into t values ('chosen'); create temp view v as select mask.$name(a) as a from t; select a from v"),
    ("cursor", "begin; declare c cursor for select $hash; fetch c; commit"),
    ("table of a query", "create temp table t as select $hash as a; select a from t"),
    ("explain", "explain (analyze, costs off, timing off, summary off) select 1 where $hash <> ''"),
    ("xml", "select query_to_xml('select mask.$name(''chosen'')', true, true, '')"),
    (
        "rule",
        "create temp table t (a text); create rule r as on insert to t do instead select mask.$name(new.a); insert into t values ('chosen')",
    ),
    (
        "trigger's condition",
        "create temp table t (a text);
         create function pg_temp.f() returns trigger language plpgsql as 'begin raise notice ''leaked''; return new; end';
         create trigger g before insert on t for each row when (mask.$name(new.a) <> '') execute function pg_temp.f();
         insert into t values ('chosen'); select a from t",
    ),
    ("returning", "create temp table t (a text); insert into t values ('chosen') returning mask.$name(a)"),
    ("lateral", "select x from (values ('chosen')) v (a), lateral mask.$name(v.a) as x"),
    ("from", "select * from mask.$name('chosen')"),
    ("array", "select array[$hash]"),
    ("elements", "select mask.$name(array['chosen'])"),
    ("index", "create temp table t (a text); create index on t (mask.$name(a)); select 1"),
    ("order", "select 1 order by $hash"),
    ("window", "select count(*) over (partition by $hash)"),
    ("values", "values ($hash)"),
    ("limit", "select 1 limit length($hash)"),
    ("set-returning", "select generate_series(1, length($hash))"),
    ("beside the view", "select mask.$name('chosen') from masked.customers"),
    ("joined with the view", "select 1 from masked.customers c where c.email = $hash"),
    ("in a lookalike of the view", "create temp view customers as select $hash as email; select email from customers old"),
];

/// Keyed functions of other types, on values of one's choosing.
const OTHERS: &[&str] = &[
    "mask.hash('\\x00'::bytea)",
    "mask.token('5b2f1a3e-0000-4000-8000-000000000000'::uuid)",
    "mask.token(4711)",
    "mask.token(4711::bigint)",
    "mask.noise(5::smallint, 1000)",
    "mask.noise(5, 1000)",
    "mask.noise(5::bigint, 1000)",
    "mask.noise(5::real, 1000)",
    "mask.noise(5::float8, 1000)",
    "mask.noise(5::numeric, 1000)",
    "mask.noise(5::numeric, 1000, 99999)",
    "mask.noise('2000-01-01'::date, 100)",
    "mask.noise('2000-01-01'::timestamp, 100)",
    "mask.noise('2000-01-01'::timestamptz, 100)",
];

fn open(mode: &str) -> Shop {
    let shop = shop::open(mode);
    shop.admin()
        .batch_execute(
            "select mask.protect('public.customers', 'email', 'hash');
             select mask.protect('public.customers', 'name', 'token');
             select mask.protect('public.customers', 'id', 'token');
             select mask.protect('public.customers', 'date_of_birth', 'noise(400)');
             grant temporary on database shop to readonly;",
        )
        .unwrap();
    shop
}

#[test]
fn nobody_gets_the_mask_of_a_value_he_chose() {
    let shop = open("identify");
    let mut admin = shop.admin();
    for name in ["hash", "token"] {
        let known = text(&mut admin, &format!("select mask.{name}('chosen')")).unwrap();
        for (way, script) in WAYS {
            let script = script.replace("$hash", &format!("mask.{name}('chosen')")).replace("$name", name);
            let mut client = shop.person("mallory", &[]);
            let said = client.simple_query(&script);
            match said {
                Ok(messages) => {
                    let rows = messages.iter().filter(|m| matches!(m, SimpleQueryMessage::Row(_))).count();
                    panic!("{way} of {name}: not refused, {rows} rows");
                }
                Err(error) => {
                    let error = error.as_db_error().unwrap_or_else(|| panic!("{way}"));
                    assert!(!format!("{error:?}").contains(&known), "{way} of {name}: {error:?}");
                    // what PostgreSQL itself refuses of a function that is not immutable
                    let own = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_OBJECT_DEFINITION];
                    assert!(own.contains(error.code()), "{way} of {name}: {error:?}");
                }
            }
        }
    }
    for call in OTHERS {
        let mut client = shop.person("mallory", &[]);
        for script in [
            format!("select {call}"),
            format!("create temp table t (a text default {call}, b int); insert into t (b) values (1)"),
            format!("prepare p (text) as select $1; execute p ({call})"),
        ] {
            let error = client.simple_query(&script).unwrap_err();
            let code = error.as_db_error().unwrap().code().clone();
            assert_eq!(code, SqlState::INSUFFICIENT_PRIVILEGE, "{script}: {error:?}");
        }
    }
    println!("{} ways, {} other functions", 2 * WAYS.len(), OTHERS.len());
}

#[test]
fn nobody_filters_what_he_copies_by_its_mask() {
    let shop = open("identify");
    let mut client = shop.person("mallory", &[]);
    client.batch_execute("create temp table t (a text)").unwrap();
    let copied = client.copy_in("copy t from stdin where mask.hash(a) <> ''").and_then(|mut writer| {
        let _ = writer.write_all(b"chosen\n");
        writer.finish()
    });
    assert_eq!(copied.unwrap_err().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[test]
fn masked_columns_are_read_by_every_kind_of_statement() {
    let shop = open("identify");
    let mut admin = shop.admin();
    let known = text(&mut admin, "select mask.hash('ada.winter@example.com')").unwrap();
    let token = text(&mut admin, "select mask.token('Ada Winter')").unwrap();
    let number = text(&mut admin, "select mask.token(1::bigint)::text").unwrap();
    let mut client = shop.person("alice", &[]);
    let of = |q: &str| q.replace("$where", &format!("where id = {number}"));
    for query in [
        "select email from masked.customers $where",
        "select (c.*).email from masked.customers c $where",
        "with c as materialized (select * from masked.customers) select email from c $where",
        "select max(email) from masked.customers $where group by grouping sets ((), (id)) limit 1",
        "select email from (select * from masked.customers union all select * from masked.customers) c $where limit 1",
        "select (select email from masked.customers $where)",
        "select old.email from masked.customers old join masked.customers c using (email) where old.id = c.id and exists \
         (select 1 from masked.customers $where and email = old.email)",
    ] {
        assert_eq!(text(&mut client, &of(query)).as_deref(), Some(known.as_str()), "{query}");
    }
    client.batch_execute(&of("prepare p as select name from masked.customers $where")).unwrap();
    client.batch_execute("set plan_cache_mode = force_generic_plan").unwrap();
    for _ in 0..3 {
        let said = client.simple_query("execute p").unwrap();
        assert!(said.iter().any(|m| matches!(m, SimpleQueryMessage::Row(row) if row.get(0) == Some(&token))));
    }
    client
        .batch_execute(&of("create temp view mine as select * from masked.customers;
             create function pg_temp.f() returns text language plpgsql as
                 'declare r text; begin select email into r from masked.customers $where; return r; end';"))
        .unwrap();
    assert_eq!(text(&mut client, "select pg_temp.f()").as_deref(), Some(known.as_str()));
    assert_eq!(text(&mut client, &of("select email from mine $where")).as_deref(), Some(known.as_str()));
    client
        .batch_execute(
            "set force_parallel_mode = on; set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
             set min_parallel_table_scan_size = 0",
        )
        .or_else(|_| client.batch_execute("set debug_parallel_query = on"))
        .unwrap();
    assert_eq!(
        text(&mut client, "select count(distinct email)::text from masked.customers").as_deref(),
        Some("4")
    );
    assert_eq!(
        text(&mut client, "select count(date_of_birth)::text from masked.customers").as_deref(),
        Some("3")
    );
}

#[test]
fn a_new_key_is_on_record_without_itself_and_gives_other_masks() {
    let shop = open("identify");
    let mut admin = shop.admin();
    let mask = "select mask.hash('x') || mask.token('x') || mask.token(5) || mask.noise(5, 1000000)";
    let before = text(&mut admin, mask);
    let mut reader = shop.person("alice", &[]);
    let seen = text(&mut reader, "select min(email) from masked.customers");
    admin.batch_execute("select mask.rotate_key()").unwrap();
    assert_ne!(text(&mut admin, mask), before);
    assert_ne!(text(&mut reader, "select min(email) from masked.customers"), seen, "at the next statement");
    let key = text(&mut admin, "select key from mask.secret_key").unwrap();
    shop::sync(&mut admin);
    let detail = text(
        &mut admin,
        "select e::text from audit.events e where e::text like '%rotate_key%' and e::text like '%mask.secret_key%'",
    );
    assert!(!detail.expect("an event").contains(&key));
    let error = reader.simple_query("select mask.rotate_key()").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let error = reader.simple_query("select * from mask.secret_key").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}
