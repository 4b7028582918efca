//! The choice of what is recorded: what the settings leave out, what they take in, and whom they cannot hide.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify, sync};
use harness::token::random_text;
use harness::{custodian, refusal, text, wait_for};
use postgres::Client;

/// A shop with an application's role that nobody enrolled.
fn shop_with(lines: &str) -> (Shop, Client) {
    let shop = shop::open_on(custodian().conf(lines), "observe");
    let password = random_text(12);
    shop.admin()
        .batch_execute(&format!(
            "create role app login password '{password}';
             create table public.stock (item int, name text, price int);
             insert into public.stock values (1, 'one', 1);
             create table public.other (a int);
             grant all on public.stock, public.other to app;
             grant select on public.orders, public.customers to app"
        ))
        .unwrap();
    let app = shop.cluster.login("app", &password, "shop");
    (shop, app)
}

/// Runs it, and tells how many records there are of it.
fn records_of(shop: &Shop, client: &mut Client, statement: &str) -> usize {
    let before = shop.recorded(statement).len();
    client.simple_query(statement).unwrap();
    shop.recorded(statement).len() - before
}

#[track_caller]
fn assert_recorded(shop: &Shop, client: &mut Client, expected: &[(&str, bool)]) {
    for (statement, recorded) in expected {
        assert_eq!(records_of(shop, client, statement), usize::from(*recorded), "{statement}");
    }
}

#[test]
fn classes_that_are_left_out_are_not_recorded_of_superusers() {
    let (shop, _app) = shop_with("pg_custodian.audit_classes = 'all, -read, -misc'");
    let mut admin = shop.admin();
    admin
        .batch_execute("create function public.f() returns int language plpgsql as 'begin return 1; end'")
        .unwrap();
    assert_recorded(
        &shop,
        &mut admin,
        &[
            ("select name from public.stock", false),
            ("update public.stock set price = 2", true),
            ("show work_mem", false),
            ("set work_mem = '5MB'", true),
            ("select public.f()", true),
            ("create table public.made (a int)", true),
            ("create role made", true),
            ("copy public.stock to program 'cat >/dev/null'", false),
            // Protected columns are recorded whoever reads them.
            ("select iban from public.customers where id = 1", true),
        ],
    );
}

#[test]
fn people_and_enrolled_roles_are_recorded_whatever_is_left_out() {
    let (shop, mut app) = shop_with(
        "pg_custodian.audit_classes = 'none'
         pg_custodian.exclude_relations = 'public.*, pg_catalog.*'
         pg_custodian.exclude_statements = 'select 1 as alive; select count(*) from public.orders'",
    );
    let expected =
        [("select 1 as alive", true), ("select count(*) from public.orders", true), ("show datestyle", true)];
    assert_recorded(&shop, &mut shop.readonly(), &expected);
    assert_recorded(&shop, &mut shop.person("alice", &[]), &expected);
    assert_recorded(&shop, &mut shop.admin(), &expected.map(|(statement, _)| (statement, false)));
    // Nobody enrolled the application, but somebody identified there.
    assert_recorded(&shop, &mut app, &expected.map(|(statement, _)| (statement, false)));
    shop.admin().batch_execute("grant usage on schema custodian to app").unwrap();
    identify(&mut app, &shop.issuer.person("bob", &[])).unwrap();
    assert_recorded(&shop, &mut app, &expected);
}

#[test]
fn statements_that_use_excluded_relations_only_are_left_out() {
    let (shop, _app) = shop_with("pg_custodian.exclude_relations = 'public.stock, pg_catalog.*'");
    let mut admin = shop.admin();
    assert_recorded(
        &shop,
        &mut admin,
        &[
            ("select name from public.stock", false),
            ("select relname from pg_class limit 1", false),
            ("insert into public.stock values (2, 'two', 2)", false),
            ("select s.name from public.stock s, public.other", true),
            ("select 2 as no_relation", true),
            ("alter table public.stock add column extra int", true),
            ("select a from public.other", true),
        ],
    );
    // Another relation of that name, and this one under another name.
    admin
        .batch_execute(
            "create schema elsewhere; create table elsewhere.stock (name text);
             alter table public.stock rename to goods",
        )
        .unwrap();
    assert_recorded(
        &shop,
        &mut admin,
        &[("select name from elsewhere.stock", true), ("select name from public.goods", true)],
    );
}

#[test]
fn health_checks_are_left_out_by_their_text() {
    let (shop, _app) =
        shop_with("pg_custodian.exclude_statements = 'select 1 as alive ; show transaction_read_only'");
    let mut admin = shop.admin();
    assert_recorded(
        &shop,
        &mut admin,
        &[
            ("select 1 as alive", false),
            ("show transaction_read_only", false),
            ("select 1 as alive, 2", true),
            ("select 1 as Alive", true),
        ],
    );
}

#[test]
fn what_the_audit_role_has_privileges_on_is_recorded_whoever_uses_it() {
    let (shop, mut app) = shop_with("pg_custodian.audit_object_role = 'watch'");
    let mut admin = shop.admin();
    assert_recorded(&shop, &mut app, &[("select name from public.stock", false)]);
    // The role may come later than the setting.
    admin
        .batch_execute(
            "create role watch; create role watch_more; grant watch_more to watch;
             grant update on public.stock to watch; grant select (price) on public.stock to watch;
             grant select on public.other to public",
        )
        .unwrap();
    assert_recorded(
        &shop,
        &mut app,
        &[
            ("select name from public.stock", false),
            ("select price from public.stock", true),
            ("select name from public.stock where price > 0", true),
            ("select s from public.stock s", true),
            ("select count(*) from public.stock", true),
            ("update public.stock set name = 'x'", true),
            ("insert into public.stock values (3)", false),
            ("delete from public.stock where false", false),
            // What everybody has is no choice of anybody's.
            ("select a from public.other", false),
            ("select count(*) from public.orders", false),
            ("truncate public.other", false),
            ("select 3 as nothing", false),
        ],
    );
    // In sessions that are open, too, and by membership.
    admin.batch_execute("grant select, truncate on public.other to watch_more").unwrap();
    assert_recorded(
        &shop,
        &mut app,
        &[("select a from public.other", true), ("truncate public.other", true)],
    );
    admin.batch_execute("revoke watch_more from watch; revoke update on public.stock from watch").unwrap();
    assert_recorded(
        &shop,
        &mut app,
        &[("select a from public.other", false), ("update public.stock set name = 'y'", false)],
    );
}

#[test]
fn parameters_are_kept_as_far_as_the_setting_says() {
    let (shop, _app) = shop_with("pg_custodian.parameter_max_size = 10");
    let mut admin = shop.admin();
    let long = "abcdefghijklmnop";
    admin.query("select $1::text as short_and_long, $2::text", &[&"abcdefghij", &long]).unwrap();
    let parameters = shop.the_record("short_and_long").parameters.unwrap();
    assert_eq!(parameters, [Some("abcdefghij".into()), Some("abcdefghij... (16 bytes)".into())]);
}

#[test]
fn constants_are_recorded_apart_from_the_text_if_so_set() {
    let (shop, _app) = shop_with("pg_custodian.normalize_statements = on");
    let mut admin = shop.admin();
    let long = "x".repeat(10_000);
    for (sql, recorded, parameters) in [
        ("select 'it''s' as apart_1, 42, $$a$$", "select $1 as apart_1, $2, $3", &["it's", "42", "a"][..]),
        (
            "insert into public.stock (name) select 'apart_2' where 1 = -1.5",
            "insert into public.stock (name) select $1 where $2 = -$3",
            &["apart_2", "1", "1.5"],
        ),
        ("explain select 7 as apart_3", "explain select $1 as apart_3", &["7"]),
        ("copy (select 8 as apart_4) to stdout", "copy (select $1 as apart_4) to stdout", &["8"]),
        ("select 1 / 0 as apart_5", "select $1 / $2 as apart_5", &["1", "0"]),
        // A definition is whole.
        (
            "create table public.apart_6 (a int default 5)",
            "create table public.apart_6 (a int default 5)",
            &[],
        ),
    ] {
        let _ = admin.simple_query(sql);
        sync(&mut admin);
        let query = "select statement, coalesce(parameters, '{}') from audit.statements
                     where (statement like '%' || $1 || '%' or $1 = any (parameters)) and command <> 'EXECUTE'
                       and statement not like '%audit.statements%' order by depth, seq limit 1";
        let mark = sql[sql.find("apart_").unwrap()..][..7].to_string();
        let row = admin.query_one(query, &[&mark]).unwrap();
        assert_eq!(
            (row.get(0), row.get::<_, Vec<Option<String>>>(1)),
            (recorded.to_string(), parameters.iter().map(|value| Some(value.to_string())).collect()),
            "{sql}"
        );
    }
    // Behind what the client passed, in one numbering, and within the same bounds.
    admin.query(&format!("select $1::text as apart_7, '{long}'"), &[&"given"]).unwrap();
    let record = shop.the_record("apart_7");
    let query = "select statement from audit.statements where statement like 'select $1::text as apart\\_7%'";
    assert_eq!(text(&mut admin, query).as_deref(), Some("select $1::text as apart_7, $2"));
    let parameters = record.parameters.unwrap();
    assert_eq!(parameters[0].as_deref(), Some("given"));
    assert!(parameters[1].as_deref().unwrap().ends_with("xxx... (10000 bytes)"));
}

#[test]
fn nobody_leaves_himself_out_by_sql() {
    let (shop, _app) = shop_with("pg_custodian.audit_classes = 'all'");
    let mut admin = shop.admin();
    for setting in [
        "audit_classes = 'none'",
        "audit_object_role = ''",
        "exclude_relations = 'public.*'",
        "exclude_statements = 'x'",
        "parameter_max_size = 0",
    ] {
        for statement in ["set", "alter system set", "alter role postgres set", "alter database shop set"] {
            let error = refusal(admin.simple_query(&format!("{statement} pg_custodian.{setting}")));
            assert_eq!(error.code().code(), "55P02", "{statement} {setting}: {error:?}");
        }
        let options = format!("-c pg_custodian.{}", setting.replace(' ', ""));
        assert!(shop.try_readonly(&options).is_err(), "{setting}");
    }
}

#[test]
fn a_value_that_means_nothing_is_not_taken() {
    let (shop, _app) = shop_with("pg_custodian.audit_classes = 'all, -read'");
    let mut admin = shop.admin();
    let value = "select setting from pg_settings where name = 'pg_custodian.audit_classes'";
    shop.cluster.add_conf("pg_custodian.audit_classes = 'reed'\npg_custodian.exclude_relations = 'stock'");
    admin.execute("select pg_reload_conf()", &[]).unwrap();
    wait_for("the log", || shop.cluster.log().contains("\"stock\" is not of the form schema.relation"));
    assert!(shop.cluster.log().contains("\"reed\" is none of read, write"));
    assert_eq!(text(&mut admin, value).as_deref(), Some("all, -read"));
    // A right one is taken by sessions that are open.
    shop.cluster.add_conf("pg_custodian.audit_classes = 'read'\npg_custodian.exclude_relations = ''");
    admin.execute("select pg_reload_conf()", &[]).unwrap();
    wait_for("the reload", || text(&mut admin, value).as_deref() == Some("read"));
    assert_recorded(
        &shop,
        &mut admin,
        &[("select name from public.stock", true), ("update public.stock set price = 3", false)],
    );
}

#[test]
fn without_nested_statements_what_a_client_has_executed_is_recorded_still() {
    let shop = shop::open_on(custodian().conf("pg_custodian.nested_statements = off"), "observe");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "prepare by_id (bigint) as select amount from public.orders where id = $1; execute by_id(4);
             create table public.copied as select id as copied from public.orders;
             do $$begin perform id as inside from public.orders; end$$",
        )
        .unwrap();
    let executed = shop.recorded("select amount from public.orders");
    assert!(executed.len() == 2, "PREPARE and what EXECUTE runs, not the whole string: {executed:#?}");
    assert_eq!(executed.iter().filter(|record| record.command.as_deref() == Some("SELECT")).count(), 1);
    assert!(executed.iter().any(|record| record.parameters == Some(vec![Some("4".into())])));
    let copied = shop.recorded("select id as copied");
    assert!(
        copied.iter().any(|record| record.command.as_deref() == Some("SELECT") && record.rows == Some(40))
    );
    let inside = shop.recorded("id as inside");
    assert_eq!(inside.len(), 1, "the DO alone: {inside:#?}");
}

#[test]
fn what_triggers_run_is_recorded_of_people_and_on_protected_tables_and_of_others_if_asked_for() {
    let trigger = "create table public.notes (note text);
        create table public.fired (a int);
        grant insert on public.fired, public.notes to readonly;
        create function public.note_it() returns trigger language plpgsql as
            'begin insert into public.notes select ''noted by trigger'' || count(*) from public.orders; return new; end';
        create trigger note_it after insert on public.fired for each row execute function public.note_it()";
    for (setting, of_superuser) in [("off", 0), ("on", 1)] {
        let conf = format!("pg_custodian.trigger_statements = {setting}");
        let shop = shop::open_on(custodian().conf(&conf), "identify");
        let mut admin = shop.admin();
        admin.batch_execute(trigger).unwrap();
        admin.batch_execute("insert into public.fired values (1)").unwrap();
        // The definition is there in any case.
        let of = |user: Option<&str>| {
            let records = shop.recorded("insert into public.notes select 'noted");
            records.iter().filter(|record| record.user_id.as_deref() == user).count()
        };
        assert_eq!(of(None), of_superuser, "{setting}");
        assert_eq!(shop.recorded("insert into public.fired values (1)").len(), 1);
        shop.person("alice", &[]).batch_execute("insert into public.fired values (2)").unwrap();
        assert_eq!(of(Some("alice")), 1, "{setting}");
        admin.batch_execute("select mask.protect('public.notes', 'note', 'null_value')").unwrap();
        admin.batch_execute("insert into public.fired values (3)").unwrap();
        assert_eq!(of(None), of_superuser + 1, "{setting}: on a protected table");
    }
}

#[test]
fn a_statement_that_drops_thousands_of_objects_names_a_thousand() {
    let shop = shop::open_on(custodian(), "observe");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create schema full_one;
             do $$begin for n in 1..2100 loop execute format('create sequence full_one.s%s', n); end loop; end$$",
        )
        .unwrap();
    admin.batch_execute("drop schema full_one cascade").unwrap();
    sync(&mut admin);
    let row = admin
        .query_one(
            "select count(*) filter (where change = 'dropped'), max(name) filter (where type = 'objects')
             from audit.objects where command = 'DROP SCHEMA'",
            &[],
        )
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (1000, "and more"));
    assert!(shop::verified(&mut admin));
}
