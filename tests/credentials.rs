//! Dynamic credentials: logins of one person and one grant, what they may do, and that they go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify, sync};
use harness::{assert_refused, custodian, refusal, text, wait_for};
use postgres::Client;
use postgres::error::{DbError, SqlState};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;
const NOBODY: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
const NOT_NOW: SqlState = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

const ORDERS: &str = "select count(*)::text from public.orders";

/// What access.issue_credential() gave.
#[derive(Debug, Clone)]
struct Credential {
    role: String,
    password: String,
}

impl Credential {
    fn try_login(&self, shop: &Shop, database: &str) -> Result<Client, postgres::Error> {
        shop.cluster.try_login(&self.role, &self.password, database, "")
    }

    fn login(&self, shop: &Shop) -> Client {
        self.try_login(shop, "shop").unwrap()
    }

    fn exists(&self, admin: &mut Client) -> bool {
        admin
            .query_one("select exists (select from pg_roles where rolname = $1)", &[&self.role])
            .unwrap()
            .get(0)
    }

    fn is_gone(&self, shop: &Shop) {
        let mut admin = shop.admin();
        wait_for("the role's end", || !self.exists(&mut admin));
    }
}

/// A grant, given by the superuser; `terms` are the arguments from the privileges on.
fn grant(shop: &Shop, user: &str, terms: &str) -> i64 {
    let give = format!("select access.grant_access('{user}', {terms})");
    shop.admin().query_one(&give, &[]).unwrap().get(0)
}

fn issue(client: &mut Client, grant: i64) -> Result<Credential, postgres::Error> {
    let row = client.query_one("select role, password from access.issue_credential($1)", &[&grant])?;
    Ok(Credential { role: row.get(0), password: row.get(1) })
}

/// Somebody's credential for a grant of his, asked for by the superuser: all that the grant says.
fn issued(shop: &Shop, user: &str, terms: &str) -> (i64, Credential) {
    let grant = grant(shop, user, terms);
    (grant, issue(&mut shop.admin(), grant).unwrap())
}

fn revoke(shop: &Shop, grant: i64) {
    shop.admin().execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
}

/// What the ledger says of credentials: action and detail.
fn events(shop: &Shop) -> Vec<(String, Value)> {
    let mut admin = shop.admin();
    sync(&mut admin);
    let rows = admin
        .query(
            "select detail->>'action', detail from audit.events where event = 'credential' order by seq",
            &[],
        )
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn actions(shop: &Shop) -> Vec<String> {
    events(shop).into_iter().map(|(action, _)| action).collect()
}

/// Why a credential ended.
fn reason(shop: &Shop, grant: i64) -> Option<String> {
    let query =
        format!("select end_reason from access.credentials where grant_id = {grant} order by id limit 1");
    text(&mut shop.admin(), &query)
}

#[test]
fn a_session_of_a_credential_is_its_persons_without_a_token() {
    let shop = shop::open("govern");
    let mut alice = shop.person("alice", &["support"]);
    let id = grant(&shop, "alice", "array['select'], 'TABLE public.orders', '1 hour', 'x'");
    let row = alice
        .query_one(
            "select role, password, valid_until = (select ends_at from access.my_grants where id = $1)
             from access.issue_credential($1)",
            &[&id],
        )
        .unwrap();
    let own = Credential { role: row.get(0), password: row.get(1) };
    assert!(row.get::<_, bool>(2), "the end is the grant's");
    assert!(own.role.starts_with("custodian_alice_"), "{}", own.role);

    let mut session = own.login(&shop);
    assert_eq!(text(&mut session, ORDERS).as_deref(), Some("40"));
    let me = "select w.user_id || ' ' || w.token_id || ' ' || w.groups::text || ' ' || w.email from custodian.whoami() as w";
    assert_eq!(text(&mut session, me).as_deref(), Some("alice credential:1 {support} alice@shop.example"));
    let record = shop.the_record("select count(*)::text from public.orders");
    assert_eq!((record.user(), record.grants), ("alice", 1));
    assert_eq!(record.session_role.as_deref(), Some(own.role.as_str()));
    let said = "select e.user_id || ' ' || (e.detail->>'grant') || ' ' || e.token_id from audit.events as e
                where e.event = 'identity' and e.detail->>'action' = 'credential'";
    assert_eq!(text(&mut shop.admin(), said), Some(format!("alice {id} credential:1")));
    let role = "select (not rolsuper and not rolcreaterole and not rolcreatedb and not rolreplication
                    and not rolbypassrls and rolcanlogin and rolpassword like 'SCRAM-SHA-256$%'
                    and not exists (select from pg_auth_members as m where r.oid in (m.member, m.roleid)))::text
                from pg_authid as r where rolname like 'custodian_alice_%'";
    assert_eq!(text(&mut shop.admin(), role).as_deref(), Some("true"));
    let listed =
        "select concat_ws(' ', user_id, grant_id, issued_by, issued_by_role, live) from access.credentials";
    assert_eq!(text(&mut shop.admin(), listed), Some(format!("alice {id} alice readonly t")));
}

#[test]
fn it_has_the_privileges_of_its_grant_and_no_other() {
    let shop = shop::open("govern");
    shop.admin()
        .batch_execute(
            "create schema sales;
             create table sales.notes (id serial primary key, note text);
             create function queries.two() returns int language sql as 'select 2';
             revoke execute on function queries.two() from public;",
        )
        .unwrap();
    let statements = [
        ORDERS,
        "select count(amount)::text from public.orders",
        "select count(customer_id)::text from public.orders",
        "insert into public.orders values (1000 + random() * 1e9, 1, 5)",
        "update public.orders set amount = 7 where id = 1",
        "delete from public.orders where id = 39",
        "truncate public.orders",
        "insert into sales.notes (note) values ('x')",
        "create table sales.more_notes (id int)",
        "select queries.two()",
        "select count(*) from public.customers",
    ];
    // Which of them each grant permits.
    for (terms, permitted) in [
        ("array['select'], 'TABLE public.orders', '1 h', 'x'", &[0, 1, 2][..]),
        ("array['select'], 'TABLE public.orders', '1 h', 'x', rows => 'customer_id = 1'", &[0, 1, 2]),
        ("array['select'], 'COLUMN public.orders.amount', '1 h', 'x'", &[0, 1]),
        ("array['insert'], 'TABLE public.orders', '1 h', 'x'", &[3]),
        ("array['select', 'update'], 'TABLE public.orders', '1 h', 'x'", &[0, 1, 2, 4]),
        ("array['select', 'delete'], 'TABLE public.orders', '1 h', 'x'", &[0, 1, 2, 5]),
        ("array['insert', 'ddl'], 'SCHEMA sales', '1 h', 'x'", &[7, 8]),
        ("array['execute'], 'QUERY two', '1 h', 'x'", &[9]),
        ("array['select'], 'DATABASE', '1 h', 'x'", &[0, 1, 2, 10]),
        ("array['reveal'], 'TABLE public.orders', '1 h', 'x'", &[]),
    ] {
        let id = grant(&shop, "alice", terms);
        let made = issue(&mut shop.admin(), id);
        if permitted.is_empty() {
            assert_refused(made, &DENIED);
            continue;
        }
        let mut session = made.unwrap().login(&shop);
        for (number, statement) in statements.iter().enumerate() {
            session.batch_execute("begin").unwrap();
            let done = session.simple_query(statement);
            match permitted.contains(&number) {
                true => _ = done.unwrap_or_else(|error| panic!("{terms}: {statement}: {error:?}")),
                false => assert_eq!(refusal(done).code(), &DENIED, "{terms}: {statement}"),
            }
            session.batch_execute("rollback").unwrap();
        }
        if terms.contains("rows") {
            assert_eq!(
                text(&mut session, ORDERS).as_deref(),
                Some("10"),
                "the other grants are not this one's"
            );
        }
    }
}

#[test]
fn it_has_no_more_than_the_role_on_which_it_was_asked_for() {
    let shop = shop::open("govern");
    let id = grant(&shop, "alice", "array['insert'], 'TABLE public.orders', '1 h', 'x'");
    let mut alice = shop.person("alice", &[]);
    let error = assert_refused(issue(&mut alice, id), &DENIED);
    assert!(error.message().contains("\"readonly\" has none of the privileges"), "{error:?}");
    let both = grant(&shop, "alice", "array['select', 'insert'], 'DATABASE', '1 h', 'x'");
    let mut session = issue(&mut alice, both).unwrap().login(&shop);
    assert_eq!(text(&mut session, ORDERS).as_deref(), Some("40"));
    let error = refusal(session.simple_query("insert into public.customers values (9, 'x', 'x')"));
    assert_eq!(error.code(), &DENIED, "{error:?}");
}

#[test]
fn it_is_masked_as_the_person_is() {
    let shop = shop::open("govern");
    let email = "select email from masked.customers where id = 1";
    for (user, groups, shown) in
        [("alice", &["support"][..], "ada.winter@example.com"), ("bob", &[], "a***@example.com")]
    {
        let id = grant(&shop, user, "array['select'], 'TABLE public.customers', '1 h', 'x'");
        let mut person = shop.person(user, groups);
        let plain = text(&mut person, email);
        let mut session = issue(&mut person, id).unwrap().login(&shop);
        assert_eq!(text(&mut session, email), plain, "{user}");
        if user == "alice" {
            assert_eq!(plain.as_deref(), Some(shown));
        } else {
            assert_ne!(plain.as_deref(), Some("ada.winter@example.com"));
        }
        assert_eq!(text(&mut session, "select ssn from masked.customers where id = 1"), None);
    }
}

#[test]
fn only_its_person_and_administrators_have_one() {
    let shop = shop::open("govern");
    let hers = grant(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let theirs = grant(&shop, "x", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut admin = shop.admin();
    let group: i64 = admin
        .query_one(
            "select access.grant_access(null, array['select'], 'TABLE public.orders', '1 h', 'x', group_name => 'oncall')",
            &[],
        )
        .unwrap()
        .get(0);
    let later = grant(
        &shop,
        "alice",
        "array['select'], 'TABLE public.orders', '1 h', 'x', starts_at => now() + interval '1 h'",
    );
    let (mut alice, mut bob) = (shop.person("alice", &[]), shop.person("bob", &["oncall"]));
    for id in [theirs, group, 4711] {
        assert_refused(issue(&mut alice, id), &DENIED);
    }
    assert_refused(issue(&mut bob, hers), &DENIED);
    assert_refused(issue(&mut shop.readonly(), hers), &NOBODY);
    assert_refused(issue(&mut admin, group), &NOT_NOW);
    assert_refused(issue(&mut alice, later), &NOT_NOW);
    assert_refused(issue(&mut admin, 4711), &SqlState::UNDEFINED_OBJECT);
    assert_eq!(refusal(alice.simple_query("select access.issue_credential(null)")).code().code(), "22004");
    let reading = "begin read only; select access.issue_credential(1)";
    assert_eq!(refusal(alice.simple_query(reading)).code().code(), "25006");
    alice.batch_execute("rollback").unwrap();
    // The member of the group who asks, and he alone.
    let mut session = issue(&mut bob, group).unwrap().login(&shop);
    assert_eq!(text(&mut session, "select custodian.user_id()").as_deref(), Some("bob"));
    // A credential makes none.
    let hers_now = issue(&mut alice, hers).unwrap();
    assert_refused(issue(&mut hers_now.login(&shop), hers), &DENIED);
    // An administrator who is no superuser gives no more than he has.
    admin.batch_execute("create role dba login password 'x'; grant custodian_admin to dba").unwrap();
    let mut dba = shop.cluster.login("dba", "x", "shop");
    assert_refused(issue(&mut dba, hers), &DENIED);
    admin.batch_execute("grant select on public.orders to dba").unwrap();
    let mut session = issue(&mut dba, hers).unwrap().login(&shop);
    assert_eq!(text(&mut session, "select custodian.user_id()").as_deref(), Some("alice"));
    // There is one at a time.
    hers_now.is_gone(&shop);
    assert_eq!(reason(&shop, hers).as_deref(), Some("replaced"));
    shop.admin().execute("select custodian.revoke_person('alice', 'left')", &[]).unwrap();
    assert_refused(issue(&mut dba, hers), &NOBODY);
    revoke(&shop, theirs);
    assert_refused(issue(&mut dba, theirs), &NOT_NOW);
}

#[test]
fn nobody_else_is_identified_in_its_sessions() {
    let shop = shop::open("govern");
    let (_, own) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut session = own.login(&shop);
    for user in ["bob", "alice"] {
        assert_refused(identify(&mut session, &shop.issuer.person(user, &[])), &DENIED);
    }
    assert_refused(session.simple_query("select custodian.clear_identity()"), &DENIED);
    let me = |session: &mut Client| text(session, "select custodian.user_id()");
    for hand_on in
        ["discard all", "reset all", "begin; select 1; rollback", "reset role", "reset session authorization"]
    {
        session.batch_execute(hand_on).unwrap();
        assert_eq!(me(&mut session).as_deref(), Some("alice"), "{hand_on}");
        assert_eq!(text(&mut session, ORDERS).as_deref(), Some("40"), "{hand_on}");
    }
    let token = format!("-c pg_custodian.token={}", shop.issuer.person("bob", &[]));
    let mut session = shop.cluster.try_login(&own.role, &own.password, "shop", &token).unwrap();
    assert_eq!(me(&mut session).as_deref(), Some("alice"));
    let denied = "select count(*)::text from audit.events where event = 'identity' and outcome = 'denied'
                  and detail->>'reason' = 'credential'";
    let mut admin = shop.admin();
    sync(&mut admin);
    assert_eq!(text(&mut admin, denied).as_deref(), Some("3"));
    // Becoming it does not make anybody its person.
    let become_it = format!("set session authorization {}", own.role);
    admin.batch_execute(&become_it).unwrap();
    assert_refused(admin.simple_query(ORDERS), &NOBODY);
    let mut admin = shop.admin();
    admin.batch_execute(&format!("set role {}", own.role)).unwrap();
    assert_refused(admin.simple_query(ORDERS), &NOBODY);
}

#[test]
fn it_cannot_change_itself_nor_give_anything_to_others() {
    let shop = shop::open("govern");
    shop.admin().batch_execute("alter system set max_prepared_transactions = 5").unwrap();
    shop.cluster.restart();
    let all = "array['select', 'insert', 'update', 'delete', 'truncate', 'execute', 'ddl', 'reveal', 'export'], 'DATABASE', '1 h', 'x'";
    let (id, own) = issued(&shop, "alice", all);
    let state = format!(
        "select (rolpassword, rolvaliduntil, rolname, rolconnlimit)::text || coalesce(s.setconfig::text, '')
         from pg_authid as r left join pg_db_role_setting as s on s.setrole = r.oid where rolname = '{}'",
        own.role
    );
    let before = text(&mut shop.admin(), &state);
    let mut session = own.login(&shop);
    session.batch_execute("create table public.own (id int)").unwrap();
    let role = &own.role;
    for statement in [
        format!("alter role {role} password 'mine'"),
        "alter role current_user password 'mine'".into(),
        format!("alter role {role} valid until 'infinity'"),
        format!("alter role {role} set pg_custodian.credential = ''"),
        format!("alter role {role} reset all"),
        format!("alter role {role} in database shop set search_path = x"),
        format!("alter role {role} rename to app"),
        format!("alter role {role} superuser"),
        "create role other login".into(),
        "grant select on public.own to readonly".into(),
        "grant select on public.own to public".into(),
        "alter default privileges grant select on tables to public".into(),
        format!("grant {role} to readonly"),
        format!("reassign owned by {role} to readonly"),
        format!("drop owned by {role}"),
        format!("drop role {role}"),
        "alter table public.own owner to readonly".into(),
        "do $$ begin execute 'grant select on public.own to public'; end $$".into(),
        "set role readonly".into(),
        "set role custodian_admin".into(),
        "set session authorization readonly".into(),
        "set pg_custodian.credential = ''".into(),
        "begin; create table public.prepared (id int); prepare transaction 'later'".into(),
        "select access.request_access(array['select'], 'DATABASE', '1 h', 'x')".into(),
        "select access.approve(1, 'x')".into(),
        "select access.break_glass('I', 'x')".into(),
    ] {
        let error = refusal(session.simple_query(&statement));
        assert_eq!(error.code(), &DENIED, "{statement}: {error:?}");
        session.batch_execute("rollback").unwrap();
    }
    assert_eq!(text(&mut shop.admin(), &state), before);
    let granted = "select coalesce(relacl::text, '') from pg_class where relname = 'own'";
    assert_eq!(text(&mut shop.admin(), granted).as_deref(), Some(""));
    // Where it was marked elsewhere it is refused; here its mark is not its own to take off.
    let without = "-c pg_custodian.credential=";
    assert!(shop.cluster.try_login(role, &own.password, "shop", without).is_err());
    revoke(&shop, id);
    own.is_gone(&shop);
    let owner = "select pg_get_userbyid(relowner)::text from pg_class where relname = 'own'";
    assert_eq!(text(&mut shop.admin(), owner).as_deref(), Some("custodian_heir"));
}

#[test]
fn a_revocation_ends_its_sessions_and_its_role_and_each_step_is_on_record() {
    let shop = shop::open("govern");
    let (id, own) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut idle = own.login(&shop);
    text(&mut idle, ORDERS).unwrap();
    let mut never = own.login(&shop);
    let mut busy = own.login(&shop);
    let asleep = std::thread::spawn(move || {
        let started = Instant::now();
        (busy.simple_query("select pg_sleep(60)").is_err(), started.elapsed())
    });
    let mut admin = shop.admin();
    wait_for("the sleeper", || {
        text(&mut admin, "select count(*)::text from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()")
            .as_deref()
            == Some("1")
    });
    let revoked = Instant::now();
    revoke(&shop, id);
    let (failed, _) = asleep.join().unwrap();
    assert!(failed && revoked.elapsed() < Duration::from_secs(10), "{:?}", revoked.elapsed());
    own.is_gone(&shop);
    assert!(idle.simple_query("select 1").is_err() && never.simple_query("select 1").is_err());
    assert!(own.try_login(&shop, "shop").is_err());
    assert_eq!(reason(&shop, id).as_deref(), Some("revoked"));
    assert_eq!(actions(&shop), ["issue", "end", "terminate", "remove"]);
    let (_, ended) = events(&shop).remove(1);
    assert_eq!((&ended["grant"], &ended["user_id"]), (&json!(id), &json!("alice")));
}

#[test]
fn it_is_refused_at_once_although_its_role_is_still_there() {
    let shop = shop::open("govern");
    let (id, own) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut session = own.login(&shop);
    text(&mut session, ORDERS).unwrap();
    session.batch_execute("prepare p as select count(*)::text from public.orders").unwrap();
    // Nothing is removed while this is held.
    let mut holder = shop.admin();
    holder
        .batch_execute("begin; lock table access.issued_credential in share update exclusive mode")
        .unwrap();
    let mut steward = shop.admin();
    wait_for("the steward", || {
        text(&mut steward, "select count(*)::text from pg_stat_activity where backend_type like '%steward%'")
            .as_deref()
            == Some("1")
    });
    revoke(&shop, id);
    // Whether the steward or the session itself is first, nothing runs any more.
    for statement in ["execute p", ORDERS, "select now()"] {
        assert!(session.simple_query(statement).is_err(), "{statement}");
    }
    let error = refusal(own.try_login(&shop, "shop"));
    assert_eq!(error.code(), &NOBODY, "{error:?}");
    assert!(error.message().contains("has ended"), "{error:?}");
    assert!(own.exists(&mut steward), "it is still there");
    holder.batch_execute("rollback").unwrap();
    own.is_gone(&shop);
    assert!(actions(&shop).contains(&"refuse".to_string()));
}

#[test]
fn statements_are_refused_by_their_own_session_when_the_grant_has_ended() {
    let shop = shop::open("govern");
    let (id, own) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut session = own.login(&shop);
    text(&mut session, ORDERS).unwrap();
    // Without a steward: it is stopped, and so is whoever would start another.
    let mut admin = shop.admin();
    let workers = "select pid, coalesce(wait_event_type = 'Extension', false) from pg_stat_activity
                   where backend_type in ('pg_custodian steward', 'pg_custodian launcher')";
    let mut found = Vec::new();
    wait_for("both of them", || {
        found = admin.query(workers, &[]).unwrap();
        found.len() == 2
    });
    let pids: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
    let signal = |signal: &str| {
        for pid in &pids {
            harness::command::plain(Path::new("kill")).args([signal, &pid.to_string()]).succeed();
        }
    };
    // Asleep, lest they hold a lock for ever.
    wait_for("their sleep", || {
        signal("-STOP");
        let asleep = admin.query(workers, &[]).unwrap().iter().all(|row| row.get(1));
        if !asleep {
            signal("-CONT");
        }
        asleep
    });
    revoke(&shop, id);
    // What needs no grant, too.
    for statement in [ORDERS, "select now()", "select count(*) from pg_settings"] {
        let error = assert_refused(session.simple_query(statement), &NOBODY);
        assert!(error.message().contains("has ended"), "{statement}: {error:?}");
    }
    assert_eq!(refusal(own.try_login(&shop, "shop")).code(), &NOBODY);
    signal("-CONT");
    own.is_gone(&shop);
}

#[test]
fn it_ends_with_the_end_of_its_grant_and_while_the_server_is_down() {
    let shop = shop::open("govern");
    let (_, short) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '6 seconds', 'x'");
    let mut session = short.login(&shop);
    text(&mut session, ORDERS).unwrap();
    short.is_gone(&shop);
    assert!(session.simple_query(ORDERS).is_err());
    assert_eq!(reason(&shop, 1).as_deref(), Some("expired"));
    assert!(short.try_login(&shop, "shop").is_err());
    // It begins so late that it surely ends while nobody is there.
    let (_, other) = issued(&shop, "bob", "array['select'], 'TABLE public.orders', '5 seconds', 'x'");
    shop.cluster.kill_postmaster();
    std::thread::sleep(Duration::from_secs(5));
    shop.cluster.start();
    other.is_gone(&shop);
    assert_eq!(reason(&shop, 2).as_deref(), Some("expired"));
}

#[test]
fn it_ends_with_its_person_its_incident_and_its_own_revocation() {
    let shop = shop::open_on(custodian().conf("pg_custodian.break_glass_groups = 'sre'"), "govern");
    let terms = "array['select'], 'TABLE public.orders', '1 h', 'x'";
    let (first, of_alice) = issued(&shop, "alice", terms);
    let mut alice = of_alice.login(&shop);
    text(&mut alice, ORDERS).unwrap();
    shop.admin().execute("select custodian.revoke_person('alice', 'left')", &[]).unwrap();
    of_alice.is_gone(&shop);
    assert!(alice.simple_query(ORDERS).is_err() && of_alice.try_login(&shop, "shop").is_err());
    assert_eq!(reason(&shop, first).as_deref(), Some("person"));

    let (second, of_bob) = issued(&shop, "bob", terms);
    let number = "select id::text from access.credentials where user_id = 'bob'";
    let token = format!("credential:{}", text(&mut shop.admin(), number).unwrap());
    shop.admin()
        .execute("select custodian.revoke_token($1, $2)", &[&harness::token::ISSUER, &token])
        .unwrap();
    of_bob.is_gone(&shop);
    assert_eq!(reason(&shop, second).as_deref(), Some("credential revoked"));

    shop.admin().execute("select access.open_incident('INC-7', array['carol'])", &[]).unwrap();
    let mut carol = shop.person("carol", &["sre"]);
    let glass: i64 = carol.query_one("select access.break_glass('INC-7', 'x')", &[]).unwrap().get(0);
    let of_carol = issue(&mut carol, glass).unwrap();
    text(&mut of_carol.login(&shop), ORDERS).unwrap();
    shop.admin().execute("select access.close_incident('INC-7')", &[]).unwrap();
    of_carol.is_gone(&shop);
    assert_eq!(reason(&shop, glass).as_deref(), Some("revoked"));
}

#[test]
fn another_password_another_way_in_and_another_database_are_none() {
    let shop = shop::open("govern");
    shop.cluster.create_database("annex");
    let terms = "array['select'], 'TABLE public.orders', '1 h', 'x'";
    let (id, own) = issued(&shop, "alice", terms);
    // With the extension and without it.
    for database in ["annex", "postgres", "template1"] {
        let error = refusal(own.try_login(&shop, database));
        assert_eq!(error.code(), &NOBODY, "{database}: {error:?}");
        assert!(error.message().contains("no credential of this database"), "{database}: {error:?}");
    }
    // pg_hba.conf trusts whoever comes by the socket.
    let program = shop.cluster.path_of("psql");
    let mut psql = harness::command::plain(&program);
    psql.args(["-X", "-h"]).arg(shop.cluster.socket());
    psql.args(["-p", &shop.cluster.port().to_string(), "-U", &own.role, "-d", "shop", "-c", "select 1"]);
    let said = psql.run();
    assert!(!said.success && said.stderr.contains("is used with its password only"), "{}", said.stderr);
    assert!(own.login(&shop).simple_query(ORDERS).is_ok());
    // Somebody who may alter roles takes it for himself.
    shop.admin().batch_execute("create role clerk createrole login").unwrap();
    let theft = format!("alter role {} password 'stolen'", own.role);
    shop.admin().batch_execute(&theft).unwrap();
    let stolen = Credential { password: "stolen".into(), ..own.clone() };
    let error = refusal(stolen.try_login(&shop, "shop"));
    // The steward may have been there before him: then PostgreSQL refuses him, since it knows no such role (any more, if
    // it went after the password was asked for), and no record is ours.
    let is_ours = |error: &DbError| {
        let is_late =
            error.message().contains("does not exist") || error.code() == &SqlState::INVALID_PASSWORD;
        assert!(error.code() == &NOBODY || is_late, "{error:?}");
        !is_late
    };
    if is_ours(&error) {
        assert!(error.message().contains("was altered"), "{error:?}");
    } else {
        own.is_gone(&shop);
    }
    // With the one by the socket.
    let mut recorded = 1 + usize::from(is_ours(&error));
    shop.admin().execute("select custodian.enroll('readonly', 'govern')", &[]).unwrap();
    own.is_gone(&shop);
    assert_eq!(reason(&shop, id).as_deref(), Some("altered"));
    // So are more attributes, another end, and a place among other roles.
    for change in ["createrole", "bypassrls", "valid until 'infinity'"] {
        let (id, own) = issued(&shop, "alice", terms);
        shop.admin().batch_execute(&format!("alter role {} {change}", own.role)).unwrap();
        let error = refusal(own.try_login(&shop, "shop"));
        if is_ours(&error) {
            recorded += 1;
        } else {
            own.is_gone(&shop);
        }
        revoke(&shop, id);
    }
    let (_, own) = issued(&shop, "alice", terms);
    shop.admin().batch_execute(&format!("grant custodian_admin to {}", own.role)).unwrap();
    let error = refusal(own.try_login(&shop, "shop"));
    if is_ours(&error) {
        recorded += 1;
    } else {
        own.is_gone(&shop);
    }
    assert!(actions(&shop).iter().filter(|action| *action == "refuse").count() >= recorded);
}

#[test]
fn nobody_lets_the_role_of_a_credential_go() {
    let shop = shop::open("govern");
    let (_, own) = issued(
        &shop,
        "alice",
        "array['select'], 'TABLE public.orders', '1 h', 'x', rows => 'customer_id = 1'",
    );
    for change in
        ["select custodian.enroll($1::regrole, 'observe')", "select custodian.unenroll($1::regrole)"]
    {
        let change = change.replace("$1", &format!("'{}'", own.role));
        shop.admin().batch_execute(&change).unwrap();
        assert_eq!(text(&mut own.login(&shop), ORDERS).as_deref(), Some("10"), "{change}");
    }
}

#[test]
fn roles_that_nobody_accounts_for_are_removed_and_no_others() {
    let shop = shop::open("govern");
    shop.cluster.create_database("annex");
    let terms = "array['select'], 'TABLE public.orders', '1 h', 'x'";
    let (_, lost) = issued(&shop, "alice", terms);
    let (_, kept) = issued(&shop, "bob", terms);
    let mut open = kept.login(&shop);
    let mut admin = shop.admin();
    let mark = |role: &str, place: &str| {
        format!("create role {role} login; alter role {role} set pg_custodian.credential = '{place}/{role}'")
    };
    let here = text(&mut admin, "select access.numbering()").unwrap();
    let server = here.split('.').next().unwrap();
    for (role, place) in [
        ("custodian_restored_01", "12345.5.1".to_string()),
        ("custodian_dropped_02", format!("{server}.4294967290.1")),
        ("custodian_reinstalled_03", here.clone()),
        // These are no orphans: another's name, no name of ours, another database's.
        ("app", here.clone()),
    ] {
        admin.batch_execute(&mark(role, &place)).unwrap();
    }
    admin.batch_execute("create role custodian_marked_04; alter role custodian_marked_04 set pg_custodian.credential = '1.1.1/other'").unwrap();
    admin.execute("delete from access.issued_credential where role_name = $1", &[&lost.role]).unwrap();
    lost.is_gone(&shop);
    let left = "select string_agg(rolname, ' ' order by rolname) from pg_roles
                where rolname ~ '^custodian_.*_0[0-9]$' or rolname = 'app'";
    wait_for("the orphans' end", || text(&mut admin, left).as_deref() == Some("app custodian_marked_04"));
    // The steward of the other database looks, too, and leaves what is this one's.
    shop.cluster.superuser("annex").execute("select custodian.enroll('readonly', 'observe')", &[]).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(kept.exists(&mut admin) && open.simple_query(ORDERS).is_ok(), "nor are its sessions ended");
    let removed = events(&shop).into_iter().filter(|(_, detail)| detail["issued_in"].is_string()).count();
    let elsewhere = {
        let mut annex = shop.cluster.superuser("annex");
        sync(&mut annex);
        text(&mut annex, "select count(*)::text from audit.events where event = 'credential' and detail->>'issued_in' <> ''").unwrap()
    };
    assert_eq!(removed + elsewhere.parse::<usize>().unwrap(), 4, "here {removed}, there {elsewhere}");
}

#[test]
fn a_crash_before_the_commit_leaves_nothing_behind() {
    let shop = shop::open("govern");
    let terms = "array['select'], 'TABLE public.orders', '1 h', 'x'";
    let id = grant(&shop, "alice", terms);
    let mut alice = shop.person("alice", &[]);
    alice.batch_execute("begin").unwrap();
    let half = issue(&mut alice, id).unwrap();
    let before = shop.admin();
    drop(before);
    shop.cluster.kill_postmaster();
    shop.cluster.start();
    assert!(!half.exists(&mut shop.admin()));
    assert_eq!(
        text(&mut shop.admin(), "select count(*)::text from access.credentials").as_deref(),
        Some("0")
    );
    assert!(half.try_login(&shop, "shop").is_err());
    // Nor does a rollback; and what was tried is on record.
    let mut alice = shop.person("alice", &[]);
    alice.batch_execute("begin").unwrap();
    let undone = issue(&mut alice, id).unwrap();
    alice.batch_execute("rollback").unwrap();
    assert!(!undone.exists(&mut shop.admin()));
    // An end that the server did not live to carry out.
    let own = issue(&mut alice, id).unwrap();
    let mut holder = shop.admin();
    holder
        .batch_execute("begin; lock table access.issued_credential in share update exclusive mode")
        .unwrap();
    revoke(&shop, id);
    shop.cluster.kill_postmaster();
    shop.cluster.start();
    own.is_gone(&shop);
    assert_eq!(actions(&shop).iter().filter(|action| *action == "issue").count(), 3);
}

/// Whether some file below a directory has this text in it.
fn holds(directory: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holds(&path, needle));
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn its_password_is_nowhere_but_in_the_answer() {
    let talkative = custodian()
        .preload(&["pg_custodian", "pg_stat_statements", "auto_explain"])
        .conf("log_statement = all")
        .conf("log_min_messages = debug2")
        .conf("log_duration = on")
        .conf("log_parameter_max_length = -1")
        .conf("debug_print_parse = on")
        .conf("debug_print_plan = on")
        .conf("auto_explain.log_min_duration = 0")
        .conf("auto_explain.log_nested_statements = on")
        .conf("auto_explain.log_verbose = on")
        .conf("pg_stat_statements.track = all")
        .conf("pg_stat_statements.track_utility = on");
    let shop = shop::open_on(talkative, "govern");
    shop.admin().batch_execute("create extension pg_stat_statements").unwrap();
    let id = grant(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut alice = shop.person("alice", &[]);
    let own = issue(&mut alice, id).unwrap();
    assert_eq!(own.password.len(), 43);
    let mut session = own.login(&shop);
    text(&mut session, ORDERS).unwrap();
    let mut admin = shop.admin();
    sync(&mut admin);
    let get_verifier = format!("select rolpassword from pg_authid where rolname = '{}'", own.role);
    let verifier = text(&mut admin, &get_verifier).unwrap();
    for seen in [
        "pg_stat_activity",
        "pg_stat_statements",
        "access.issued_credential",
        "audit.statements",
        "audit.events",
    ] {
        for secret in [&own.password, &verifier] {
            let query = format!(
                "select count(*) from {seen} as t where position($1 in t::text) > 0
                and t::text not like '%position(%'"
            );
            let found: i64 = admin.query_one(&query, &[secret]).unwrap().get(0);
            assert_eq!(found, 0, "{seen}");
        }
    }
    admin.batch_execute("checkpoint").unwrap();
    let log = shop.cluster.log();
    // The session that looks for the secrets has sent them; what stands before is the others'.
    let before = log.split("position($1 in").next().unwrap();
    assert!(!before.contains(&own.password) && before.contains("issue_credential"));
    let told = before.lines().filter(|line| line.contains(&verifier)).count();
    assert_eq!(told, 0, "the verifier is in the log");
    // The journal and the ledger of what was there before the search are files of the data directory.
    shop.cluster.stop();
    let found = holds(&shop.cluster.data(), own.password.as_bytes());
    let allowed = |path: &String| {
        path.contains("pg_custodian/")
            || path.contains("/base/")
            || path.contains("pg_wal")
            || path.contains("pg_stat")
    };
    assert!(found.iter().all(allowed), "{found:?}");
}

#[test]
fn what_it_leaves_behind_lends_nobody_any_right() {
    let shop = shop::open("govern");
    shop.admin().batch_execute("create schema work; grant usage on schema work to readonly").unwrap();
    let (id, own) =
        issued(&shop, "alice", "array['ddl', 'execute', 'select', 'insert'], 'SCHEMA work', '1 h', 'x'");
    let mut session = own.login(&shop);
    session
        .batch_execute(
            "create function work.loot() returns text language sql security definer
                 as 'select current_user::text || count(*)::text from public.customers';
             create table work.mine as select 1 as x;
             create view work.door as select * from public.customers",
        )
        .unwrap_or_else(|error| panic!("{error:?}"));
    session.batch_execute("create type work.mood as enum ('good')").unwrap();
    revoke(&shop, id);
    own.is_gone(&shop);
    let mut admin = shop.admin();
    let owners = "select string_agg(distinct pg_get_userbyid(o.owner), ' ') from (
        select relowner from pg_class where relnamespace = 'work'::regnamespace union all
        select proowner from pg_proc where pronamespace = 'work'::regnamespace union all
        select typowner from pg_type where typnamespace = 'work'::regnamespace) as o (owner)";
    assert_eq!(text(&mut admin, owners).as_deref(), Some("custodian_heir"));
    assert_eq!(
        refusal(admin.simple_query("select work.loot()")).code(),
        &DENIED,
        "not in the right of a superuser"
    );
    let removed = events(&shop).pop().unwrap();
    assert_eq!(removed.0, "remove");
    let handed = removed.1["reassigned"].to_string();
    for object in ["table work.mine", "view work.door", "function work.loot()", "type work.mood"] {
        assert!(handed.contains(object), "{object}: {handed}");
    }
    let heir = "select (not rolcanlogin and not rolsuper and not exists (select from pg_auth_members
        where r.oid in (member, roleid)))::text from pg_roles as r where rolname = 'custodian_heir'";
    assert_eq!(text(&mut admin, heir).as_deref(), Some("true"));
}

#[test]
fn somebody_who_holds_a_lock_delays_no_end() {
    let shop = shop::open("govern");
    let terms = "array['select'], 'TABLE public.orders', '1 h', 'x'";
    let (first, of_alice) = issued(&shop, "alice", terms);
    let (second, of_bob) = issued(&shop, "bob", terms);
    let mut sessions = [of_alice.login(&shop), of_bob.login(&shop)];
    // A second one for alice, never committed, holds the row of the first.
    let mut holder = shop.admin();
    holder.batch_execute("begin").unwrap();
    issue(&mut holder, first).unwrap();
    for id in [second] {
        revoke(&shop, id);
    }
    shop.admin().execute("select custodian.revoke_person('alice', 'left')", &[]).unwrap();
    let mut admin = shop.admin();
    let there = format!(
        "select count(*)::text from pg_stat_activity where usename in ('{}', '{}')",
        of_alice.role, of_bob.role
    );
    wait_for("the sessions' end", || text(&mut admin, &there).as_deref() == Some("0"));
    for session in &mut sessions {
        assert!(session.simple_query("select 1").is_err());
    }
    assert!(of_bob.exists(&mut admin), "it waits for the lock");
    holder.batch_execute("rollback").unwrap();
    of_alice.is_gone(&shop);
    of_bob.is_gone(&shop);
}

#[test]
fn a_role_that_is_something_elsewhere_is_tried_again_and_told_of() {
    let shop = shop::open("govern");
    shop.cluster.create_database("annex");
    let (id, own) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut annex = shop.cluster.superuser("annex");
    annex
        .batch_execute(&format!("create table public.t (); grant select on public.t to {}", own.role))
        .unwrap();
    revoke(&shop, id);
    wait_for("the failure", || {
        events(&shop).iter().any(|(action, detail)| action == "remove" && detail["message"].is_string())
    });
    assert_eq!(refusal(own.try_login(&shop, "shop")).code(), &NOBODY);
    annex.batch_execute("drop table public.t").unwrap();
    own.is_gone(&shop);
}

#[test]
fn dropping_the_extension_takes_the_credentials_with_it() {
    let shop = shop::open("govern");
    let (_, own) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let mut session = own.login(&shop);
    text(&mut session, ORDERS).unwrap();
    assert!(
        shop.admin().batch_execute("drop extension pg_custodian cascade").is_err(),
        "the ledger is in the way"
    );
    text(&mut session, ORDERS).unwrap();
    shop.cluster.add_conf("pg_custodian.maintenance = on");
    shop.admin().batch_execute("select pg_reload_conf()").unwrap();
    wait_for("maintenance", || {
        text(&mut shop.admin(), "show pg_custodian.maintenance").as_deref() == Some("on")
    });
    shop.admin().batch_execute("drop extension pg_custodian cascade").unwrap();
    assert!(!own.exists(&mut shop.admin()));
    assert!(session.simple_query(ORDERS).is_err());
}

#[test]
fn a_restored_dump_has_the_history_and_no_credential_in_force() {
    let shop = shop::open("govern");
    let (_, own) = issued(&shop, "alice", "array['select'], 'TABLE public.orders', '1 h', 'x'");
    let dumped = shop.cluster.program(&shop.cluster.path_of("pg_dump")).args(["-d", "shop"]).succeed().stdout;
    assert!(!dumped.contains("SCRAM-SHA-256$") && !dumped.contains(&own.password));
    shop.cluster.superuser("postgres").batch_execute("create database copy").unwrap();
    let file = std::env::temp_dir().join(format!("{}.sql", own.role));
    fs::write(&file, dumped).unwrap();
    let restored = shop
        .cluster
        .program(&shop.cluster.path_of("psql"))
        .args(["-X", "-q", "-d", "copy", "-f"])
        .arg(&file)
        .run();
    fs::remove_file(&file).unwrap();
    assert!(restored.success, "{}", restored.stderr);
    let mut copy = shop.cluster.superuser("copy");
    let listed = "select concat_ws(' ', user_id, live) from access.credentials";
    assert_eq!(text(&mut copy, listed).as_deref(), Some("alice f"));
    assert_eq!(refusal(own.try_login(&shop, "copy")).code(), &NOBODY);
    let ended = "select end_reason from access.credentials";
    wait_for("its end", || text(&mut copy, ended).as_deref() == Some("elsewhere"));
    assert!(own.login(&shop).simple_query(ORDERS).is_ok(), "the one it was copied from goes on");
}
