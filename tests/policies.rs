//! Policies that several sessions have to do with, and what becomes of them without the library, in a dump, and
//! at the hands of a table's owner.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop};
use harness::{assert_refused, wait_for};
use postgres::Client;
use postgres::error::SqlState;

fn iban(client: &mut Client) -> Option<String> {
    client.query_one("select iban from masked.customers where id = 1", &[]).unwrap().get(0)
}

const CLEAR: &str = "DE89370400440532013000";

/// A shop whose tables belong to somebody who is no superuser.
fn owned() -> (Shop, Client) {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create role keeper login; alter table public.customers owner to keeper; alter table public.orders owner to keeper;
             grant create on schema public to keeper; create schema attic authorization keeper",
        )
        .unwrap();
    let owner = shop.cluster.local("keeper", "shop");
    (shop, owner)
}

#[test]
fn a_change_of_policy_or_table_holds_in_sessions_that_are_open() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    let mut partner = shop.person("pia", &["partner", "support"]);
    let mut support = shop.person("sam", &["support"]);
    let query = partner.prepare("select iban from masked.customers where id = 1").unwrap();
    let mut prepared = |_: &str| partner.query_one(&query, &[]).unwrap().get::<_, Option<String>>(0);
    assert_eq!(prepared("at first").as_deref(), Some(CLEAR));
    admin
        .batch_execute(
            "select mask.protect('public.customers', 'iban', 'null_value', for_groups => array['partner'])",
        )
        .unwrap();
    assert_eq!((prepared("with a policy of its own"), iban(&mut support).as_deref()), (None, Some(CLEAR)));
    // A table is renamed and altered under people who read its view.
    admin
        .batch_execute(
            "alter table public.customers add column nickname text, alter column ssn type varchar(40)",
        )
        .unwrap();
    assert_eq!((prepared("altered"), iban(&mut support).as_deref()), (None, Some(CLEAR)));
    let nickname = "select count(nickname) from masked.customers";
    assert_eq!(support.query_one(nickname, &[]).unwrap().get::<_, i64>(0), 0);
    let id: i64 = admin
        .query_one("select id from mask.policies where for_groups = array['partner']", &[])
        .unwrap()
        .get(0);
    admin.execute("select mask.drop_policy($1)", &[&id]).unwrap();
    assert_eq!(prepared("dropped").as_deref(), Some(CLEAR));
}

#[test]
fn the_owner_of_a_table_cannot_shake_its_masks_off() {
    let (shop, mut owner) = owned();
    let mut admin = shop.admin();
    admin.batch_execute("select mask.protect_matching('public', '%iban%', 'null_value')").unwrap();
    owner.batch_execute("create table public.accounts (id int, iban text)").unwrap();
    let mut masked = |name: &str, column: &str| -> bool {
        admin
            .query_one(
                "select sees = 'masked' from mask.explain($1::text::regclass, 'nobody') where column_name = $2",
                &[&name, &column],
            )
            .unwrap()
            .get(0)
    };
    assert!(masked("public.accounts", "iban"));
    // In a transaction, in a function, step by step: nothing helps.
    owner
        .batch_execute(
            "begin; alter table public.accounts rename iban to x; alter table public.accounts set schema attic; commit;
             do $$ begin execute 'alter table attic.accounts rename x to y'; end $$;
             alter table attic.accounts rename to z; alter table attic.z rename y to a",
        )
        .unwrap();
    assert!(masked("attic.z", "a"));
    for statement in [
        "drop view masked.customers",
        "create or replace view masked.customers as select * from public.customers",
        "select mask.unprotect('attic.z', 'a')",
        "delete from mask.policy",
        "alter table mask.policy disable trigger all",
    ] {
        let error = owner.batch_execute(statement).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
    // Another table that gets the number of a dropped one has none of its policies, and the view is gone.
    owner.batch_execute("drop table public.orders, public.customers").unwrap();
    let left =
        "select count(*) from mask.policies where column_name in ('ssn', 'email') or masked_view is not null";
    assert_eq!(admin.query_one(left, &[]).unwrap().get::<_, i64>(0), 0);
    let error = shop.person("sam", &["support"]).simple_query("select * from masked.customers").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));
}

#[test]
fn what_fails_or_is_undone_leaves_policies_and_views_as_they_were() {
    let (shop, mut owner) = owned();
    let mut support = shop.person("eve", &[]);
    let before = iban(&mut support);
    for undo in ["rollback", "rollback to s; commit", "commit"] {
        owner.batch_execute("begin; savepoint s; alter table public.customers rename iban to bank; alter table public.customers drop column ssn")
            .unwrap();
        if undo == "commit" {
            owner.batch_execute("select 1/0").unwrap_err();
        }
        owner.batch_execute(undo).unwrap();
        assert_eq!(iban(&mut support), before, "{undo}");
    }
    // A statement in an exception block is undone alone.
    owner
        .batch_execute(
            "do $$ begin
                 begin alter table public.customers drop column ssn; raise exception 'no'; exception when others then null; end;
                 alter table public.customers add column late text;
             end $$",
        )
        .unwrap();
    let columns: String = shop
        .admin()
        .query_one("select string_agg(attname, ',' order by attnum) from pg_attribute where attrelid = 'masked.customers'::regclass", &[])
        .unwrap()
        .get(0);
    assert_eq!(columns, "id,name,email,iban,ssn,date_of_birth,late");
}

#[test]
fn statements_that_change_what_masks_are_on_record() {
    let (shop, mut owner) = owned();
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "select mask.protect_matching('public', 'date_of_birth', 'null_value');
             select mask.protect('public.customers', 'iban', 'hash', for_groups => array['partner']);
             select mask.generate_views('public')",
        )
        .unwrap();
    owner.batch_execute("alter table public.customers rename date_of_birth to day").unwrap();
    owner.batch_execute("alter table public.customers alter iban type int using 1").unwrap();
    shop::sync(&mut admin);
    let recorded: Vec<String> = admin
        .query(
            "select detail::jsonb ->> 'action' || ' ' || object from audit.events where event = 'policy' order by seq",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    for expected in [
        "protect_matching public",
        "generate_views public",
        "kept public.customers.day",
        "shows_nothing public.customers.iban",
    ] {
        assert!(recorded.iter().any(|event| event == expected), "{expected}: {recorded:#?}");
    }
    let groups = "select count(*) from audit.events where event = 'policy' and detail::jsonb -> 'for_groups' = '[\"partner\"]'";
    assert_eq!(admin.query_one(groups, &[]).unwrap().get::<_, i64>(0), 1);
}

#[test]
fn an_aggregate_view_tells_people_of_groups_and_of_nobody() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create table public.pay (team text, salary numeric);
             insert into public.pay select 'big', 100 from generate_series(1, 20);
             insert into public.pay select 'mid', 200 from generate_series(1, 6);
             insert into public.pay values ('boss', 9000);
             select mask.protect('public.pay', 'salary', 'null_value');
             select mask.generate_aggregate_view('public.pay', '{team}', '{count, avg(salary)}');
             grant select on masked.pay_groups to readonly",
        )
        .unwrap();
    let mut person = shop.person("ana", &[]);
    for probe in [
        "select * from masked.pay_groups where team = 'boss'",
        "select * from masked.pay_groups where team = 'mid'",
        "select * from masked.pay_groups where count < 5",
        "select * from masked.pay_groups where avg_salary > 8000",
    ] {
        assert!(person.query(probe, &[]).unwrap().is_empty(), "{probe}");
    }
    let rows = person
        .query(
            "select coalesce(team, '?') || ' ' || count || ' ' || others from masked.pay_groups order by 1",
            &[],
        )
        .unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, ["? 7 true", "big 20 false"], "the hidden one is not what is missing");
    let error = person.simple_query("select * from public.pay").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[test]
fn a_view_with_policies_for_groups_fails_without_the_library() {
    let shop = shop::open("identify");
    shop.admin()
        .batch_execute(
            "select mask.protect('public.customers', 'ssn', 'null_value', for_groups => array['partner'])",
        )
        .unwrap();
    shop.cluster.add_conf("shared_preload_libraries = ''");
    shop.cluster.restart();
    let mut admin = shop.admin();
    assert_refused(
        admin.simple_query("select ssn from masked.customers"),
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
}

#[test]
fn the_extension_can_go_with_its_views() {
    let shop = shop::open("observe");
    let mut admin = shop.admin();
    admin
        .batch_execute("select mask.generate_aggregate_view('public.orders', '{customer_id}', '{count}')")
        .unwrap();
    shop.cluster.add_conf("pg_custodian.maintenance = on");
    shop.cluster.restart();
    let mut admin = shop.admin();
    // The ledger writer locks some of what goes, in an order of its own.
    wait_for("the extension to go", || match admin.batch_execute("drop extension pg_custodian cascade") {
        Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => false,
        dropped => {
            dropped.unwrap();
            true
        }
    });
    let left = "select count(*) from pg_class where relnamespace = to_regnamespace('masked')";
    assert_eq!(admin.query_one(left, &[]).unwrap().get::<_, i64>(0), 0);
}
