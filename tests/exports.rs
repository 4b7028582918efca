//! The ways by which data leaves its tables: each needs `export` on a governed role, and each is an event, allowed
//! or refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, sync};
use harness::{custodian, has_library, refusal};
use postgres::Client;
use postgres::error::SqlState;

/// A governed shop whose shared login may all that the database can let it.
fn governed() -> (Shop, Client) {
    let shop = shop::open_on(custodian().conf("wal_level = logical"), "govern");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create table public.sales (id int primary key, note text); insert into public.sales values (1, 'a'), (2, 'b');
             create table public.results (like public.sales);
             create schema own authorization readonly; grant all on all tables in schema public to readonly;
             grant pg_read_server_files, pg_write_server_files, pg_execute_server_program to readonly;
             grant execute on function lo_export(oid, text), pg_read_file(text), pg_read_binary_file(text), pg_ls_dir(text),
                pg_stat_file(text) to readonly;
             alter role readonly replication;
             select lo_from_bytea(4711, 'secret'); grant select, update on large object 4711 to readonly;
             create extension postgres_fdw; create extension dblink;
             create server elsewhere foreign data wrapper postgres_fdw;
             create foreign table public.remote (id int, note text) server elsewhere;
             create table public.parts (id int, note text) partition by list (id);
             create foreign table public.part partition of public.parts for values in (1) server elsewhere;
             create table public.base (id int, note text);
             create foreign table public.heir () inherits (public.base) server elsewhere;
             grant all on public.remote, public.parts, public.part, public.base, public.heir to readonly",
        )
        .unwrap();
    for table in ["sales", "results", "remote", "parts", "base"] {
        give(&mut admin, "select,insert,update,delete", &format!("TABLE public.{table}"));
    }
    give(&mut admin, "execute", "SCHEMA public");
    give(&mut admin, "ddl", "SCHEMA own");
    (shop, admin)
}

fn give(admin: &mut Client, privileges: &str, object: &str) -> i64 {
    let call = "select access.grant_access('alice', string_to_array($1, ','), $2, '1 hour', 'x')";
    admin.query_one(call, &[&privileges, &object]).unwrap().get(0)
}

/// Statements that export, with their means, and what grants are needed for that: on which objects.
const EXPORTS: &[(&str, &str, &str)] = &[
    ("copy public.sales to stdout", "copy_to_client", "TABLE public.sales"),
    ("copy (select note from public.sales) to stdout", "copy_to_client", "TABLE public.sales"),
    ("copy (select now()) to stdout", "copy_to_client", "DATABASE"),
    ("copy pg_catalog.pg_class (relname) to stdout", "copy_to_client", "DATABASE"),
    ("copy public.sales to '/dev/null'", "copy_to_file", "TABLE public.sales"),
    ("copy (table public.sales) to '/dev/null'", "copy_to_file", "TABLE public.sales"),
    ("copy public.sales to program 'cat'", "copy_to_program", "TABLE public.sales"),
    (
        "copy (insert into public.results values (9) returning id) to program 'cat'",
        "copy_to_program",
        "TABLE public.results",
    ),
    (
        "do $$ begin execute 'copy public.sales to ''/dev/null'''; end $$",
        "copy_to_file",
        "TABLE public.sales",
    ),
    ("copy public.results from program 'true'", "copy_from_program", "DATABASE"),
    // What a session has put aside.
    ("create temp table aside as table public.sales; copy aside to stdout", "copy_to_client", "DATABASE"),
    ("copy (table aside) to stdout", "copy_to_client", "DATABASE"),
    ("create table own.kept as table aside", "new_table", "DATABASE"),
    // Tables that no policy and no grant is on
    ("create table own.made as table public.sales", "new_table", "TABLE public.sales"),
    ("select * into own.made2 from public.sales", "new_table", "TABLE public.sales"),
    ("create unlogged table own.made3 as select note from public.sales", "new_table", "TABLE public.sales"),
    ("create materialized view own.made4 as table public.sales", "new_table", "TABLE public.sales"),
    (
        "deallocate all; prepare p as table public.sales; create table own.made5 as execute p",
        "new_table",
        "TABLE public.sales",
    ),
    ("explain (analyze) create table own.made6 as table public.sales", "new_table", "TABLE public.sales"),
    (
        "do $$ begin execute 'create table own.made7 as table public.sales'; end $$",
        "new_table",
        "TABLE public.sales",
    ),
    // Other servers, of which there is none here
    ("insert into public.remote values (1)", "foreign_table", "TABLE public.remote"),
    ("update public.remote set note = 'x'", "foreign_table", "TABLE public.remote"),
    ("delete from public.remote where note = 'x'", "foreign_table", "TABLE public.remote"),
    ("insert into public.parts values (1)", "foreign_table", "TABLE public.parts"),
    ("update public.base set note = 'x'", "foreign_table", "TABLE public.base"),
    (
        "with w as (insert into public.remote values (1) returning 1) select 1",
        "foreign_table",
        "TABLE public.remote",
    ),
    ("copy public.remote from '/dev/null'", "foreign_table", "TABLE public.remote"),
    ("select public.dblink_connect('dbname=nowhere_at_all')", "other_server", "DATABASE"),
    (
        "select * from public.dblink('dbname=nowhere_at_all', 'select 1') as t (a int)",
        "other_server",
        "DATABASE",
    ),
    // Large objects, files, changes
    ("select lo_get(4711)", "large_object", "DATABASE"),
    ("select loread(lo_open(4711, x'40000'::int), 10)", "large_object", "DATABASE"),
    ("select lo_export(4711, '/dev/null')", "server_file", "DATABASE"),
    ("select length(pg_read_file('PG_VERSION'))", "server_file", "DATABASE"),
    ("select length(pg_read_binary_file('PG_VERSION'))", "server_file", "DATABASE"),
    ("select count(*) from pg_ls_dir('.')", "server_file", "DATABASE"),
    ("select size from pg_stat_file('PG_VERSION')", "server_file", "DATABASE"),
    ("do 'begin perform pg_read_file(''PG_VERSION''); end'", "server_file", "DATABASE"),
    ("select pg_logical_emit_message(false, 'x', 'y')", "replication", "DATABASE"),
    ("select * from pg_logical_slot_peek_changes('no_slot', null, null)", "replication", "DATABASE"),
];

/// What is no export, though it looks like one.
const NONE: &[&str] = &[
    "select * from public.sales",
    "insert into public.results select * from public.sales",
    "create temp table aside2 as table public.sales",
    "select * into temp aside3 from public.sales",
    "copy public.results from '/dev/null'",
    "begin; declare c cursor for table public.sales; fetch all from c; commit",
    "explain (analyze) select * from public.sales",
    "truncate aside2",
];

fn asks(client: &mut Client, statement: &str) -> Option<String> {
    // The client does not expect what COPY to it sends, and goes on.
    let told = client.simple_query(statement).err().and_then(|error| error.as_db_error().cloned());
    let _ = client.simple_query("rollback");
    let told = told.filter(|told| told.code() == &SqlState::INSUFFICIENT_PRIVILEGE)?;
    let hint = told.hint().unwrap_or_default();
    let call = hint.strip_prefix("Ask for: SELECT * FROM access.request_access(")?;
    Some(call.strip_suffix(", '1 hour', 'reason');")?.to_owned())
}

#[test]
fn each_way_out_needs_export_and_is_an_event_allowed_or_refused() {
    assert!(has_library("postgres_fdw") && has_library("dblink"));
    let (shop, mut admin) = governed();
    let mut alice = shop.person("alice", &[]);
    let mut wrong = Vec::new();
    let mut expected = Vec::new();
    for (statement, means, object) in EXPORTS {
        let wanted = format!("ARRAY['export'], '{object}'");
        let asked = asks(&mut alice, statement).unwrap_or_default();
        if asked != wanted {
            wrong.push(format!("{statement}: asks for {asked:?}, not {wanted:?}"));
        }
        let grant = give(&mut admin, "export", object);
        if let Some(more) = asks(&mut alice, statement) {
            wrong.push(format!("{statement}: with {wanted} asks for {more}"));
        }
        admin.execute("select access.revoke_access($1, 'x')", &[&grant]).unwrap();
        expected.extend([((*means).to_owned(), false), ((*means).to_owned(), true)]);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for statement in NONE {
        assert_eq!(asks(&mut alice, statement), None, "{statement}");
    }
    sync(&mut admin);
    let rows = admin
        .query("select means, allowed, user_id, statement, command from audit.exports where session_role = 'readonly' order by seq", &[])
        .unwrap();
    let found: Vec<(String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    // One that fails behind the gate was allowed all the same.
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "event {at}, of {}", EXPORTS[at / 2].0);
    }
    assert_eq!(found.len(), expected.len());
    for row in &rows {
        assert_eq!(row.get::<_, Option<&str>>(2), Some("alice"));
        assert!(row.get::<_, Option<&str>>(3).is_some(), "an export without its statement");
    }
}

#[test]
fn an_auditor_sees_who_took_out_what_and_how_much() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "grant select on public.customers to readonly; create role inspector login; grant custodian_auditor to inspector",
        )
        .unwrap();
    let mut alice = shop.person("alice", &["support"]);
    for copy in ["copy public.orders to stdout", "copy (select iban, ssn from public.customers) to stdout"] {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut alice.copy_out(copy).unwrap(), &mut text).unwrap();
    }
    // Of a superuser, and of nobody.
    admin.batch_execute("copy public.orders to '/dev/null'").unwrap();
    let refused = refusal(shop.readonly().simple_query("copy public.orders to stdout"));
    assert_eq!(refused.code(), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    sync(&mut admin);
    let mut inspector = shop.cluster.local("inspector", "shop");
    let rows: Vec<String> = inspector
        .query(
            "select concat_ws(' ', means, allowed, coalesce(user_id, session_role), rows, objects, fields, outcome, bytes > 0)
             from audit.exports order by seq",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        rows,
        [
            "copy_to_client t alice 40 {public.orders} ok t",
            "copy_to_client t alice 4 {public.customers,mask.null_value(pg_catalog.anyelement)} {\"ssn\": \"masked\", \"iban\": \"revealed\"} ok t",
            "copy_to_file t postgres 40 {public.orders} ok",
            "copy_to_client f readonly 0 {public.orders} denied",
        ]
    );
    // A refused export is one denial, not two.
    let denials: i64 = admin.query_one("select count(*) from audit.denials", &[]).unwrap().get(0);
    assert_eq!(denials, 1);
}

/// What pg_dump says, and what it has written.
fn dumped(shop: &Shop, token: Option<&str>, arguments: &[&str]) -> (bool, String, String) {
    let mut program = harness::command::plain(&shop.cluster.path_of("pg_dump"));
    shop.introduce(&mut program).args(arguments);
    if let Some(token) = token {
        program.env("PGOPTIONS", format!("-c pg_custodian.token={token}"));
    }
    let said = program.run();
    (said.success, said.stdout, said.stderr)
}

#[test]
fn pg_dump_is_refused_with_one_clear_error_and_no_data() {
    let shop = shop::open("govern");
    let mut admin = shop.admin();
    admin.batch_execute("grant select on all tables in schema public to readonly").unwrap();
    let refused = |token: Option<&str>, says: &str, arguments: &[&str]| {
        let (success, written, told) = dumped(&shop, token, arguments);
        assert!(!success, "{written}");
        // Rows come with tabs.
        assert!(!written.contains("\t") && !written.contains("INSERT INTO"), "{written}");
        assert_eq!(told.matches("ERROR:").count(), 1, "{told}");
        assert!(told.contains(says), "{told}");
    };
    // Nobody.
    refused(None, "role \"readonly\" requires an identified person", &[]);
    refused(None, "SELECT custodian.set_identity", &["--schema-only"]);
    let token = shop.issuer.person("alice", &[]);
    // Somebody without grants, and with one to read.
    refused(
        Some(&token),
        "access to table \"public.orders\" requires a live grant",
        &["-t", "public.orders"],
    );
    for give in ["'{select}', 'TABLE public.orders'", "'{select}', 'DATABASE'"] {
        admin.batch_execute(&format!("select access.grant_access('alice', {give}, '1 hour', 'x')")).unwrap();
        refused(Some(&token), "Missing: export.", &["-t", "public.orders"]);
    }
    let (success, _, told) = dumped(&shop, Some(&token), &["-t", "public.orders", "--schema-only"]);
    assert!(success, "{told}");
    admin
        .batch_execute(
            "select access.grant_access('alice', '{export}', 'TABLE public.orders', '1 hour', 'x')",
        )
        .unwrap();
    let (success, written, told) = dumped(&shop, Some(&token), &["-t", "public.orders"]);
    assert!(success && written.contains("COPY public.orders"), "{told}");
    // By INSERTs it reads as anybody does. What bounds that is the number of rows.
    admin.batch_execute("select custodian.enroll('readonly', 'govern', row_limit => 30)").unwrap();
    refused(Some(&token), "statement exceeds the limit of 30 rows", &["-t", "public.orders", "--inserts"]);
}
