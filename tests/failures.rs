//! Statements that fail: each is on record once, with the SQLSTATE that its client saw, wherever it failed
//! and whatever the server logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify, sync};
use harness::token::random_text;
use harness::{Wanted, custodian, has_library, refusal, wait_for};
use postgres::Client;
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// One statement a line, or one string of several. What goes well on the way is not looked at.
const STATEMENTS: &[&str] = &[
    // the parser
    "selec 1",
    "select 1 from",
    "select 'open",
    "select \"\" from orders",
    "select U&'\\zzzz'",
    "create tabel x (a int)",
    "insert in orders values (1)",
    "select 1; selec 2; select 3",
    "select (1",
    "select 1)",
    "/* open",
    "select 99999999999999999999999999999999999999999999e999999",
    "select $$ open",
    "begin isolation level none",
    "nonsense",
    // analysis: names
    "select * from public.nowhere",
    "select nothing from public.orders",
    "select o.id from public.orders",
    "select nowhere.f(1)",
    "select f_that_is_not_there(1)",
    "select count(1, 2)",
    "select 1 = 'a'::json",
    "select * from nowhere.orders",
    "select * from otherdb.public.orders",
    "select id from public.orders, public.deferred",
    "select sum(sum(id)) from public.orders",
    "select id, count(*) from public.orders",
    "select id from public.orders where count(*) > 1",
    "insert into public.orders (nothing) values (1)",
    "insert into public.orders values (1, 2, 3, 4, 5, 6)",
    "insert into public.deferred (id) values (1, 2)",
    "update public.orders set nothing = 1",
    "delete from public.nowhere",
    "with w as (select 1) select * from v",
    "select 'a'::int",
    "select '2001-02-31'::date",
    "select ''::nosuchtype",
    "select 1 union select 'a'",
    "select 1 union select 1, 2",
    "select * from public.orders for update of nowhere",
    "explain select * from public.nowhere",
    "declare c cursor for select * from public.nowhere",
    "create temp table t as select * from public.nowhere",
    "prepare p as select * from public.nowhere",
    "copy (select * from public.nowhere) to stdout",
    "call nowhere(1)",
    "select * from hidden.things",
    "select $1 from public.nowhere",
    // privileges
    "select * from public.customers",
    "insert into public.orders values (1000, 1, 1, now())",
    "delete from public.orders",
    "create table public.mine (a int)",
    "create role nobody_at_all",
    "alter table public.orders add column x int",
    "drop table public.orders",
    "truncate public.orders",
    "copy public.orders to '/tmp/never'",
    "alter system set work_mem = '1MB'",
    "vacuum public.nowhere",
    "grant select on public.customers to readonly",
    // planning
    "select 1/0",
    "select 'x' || (1/0)::text from public.orders",
    // execution
    "select 1/(id - id) from public.orders",
    "select pg_catalog.pg_relation_size(-1::oid::regclass)",
    "select ('{' || id)::json from public.orders",
    "insert into public.deferred values (null)",
    "do $$ begin raise exception 'mine' using errcode = 'P4711'; end $$",
    "do $$ begin execute 'selec 1'; end $$",
    "do $$ begin perform * from public.nowhere; end $$",
    "do $$ begin perform 1/0; exception when foreign_key_violation then null; end $$",
    "do $$ begin begin execute 'selec'; exception when others then raise; end; end $$",
    // utility statements
    "set work_mem = 'much'",
    "set no_such.thing_at_all to default",
    "show no_such_setting",
    "set role postgres",
    "fetch all from nowhere",
    "close nowhere",
    "execute nowhere",
    "deallocate nowhere",
    "savepoint s",
    "rollback to s",
    "lock table public.orders in access exclusive mode",
    "declare c cursor for select 1",
    "create temp table t (a int, a int)",
    "drop table public.nowhere",
    "comment on table public.nowhere is 'x'",
    "listen \"\"",
    // the second and third of a string
    "select 1; select * from public.nowhere",
    "select 1; select 1/0; select 2",
    "select 1; drop table public.nowhere; select 2",
    "begin; select 1; select nothing; select 2",
    "select 4",
    "select 5; select 6",
    "selec 7",
    "rollback",
    // a failed transaction
    "begin",
    "select 1/0",
    "select 1",
    "selec",
    "set work_mem = '1MB'",
    "alter role readonly password 'x'",
    "execute nowhere",
    "commit",
    // the commit
    "insert into public.deferred values (7), (7)",
    "begin; insert into public.deferred values (8), (8)",
    "commit",
    "begin; insert into public.deferred values (9), (9); commit; select 1",
];

fn prepared(mode: &str) -> Shop {
    prepared_on(custodian(), mode)
}

fn prepared_on(server: Wanted, mode: &str) -> Shop {
    let shop = shop::open_on(server, mode);
    shop.admin()
        .batch_execute(
            "create table public.deferred (id int not null, unique (id) deferrable initially deferred);
             grant select, insert on public.deferred to readonly;
             create schema hidden; create table hidden.things (a int);
             create role application login superuser; alter role application nosuperuser;
             create role helper; grant helper to readonly;",
        )
        .unwrap();
    shop
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Simple,
    /// Parse and Describe by themselves, then Bind and Execute.
    Prepared,
    /// All in one go.
    Once,
}

/// Sends a statement; the SQLSTATE, if it fails.
fn send(client: &mut Client, way: Way, statement: &str) -> Option<String> {
    let failed = match way {
        Way::Simple => client.simple_query(statement).err(),
        Way::Prepared => client.query(statement, &[]).err(),
        Way::Once => client.query_typed(statement, &[]).err(),
    }?;
    let code = failed.code().unwrap_or_else(|| panic!("{statement}: no answer of the server: {failed:?}"));
    Some(code.code().to_string())
}

fn pid(client: &mut Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).unwrap().get(0)
}

/// What the ledger has of the failures of a process: SQLSTATE, outcome, text, command, person; as they ended.
fn recorded(shop: &Shop, pid: i32) -> Vec<[String; 5]> {
    let mut admin = shop.admin();
    sync(&mut admin);
    let query = "select coalesce(sqlstate, ''), outcome, statement, command, coalesce(user_id, '') from audit.statements
                 where pid = $1 and outcome <> 'ok' and depth = 0 order by seq";
    let rows = admin.query(query, &[&pid]).unwrap();
    rows.iter().map(|row| std::array::from_fn(|n| row.get::<_, String>(n))).collect()
}

/// Runs all statements, and compares what the client saw with what is recorded.
fn all_are_recorded_once(shop: &Shop, way: Way) {
    let mut alice = shop.person("alice", &["support"]);
    let pid = pid(&mut alice);
    let mut seen = Vec::new();
    for statement in STATEMENTS {
        if let Some(code) = send(&mut alice, way, statement) {
            seen.push((code, *statement));
        }
    }
    assert!(seen.len() > 85, "only {} fail", seen.len());
    let recorded = recorded(shop, pid);
    for (place, (code, statement)) in seen.iter().enumerate() {
        let found = recorded.get(place).map(|record| record[0].as_str());
        assert_eq!(found, Some(code.as_str()), "{way:?} {statement}: {:?}", recorded.get(place));
        assert_eq!(recorded[place][4], "alice");
        let expected = if ["42501", "28000"].contains(&code.as_str()) { "denied" } else { "error" };
        assert_eq!(recorded[place][1], expected);
    }
    assert_eq!(recorded.len(), seen.len(), "{way:?}: more is recorded than failed: {:?}", recorded.last());
}

#[test]
fn each_statement_that_fails_is_recorded_once_with_the_code_that_its_client_saw() {
    let shop = prepared("identify");
    for way in [Way::Simple, Way::Prepared, Way::Once] {
        all_are_recorded_once(&shop, way);
    }
}

#[test]
fn it_does_not_matter_what_is_logged() {
    let shop = prepared("identify");
    for level in ["fatal", "panic", "debug5"] {
        shop.admin().batch_execute(&format!("alter role readonly set log_min_messages = '{level}'")).unwrap();
        all_are_recorded_once(&shop, Way::Simple);
        all_are_recorded_once(&shop, Way::Once);
    }
}

/// A parameter of which the server cannot make a value.
#[derive(Debug)]
struct Garbage;

impl ToSql for Garbage {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(b"\xff\xff\xff");
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[test]
fn parameters_that_do_not_fit_are_failures_of_their_statement() {
    let shop = prepared("identify");
    let mut alice = shop.person("alice", &["support"]);
    let pid = pid(&mut alice);
    let mut seen = Vec::new();
    for query in
        ["select $1::int as wrong_int", "select $1::text as wrong_text", "select $1::date as wrong_date"]
    {
        seen.push(refusal(alice.query(query, &[&Garbage])).code().code().to_string());
    }
    let recorded = recorded(&shop, pid);
    let codes: Vec<&str> = recorded.iter().map(|record| record[0].as_str()).collect();
    assert_eq!(codes, seen);
    assert!(recorded[0][2].ends_with("wrong_int") && recorded[2][2].ends_with("wrong_date"), "{recorded:?}");
}

#[test]
fn what_is_recorded_of_a_string_is_the_statement_that_failed() {
    let shop = prepared("identify");
    let mut alice = shop.person("alice", &["support"]);
    let pid = pid(&mut alice);
    for statement in [
        "select 1 as fine; select ';' as x, * from public.nowhere /* ; */ ; select 3",
        "select 1; selec 2",
        "begin; select nothing; select 2",
        "select 1",
        "rollback",
        "insert into public.deferred values (1), (1)",
        "begin; insert into public.deferred values (1), (1); commit; select 2",
    ] {
        let _ = alice.simple_query(statement);
    }
    let texts: Vec<[String; 2]> =
        recorded(&shop, pid).into_iter().map(|[_, _, text, command, _]| [command, text]).collect();
    assert_eq!(
        texts,
        [
            ["SELECT", "select ';' as x, * from public.nowhere /* ; */"],
            ["SELECT", "select 1; selec 2"],
            ["SELECT", "select nothing"],
            ["SELECT", "select 1"],
            ["COMMIT", "insert into public.deferred values (1), (1)"],
            ["COMMIT", "begin; insert into public.deferred values (1), (1); commit; select 2"],
        ]
    );
}

#[test]
fn a_text_that_was_not_parsed_gives_no_secret_away() {
    let shop = prepared("observe");
    let mut session = shop.readonly();
    let pid = pid(&mut session);
    let (secret, token) = (random_text(20), shop.issuer.person("alice", &[]));
    // The letters of a token are random: in a hundred tokens some spell a word like this.
    let telling = format!("{token}pwd");
    let mut count = 0;
    for statement in [
        format!("alter role readonly pasword '{secret}'"),
        format!("alter role readonly pass '{secret}'"),
        format!("alter rolle readonly password '{secret}'"),
        format!("create user x passwrod $${secret}$$"),
        format!("select 1; alter role readonly password '{secret}'; selec"),
        format!("create user/**/mapping for x server y options (pw '{secret}') nonsense"),
        format!("selec custodian.set_identity('{token}')"),
        format!("select custodian.set_identity('{secret}', 1, 2, 3)"),
        format!("select nothing, '{token}'"),
        format!("select nothing, 1, '{telling}'"),
        "begin; select nothing".to_string(),
        format!("alter role readonly password '{secret}'"),
        format!("create subscription s connection 'password={secret}' publication p"),
        format!("do $$ begin perform '{secret}'; end $$"),
        "rollback".to_string(),
    ] {
        count += usize::from(session.simple_query(&statement).is_err());
    }
    let recorded = recorded(&shop, pid);
    assert_eq!((recorded.len(), count), (14, 14), "{recorded:?}");
    let all = format!("{recorded:?}");
    assert!(!all.contains(&secret) && !all.contains(&token[..40]), "{all}");
    for text in ["select nothing, '<token>'", "select nothing, 1, '<token>'"] {
        assert!(recorded.iter().any(|record| record[2] == text), "{text}: {all}");
    }
}

#[test]
fn a_session_whose_first_statement_fails_is_known() {
    let shop = prepared("identify");
    let mut nobody = shop.readonly();
    refusal(nobody.simple_query("selec first_of_all"));
    let record = shop.the_record("first_of_all");
    assert_eq!((record.outcome(), record.sqlstate.as_deref()), ("error", Some("42601")));
    assert_eq!((record.session_role.as_deref(), record.user_id.as_deref()), (Some("readonly"), None));
    // The superuser, who is on record as well; and the application, which is not unless asked for.
    refusal(shop.admin().simple_query("selec of_an_administrator"));
    assert_eq!(shop.the_record("of_an_administrator").outcome(), "error");
    shop.admin().batch_execute("alter role application password 'app'").unwrap();
    refusal(shop.cluster.login("application", "app", "shop").simple_query("selec of_the_application"));
    assert!(shop.recorded("of_the_application").is_empty());
    shop.admin().batch_execute("alter system set pg_custodian.audit_roles = 'all'").unwrap();
    shop.admin().batch_execute("select pg_reload_conf()").unwrap();
    wait_for("the setting", || {
        let _ = shop.cluster.login("application", "app", "shop").simple_query("selec of_everybody");
        !shop.recorded("of_everybody").is_empty()
    });
}

#[test]
fn the_record_names_the_role_and_the_person_of_the_moment() {
    let shop = prepared("identify");
    let mut alice = shop.readonly();
    alice.batch_execute("begin").unwrap();
    let token = shop.issuer.person("alice", &["support"]);
    alice.execute("select custodian.set_identity($1, for_transaction => true)", &[&token]).unwrap();
    alice.batch_execute("set local role helper").unwrap();
    refusal(alice.simple_query("select nothing as for_this_transaction"));
    refusal(alice.simple_query("select 1 as after_the_failure"));
    alice.batch_execute("rollback").unwrap();
    let mut admin = shop.admin();
    sync(&mut admin);
    let query = "select statement, user_id, role from audit.statements
                 where outcome = 'error' and session_role = 'readonly' order by seq";
    let rows = admin.query(query, &[]).unwrap();
    let rows: Vec<(String, Option<String>, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let text = |text: Option<&str>| text.map(str::to_string);
    assert_eq!(
        rows,
        [
            ("select nothing as for_this_transaction".into(), text(Some("alice")), "helper".into()),
            // Identity and role ended with the transaction's failure.
            ("select 1 as after_the_failure".into(), None, "readonly".into()),
        ]
    );
}

#[test]
fn errors_that_are_caught_are_no_failures_and_hide_none() {
    let shop = prepared("observe");
    let mut session = shop.readonly();
    let pid = pid(&mut session);
    session
        .batch_execute(
            "do $$ begin
                for n in 1..3 loop
                    begin execute 'selec'; exception when others then null; end;
                    begin perform 1/0; exception when others then null; end;
                end loop;
             end $$",
        )
        .unwrap();
    refusal(session.simple_query("selec after_them"));
    session.batch_execute("begin; commit; commit; rollback").unwrap();
    refusal(session.simple_query("selec after_warnings"));
    let texts: Vec<String> = recorded(&shop, pid).into_iter().map(|record| record[2].clone()).collect();
    assert_eq!(texts, ["selec after_them", "selec after_warnings"]);
}

#[test]
fn statements_of_functions_that_are_refused_are_recorded_even_if_their_error_is_caught() {
    let shop = prepared("observe");
    let mut session = shop.readonly();
    let secret = random_text(20);
    let block = format!(
        "do $$ begin
            begin execute 'select * from public.guess_' || 1; exception when others then null; end;
            begin execute 'selec guess_2'; exception when others then null; end;
            begin execute 'alter role readonly pasword ''{secret}'''; exception when others then null; end;
            begin perform 1/0 as guess_4; exception when others then null; end;
            execute 'select guess_5';
         end $$"
    );
    refusal(session.simple_query(&block));
    let mut admin = shop.admin();
    sync(&mut admin);
    let query = "select sqlstate, depth::int, parent is not null, statement, command from audit.statements
                 where session_role = 'readonly' and outcome = 'error' order by seq";
    let rows = admin.query(query, &[]).unwrap();
    let rows: Vec<(String, i32, bool, String, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
    let found: Vec<(&str, i32, bool, &str)> = rows
        .iter()
        .map(|(code, depth, parent, _, command)| (code.as_str(), *depth, *parent, command.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("42P01", 1, true, "SELECT"),
            ("42601", 1, true, "UNKNOWN"),
            ("42601", 1, true, "UNKNOWN"),
            ("22012", 1, true, "SELECT"),
            ("42703", 1, true, "SELECT"),
            ("42703", 0, false, "DO"),
        ]
    );
    assert_eq!((rows[0].3.as_str(), rows[1].3.as_str()), ("select * from public.guess_1", "selec guess_2"));
    // What PL/pgSQL's block says itself is no statement that was refused: see docs/threat-model.md.
    assert!(rows[..5].iter().all(|row| !row.3.contains(&secret)), "{rows:?}");
}

#[test]
fn failures_are_recorded_beside_the_neighbours() {
    for libraries in [
        ["auth_delay", "pgaudit", "pg_stat_statements", "auto_explain", "pg_custodian"],
        ["pg_custodian", "auto_explain", "pg_stat_statements", "pgaudit", "auth_delay"],
    ] {
        // That it is there on 15, tests/neighbours.rs makes sure.
        let libraries: Vec<&str> =
            libraries.into_iter().filter(|name| *name != "pgaudit" || has_library(name)).collect();
        let shop = prepared_on(custodian().preload(&libraries).conf("pgaudit.log = 'all'"), "identify");
        all_are_recorded_once(&shop, Way::Simple);
    }
}

#[test]
fn a_refusal_of_ours_is_recorded_once() {
    let shop = prepared("identify");
    let mut nobody = shop.readonly();
    for statement in
        ["select 1 from public.orders", "copy public.orders to stdout", "set role none", "listen x"]
    {
        let _ = nobody.simple_query(statement);
    }
    let mut admin = shop.admin();
    sync(&mut admin);
    let query = "select sqlstate, count(*) from audit.statements where session_role = 'readonly' and outcome <> 'ok' group by 1";
    let rows = admin.query(query, &[]).unwrap();
    let counts: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(counts, [("28000".to_string(), 4)]);
    identify(&mut nobody, &shop.issuer.person("alice", &[])).unwrap();
    refusal(nobody.simple_query("selec as_alice"));
    assert_eq!(shop.the_record("as_alice").user(), "alice");
}
