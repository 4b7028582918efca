//! Ways around access that need more than a statement: objects of others, other servers, other roles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify};
use harness::{custodian, refusal};
use postgres::Client;
use postgres::error::SqlState;

fn governed() -> (Shop, Client) {
    let shop = shop::open_on(custodian().conf("max_prepared_transactions = 4"), "govern");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create role owner; create role colleague login;
             create table public.sales (id int primary key, note text); insert into public.sales values (1, 'secret');
             create schema theirs authorization owner; grant usage on schema theirs to readonly, colleague;
             grant select on public.sales to owner, colleague, readonly",
        )
        .unwrap();
    (shop, admin)
}

fn denied(client: &mut Client, statement: &str) {
    let told = refusal(client.simple_query(statement));
    assert_eq!(told.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {told:?}");
    let _ = client.simple_query("rollback");
}

#[test]
fn views_of_others_are_judged_as_views_and_as_what_an_enrolled_owner_may_see() {
    let (shop, mut admin) = governed();
    admin
        .batch_execute(
            "set role owner; create view theirs.shown as select * from public.sales;
             create view theirs.checked with (security_barrier) as select * from theirs.shown;
             grant select on theirs.shown, theirs.checked to readonly; reset role",
        )
        .unwrap();
    let mut alice = shop.person("alice", &[]);
    for view in ["theirs.shown", "theirs.checked"] {
        denied(&mut alice, &format!("select * from {view}"));
        denied(&mut alice, &format!("select (select note from {view} limit 1)"));
    }
    // A grant on the view is enough while nobody governs its owner, and is none on the table.
    admin
        .batch_execute("select access.grant_access('alice', '{select}', 'TABLE theirs.shown', '1 hour', 'x')")
        .unwrap();
    alice.simple_query("select * from theirs.shown").unwrap();
    denied(&mut alice, "select * from public.sales");
    denied(&mut alice, "select * from theirs.checked");
    denied(&mut alice, "copy (select * from theirs.shown) to stdout");
    // Once the owner is governed, the view lends nothing any more.
    admin.batch_execute("select custodian.enroll('owner', 'govern')").unwrap();
    denied(&mut alice, "select * from theirs.shown");
}

#[test]
fn foreign_tables_need_their_own_grant_and_are_not_read_by_anothers() {
    let (shop, mut admin) = governed();
    let back =
        format!("host '{}', port '{}', dbname 'shop'", shop.cluster.socket().display(), shop.cluster.port());
    admin
        .batch_execute(&format!(
            "create extension postgres_fdw; create server loopback foreign data wrapper postgres_fdw options ({back});
             create user mapping for readonly server loopback options (user 'colleague', password_required 'false');
             create user mapping for colleague server loopback options (user 'colleague', password_required 'false');
             create foreign table public.mirror (id int, note text) server loopback options (table_name 'sales');
             grant select on public.mirror to readonly;
             select access.grant_access('alice', '{{select}}', 'TABLE public.sales', '1 hour', 'x', rows => 'id = 2')"
        ))
        .unwrap();
    let mut alice = shop.person("alice", &[]);
    denied(&mut alice, "select * from public.mirror");
    denied(&mut alice, "create temp view m as select * from public.mirror; select * from m");
    denied(&mut alice, "create foreign table pg_temp.mine (id int) server loopback");
    admin
        .batch_execute(
            "select access.grant_access('alice', '{select}', 'TABLE public.mirror', '1 hour', 'x')",
        )
        .unwrap();
    let rows = alice.query("select * from public.mirror", &[]).unwrap();
    assert_eq!(
        rows.len(),
        1,
        "what the mapped role may read there is that role's: a grant on the foreign table is all of it"
    );
    assert_eq!(alice.query("select * from public.sales", &[]).unwrap().len(), 0);
    // The role behind it is enrolled as well: nobody is identified there.
    admin.batch_execute("select custodian.enroll('colleague', 'identify')").unwrap();
    assert!(alice.simple_query("select * from public.mirror").is_err());
    let mut fresh = shop.person("alice", &[]);
    assert!(fresh.simple_query("select * from public.mirror").is_err());
}

#[test]
fn no_change_of_role_ends_what_the_login_is_under() {
    let (shop, mut admin) = governed();
    admin.batch_execute("grant colleague to readonly").unwrap();
    let mut alice = shop.person("alice", &[]);
    for way in [
        "set role colleague",
        "set local role colleague",
        "set role none",
        "reset role",
        "set session authorization default",
        "reset session authorization",
        "select set_config('role', 'colleague', false)",
        "do $$ begin set local role colleague; perform 1 from public.sales; end $$",
        "reset all",
        "discard all",
    ] {
        let told = refusal(alice.simple_query(&format!("begin; {way}; select * from public.sales")));
        // DISCARD ALL is not for transactions; it ends the identity, as RESET ALL does.
        let codes = [
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::ACTIVE_SQL_TRANSACTION,
        ];
        assert!(codes.contains(told.code()), "{way}: {told:?}");
        let _ = alice.simple_query("rollback; reset role");
        let _ = alice.simple_query("discard all");
        identify(&mut alice, &shop.issuer.person("alice", &[])).unwrap();
    }
    for way in
        ["set session authorization colleague", "set session authorization postgres", "set role postgres"]
    {
        denied(&mut alice, way);
    }
    // A role that has none of it, enrolled: the stricter of the two holds.
    admin.batch_execute("select custodian.enroll('colleague', 'observe')").unwrap();
    denied(&mut alice, "set role colleague; select * from public.sales");
}

#[test]
fn grants_of_odd_lengths_are_refused_and_overlapping_ones_end_each_by_itself() {
    let (shop, mut admin) = governed();
    for (duration, start) in [
        ("-1 hour", None),
        ("0", None),
        ("31 days", None),
        ("1000 years", None),
        ("178000000 years", None),
        ("1 month 1 day", None),
        ("-1 month 40 days", Some("now() - interval '1 day'")),
        ("1 hour", Some("now() - interval '2 hours'")),
        ("1 hour", Some("'infinity'")),
        ("1 hour", Some("'-infinity'")),
        ("1 hour", Some("now() + interval '5 years'")),
    ] {
        let start = start.map(|start| format!(", starts_at => {start}")).unwrap_or_default();
        let call = format!(
            "select access.grant_access('alice', '{{select}}', 'TABLE public.sales', '{duration}', 'x'{start})"
        );
        let told = refusal(admin.simple_query(&call));
        assert_eq!(told.code(), &SqlState::INVALID_PARAMETER_VALUE, "{call}: {told:?}");
        assert!(told.hint().is_some(), "{call}: {told:?}");
    }
    assert_eq!(admin.query_one("select count(*) from access.grants", &[]).unwrap().get::<_, i64>(0), 0);
    let mut alice = shop.person("alice", &[]);
    let grants: Vec<i64> = ["1 hour", "2 hours", "1 hour"]
        .iter()
        .map(|duration| {
            let call = format!(
                "select access.grant_access('alice', '{{select}}', 'TABLE public.sales', '{duration}', 'x')"
            );
            admin.query_one(&call, &[]).unwrap().get(0)
        })
        .collect();
    for grant in &grants {
        alice.simple_query("select * from public.sales").unwrap();
        admin.execute("select access.revoke_access($1, 'x')", &[grant]).unwrap();
    }
    denied(&mut alice, "select * from public.sales");
}
