//! Named queries as people on a shared login, administrators and attackers meet them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify, sync};
use harness::{assert_refused, refusal, text};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

const CUSTOMER: &str = "select custodian.define_query('customer_by_id', 'wanted bigint',
    'SELECT id, name, iban, ssn FROM public.customers WHERE id = wanted', 'One customer, by number');
    grant execute on function queries.customer_by_id to readonly";

/// A shop with a query on the customers, which the shared login may not read otherwise.
fn with_queries(mode: &str, ad_hoc: bool) -> (Shop, Client) {
    let shop = shop::open(mode);
    let mut admin = shop.admin();
    admin
        .batch_execute(&format!(
            "{CUSTOMER};
             select custodian.define_query('orders_of', 'customer bigint, least_amount numeric',
                 'SELECT o.id, o.amount FROM public.orders o WHERE o.customer_id = customer
                  AND o.amount >= least_amount ORDER BY o.id');
             grant execute on function queries.orders_of to readonly;
             create function public.harmless(bigint) returns bigint language plpgsql as 'begin return $1; end';
             create procedure public.work() language plpgsql as 'begin end';
             create function public.customer_by_id(bigint) returns setof public.customers language sql
                 as 'select * from public.customers';
             create function public.customer_by_id(int) returns setof public.customers language sql
                 as 'select * from public.customers';
             create function public.steal() returns setof public.customers security definer language sql
                 as 'select * from public.customers';
             grant select on public.customers to readonly; grant all on schema public to readonly;
             create role somebody; grant somebody to readonly; grant select on public.orders to somebody;
             select custodian.enroll('readonly', '{mode}', ad_hoc => {ad_hoc})"
        ))
        .unwrap();
    (shop, admin)
}

/// The rows of a statement, columns joined by commas.
fn rows(client: &mut Client, statement: &str) -> Vec<String> {
    let said = client.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    said.into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
                Some(values.collect::<Vec<_>>().join(","))
            }
            _ => None,
        })
        .collect()
}

fn give(admin: &mut Client, arguments: &str) -> i64 {
    admin.query_one(&format!("select access.grant_access({arguments})"), &[]).unwrap().get(0)
}

#[test]
fn a_query_is_a_typed_function_with_its_documentation() {
    let (_shop, mut admin) = with_queries("observe", true);
    let told = |admin: &mut Client, what: &str| {
        text(admin, &format!("select ({what})::text from custodian.queries where name = 'customer_by_id'"))
            .unwrap()
    };
    assert_eq!(told(&mut admin, "parameters"), "wanted bigint");
    assert_eq!(told(&mut admin, "result"), "TABLE(id bigint, name text, iban text, ssn text)");
    assert_eq!(told(&mut admin, "description"), "One customer, by number");
    assert_eq!(told(&mut admin, "obj_description(function, 'pg_proc')"), "One customer, by number");
    assert_eq!(told(&mut admin, "writes"), "false");
    assert_eq!(told(&mut admin, "definer"), "postgres");
    let nature = "select provolatile::text || prosecdef::text || (proacl::text like '%readonly=X%')::text
        || (proacl::text like '%{=X%' or proacl::text like '%,=X%')::text
        from pg_proc where oid = 'queries.customer_by_id(bigint)'::regprocedure";
    assert_eq!(
        text(&mut admin, nature).unwrap(),
        "struetruefalse",
        "stable, definer's rights, nobody else's"
    );
    // Redefined it is the same function, and keeps its rights.
    let number = "select 'queries.customer_by_id'::regproc::oid::text";
    let before = text(&mut admin, number);
    let again = "select custodian.define_query('customer_by_id', 'wanted bigint',
        'SELECT id, upper(name) AS name, iban, ssn FROM public.customers WHERE id = wanted')";
    admin.batch_execute(again).unwrap();
    assert_eq!(text(&mut admin, number), before);
    assert_eq!(text(&mut admin, nature).unwrap(), "struetruefalse");
    assert_eq!(rows(&mut admin, "select name from queries.customer_by_id(1)"), ["ADA WINTER"]);
    // What it reads is meant by identity.
    admin.batch_execute("alter table public.customers rename to clients").unwrap();
    assert_eq!(rows(&mut admin, "select name from queries.customer_by_id(1)"), ["ADA WINTER"]);
    refusal(admin.batch_execute("drop table public.clients"));
    // Other columns or parameters are another query.
    for (other, code) in [
        ("'wanted bigint', 'SELECT id FROM public.clients WHERE id = wanted'", "42P13"),
        ("'wanted int', 'SELECT id, name, iban, ssn FROM public.clients WHERE id = wanted'", "42723"),
    ] {
        let error = assert_refused(
            admin.batch_execute(&format!("select custodian.define_query('customer_by_id', {other})")),
            &SqlState::from_code(code),
        );
        assert!(error.hint().unwrap().contains("drop_query"), "{error:?}");
    }
    admin.batch_execute("select custodian.drop_query('customer_by_id')").unwrap();
    assert_eq!(rows(&mut admin, "select name from custodian.queries"), ["orders_of"]);
    assert_refused(
        admin.batch_execute("select custodian.drop_query('customer_by_id')"),
        &SqlState::UNDEFINED_FUNCTION,
    );
    sync(&mut admin);
    assert_eq!(
        rows(
            &mut admin,
            "select object || ' ' || (detail->>'action') from audit.events where event = 'query' order by seq"
        ),
        ["customer_by_id define", "orders_of define", "customer_by_id replace", "customer_by_id drop"]
    );
}

/// Name, parameters, query; the SQLSTATE; a part of the message.
const BAD: &[(&str, &str, &str, &str, &str)] = &[
    // names
    ("Odd", "", "SELECT 1 AS a", "42939", "cannot be the name"),
    ("select", "", "SELECT 1 AS a", "42939", "cannot be the name"),
    ("", "", "SELECT 1 AS a", "42939", "cannot be the name"),
    ("a b", "", "SELECT 1 AS a", "42939", "cannot be the name"),
    ("f() returns int as $$x$$", "", "SELECT 1 AS a", "42939", "cannot be the name"),
    ("q\"; drop table public.orders; --", "", "SELECT 1 AS a", "42939", "cannot be the name"),
    (
        "a123456789012345678901234567890123456789012345678901234567890123",
        "",
        "SELECT 1 AS a",
        "42622",
        "63 bytes",
    ),
    ("by_hand", "", "SELECT 1 AS a", "42723", "was not made by"),
    // parameters
    ("q", "x nosuch", "SELECT x AS a", "42704", "type \"nosuch\" does not exist"),
    ("q", "x", "SELECT 1 AS a", "42P13", "has no name"),
    ("q", "text", "SELECT 1 AS a", "42P13", "has no name"),
    ("q", "x int,", "SELECT x AS a", "42601", "syntax error"),
    ("q", "out x int", "SELECT 1 AS a", "42P13", "not an input"),
    ("q", "variadic x int[]", "SELECT x AS a", "42P13", "not an input"),
    ("q", "x int default 1", "SELECT x AS a", "42P13", "has a default"),
    ("q", "x int = (select 1)", "SELECT x AS a", "42P13", "has a default"),
    ("q", "x anyelement", "SELECT x AS a", "42P13", "no type of its own"),
    ("q", "x setof int", "SELECT x AS a", "42P13", "no type of its own"),
    ("q", "x int, x int", "SELECT x AS a", "42P13", "more than once"),
    ("q", "\"X\" int", "SELECT \"X\" AS a", "42939", "name of a parameter"),
    ("q", "x orders", "SELECT x AS a", "42704", "does not exist"),
    ("q", "x int) returns int language sql as $$select 1$$ --", "SELECT 1 AS a", "42601", "syntax error"),
    ("q", "x int) returns int --", "SELECT 1 AS a", "42601", "syntax error"),
    ("q", "x int) returns table (b int", "SELECT 1 AS a", "42601", "syntax error"),
    ("q", "); drop table public.orders; --", "SELECT 1 AS a", "42601", "syntax error"),
    ("q", "x int) returns int; create function r(y int", "SELECT 1 AS a", "42601", "no list"),
    ("q", ") returns int; drop function r(int); create function r(", "SELECT 1 AS a", "42601", "no list"),
    ("q", "/*", "SELECT 1 AS a", "42601", "unterminated"),
    // statements
    ("q", "", "", "42601", "no statement"),
    ("q", "", "-- nothing", "42601", "no statement"),
    ("q", "", "SELECT 1 AS a; SELECT 2 AS a", "42601", "2 statements"),
    ("q", "", "SELECT 1 AS a; END; DROP TABLE public.orders; --", "42601", "3 statements"),
    ("q", "", "SELECT 1 AS a /*", "42601", "unterminated"),
    ("q", "", "SELEC 1", "42601", "syntax error"),
    ("q", "", "DROP TABLE public.orders", "0A000", "neither"),
    ("q", "", "COPY public.orders TO STDOUT", "0A000", "neither"),
    ("q", "", "SET search_path = x", "0A000", "neither"),
    ("q", "", "DO 'begin end'", "0A000", "neither"),
    ("q", "", "CREATE SCHEMA a CREATE TABLE b (c int)", "0A000", "neither"),
    ("q", "", "SELECT 1 AS a INTO public.kept", "42601", ""),
    ("q", "", "SELECT * FROM public.nosuch", "42P01", "does not exist"),
    ("q", "", "SELECT * FROM orders", "42P01", "does not exist"),
    ("q", "", "SELECT nosuch FROM public.orders", "42703", "does not exist"),
    ("q", "", "SELECT twice(1) AS a", "42883", "does not exist"),
    ("q", "", "SELECT id + 1 FROM public.orders", "42P13", "column 1 of the query has no name"),
    ("q", "", "SELECT id, id FROM public.orders", "42701", "returned twice"),
    ("q", "", "SELECT", "42P13", "must return columns"),
    ("q", "", "DELETE FROM public.orders", "42P13", "must return columns"),
    ("q", "", "SELECT (1, 2) AS a", "42P13", "no type of its own"),
    ("q", "id bigint", "SELECT amount FROM public.orders WHERE id = id", "42P13", "is not used"),
    ("q", "x int", "SELECT 1 AS a", "42P13", "is not used"),
    ("q", "a int", "SELECT a FROM (SELECT 1 AS b) s", "42P13", "has the name of a parameter"),
    ("q", "", "SELECT $1 AS a", "42P02", "no parameter"),
    ("q", "", "SELECT pg_sleep(1)::text AS a", "22023", "volatile"),
    ("q", "", "SELECT set_config('a.b', 'c', false) AS a", "22023", "volatile"),
    ("q", "x text", "SELECT query_to_xml(x, true, true, '') AS a", "22023", "may not be called"),
    ("q", "x text", "SELECT table_to_xml(x::regclass, true, true, '') AS a", "22023", "parallel safe"),
    ("q", "", "SELECT public.changes() AS a", "22023", "volatile"),
    ("q", "", "SELECT a FROM pg_temp.mine", "22023", "this session only"),
    ("q", "", "SELECT public.of_another() AS a", "22023", "somebody else could replace"),
    ("q", "", "SELECT 1 OPERATOR(public.<<<<) 2 AS a", "22023", "somebody else could replace"),
];

#[test]
fn definitions_are_judged_when_they_are_made() {
    let shop = shop::open("observe");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create function queries.by_hand() returns int language sql as 'select 1';
             create function public.changes() returns int language sql as 'select 1';
             create role another;
             create function public.of_another() returns int stable language sql as 'select 1';
             alter function public.of_another() owner to another;
             create function public.before(int, int) returns bool immutable language sql as 'select true';
             alter function public.before(int, int) owner to another;
             create operator public.<<<< (leftarg = int, rightarg = int, function = public.before);
             create temp table mine (a int);
             set search_path = public",
        )
        .unwrap();
    let mut wrong = Vec::new();
    for (name, parameters, query, code, message) in BAD {
        let call = "select custodian.define_query($1, $2, $3)::text";
        match admin.query_one(call, &[name, parameters, query]) {
            Ok(_) => wrong.push(format!("{name:?} {parameters:?} {query:?} was defined")),
            Err(error) => {
                let told = error.as_db_error().unwrap().clone();
                if told.code().code() != *code || !told.message().contains(message) {
                    wrong.push(format!("{name:?} {parameters:?} {query:?}: {told:?}"));
                }
            }
        }
    }
    for nulls in ["null, '', 'select 1 as a'", "'q', null, 'select 1 as a'", "'q', '', null"] {
        let told = refusal(admin.batch_execute(&format!("select custodian.define_query({nulls})")));
        assert_eq!(told.code(), &SqlState::NULL_VALUE_NOT_ALLOWED);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let left = "select string_agg(proname, ' ') from pg_proc where pronamespace = 'queries'::regnamespace";
    assert_eq!(text(&mut admin, left).unwrap(), "by_hand");
    assert_eq!(text(&mut admin, "select count(*)::text from custodian.queries").unwrap(), "0");
    assert_eq!(text(&mut admin, "select count(*)::text from public.orders").unwrap(), "40");
}

#[test]
fn text_in_a_definition_stays_text() {
    let shop = shop::open("observe");
    let mut admin = shop.admin();
    let call = "select custodian.define_query($1, $2, $3, $4)::text";
    for (parameters, query, description, expected) in [
        ("", "SELECT ';END; DROP TABLE public.orders; --' AS a", "x", ";END; DROP TABLE public.orders; --"),
        ("", "SELECT 'a' AS a -- END;", "';drop table public.orders;--", "a"),
        ("", ";;SELECT $$a;b$$ AS a;;", "E'\\'", "a;b"),
        ("", "SELECT 'a' AS \"END; x\"", "$$;", "a"),
        ("-- nothing", "SELECT 'a' AS a /* ; END */", "\\", "a"),
    ] {
        admin.query_one(call, &[&"q", &parameters, &query, &description]).unwrap();
        assert_eq!(rows(&mut admin, "select * from queries.q()"), [expected], "{query}");
        let kept = "select description from custodian.queries where name = 'q'";
        assert_eq!(text(&mut admin, kept).unwrap(), description);
        let comment = "select obj_description('queries.q'::regproc, 'pg_proc')";
        assert_eq!(text(&mut admin, comment).unwrap(), description);
        admin.batch_execute("select custodian.drop_query('q')").unwrap();
    }
    assert_eq!(text(&mut admin, "select count(*)::text from public.orders").unwrap(), "40");
    // A parameter is a value.
    admin
        .batch_execute(
            "select custodian.define_query('named', 'wanted text',
                 'SELECT id FROM public.customers WHERE name = wanted')",
        )
        .unwrap();
    let hostile = "x' OR 'a' = 'a";
    assert_eq!(admin.query("select * from queries.named($1)", &[&hostile]).unwrap().len(), 0);
}

/// What a role that is bound to queries may run.
const PERMITTED: &[&str] = &[
    "select * from queries.customer_by_id(1)",
    "select name, id from queries.customer_by_id(1) as c (id, name)",
    "select queries.customer_by_id(1)",
    "select (queries.customer_by_id(1)).name",
    "select (queries.customer_by_id(1)).*",
    "select id::text from queries.customer_by_id('1')",
    "select * from queries.customer_by_id(1::int)",
    "select * from queries.orders_of(customer => 1, least_amount => 5)",
    "select * from queries.orders_of(1, 5.5) with ordinality",
    "set search_path = queries; select * from customer_by_id(1); reset search_path",
    "prepare p (bigint) as select * from queries.customer_by_id($1); execute p (1); deallocate p",
    "begin; declare c cursor for select * from queries.customer_by_id(1); fetch all c; close c; commit",
    "begin isolation level repeatable read; savepoint a; rollback to a; rollback",
    "select * from custodian.queries",
    "select name, parameters from custodian.queries where name like '%order%' order by name",
    "select * from custodian.whoami()",
    "select custodian.user_id()",
    "select * from access.my_grants",
    "select * from access.my_requests; select * from access.pending_approvals",
    "select version(), 1 + 1",
    "select current_schema(), current_user",
    "select oid, typname from pg_catalog.pg_type where typname = 'int4'",
    "set application_name = 'x'; show server_version; set statement_timeout = 0",
    "discard temp; deallocate all; unlisten *",
];

/// And what not.
const REFUSED: &[&str] = &[
    "select * from public.orders",
    "table public.customers",
    // around the call
    "select * from (select * from queries.customer_by_id(1)) s",
    "select (select name from queries.customer_by_id(1))",
    "with c as (select * from queries.customer_by_id(1)) select * from c",
    "select * from queries.customer_by_id(1) union all select id, name, iban, ssn from public.customers",
    "select * from queries.customer_by_id(1) union all select * from queries.customer_by_id(2)",
    "select * from queries.customer_by_id(1), public.orders",
    "select * from queries.customer_by_id(1) a, queries.customer_by_id(2) b",
    "select * from queries.customer_by_id(1) a join queries.customer_by_id(2) b using (id)",
    "select * from queries.customer_by_id(1) where id = 1",
    "select * from queries.customer_by_id(1) where pg_sleep(0) is not null",
    "select * from queries.customer_by_id(1) order by public.harmless(id)",
    "select * from queries.customer_by_id(1) limit (select count(*) from public.orders)",
    "select count(*) from queries.customer_by_id(1)",
    "select name || ssn from queries.customer_by_id(1)",
    "select distinct name from queries.customer_by_id(1)",
    "select row_number() over () from queries.customer_by_id(1)",
    "select *, (select count(*) from public.orders) from queries.customer_by_id(1)",
    // in the arguments
    "select * from queries.customer_by_id((select max(id) from public.customers))",
    "select * from queries.customer_by_id(public.harmless(1))",
    "select * from queries.customer_by_id(length('a'))",
    "select * from queries.customer_by_id(case when true then 1 else 2 end)",
    "select queries.customer_by_id(oid::bigint) from pg_catalog.pg_type",
    "select queries.customer_by_id(id) from queries.customer_by_id(1)",
    "select queries.customer_by_id(g) from generate_series(1, 9) g",
    // other functions of the name
    "select * from public.customer_by_id(1)",
    "select * from public.customer_by_id(1::bigint)",
    "set search_path = public; select * from customer_by_id(1)",
    "create function pg_temp.customer_by_id(int) returns int language sql as 'select 1'",
    "create function queries.customer_by_id(int) returns int language sql as 'select 1'",
    "create or replace function queries.customer_by_id(wanted bigint) returns int language sql as 'select 1'",
    "alter function queries.customer_by_id rename to other",
    "select * from public.steal()",
    "call public.work()",
    // other ways to have something run
    "prepare q as select * from public.orders; execute q",
    "begin; declare d cursor for select * from public.orders",
    "do 'begin perform 1; end'",
    "explain select * from queries.customer_by_id(1)",
    "explain analyze create table public.kept as select * from queries.customer_by_id(1)",
    "copy (select * from queries.customer_by_id(1)) to stdout",
    "copy (select queries.customer_by_id(1)) to stdout",
    "copy public.orders to stdout",
    "create table public.kept as select * from queries.customer_by_id(1)",
    "create temp table kept as select * from queries.customer_by_id(1)",
    "select * into temp kept from queries.customer_by_id(1)",
    "create temp view seen as select * from queries.customer_by_id(1)",
    "create temp table t (a int)",
    "insert into public.orders select 99, id, 1 from queries.customer_by_id(1)",
    "update public.orders set amount = 1",
    "select query_to_xml('select * from public.orders', true, true, '')",
    "select pg_notify('a', 'b')",
    "select set_config('search_path', 'x', false)",
    "select lo_get(1)",
    "notify a",
    "listen a",
    "lock table public.orders",
    "set role somebody",
    "set session authorization somebody",
    "set work_mem = '1GB'",
    "show all",
    "begin; prepare transaction 'x'",
    "vacuum",
    "select prosrc from pg_catalog.pg_proc",
    "select query_to_xml('select * from public.orders', true, true, '') from custodian.queries",
    "select (select count(*) from public.orders) from custodian.queries",
    "select * from custodian.queries, public.orders",
    "select * from custodian.queries where exists (select from public.orders)",
    "select mask.email('a@b.c')",
];

fn bound_role_is_held(mode: &str) {
    let (shop, mut admin) = with_queries(mode, false);
    if mode == "govern" {
        // Even who may do everything does so by queries only.
        give(
            &mut admin,
            "'alice', '{select,insert,update,delete,execute,ddl,export}', 'DATABASE', '1 hour', 'x'",
        );
    }
    // Nobody is served before he says who he is.
    let told = assert_refused(
        shop.readonly().simple_query("select * from queries.customer_by_id(1)"),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    );
    assert!(told.hint().unwrap().contains("set_identity"));
    let mut alice = shop.person("alice", &[]);
    let mut wrong = Vec::new();
    for statement in PERMITTED {
        if let Err(error) = alice.simple_query(statement) {
            wrong.push(format!("{statement}: {:?}", error.as_db_error().map(|told| told.message())));
        }
        let _ = alice.simple_query("rollback");
    }
    for statement in REFUSED {
        match alice.simple_query(statement) {
            Ok(_) => wrong.push(format!("{statement} ran")),
            Err(error) => {
                let Some(told) = error.as_db_error() else {
                    panic!("{statement}: {error:?}, and before {wrong:#?}")
                };
                let hint = told.hint().unwrap_or_default();
                if told.code() != &SqlState::INSUFFICIENT_PRIVILEGE || !hint.contains("custodian.queries") {
                    wrong.push(format!("{statement}: {told:?}"));
                }
            }
        }
        let _ = alice.simple_query("rollback; reset search_path");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(rows(&mut alice, "select name from queries.customer_by_id(2)"), ["Bruno Costa"]);
    let called = alice.query("select * from queries.orders_of($1, 40)", &[&1_i64]).unwrap();
    assert_eq!(called.len(), 3);
    identify(&mut alice, &shop.issuer.person("bob", &[])).unwrap();
    // Refusals are on record.
    let denied = shop.recorded("select * from public.orders");
    assert!(denied.iter().any(|record| record.outcome() == "denied" && record.user() == "alice"));
}

#[test]
fn a_bound_role_runs_queries_and_nothing_else() {
    bound_role_is_held("identify");
}

#[test]
fn a_bound_role_runs_queries_and_nothing_else_in_govern_mode() {
    bound_role_is_held("govern");
}

#[test]
fn what_was_prepared_before_a_role_was_bound_does_not_run_after_it() {
    let (shop, mut admin) = with_queries("identify", true);
    let mut alice = shop.person("alice", &[]);
    for (name, statement) in [
        ("a", "select * from public.orders"),
        ("b", "select query_to_xml('select * from public.orders', true, true, '')"),
        ("c", "select query_to_xml('select * from public.orders', true, true, '') from pg_type"),
        ("d", "select count(*) from queries.customer_by_id(1)"),
        ("e", "select * from queries.customer_by_id(1)"),
    ] {
        alice.simple_query(&format!("prepare {name} as {statement}; execute {name}")).unwrap();
        // So that its plan is kept.
        for _ in 0..6 {
            alice.simple_query(&format!("execute {name}")).unwrap();
        }
    }
    alice.simple_query("declare held cursor with hold for select * from public.orders").unwrap();
    admin.batch_execute("select custodian.enroll('readonly', 'identify', ad_hoc => false)").unwrap();
    for name in ["a", "b", "c", "d"] {
        assert_refused(alice.simple_query(&format!("execute {name}")), &SqlState::INSUFFICIENT_PRIVILEGE);
    }
    assert_eq!(rows(&mut alice, "execute e").len(), 1);
    admin.batch_execute("select custodian.enroll('readonly', 'identify')").unwrap();
    assert_eq!(rows(&mut alice, "execute a").len(), 40);
    // In observe mode nothing is refused.
    admin.batch_execute("select custodian.enroll('readonly', 'observe', ad_hoc => false)").unwrap();
    assert_eq!(rows(&mut alice, "execute a").len(), 40);
}

#[test]
fn a_grant_on_the_query_is_needed_and_is_enough() {
    let (shop, mut admin) = with_queries("govern", true);
    admin
        .batch_execute(
            "create function public.counted(wanted bigint) returns bigint stable language plpgsql as
                 'begin return (select count(*) from public.orders where customer_id = wanted); end';
             select custodian.define_query('summary', 'wanted bigint',
                 'SELECT c.name, public.counted(c.id) AS orders FROM public.customers c WHERE c.id = wanted');
             select custodian.define_query('place_order', 'number bigint, customer bigint',
                 'INSERT INTO public.orders (id, customer_id, amount) VALUES (number, customer, 1) RETURNING id');
             select custodian.define_query('first_order', 'customer bigint',
                 'SELECT min(o.id) AS first FROM queries.orders_of(customer, 0) o');
             grant execute on all functions in schema queries to readonly",
        )
        .unwrap();
    let mut alice = shop.person("alice", &[]);
    let call = "select name from queries.customer_by_id(1)";
    let told = assert_refused(alice.simple_query(call), &SqlState::INSUFFICIENT_PRIVILEGE);
    let asked =
        "SELECT * FROM access.request_access(ARRAY['execute'], 'QUERY customer_by_id', '1 hour', 'reason');";
    assert!(told.hint().unwrap().contains(asked), "{told:?}");
    let id = give(&mut admin, "'alice', '{execute}', 'QUERY customer_by_id', '1 hour', 'x'");
    assert_eq!(rows(&mut alice, call), ["Ada Winter"]);
    // What a query calls is approved with it, queries too.
    give(&mut admin, "'carol', '{execute}', 'QUERY first_order', '1 hour', 'x'");
    let mut carol = shop.person("carol", &[]);
    assert_eq!(rows(&mut carol, "select * from queries.first_order(1)"), ["4"]);
    assert_refused(
        carol.simple_query("select * from queries.orders_of(1, 0)"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    // It is on the query, not on what the query reads, nor on other queries, nor for other people.
    for other in [
        "select name from public.customers where id = 1",
        "select * from queries.orders_of(1, 0)",
        "select * from queries.summary(1)",
        "select public.counted(1)",
        "select public.harmless(1)",
    ] {
        assert_refused(alice.simple_query(other), &SqlState::INSUFFICIENT_PRIVILEGE);
    }
    assert_refused(shop.person("bob", &[]).simple_query(call), &SqlState::INSUFFICIENT_PRIVILEGE);
    // The record of what the query ran names the grant.
    sync(&mut admin);
    let relied = "select grants::text from audit.statements where statement like 'SELECT id, name, iban%'
        and outcome = 'ok' order by seq desc limit 1";
    assert_eq!(text(&mut admin, relied).unwrap(), format!("{{{id}}}"));
    // A grant on some rows of the table does not narrow the query, and widens nothing.
    give(&mut admin, "'alice', '{select}', 'TABLE public.customers', '1 hour', 'x', rows => 'id = 2'");
    assert_eq!(rows(&mut alice, call), ["Ada Winter"]);
    assert_eq!(rows(&mut alice, "select name from public.customers"), ["Bruno Costa"]);
    // Prepared, and in an open transaction, it ends with its grant.
    alice.simple_query(&format!("prepare p as {call}; begin; execute p")).unwrap();
    admin.execute("select access.revoke_access($1, 'done')", &[&id]).unwrap();
    assert_refused(alice.simple_query("execute p"), &SqlState::INSUFFICIENT_PRIVILEGE);
    alice.simple_query("rollback").unwrap();
    // By schema; what queries call and write needs nothing more.
    give(&mut admin, "'alice', '{execute}', 'SCHEMA queries', '1 hour', 'x'");
    assert_eq!(rows(&mut alice, "select * from queries.summary(1)"), ["Ada Winter,10"]);
    assert_eq!(rows(&mut alice, "select * from queries.place_order(99, 1)"), ["99"]);
    assert_refused(
        alice.simple_query("insert into public.orders (id, customer_id, amount) values (100, 1, 1)"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    // What fails within leaves nothing open.
    assert_eq!(
        refusal(alice.simple_query("select * from queries.place_order(99, 1)")).code(),
        &SqlState::UNIQUE_VIOLATION
    );
    alice.simple_query("begin; savepoint s").unwrap();
    refusal(alice.simple_query("select * from queries.place_order(99, 1)"));
    alice.simple_query("rollback to s").unwrap();
    assert_refused(
        alice.simple_query("select count(*) from public.orders"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    alice.simple_query("rollback").unwrap();
    // Rows one by one: between them the statement is the person's own.
    assert_refused(
        alice.simple_query(
            "select queries.orders_of(1, 0), (select count(*) from public.orders where id > random())",
        ),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    // A copy of it is an export.
    assert_refused(
        alice.simple_query("copy (select * from queries.customer_by_id(1)) to stdout"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
}

#[test]
fn a_dropped_query_takes_its_grants_along() {
    let (shop, mut admin) = with_queries("govern", false);
    give(&mut admin, "'alice', '{execute}', 'QUERY customer_by_id', '1 hour', 'x'");
    let mut alice = shop.person("alice", &[]);
    assert_eq!(rows(&mut alice, "select name from queries.customer_by_id(1)"), ["Ada Winter"]);
    admin.batch_execute(&format!("select custodian.drop_query('customer_by_id'); {CUSTOMER}")).unwrap();
    assert_refused(
        alice.simple_query("select name from queries.customer_by_id(1)"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
}

#[test]
fn people_see_masks_within_queries_and_calls_are_on_record() {
    let (shop, mut admin) = with_queries("identify", false);
    let mut alice = shop.person("alice", &[]);
    let mut carol = shop.person("carol", &["support"]);
    let call = "select iban, ssn from queries.customer_by_id(1)";
    assert_eq!(rows(&mut alice, call), ["DE89**************3000,NULL"]);
    assert_eq!(rows(&mut carol, call), ["DE89370400440532013000,NULL"]);
    // One session, one prepared call, two people.
    let prepared = alice.prepare("select iban from queries.customer_by_id($1)").unwrap();
    let first: String = alice.query_one(&prepared, &[&1_i64]).unwrap().get(0);
    identify(&mut alice, &shop.issuer.person("carol", &["support"])).unwrap();
    let second: String = alice.query_one(&prepared, &[&1_i64]).unwrap().get(0);
    assert_eq!([first.as_str(), second.as_str()], ["DE89**************3000", "DE89370400440532013000"]);
    assert_eq!(rows(&mut alice, "select * from queries.orders_of(1, null)").len(), 0);
    assert_eq!(rows(&mut alice, "select queries.orders_of(1, 42.5)").len(), 2);
    sync(&mut admin);
    let log = "select concat_ws(' | ', user_id, user_email, function_name, parameters::text, rows_returned,
            field_policies_applied - 'email', (called_at is not null)::text)
        from audit.access_log where function_name !~ '^[A-Z]' order by called_at";
    assert_eq!(
        rows(&mut admin, log),
        [
            "alice | alice@shop.example | customer_by_id | {\"wanted bigint = 1\"} | 1 | {\"ssn\": \"masked\", \"iban\": \"masked\"} | true",
            "carol | carol@shop.example | customer_by_id | {\"wanted bigint = 1\"} | 1 | {\"ssn\": \"masked\", \"iban\": \"revealed\"} | true",
            "alice | alice@shop.example | customer_by_id | {\"wanted bigint = 1\"} | 1 | {\"ssn\": \"masked\", \"iban\": \"masked\"} | true",
            "carol | carol@shop.example | customer_by_id | {\"wanted bigint = 1\"} | 1 | {\"ssn\": \"masked\", \"iban\": \"revealed\"} | true",
            "carol | carol@shop.example | orders_of | {\"customer bigint = 1\",\"least_amount numeric = NULL\"} | 0 | true",
            "carol | carol@shop.example | orders_of | {\"customer bigint = 1\",\"least_amount numeric = 42.5\"} | 2 | true",
        ]
    );
    // The statement inside is recorded as it was defined, beneath the one that called it.
    let inside = "select statement || ' by ' || command from audit.statements s where parent is not null
        and exists (select from audit.statements c where c.session = s.session and c.number = s.parent
            and c.objects @> array['queries.customer_by_id(bigint)']) limit 1";
    assert_eq!(
        text(&mut admin, inside).unwrap(),
        "SELECT id, name, iban, ssn FROM public.customers WHERE id = wanted by SELECT"
    );
}

#[test]
fn calls_are_on_record_whatever_is_left_out() {
    let (shop, mut admin) = with_queries("identify", false);
    for setting in ["nested_statements = off", "normalize_statements = on"] {
        admin.batch_execute(&format!("alter system set pg_custodian.{setting}")).unwrap();
    }
    admin.batch_execute("select pg_reload_conf()").unwrap();
    harness::wait_for("the settings", || {
        text(&mut shop.admin(), "show pg_custodian.nested_statements").unwrap() == "off"
    });
    let mut alice = shop.person("alice", &[]);
    rows(&mut alice, "select * from queries.orders_of(1, 42.5)");
    sync(&mut admin);
    let log =
        "select function_name || parameters::text from audit.access_log where function_name = 'orders_of'";
    assert_eq!(rows(&mut admin, log), ["orders_of{\"customer bigint = 1\",\"least_amount numeric = 42.5\"}"]);
}

#[test]
fn queries_run_with_the_rights_of_who_defined_them() {
    let (shop, mut admin) = with_queries("identify", false);
    admin
        .batch_execute(
            "create role dba login; grant custodian_admin to dba; grant usage on schema public to dba;
             grant select on public.orders to dba; grant connect on database shop to dba;
             create role outsider login",
        )
        .unwrap();
    let mut dba = shop.cluster.local("dba", "shop");
    let define =
        |query: &str| format!("select custodian.define_query('customer_by_id', 'wanted bigint', '{query}')");
    // What the definer may not read, his query may not read.
    let told = assert_refused(
        dba.batch_execute(
            "select custodian.define_query('c', 'wanted bigint', 'SELECT name FROM public.customers WHERE id = wanted')",
        ),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    assert!(told.message().contains("public") || told.message().contains("customers"), "{told:?}");
    // Who replaces a query does not get the rights of who made it.
    assert_refused(
        dba.batch_execute(&define("SELECT id, name, iban, ssn FROM public.customers WHERE id = wanted")),
        &SqlState::INSUFFICIENT_PRIVILEGE,
    );
    dba.batch_execute(&define(
        "SELECT o.id, NULL::text AS name, NULL::text AS iban, o.amount::text AS ssn FROM public.orders o WHERE o.id = wanted",
    ))
    .unwrap();
    let owner = "select definer from custodian.queries where name = 'customer_by_id'";
    assert_eq!(text(&mut admin, owner).unwrap(), "dba");
    let mut alice = shop.person("alice", &[]);
    assert_eq!(rows(&mut alice, "select ssn from queries.customer_by_id(1)"), ["11.00"]);
    // Rights that the definer loses, the query loses.
    admin.batch_execute("revoke select on public.orders from dba").unwrap();
    let told = refusal(alice.simple_query("select ssn from queries.customer_by_id(1)"));
    assert_eq!(told.code(), &SqlState::INSUFFICIENT_PRIVILEGE);
    assert!(told.message().contains("permission denied for table orders"), "{told:?}");
    // A function that was made by hand is no query.
    admin
        .batch_execute(
            "create function queries.customer_by_id(text) returns int language sql as 'select 1';
             create function queries.extra() returns int language sql as 'select 1'",
        )
        .unwrap();
    for call in ["select queries.customer_by_id('a'::text)", "select queries.extra()"] {
        let told = assert_refused(alice.simple_query(call), &SqlState::INSUFFICIENT_PRIVILEGE);
        assert!(told.hint().unwrap().contains("custodian.queries"));
    }
    // And nobody else defines, replaces or drops one.
    let mut outsider = shop.cluster.local("outsider", "shop");
    for statement in [
        "select custodian.define_query('mine', '', 'SELECT 1 AS a')",
        "select custodian.drop_query('customer_by_id')",
        "create function queries.mine() returns int language sql as 'select 1'",
        "create or replace function queries.customer_by_id(wanted bigint) returns setof int language sql as 'select 1'",
        "drop function queries.customer_by_id(bigint)",
        "alter function queries.customer_by_id(bigint) security invoker",
        "insert into custodian.named_query (name, function_id, parameters, query, writes) values ('x', 1, '', 'x', false)",
        "select * from queries.customer_by_id(1)",
    ] {
        let told = refusal(outsider.batch_execute(statement));
        assert_eq!(told.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {told:?}");
    }
    assert_eq!(
        rows(&mut outsider, "select name, may_execute from custodian.queries where name = 'orders_of'"),
        ["orders_of,f"]
    );
}
