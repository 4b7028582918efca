//! One session, one person after the other: what must not pass from hand to hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify};
use harness::{assert_refused, custodian, refusal, text};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;

fn become_person(shop: &Shop, client: &mut Client, user: &str) {
    identify(client, &shop.issuer.person(user, &[])).unwrap();
}

fn set_identity(shop: &Shop, user: &str) -> String {
    format!("select custodian.set_identity('{}')", shop.issuer.person(user, &[]))
}

fn user(client: &mut Client) -> Option<String> {
    text(client, "select custodian.user_id()")
}

/// A shop with a table of which everybody sees his own rows, by a policy that asks who is there.
fn shop_with_notes() -> Shop {
    // Enough for parallel workers beside our own.
    let shop = shop::open_on(custodian().conf("max_worker_processes = 32"), "identify");
    shop.admin()
        .batch_execute(
            "create table public.notes (owner text, body text);
             insert into public.notes select o, o || ' ' || n from unnest(array['alice', 'bob']) o, generate_series(1, 5000) n;
             alter table public.notes enable row level security;
             create policy own on public.notes using (owner = custodian.user_id());
             create function public.me() returns text language sql immutable as 'select custodian.user_id()';
             grant select on public.notes to readonly;
             grant create on schema public to readonly;
             analyze public.notes;",
        )
        .unwrap();
    shop
}

#[test]
fn temporary_objects_do_not_pass_to_the_next_person() {
    let shop = shop::open("identify");
    let mut client = shop.person("alice", &[]);
    client
        .batch_execute(
            "create temp table loot as select amount from public.orders;
             analyze loot;
             create temp view seen as select amount from public.orders;
             create temp sequence counter; select nextval('counter');
             create function pg_temp.secret() returns text language sql as 'select ''of alice''';
             create type pg_temp.kind as enum ('private')",
        )
        .unwrap();
    become_person(&shop, &mut client, "alice");
    assert!(client.query("select * from loot", &[]).is_ok(), "what is hers stays hers");
    become_person(&shop, &mut client, "bob");
    for (query, code) in [
        ("select * from loot", SqlState::UNDEFINED_TABLE),
        ("select * from seen", SqlState::UNDEFINED_TABLE),
        ("select pg_temp.secret()", SqlState::UNDEFINED_FUNCTION),
        ("select lastval()", SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE),
        ("select 'private'::pg_temp.kind", SqlState::UNDEFINED_OBJECT),
    ] {
        assert_eq!(refusal(client.simple_query(query)).code(), &code, "{query}");
    }
    let left = "select count(*)::text from pg_class c join pg_namespace n on n.oid = relnamespace where nspname like 'pg\\_temp%'";
    assert_eq!(text(&mut client, left).as_deref(), Some("0"));
    assert_eq!(
        text(&mut client, "select count(*)::text from pg_stats where tablename = 'loot'").as_deref(),
        Some("0")
    );
}

#[test]
fn no_rollback_brings_them_back_for_the_next_person() {
    let shop = shop::open("identify");
    let bob = set_identity(&shop, "bob");
    for (case, attack) in [
        ("whole", format!("begin; {bob}; rollback")),
        ("dropped before", format!("begin; drop table loot; {bob}; rollback")),
        ("savepoint", format!("begin; savepoint s; {bob}; rollback to s; commit")),
        (
            "savepoint dropped before",
            format!(
                "begin; savepoint s; drop table loot; savepoint t; {bob}; release t; rollback to s; commit"
            ),
        ),
        ("error in the same string", format!("{bob}; select 1/0")),
        (
            "caught",
            format!(
                "do $$ begin drop table loot; perform 1 from ({bob}) x; perform 1/0; exception when others then null; end $$"
            ),
        ),
        ("not caught", format!("do $$ begin drop table loot; perform 1 from ({bob}) x; perform 1/0; end $$")),
    ] {
        let mut client = shop.person("alice", &[]);
        client.batch_execute("create temp table loot as select amount from public.orders").unwrap();
        let _ = client.batch_execute(&attack);
        let _ = client.batch_execute("rollback");
        // Nobody is there, and whoever comes next finds nothing.
        assert_refused(client.simple_query("select * from loot"), &NO_PERSON);
        become_person(&shop, &mut client, "bob");
        let error = refusal(client.simple_query("select * from loot"));
        assert_eq!(error.code(), &SqlState::UNDEFINED_TABLE, "{case}");
    }
}

#[test]
fn what_is_in_use_cannot_be_taken_over() {
    let shop = shop::open("identify");
    let mut client = shop.person("alice", &[]);
    client.batch_execute("create temp table loot as select amount from public.orders").unwrap();
    let token = shop.issuer.person("bob", &[]);
    let taken = client.query("select custodian.set_identity($1), amount from loot", &[&token]);
    assert_eq!(refusal(taken).code(), &SqlState::OBJECT_IN_USE);
    assert_refused(client.simple_query("select * from loot"), &NO_PERSON);
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    let recorded = "select count(*)::text from audit.events where event = 'identity' and outcome = 'denied'";
    assert_eq!(text(&mut admin, recorded).as_deref(), Some("1"));
}

#[test]
fn channels_locks_and_cursors_do_not_pass_to_the_next_person() {
    let shop = shop::open("identify");
    let mut client = shop.person("alice", &[]);
    client
        .batch_execute(
            "listen news; select pg_advisory_lock(4711);
             declare held cursor with hold for select amount from public.orders",
        )
        .unwrap();
    assert_eq!(text(&mut client, "select count(*)::text from pg_listening_channels()").as_deref(), Some("1"));
    become_person(&shop, &mut client, "bob");
    assert_eq!(text(&mut client, "select count(*)::text from pg_listening_channels()").as_deref(), Some("0"));
    let locks = "select count(*)::text from pg_locks where locktype = 'advisory'";
    assert_eq!(text(&mut client, locks).as_deref(), Some("0"));
    assert_eq!(refusal(client.simple_query("fetch 1 from held")).code(), &SqlState::INVALID_CURSOR_NAME);
}

#[test]
fn a_plan_made_for_one_person_shows_the_next_one_his_own_rows() {
    let shop = shop_with_notes();
    let mut client = shop.person("alice", &[]);
    let by_policy = client.prepare("select distinct owner from public.notes").unwrap();
    let folded = client.prepare("select public.me()").unwrap();
    client.batch_execute("prepare q as select distinct owner from public.notes").unwrap();
    client.batch_execute("set plan_cache_mode = force_generic_plan").unwrap();
    client
        .batch_execute(
            "create function public.mine() returns setof text language plpgsql as
             'begin return query select distinct owner from public.notes; end'",
        )
        .unwrap();
    for person in ["alice", "bob", "alice"] {
        become_person(&shop, &mut client, person);
        for _ in 0..7 {
            for statement in [&by_policy, &folded] {
                assert_eq!(client.query_one(statement, &[]).unwrap().get::<_, &str>(0), person);
            }
            for query in ["execute q", "select public.mine()"] {
                let messages = client.simple_query(query).unwrap();
                let shown: Vec<_> = messages
                    .iter()
                    .filter_map(|message| match message {
                        SimpleQueryMessage::Row(row) => row.get(0),
                        _ => None,
                    })
                    .collect();
                assert_eq!(shown, [person], "{query}");
            }
        }
    }
}

#[test]
fn nobody_goes_on_with_the_plans_of_somebody() {
    let shop = shop_with_notes();
    let mut client = shop.person("alice", &[]);
    client.batch_execute("set plan_cache_mode = force_generic_plan").unwrap();
    // It reads nothing but a catalog that nobody may read too, and calls what he may not.
    let statement =
        client.prepare("select public.me() from pg_catalog.pg_type where typname = 'bool'").unwrap();
    for _ in 0..3 {
        assert_eq!(client.query(&statement, &[]).unwrap().len(), 1);
    }
    client.batch_execute("select custodian.clear_identity()").unwrap();
    assert_refused(client.query(&statement, &[]), &NO_PERSON);
}

#[test]
fn resets_that_fail_leave_nobody_or_the_same_person() {
    let shop = shop::open("identify");
    let mut client = shop.person("alice", &[]);
    client.batch_execute("begin").unwrap();
    assert_eq!(refusal(client.batch_execute("discard all")).code(), &SqlState::ACTIVE_SQL_TRANSACTION);
    client.batch_execute("rollback").unwrap();
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
    become_person(&shop, &mut client, "alice");
    refusal(client.batch_execute("begin; select 1/0"));
    assert_eq!(refusal(client.batch_execute("reset all")).code(), &SqlState::IN_FAILED_SQL_TRANSACTION);
    client.batch_execute("rollback").unwrap();
    assert_eq!(user(&mut client).as_deref(), Some("alice"));
    client.batch_execute("begin; reset all; rollback").unwrap();
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
}

#[test]
fn changes_of_the_role_neither_forge_nor_change_the_person() {
    let shop = shop::open("identify");
    shop.admin()
        .batch_execute(
            "create role other; grant other to readonly; create role free login; grant free to readonly",
        )
        .unwrap();
    let changes = [
        "set role other",
        "reset role",
        "set role free",
        "set role none",
        "set session authorization default",
        "reset session authorization",
        "set session authorization readonly",
    ];
    let mut alice = shop.person("alice", &[]);
    for change in changes {
        alice.batch_execute(change).unwrap();
        assert_eq!(user(&mut alice).as_deref(), Some("alice"), "{change}");
    }
    let mut nobody = shop.readonly();
    for change in changes {
        let _ = nobody.batch_execute(change);
        assert_refused(nobody.simple_query("select now()"), &NO_PERSON);
    }
}

#[test]
fn an_identity_for_one_transaction_ends_however_that_ends() {
    let shop = shop::open_on(custodian().conf("max_prepared_transactions = 2"), "identify");
    let once = |user: &str| {
        format!("select custodian.set_identity('{}', for_transaction => true)", shop.issuer.person(user, &[]))
    };
    for end in [
        "commit",
        "rollback",
        "abort",
        "commit and chain; rollback",
        "prepare transaction 'p'",
        "select 1/0; commit",
    ] {
        let mut client = shop.readonly();
        client.batch_execute(&format!("begin; {}; select now()", once("alice"))).unwrap();
        assert_eq!(user(&mut client).as_deref(), Some("alice"));
        let _ = client.batch_execute(end);
        let _ = client.batch_execute("rollback");
        assert_refused(client.simple_query("select now()"), &NO_PERSON);
    }
    // Nobody ends what was prepared.
    assert_refused(shop.readonly().simple_query("rollback prepared 'p'"), &NO_PERSON);
    // A savepoint revives nobody who was there before it.
    let mut client = shop.person("alice", &[]);
    client.batch_execute(&format!("begin; savepoint s; {}", once("bob"))).unwrap();
    assert_eq!(user(&mut client).as_deref(), Some("bob"));
    client.batch_execute("rollback to s").unwrap();
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
    client.batch_execute("rollback").unwrap();
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
    // A procedure that commits ends it in its middle.
    shop.admin()
        .batch_execute(
            "create procedure public.works(token text) language plpgsql as $$ begin
                 perform custodian.set_identity(token, for_transaction => true);
                 if custodian.user_id() <> 'carol' then raise exception 'not there'; end if;
                 commit;
                 if custodian.user_id() is not null then raise exception 'still there'; end if;
                 perform amount from public.orders;
             end $$",
        )
        .unwrap();
    let mut client = shop.person("alice", &[]);
    let token = shop.issuer.person("carol", &[]);
    // What the procedure does after its COMMIT is done by nobody, and refused as such.
    let error = refusal(client.batch_execute(&format!("call public.works('{token}')")));
    assert_eq!(error.code(), &NO_PERSON, "{error:?}");
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
}

#[test]
fn parallel_workers_act_for_the_leaders_person() {
    let shop = shop_with_notes();
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create function public.careless() returns text language sql stable parallel safe
                 as 'select custodian.user_id()';
             create table public.many as select n, 'c' || n % 7 as iban from generate_series(1, 200000) n;
             analyze public.many;
             select mask.protect('public.many', 'iban', 'partial(1, ''*'', 0)', array['support']);
             select mask.generate_view('public.many');
             grant select on public.many, masked.many to readonly;",
        )
        .unwrap();
    let old: bool =
        admin.query_one("select current_setting('server_version_num')::int < 160000", &[]).unwrap().get(0);
    let forced = if old { "force_parallel_mode" } else { "debug_parallel_query" };
    let parallel = format!(
        "set {forced} = on; set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0;
         set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; set parallel_leader_participation = off"
    );
    let queries = [
        "select string_agg(distinct owner, ',') || count(*) from public.notes",
        "select count(*)::text from public.many where custodian.user_id() = 'alice'",
        "select string_agg(distinct iban, ',' order by iban) || count(*) from masked.many",
        "select count(*)::text from public.many where n % 2 = 0",
        "select custodian.user_id() || (custodian.whoami()).user_id || custodian.has_group('support') || count(*) from public.many",
    ];
    for (person, groups) in [("alice", &["support"][..]), ("bob", &[])] {
        let mut serial = shop.person(person, groups);
        let mut workers = shop.person(person, groups);
        workers.batch_execute(&parallel).unwrap();
        let mut seen_parallel = 0;
        for query in queries {
            assert_eq!(text(&mut workers, query), text(&mut serial, query), "{person}: {query}");
            let plan: Vec<String> = workers
                .query(&format!("explain {query}"), &[])
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect();
            seen_parallel += usize::from(plan.iter().any(|line| line.contains("Gather")));
        }
        assert!(seen_parallel >= 2, "only {seen_parallel} plans were parallel");
        // A function that is wrongly declared safe: people's statements that call functions run in one process.
        let careless = "select count(*)::text from public.many where 'c' || n <> public.careless()";
        assert_eq!(text(&mut workers, careless).as_deref(), Some("200000"));
    }
    // In a worker it must not be answered as nobody.
    admin.batch_execute(&parallel).unwrap();
    let careless = "select count(*) from public.many where 'c' || n is distinct from public.careless()";
    let error = refusal(admin.query(careless, &[]));
    assert!(error.message().contains("in a parallel worker"), "{error:?}");
}
