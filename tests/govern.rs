//! Every kind of statement on a governed login, without a grant and with the one that the refusal names; and ways
//! around the gate, which are none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify};
use harness::{custodian, refusal, wait_for};
use postgres::Client;
use postgres::error::SqlState;

/// A governed shop whose shared login owns what it works on: the database itself would refuse it nothing.
fn governed() -> (Shop, Client) {
    let shop = shop::open_on(custodian().conf("max_prepared_transactions = 4"), "govern");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create table public.sales (id int primary key, customer_id int, note text);
             insert into public.sales select n, n % 3, 'n' from generate_series(1, 9) n;
             create materialized view public.totals as select count(*) from public.sales;
             create sequence public.numbers; create type public.mood as enum ('good');
             create view public.seen as select * from public.sales;
             create index sales_customer on public.sales (customer_id);
             create function public.twice(int) returns int language plpgsql as 'begin return $1 * 2; end';
             create function public.near(int, int) returns bool language plpgsql as 'begin return $1 - $2 < 2; end';
             create operator public.~~~~ (leftarg = int, rightarg = int, function = public.near);
             create procedure public.work() language plpgsql as 'begin end';
             create schema own authorization readonly;
             create table own.t (a int); alter table own.t owner to readonly;
             alter table public.sales owner to readonly;
             alter sequence public.numbers owner to readonly; alter type public.mood owner to readonly;
             grant select on public.seen, public.totals to readonly; alter function public.twice owner to readonly;
             grant all on schema public to readonly; grant create on database shop to readonly;
             create role somebody; grant somebody to readonly with admin option",
        )
        .unwrap();
    (shop, admin)
}

/// Statements and what they need, as the hint's call has it: privileges and object.
const STATEMENTS: &[(&str, &str)] = &[
    ("select 1 from public.sales", "ARRAY['select'], 'TABLE public.sales'"),
    ("table public.seen", "ARRAY['select'], 'TABLE public.seen'"),
    ("select * from public.totals", "ARRAY['select'], 'TABLE public.totals'"),
    ("select last_value from public.numbers", "ARRAY['select'], 'TABLE public.numbers'"),
    ("select 1 from public.sales for update", "ARRAY['select', 'update'], 'TABLE public.sales'"),
    ("insert into public.sales values (100)", "ARRAY['insert'], 'TABLE public.sales'"),
    ("update public.sales set note = ''", "ARRAY['update'], 'TABLE public.sales'"),
    ("delete from public.sales", "ARRAY['delete'], 'TABLE public.sales'"),
    ("truncate public.sales", "ARRAY['truncate'], 'TABLE public.sales'"),
    ("copy public.sales to stdout", "ARRAY['select', 'export'], 'TABLE public.sales'"),
    ("copy (select id from public.sales) to stdout", "ARRAY['select', 'export'], 'TABLE public.sales'"),
    ("lock table public.sales", "ARRAY['select'], 'TABLE public.sales'"),
    ("prepare p as select 1; execute p; deallocate p", ""),
    ("explain select 1 from public.sales", "ARRAY['select'], 'TABLE public.sales'"),
    ("declare c cursor with hold for select 1 from public.sales", "ARRAY['select'], 'TABLE public.sales'"),
    ("do 'begin perform 1 from public.sales; end'", "ARRAY['select'], 'TABLE public.sales'"),
    ("select public.twice(2)", "ARRAY['execute'], 'SCHEMA public'"),
    ("do 'begin perform public.twice(2); end'", "ARRAY['execute'], 'SCHEMA public'"),
    ("select 1 operator(public.~~~~) 2", ""),
    ("select public.near(1, 2)", ""),
    ("call public.work()", "ARRAY['execute'], 'SCHEMA public'"),
    ("select lower('A'), now(), set_config('work_mem', '4MB', false)", ""),
    ("select lo_create(0)", "ARRAY['update'], 'DATABASE'"),
    ("select lo_get(1)", "ARRAY['export'], 'DATABASE'"),
    ("select setval('public.numbers', 1)", "ARRAY['update'], 'DATABASE'"),
    ("select nextval('public.numbers')", ""),
    ("notify news", "ARRAY['execute'], 'DATABASE'"),
    ("select pg_notify('news', '')", "ARRAY['execute'], 'DATABASE'"),
    ("listen news", ""),
    ("unlisten *", ""),
    ("begin; prepare transaction 'p1'", "ARRAY['ddl'], 'DATABASE'"),
    ("rollback prepared 'p1'", "ARRAY['ddl'], 'DATABASE'"),
    ("begin; savepoint a; rollback to a; commit", ""),
    ("set constraints all immediate", ""),
    ("show work_mem", ""),
    ("checkpoint", "ARRAY['ddl'], 'DATABASE'"),
    // What is made
    ("create table own.made (a int)", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create table own.made2 as select 1 as a", "ARRAY['ddl'], 'SCHEMA own'"),
    ("select 1 as a into own.made3", "ARRAY['ddl'], 'SCHEMA own'"),
    ("explain (analyze) create table own.made4 as select 1 as a", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create table own.heir () inherits (own.t)", "ARRAY['ddl'], 'DATABASE'"),
    ("create view own.v as select 1 as a", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create or replace view own.v as select 1 as a", "ARRAY['ddl'], 'TABLE own.v'"),
    ("create materialized view own.m as select 1 as a", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create sequence own.s", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create type own.c as (a int)", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create type own.e as enum ('a')", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create type own.r as range (subtype = int)", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create domain own.d as int", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create function own.f() returns int language sql as 'select 1'", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create procedure own.p() language sql as 'select 1'", "ARRAY['ddl'], 'SCHEMA own'"),
    ("create aggregate own.a (int) (sfunc = int4pl, stype = int)", "ARRAY['ddl'], 'DATABASE'"),
    ("create operator own.+ (leftarg = int, rightarg = int, function = int4pl)", "ARRAY['ddl'], 'DATABASE'"),
    ("create collation own.l from \"C\"", "ARRAY['ddl'], 'DATABASE'"),
    ("create text search configuration own.tc (parser = default)", "ARRAY['ddl'], 'DATABASE'"),
    ("create text search dictionary own.td (template = simple)", "ARRAY['ddl'], 'DATABASE'"),
    ("create statistics own.st on a, a from own.t", "ARRAY['ddl'], 'DATABASE'"),
    ("create schema another", "ARRAY['ddl'], 'DATABASE'"),
    ("create index on own.t (a)", "ARRAY['ddl'], 'TABLE own.t'"),
    (
        "create trigger g before insert on own.t execute function suppress_redundant_updates_trigger()",
        "ARRAY['ddl'], 'TABLE own.t'",
    ),
    ("create rule u as on insert to own.t do also notify n", "ARRAY['ddl'], 'TABLE own.t'"),
    ("create policy y on own.t", "ARRAY['ddl'], 'TABLE own.t'"),
    ("create role other", "ARRAY['ddl'], 'DATABASE'"),
    ("create database other", "ARRAY['ddl'], 'DATABASE'"),
    ("create extension pg_trgm", "ARRAY['ddl'], 'DATABASE'"),
    ("create publication pub", "ARRAY['ddl'], 'DATABASE'"),
    (
        "create subscription sub connection '' publication p with (connect = false)",
        "ARRAY['ddl'], 'DATABASE'",
    ),
    ("create foreign data wrapper w", "ARRAY['ddl'], 'DATABASE'"),
    ("create server s foreign data wrapper w", "ARRAY['ddl'], 'DATABASE'"),
    ("create user mapping for readonly server s", "ARRAY['ddl'], 'DATABASE'"),
    ("create foreign table own.ft (a int) server s", "ARRAY['ddl'], 'DATABASE'"),
    ("import foreign schema x from server s into own", "ARRAY['ddl'], 'DATABASE'"),
    ("create event trigger et on ddl_command_end execute function f()", "ARRAY['ddl'], 'DATABASE'"),
    ("create cast (int as public.mood) with inout", "ARRAY['ddl'], 'DATABASE'"),
    ("create access method am type table handler heap_tableam_handler", "ARRAY['ddl'], 'DATABASE'"),
    ("create language l handler h", "ARRAY['ddl'], 'DATABASE'"),
    ("create conversion own.cv for 'UTF8' to 'LATIN1' from utf8_to_iso8859_1", "ARRAY['ddl'], 'DATABASE'"),
    ("create operator class own.oc for type int using btree as operator 1 <", "ARRAY['ddl'], 'DATABASE'"),
    ("create operator family own.of using btree", "ARRAY['ddl'], 'DATABASE'"),
    (
        "create transform for int language sql (from sql with function f(internal))",
        "ARRAY['ddl'], 'DATABASE'",
    ),
    ("create tablespace sp location '/nowhere'", "ARRAY['ddl'], 'DATABASE'"),
    // What is changed and maintained
    ("alter table own.t add b int", "ARRAY['ddl'], 'TABLE own.t'"),
    ("alter table own.t rename to t2; alter table own.t2 rename to t", "ARRAY['ddl'], 'TABLE own.t'"),
    ("alter type public.mood add value 'bad'", "ARRAY['ddl'], 'DATABASE'"),
    ("alter function public.twice(int) stable", "ARRAY['ddl'], 'DATABASE'"),
    ("alter schema own rename to own2; alter schema own2 rename to own", "ARRAY['ddl'], 'DATABASE'"),
    ("alter role readonly set work_mem = '5MB'", "ARRAY['ddl'], 'DATABASE'"),
    ("alter default privileges grant select on tables to public", "ARRAY['ddl'], 'DATABASE'"),
    ("alter system set work_mem = '5MB'", "ARRAY['ddl'], 'DATABASE'"),
    ("alter sequence own.s restart", "ARRAY['ddl'], 'DATABASE'"),
    ("grant select on own.t to somebody", "ARRAY['ddl'], 'DATABASE'"),
    ("revoke select on own.t from somebody", "ARRAY['ddl'], 'DATABASE'"),
    ("grant somebody to readonly", "ARRAY['ddl'], 'DATABASE'"),
    ("comment on table own.t is ''", "ARRAY['ddl'], 'DATABASE'"),
    ("security label on table own.t is 'x'", "ARRAY['ddl'], 'DATABASE'"),
    ("reassign owned by readonly to readonly", "ARRAY['ddl'], 'DATABASE'"),
    ("load 'plpgsql'", "ARRAY['ddl'], 'DATABASE'"),
    ("vacuum own.t", "ARRAY['ddl'], 'TABLE own.t'"),
    ("vacuum", "ARRAY['ddl'], 'DATABASE'"),
    ("analyze own.t", "ARRAY['ddl'], 'TABLE own.t'"),
    ("reindex table own.t", "ARRAY['ddl'], 'TABLE own.t'"),
    ("reindex index public.sales_customer", "ARRAY['ddl'], 'TABLE public.sales'"),
    ("cluster public.sales using sales_customer", "ARRAY['ddl'], 'TABLE public.sales'"),
    ("refresh materialized view public.totals", "ARRAY['ddl'], 'TABLE public.totals'"),
    ("drop index public.sales_customer", "ARRAY['ddl'], 'TABLE public.sales'"),
    ("drop table own.made", "ARRAY['ddl'], 'TABLE own.made'"),
    ("drop table own.made2 cascade", "ARRAY['ddl'], 'DATABASE'"),
    ("drop function own.f()", "ARRAY['ddl'], 'DATABASE'"),
    ("drop owned by somebody", "ARRAY['ddl'], 'DATABASE'"),
    // What is the session's own
    ("create temp table mine (a int primary key, b text not null)", ""),
    ("insert into mine values (1, 'x')", ""),
    ("copy mine to stdout", "ARRAY['export'], 'DATABASE'"),
    ("create index on mine (b)", ""),
    ("analyze mine", ""),
    ("truncate mine", ""),
    ("create temp table mine2 as select 1 as a", ""),
    ("create temp table stolen as select * from public.sales", "ARRAY['select'], 'TABLE public.sales'"),
    ("create temp view shown as select * from mine", ""),
    ("create temp sequence counted", ""),
    ("create temp table bad (a text default lower('x'))", "ARRAY['ddl'], 'DATABASE'"),
    ("create temp table bad (a text check (a > ''))", "ARRAY['ddl'], 'DATABASE'"),
    (
        "create temp table bad (a text, b text generated always as (lower(a)) stored)",
        "ARRAY['ddl'], 'DATABASE'",
    ),
    ("create temp table bad (like public.sales including all)", "ARRAY['ddl'], 'DATABASE'"),
    ("create temp table bad () inherits (public.sales)", "ARRAY['ddl'], 'DATABASE'"),
    ("create index on mine (lower(b))", "ARRAY['ddl'], 'DATABASE'"),
    ("drop table mine cascade", "ARRAY['ddl'], 'DATABASE'"),
    ("drop sequence counted", ""),
];

/// The call that the refusal of a statement names, if it is refused by the gate.
fn asked(client: &mut Client, statement: &str) -> Option<String> {
    let result = client.simple_query(statement);
    let hint = match &result {
        Ok(_) => None,
        Err(error) => error.as_db_error().and_then(|told| {
            let hint = told.hint().unwrap_or_default().to_owned();
            let call = hint.strip_prefix("Ask for: SELECT * FROM access.request_access(")?;
            assert_eq!(told.code(), &SqlState::INSUFFICIENT_PRIVILEGE);
            Some(call.strip_suffix(", '1 hour', 'reason');")?.to_owned())
        }),
    };
    let _ = client.simple_query("rollback");
    hint
}

#[test]
fn every_kind_of_statement_names_the_grant_it_needs_and_runs_with_it() {
    let (shop, mut admin) = governed();
    let mut alice = shop.person("alice", &[]);
    let mut wrong = Vec::new();
    for (statement, needed) in STATEMENTS {
        let call = asked(&mut alice, statement).unwrap_or_default();
        if call != *needed {
            wrong.push(format!("{statement}: needs {call:?}, not {needed:?}"));
        }
        if call.is_empty() {
            continue;
        }
        let given = format!("select access.grant_access('alice', {call}, '1 hour', 'x')");
        let id: i64 = admin.query_one(&given, &[]).unwrap().get(0);
        // The database may refuse it still; the gate does not.
        if let Some(more) = asked(&mut alice, statement) {
            wrong.push(format!("{statement}: with {call} needs {more}"));
        }
        admin.execute("select access.revoke_access($1, 'x')", &[&id]).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn denied(client: &mut Client, statement: &str) {
    let told = refusal(client.simple_query(statement));
    assert_eq!(told.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {told:?}");
    let _ = client.simple_query("rollback");
}

#[test]
fn there_is_no_way_around_a_grant() {
    let (shop, mut admin) = governed();
    admin
        .batch_execute(
            "create function public.steal() returns bigint security definer language plpgsql as
                'begin return (select count(*) from public.sales); end';
             create function public.inlined() returns setof public.sales stable language sql as 'select * from public.sales';
             create table public.parent (a int); create table public.child () inherits (public.parent);
             create table public.parts (a int) partition by list (a);
             create table public.part1 partition of public.parts for values in (1);
             insert into public.child values (1); insert into public.parts values (1);
             grant select on public.parent, public.child, public.parts, public.part1 to readonly;
             create role other login; grant other to readonly; grant select on public.sales to other",
        )
        .unwrap();
    let give = |admin: &mut Client, what: &str| -> i64 {
        admin.query_one(&format!("select access.grant_access('alice', {what})"), &[]).unwrap().get(0)
    };
    give(&mut admin, "'{execute}', 'SCHEMA public', '1 hour', 'x'");
    give(&mut admin, "'{select}', 'TABLE public.parent', '1 hour', 'x', rows => 'a = 1'");
    give(&mut admin, "'{select}', 'TABLE public.parts', '1 hour', 'x', rows => 'a = 2'");
    let mut alice = shop.person("alice", &[]);
    let count =
        |client: &mut Client, statement: &str| client.query_one(statement, &[]).unwrap().get::<_, i64>(0);
    assert_eq!(count(&mut alice, "select count(*) from public.parent"), 1);
    assert_eq!(count(&mut alice, "select count(*) from public.parts"), 0);
    for statement in [
        // what runs with other rights, or puts its text in later
        "select public.steal()",
        "select count(*) from public.inlined()",
        "do 'begin perform 1 from public.sales; end'",
        // heirs and parts by their own names
        "select count(*) from public.child",
        "select count(*) from public.part1",
        // temporary views are judged as what they show
        "create temp view v as select * from public.sales; select count(*) from v",
        // another name
        "set role other; select count(*) from public.sales",
        "reset role; select count(*) from public.sales",
        "begin; set local role other; select count(*) from public.sales",
    ] {
        denied(&mut alice, statement);
    }
    assert!(alice.simple_query("set session authorization postgres").is_err());
    // Of a function that the planner puts into the query come no other rows.
    give(&mut admin, "'{select}', 'TABLE public.sales', '1 hour', 'x', rows => 'customer_id = 1'");
    denied(&mut alice, "copy public.sales to stdout");
    assert_eq!(count(&mut alice, "select count(*) from public.inlined()"), 3);
    assert_eq!(count(&mut alice, "select count(*) from public.sales"), 3);
    assert_eq!(count(&mut alice, "select public.steal()"), 3, "limited in functions of others, too");
}

#[test]
fn what_was_prepared_before_the_end_does_not_run_after_it() {
    let (shop, mut admin) = governed();
    let mut alice = shop.person("alice", &[]);
    admin
        .batch_execute(
            "select access.grant_access('alice', '{select}', 'TABLE public.sales', '4 s', 'x');
             select access.grant_access('alice', '{execute}', 'SCHEMA public', '4 s', 'x');
             select access.grant_access('alice', '{ddl}', 'DATABASE', '4 s', 'x');
             select access.grant_access('alice', '{update}', 'TABLE public.sales', '4 s', 'x', rows => 'id = 1')",
        )
        .unwrap();
    alice
        .batch_execute(
            "prepare p as select count(*) from public.sales; prepare f as select public.twice(2);
             prepare u as update public.sales set note = 'u' where note is not null;
             execute p; execute f; execute u;
             begin; update public.sales set note = 'two' where id = 1; prepare transaction 'two'",
        )
        .unwrap();
    wait_for("the end of the first grant", || alice.simple_query("execute p").is_err());
    // They end one after the other, as they were given.
    wait_for("the end of all of them", || {
        let live = "select count(*) from access.grants where live";
        admin.query_one(live, &[]).unwrap().get::<_, i64>(0) == 0
    });
    for statement in ["execute p", "execute f", "execute u", "commit prepared 'two'"] {
        denied(&mut alice, statement);
    }
    // Nor is it anybody else's to go on with.
    let mut bob = shop.readonly();
    identify(&mut bob, &shop.issuer.person("bob", &[])).unwrap();
    denied(&mut bob, "commit prepared 'two'");
    admin.batch_execute("rollback prepared 'two'").unwrap();
}

/// What we read in somebody's transaction must not be part of it: a grant given beside it would let it fail.
#[test]
fn serializable_transactions_have_read_nothing_of_ours() {
    let (shop, mut admin) = governed();
    let mut alice = shop.person("alice", &[]);
    let read = "select access.grant_access('alice', '{select}', 'TABLE public.sales', '1 h', 'x')";
    admin.batch_execute(read).unwrap();
    alice
        .batch_execute("begin isolation level serializable; select 1 from public.sales where id = 1")
        .unwrap();
    // The configuration changes: it is read anew, within the transaction.
    admin
        .batch_execute(
            "select mask.protect('public.sales', 'note', 'null_value');
             select access.grant_access('alice', '{update}', 'TABLE public.sales', '1 h', 'x')",
        )
        .unwrap();
    alice.batch_execute("update public.sales set customer_id = 7 where id = 1").unwrap();
    let locked = "select distinct relation::regclass::text from pg_locks
                  where mode = 'SIReadLock' and pid <> pg_backend_pid() order by 1";
    let locked: Vec<String> = admin.query(locked, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(!locked.is_empty(), "no predicate lock at all");
    assert!(locked.iter().all(|table| table.contains("sales")), "{locked:?}");
    alice.batch_execute("commit").unwrap();
}
