//! Access ends when it ends: what runs, what is asked next, what was opened and what was prepared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::promise::{Lateness, in_the_end};
use harness::shop::{self, Shop, Sleeper, identify, sync, wait_until_under_way};
use harness::token::{ISSUER, claims_but};
use harness::{Wanted, assert_refused, custodian, refusal, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use serde_json::{Value, json};
use std::io::Read;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;
const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;

/// Forty orders, joined to billions of rows.
const FOREVER: &str =
    "select count(*) from public.orders a, public.orders b, public.orders c, public.orders d,
    public.orders e, public.orders f, public.orders g";

const ONE: &str = "select id from public.orders";

fn server() -> Wanted {
    custodian().conf("pg_custodian.break_glass_groups = 'oncall'")
}

fn governed() -> (Shop, Client) {
    let shop = shop::open_on(server(), "govern");
    let mut admin = shop.admin();
    wait_for("the steward", || {
        let query = "select count(*) from pg_stat_activity
                     where backend_type = 'pg_custodian steward' and datname = current_database()";
        admin.query_one(query, &[]).unwrap().get::<_, i64>(0) == 1
    });
    (shop, admin)
}

fn give(admin: &mut Client, arguments: &str) -> i64 {
    admin.query_one(&format!("select access.grant_access({arguments})"), &[]).unwrap().get(0)
}

/// Access to the orders for a while.
fn orders(admin: &mut Client, user: &str, duration: &str) -> i64 {
    give(admin, &format!("'{user}', '{{select}}', 'TABLE public.orders', '{duration}', 'x'"))
}

fn wait_until_running(admin: &mut Client, user: &str) {
    wait_until_under_way(admin, &format!("user_id = '{user}'"), 1);
}

type Running = JoinHandle<(Client, Result<Vec<postgres::SimpleQueryMessage>, postgres::Error>, Instant)>;

fn run(mut client: Client, statement: &str) -> Running {
    let statement = statement.to_owned();
    thread::spawn(move || {
        let result = client.simple_query(&statement);
        (client, result, Instant::now())
    })
}

/// What the steward wrote down of a person, oldest first.
fn notes(shop: &Shop, user: &str) -> Vec<Value> {
    let mut admin = shop.admin();
    sync(&mut admin);
    let query = "select detail from audit.events where event = 'steward' and object = $1 order by seq";
    admin.query(query, &[&user]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// How access comes and goes.
struct Ending {
    name: &'static str,
    code: SqlState,
    /// What the client is told of a running statement.
    said: &'static str,
    hint: &'static str,
    /// Lets a person in, for so long or for good; returns what `end` needs.
    begin: fn(&Shop, &mut Client, &mut Client, &str, bool) -> i64,
    /// Ends it; nothing where time does.
    end: Option<fn(&mut Client, &str, i64)>,
}

/// How long access lasts that ends by time: long enough for a statement to be under way on a busy machine.
const SHORT: &str = "2.5 s";
const SHORT_TIME: Duration = Duration::from_millis(2500);

fn by_grant(_: &Shop, admin: &mut Client, _: &mut Client, user: &str, short: bool) -> i64 {
    orders(admin, user, if short { SHORT } else { "1 h" })
}

fn by_group(_: &Shop, admin: &mut Client, _: &mut Client, user: &str, _: bool) -> i64 {
    give(admin, &format!("null, '{{select}}', 'SCHEMA public', '1 h', 'x', group_name => 'of-{user}'"))
}

fn by_glass(_: &Shop, admin: &mut Client, client: &mut Client, user: &str, short: bool) -> i64 {
    admin.execute("select access.open_incident($1, array[$2])", &[&format!("INC-{user}"), &user]).unwrap();
    let row = client.query_one("select access.break_glass($1, 'fire')", &[&format!("INC-{user}")]).unwrap();
    let grant = row.get(0);
    if short {
        admin
            .execute(
                &format!("update access.issued_grant set ends_at = clock_timestamp() + interval '{SHORT}' where id = $1"),
                &[&grant],
            )
            .unwrap();
    }
    grant
}

fn by_token(shop: &Shop, admin: &mut Client, client: &mut Client, user: &str, short: bool) -> i64 {
    orders(admin, user, "1 h");
    if short {
        let end = unix_time() + SHORT_TIME.as_secs_f64();
        identify(client, &shop.issuer.sign(&claims_but(user, &[], json!({ "exp": end })))).unwrap();
    }
    0
}

fn unix_time() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn endings() -> Vec<Ending> {
    let ask = "Ask for: SELECT * FROM access.request_access(ARRAY['select'], 'TABLE public.orders', '1 hour', 'reason');";
    vec![
        Ending {
            name: "expiry of a grant",
            code: DENIED,
            said: "grant {grant} on TABLE public.orders has expired",
            hint: ask,
            begin: by_grant,
            end: None,
        },
        Ending {
            name: "revocation of a grant",
            code: DENIED,
            said: "grant {grant} on TABLE public.orders was revoked",
            hint: ask,
            begin: by_grant,
            end: Some(|admin, _, grant| {
                admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
            }),
        },
        Ending {
            name: "revocation of a group's grant",
            code: DENIED,
            said: "grant {grant} on SCHEMA public was revoked",
            hint: "'SCHEMA public'",
            begin: by_group,
            end: Some(|admin, _, grant| {
                admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
            }),
        },
        Ending {
            name: "deletion of a grant by hand",
            code: DENIED,
            said: "grant {grant} is gone",
            hint: "access.my_grants",
            begin: by_grant,
            end: Some(|admin, _, grant| {
                admin.execute("delete from access.issued_grant where id = $1", &[&grant]).unwrap();
            }),
        },
        Ending {
            name: "closure of the incident",
            code: DENIED,
            said: "grant {grant} on DATABASE was revoked",
            hint: "'DATABASE'",
            begin: by_glass,
            end: Some(|admin, user, _| {
                admin.execute("select access.close_incident($1)", &[&format!("INC-{user}")]).unwrap();
            }),
        },
        Ending {
            name: "end of break-glass",
            code: DENIED,
            said: "grant {grant} on DATABASE has expired",
            hint: "'DATABASE'",
            begin: by_glass,
            end: None,
        },
        Ending {
            name: "end of the token",
            code: NO_PERSON,
            said: "the identity of \"{user}\" has ended",
            hint: "custodian.set_identity",
            begin: by_token,
            end: None,
        },
        Ending {
            name: "revocation of the token",
            code: NO_PERSON,
            said: "the identity of \"{user}\" has ended",
            hint: "custodian.set_identity",
            begin: by_token,
            end: Some(|admin, user, _| {
                admin
                    .execute("select custodian.revoke_token($1, $2)", &[&ISSUER, &format!("jti-{user}")])
                    .unwrap();
            }),
        },
        Ending {
            name: "revocation of the person",
            code: NO_PERSON,
            said: "the identity of \"{user}\" has ended",
            hint: "custodian.reinstate_person",
            begin: by_token,
            end: Some(|admin, user, _| {
                admin.execute("select custodian.revoke_person($1, 'left')", &[&user]).unwrap();
            }),
        },
    ]
}

#[test]
fn whatever_ends_ends_what_runs_what_comes_next_what_is_open_and_what_is_prepared() {
    let (shop, mut admin) = governed();
    let mut lateness = Lateness::default();
    for (number, ending) in endings().into_iter().enumerate() {
        for (letter, what) in [
            ("r", FOREVER),
            ("n", ""),
            ("c", "begin; declare c cursor for select id from public.orders; fetch 1 from c"),
            ("h", "declare c cursor with hold for select id from public.orders; fetch 1 from c"),
            ("p", "prepare p as select id from public.orders; execute p"),
        ] {
            let user = format!("{letter}{number}");
            let what_of = format!("{}, {letter}", ending.name);
            let mut client = shop.readonly();
            let claims = claims_but(
                &user,
                &["oncall", &format!("of-{user}")],
                json!({ "jti": format!("jti-{user}") }),
            );
            identify(&mut client, &shop.issuer.sign(&claims)).unwrap();
            let grant = (ending.begin)(&shop, &mut admin, &mut client, &user, ending.end.is_none());
            let begun = Instant::now();
            let finish = |admin: &mut Client| match ending.end {
                Some(end) => end(admin, &user, grant),
                None => {
                    sleep((SHORT_TIME + Duration::from_millis(5)).saturating_sub(begun.elapsed()));
                }
            };
            if letter == "r" {
                let running = run(client, what);
                wait_until_running(&mut admin, &user);
                finish(&mut admin);
                let asked = Instant::now();
                let (mut client, result, ended) = running.join().unwrap();
                lateness.note(&what_of, ended.saturating_duration_since(asked));
                let error = assert_refused(result, &ending.code);
                let said = ending.said.replace("{grant}", &grant.to_string()).replace("{user}", &user);
                assert_eq!(error.message(), format!("canceling statement because {said}"), "{what_of}");
                assert!(error.hint().unwrap_or_default().contains(ending.hint), "{what_of}: {error:?}");
                assert_refused(client.simple_query(ONE), &ending.code);
                let [note] = &notes(&shop, &user)[..] else { panic!("{what_of}: {:?}", notes(&shop, &user)) };
                assert_eq!(note["action"], "cancel", "{what_of}: {note}");
                if ending.code == DENIED {
                    assert_eq!(
                        (&note["reason"], &note["grant"]),
                        (&json!("grant"), &json!(grant)),
                        "{what_of}"
                    );
                }
                continue;
            }
            if !what.is_empty() {
                client.simple_query(what).unwrap();
            }
            finish(&mut admin);
            let next = match letter {
                "c" | "h" => "fetch 1 from c",
                "p" => "execute p",
                _ => ONE,
            };
            let error = refusal(client.simple_query(next));
            assert_eq!(error.code(), &ending.code, "{what_of}: {error:?}");
            if letter == "h" {
                assert!(client.simple_query("move 1 from c").is_err(), "{what_of}");
            }
            let _ = client.simple_query("rollback");
            assert!(client.simple_query(ONE).is_err(), "{what_of}");
        }
    }
    lateness.kept_the_promise();
    let stopped = shop.recorded("public.orders f, public.orders g");
    assert_eq!(stopped.len(), endings().len());
    for record in stopped {
        assert_eq!(record.outcome(), "denied", "{record:?}");
        assert!(["42501", "28000"].contains(&record.sqlstate.as_deref().unwrap()), "{record:?}");
        assert_eq!(record.grants, 1, "{record:?}");
    }
}

#[test]
fn whatever_runs_ends_with_its_grant() {
    let (shop, mut admin) = governed();
    admin
        .batch_execute(
            "create function public.busy() returns int language plpgsql as
                 'begin loop perform count(*) from public.orders; end loop; end';
             create function public.slow() returns int language plpgsql as 'begin perform pg_sleep(60); return 1; end';
             create function public.folded() returns int immutable language plpgsql as
                 'begin perform id from public.orders; perform pg_sleep(60); return 1; end';
             create table public.big as select n from generate_series(1, 100000) n; analyze public.big;
             create table public.checked (n int);
             create function public.late() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end';
             create constraint trigger late after insert on public.checked deferrable initially deferred
                 for each row execute function public.late();
             create trigger after_all after update on public.checked execute function public.late();
             insert into public.checked values (1);
             grant select on public.big to readonly; grant all on public.checked to readonly;
             alter role readonly set parallel_setup_cost = 0; alter role readonly set parallel_tuple_cost = 0;
             alter role readonly set min_parallel_table_scan_size = 0",
        )
        .unwrap_or_else(|error| panic!("{error:?}"));
    let statements = [
        FOREVER,
        "select pg_sleep(60) from public.orders",
        "select public.slow()",
        "select public.busy()",
        "select 1 where public.folded() = 1",
        "do $$ begin perform id from public.orders; perform pg_sleep(60); end $$",
        "do $$ declare r record; begin for r in select id from public.orders loop perform pg_sleep(60); end loop; end $$",
        // The first row at once: what ends between two statements is refused, not stopped.
        "begin; declare c cursor for select pg_sleep(case id when 1 then 0 else 60 end) from public.orders;
             fetch 1 from c; fetch all from c",
        "explain analyze select pg_sleep(60) from public.orders",
        "prepare p as select pg_sleep(60) from public.orders; execute p",
        "set statement_timeout = 0; set timezone = 'Pacific/Kiritimati'; select pg_sleep(60) from public.orders",
        "select count(*) from public.big a, public.big b where a.n <> b.n",
        "update public.checked set n = 2",
        // The trigger's statement runs at the commit, where no statement of the client's is.
        "insert into public.checked values (2)",
        "begin; insert into public.checked values (2); commit",
        "create temp table mine as select pg_sleep(60)::text from public.orders",
    ];
    let mut lateness = Lateness::default();
    for (number, statement) in statements.iter().enumerate() {
        let user = format!("u{number}");
        let client = shop.person(&user, &[]);
        let grant = give(
            &mut admin,
            &format!("'{user}', '{{select,insert,update,execute,ddl}}', 'DATABASE', '1 h', 'x'"),
        );
        let running = run(client, statement);
        wait_until_running(&mut admin, &user);
        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
        let asked = Instant::now();
        let (_, result, ended) = running.join().unwrap();
        lateness.note(statement, ended.saturating_duration_since(asked));
        let error = assert_refused(result, &DENIED);
        if !statement.contains("busy") {
            let said = format!("canceling statement because grant {grant} on DATABASE was revoked");
            assert_eq!(error.message(), said, "{statement}");
        }
    }
    lateness.kept_the_promise();
}

#[test]
fn what_does_not_rely_on_a_grant_does_not_end_with_it() {
    let (shop, mut admin) = governed();
    admin
        .batch_execute("create table public.other (a int, b int); grant select on public.other to readonly")
        .unwrap();
    // Two cover the whole; of the columns each needs its own; the third is only held.
    let first = orders(&mut admin, "alice", "1 h");
    let second = orders(&mut admin, "alice", "2 h");
    let unused = give(&mut admin, "'alice', '{select}', 'TABLE public.other', '1 h', 'x'");
    let bobs = orders(&mut admin, "bob", "1 h");
    let slow = "select pg_sleep(600) from (select 1 from public.orders limit 1) o";
    let running = [
        Sleeper::new(shop.person("alice", &[]), slow),
        Sleeper::new(shop.person("carol", &[]), "select pg_sleep(600)"),
        Sleeper::new(shop.admin(), slow),
    ];
    wait_until_under_way(&mut admin, "true", 3);
    for grant in [first, unused, bobs] {
        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
    }
    let third = orders(&mut admin, "alice", "3 h");
    // The steward has looked again by then.
    sleep(Duration::from_secs(2));
    for sleeper in running {
        assert!(sleeper.slept_on(&mut admin), "somebody was stopped who relied on nothing that has ended");
    }
    assert!(notes(&shop, "alice").is_empty());

    // One that was given after the statement began keeps the next one going, and not this one.
    admin.execute("select access.revoke_access($1, 'done')", &[&third]).unwrap();
    let running = run(shop.person("alice", &[]), FOREVER);
    wait_until_running(&mut admin, "alice");
    orders(&mut admin, "alice", "1 h");
    admin.execute("select access.revoke_access($1, 'done')", &[&second]).unwrap();
    let (mut client, result, _) = running.join().unwrap();
    assert_refused(result, &DENIED);
    assert_eq!(text(&mut client, "select count(*)::text from public.orders").as_deref(), Some("40"));
}

#[test]
fn a_statement_needs_all_of_its_grants_and_each_of_its_columns_and_rows() {
    let (shop, mut admin) = governed();
    admin
        .batch_execute("create table public.two (a int, b int, c int); insert into public.two select n, n, n from generate_series(1, 100) n; grant select on public.two to readonly")
        .unwrap();
    let cases = [
        ["'COLUMN public.two.a', '1 h', 'x'", "'COLUMN public.two.b', '1 h', 'x'", "a, b", "2"],
        [
            "'TABLE public.two', '1 h', 'x', rows => 'a < 20'",
            "'TABLE public.two', '1 h', 'x', rows => 'a > 80'",
            "*",
            "2",
        ],
        [
            "'TABLE public.orders', '1 h', 'x'",
            "'TABLE public.two', '1 h', 'x'",
            "*, (select max(id) from public.orders)",
            "2",
        ],
    ];
    let mut lateness = Lateness::default();
    for (number, [one, other, columns, _]) in cases.iter().enumerate() {
        for ended in 0..2 {
            let user = format!("u{number}{ended}");
            let grants = [one, other].map(|on| give(&mut admin, &format!("'{user}', '{{select}}', {on}")));
            let statement = format!("select {columns}, pg_sleep(1) from public.two");
            let running = run(shop.person(&user, &[]), &statement);
            wait_until_running(&mut admin, &user);
            admin.execute("select access.revoke_access($1, 'done')", &[&grants[ended]]).unwrap();
            let asked = Instant::now();
            let (_, result, at) = running.join().unwrap();
            let error = assert_refused(result, &DENIED);
            lateness.note(&statement, at.saturating_duration_since(asked));
            assert!(error.message().contains(&format!("grant {} ", grants[ended])), "{statement}: {error:?}");
        }
    }
    lateness.kept_the_promise();
}

#[test]
fn a_statement_that_reveals_ends_with_the_grant_to_reveal() {
    for mode in ["govern", "identify"] {
        let shop = shop::open_on(server(), mode);
        let mut admin = shop.admin();
        admin.batch_execute("grant select on public.customers to readonly").unwrap();
        give(&mut admin, "'alice', '{select}', 'TABLE public.customers', '1 h', 'x'");
        let reveal = give(&mut admin, "'alice', '{reveal}', 'TABLE public.customers', '1 h', 'x'");
        let running = run(shop.person("alice", &[]), "select iban, pg_sleep(20) from public.customers");
        // It does not read what is protected.
        let other =
            Sleeper::new(shop.person("alice", &[]), "select id, pg_sleep(600) from public.customers limit 2");
        wait_until_under_way(&mut admin, "user_id = 'alice'", 2);
        admin.execute("select access.revoke_access($1, 'done')", &[&reveal]).unwrap();
        let asked = Instant::now();
        let (_, result, ended) = running.join().unwrap();
        assert_refused(result, &DENIED);
        in_the_end(mode, ended.saturating_duration_since(asked));
        // The steward has looked again by then.
        sleep(Duration::from_secs(1));
        assert!(other.slept_on(&mut admin), "{mode}");
    }
}

/// Nobody else can see it before the commit: neither to take it back, nor to take it for one that is gone.
#[test]
fn a_grant_of_the_same_transaction_counts_until_its_end() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    identify(&mut admin, &shop.issuer.person("eve", &[])).unwrap();
    // The statement must begin before the end.
    for (duration, sleeps, holds) in [("1 hour", "2.5", true), ("3 seconds", "4.5", false)] {
        let grant = format!(
            "begin; select access.grant_access('eve', array['reveal'], 'TABLE public.customers', '{duration}', 'x')"
        );
        admin.batch_execute(&grant).unwrap();
        let asked = admin
            .query_one(&format!("select iban, pg_sleep({sleeps}) from public.customers where id = 1"), &[]);
        match holds {
            true => assert!(!asked.unwrap().get::<_, String>(0).contains('*')),
            false => assert_eq!(refusal(asked).code(), &SqlState::INSUFFICIENT_PRIVILEGE),
        }
        admin.batch_execute("rollback").unwrap();
    }
}

#[test]
fn nobody_evades_the_end_of_a_grant() {
    let (shop, mut admin) = governed();
    let loops = [
        // Nothing of it looks at a table any more, and the cancellation is caught.
        "loop begin loop null; end loop; exception when query_canceled then null; end; end loop;",
        "loop begin perform pg_sleep(5); exception when query_canceled or others then null; end; end loop;",
        // What is refused is caught as well; each row that comes after the end writes a line into the server log.
        "loop begin select count(*) into n from public.orders; perform pg_sleep(0.01);
             raise log 'read by %', current_setting('application_name');
             exception when query_canceled or others then null; end; end loop;",
        "open c; loop begin perform pg_sleep(0.01); exception when query_canceled or others then null; end;
             begin fetch c into n; raise log 'read by %', current_setting('application_name');
             exception when query_canceled or others then null; end; end loop;",
    ];
    let mut lateness = Lateness::default();
    for (number, body) in loops.iter().enumerate() {
        let user = format!("mallory{number}");
        let grant = orders(&mut admin, &user, "1 h");
        let mut client = shop.person(&user, &[]);
        client.simple_query(&format!("set application_name = '{user}'; set statement_timeout = 0")).unwrap();
        let statement = format!(
            "do $$ declare n int; c cursor for select a.id from public.orders a, public.orders b, public.orders d,
                 public.orders e; begin perform id from public.orders; {body} end $$"
        );
        let running = run(client, &statement);
        wait_until_running(&mut admin, &user);
        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
        let asked = Instant::now();
        let said =
            shop.cluster.log().lines().filter(|line| line.contains(&format!("read by {user}"))).count();
        let (mut client, result, ended) = running.join().unwrap();
        lateness.note(body, ended.saturating_duration_since(asked));
        assert!(result.is_err(), "{body}");
        let after =
            shop.cluster.log().lines().filter(|line| line.contains(&format!("read by {user}"))).count();
        assert!(after - said <= 2, "{body}: {} rows came after the end", after - said);
        assert!(client.is_closed() || client.simple_query(ONE).is_err(), "{body}");
    }
    lateness.kept_the_promise();
    let notes = notes(&shop, "mallory0");
    let actions: Vec<_> = notes.iter().map(|note| note["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["cancel", "terminate"]);
    let said = "FATAL:  terminating connection because grant";
    assert!(shop.cluster.log().contains(said));
}

#[test]
fn a_client_that_reads_slowly_or_not_at_all_gets_no_more() {
    let (shop, mut admin) = governed();
    give(&mut admin, "'alice', '{export}', 'DATABASE', '1 h', 'x'");
    let (mut slowly, mut not_at_all) = (Lateness::default(), Lateness::default());
    for _ in 0..3 {
        let grant = orders(&mut admin, "alice", "1 h");
        let mut alice = shop.person("alice", &[]);
        let copy = "copy (select pg_sleep(0.01) from public.orders a, public.orders b) to stdout";
        let mut out = alice.copy_out(copy).unwrap();
        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
        let asked = Instant::now();
        let error = out.read_to_end(&mut Vec::new()).unwrap_err();
        slowly.note("copy, read slowly", asked.elapsed());
        let error = error.into_inner().unwrap().downcast::<postgres::Error>().unwrap();
        assert_eq!(error.code(), Some(&DENIED), "{error:?}");
        drop(out);

        let grant = orders(&mut admin, "alice", "1 h");
        let stalled: i32 = alice.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        let query = format!("copy ({}) to stdout", FOREVER.replace("count(*)", "repeat('x', 8000)"));
        let out = alice.copy_out(&query).unwrap();
        let running = format!(
            "select count(*)::text from custodian.sessions where pid = {stalled} and running_since is not null"
        );
        let stuck = format!(
            "select count(*)::text from pg_stat_activity where pid = {stalled} and wait_event = 'ClientWrite'"
        );
        wait_for("the full buffers", || text(&mut admin, &stuck).as_deref() == Some("1"));
        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
        let asked = Instant::now();
        // Three cancellations in vain take most of the second: the look at it must not take the rest.
        while text(&mut admin, &running).as_deref() != Some("0") {
            in_the_end("copy, not read at all", asked.elapsed());
            sleep(Duration::from_millis(5));
        }
        not_at_all.note("copy, not read at all", asked.elapsed());
        drop(out);
    }
    slowly.kept_the_promise();
    not_at_all.kept_the_promise();
}

#[test]
fn a_renewal_keeps_what_runs_and_the_end_after_it_does_not() {
    let (shop, mut admin) = governed();
    let mut oncall = shop.person("ann", &["oncall"]);
    let mut beside = shop.person("ann", &["oncall"]);
    let grant = by_glass(&shop, &mut admin, &mut oncall, "ann", true);
    let running = run(oncall, "select pg_sleep(60) from public.orders");
    wait_until_running(&mut admin, "ann");
    beside.execute("select access.renew($1)", &[&grant]).unwrap();
    sleep(SHORT_TIME + Duration::from_millis(300));
    assert!(!running.is_finished(), "a statement was stopped whose grant was renewed");
    admin.execute("select access.close_incident('INC-ann')", &[]).unwrap();
    let asked = Instant::now();
    let (_, result, ended) = running.join().unwrap();
    assert_refused(result, &DENIED);
    in_the_end("after a renewal", ended.saturating_duration_since(asked));
}

#[test]
fn nothing_that_comes_after_on_the_same_connection_is_stopped_in_its_place() {
    let (shop, mut admin) = governed();
    // Alice's statement ends about when her grant does, and the next one on the connection is another person's.
    let mut client = shop.readonly();
    let tokens = ["alice", "bob"].map(|user| shop.issuer.person(user, &[]));
    orders(&mut admin, "bob", "1 h");
    let (mut stopped, mut elsewhere) = (0, shop.admin());
    for round in 0..150_u64 {
        let grant = orders(&mut admin, "alice", "1 h");
        identify(&mut client, &tokens[0]).unwrap();
        let wait = Duration::from_micros(round * 40);
        let revoking = thread::spawn(move || {
            elsewhere.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
            elsewhere
        });
        sleep(wait);
        let hers =
            client.simple_query("select count(*) from public.orders a, public.orders b, public.orders c");
        if let Err(error) = &hers {
            assert_eq!(error.code(), Some(&DENIED), "{error:?}");
            stopped += usize::from(error.as_db_error().unwrap().message().starts_with("canceling"));
        }
        identify(&mut client, &tokens[1]).unwrap();
        client
            .simple_query(
                "select count(*) from public.orders a, public.orders b; select count(*) from public.orders",
            )
            .unwrap();
        elsewhere = revoking.join().unwrap();
    }
    println!("{stopped} of 150 were stopped while they ran");
    assert!(notes(&shop, "bob").is_empty());
}

#[test]
fn the_steward_does_it_after_a_restart_too() {
    let (shop, mut admin) = governed();
    // Long enough for a server that starts on a busy machine.
    let short = orders(&mut admin, "alice", "15 s");
    let end = "select extract(epoch from ends_at)::float8 from access.grants where id = $1";
    let end: f64 = admin.query_one(end, &[&short]).unwrap().get(0);
    drop(admin);
    shop.cluster.restart();
    let mut admin = shop.admin();
    let running = run(shop.person("alice", &[]), "select pg_sleep(60) from public.orders");
    wait_until_running(&mut admin, "alice");
    let (_, result, _) = running.join().unwrap();
    let late = unix_time() - end;
    let error = assert_refused(result, &DENIED);
    assert!(error.message().contains(&format!("grant {short} ")), "{error:?}");
    assert!(late >= 0.0, "it was stopped {} s too early", -late);
    in_the_end("after a restart", Duration::from_secs_f64(late));
}

#[test]
fn triggers_within_a_cascade_need_their_own_grants() {
    let (shop, mut admin) = governed();
    admin
        .batch_execute(
            "create table public.parents (id int primary key);
             create table public.children (id int, parent int references public.parents on delete cascade);
             insert into public.parents values (1), (2); insert into public.children values (1, 1), (2, 2);
             create table public.loot (what text);
             create function public.peek() returns trigger language plpgsql as
                 'begin insert into public.loot select name from public.customers; return old; end';
             create trigger peek before delete on public.children for each row execute function public.peek();
             grant select, delete on public.parents to readonly",
        )
        .unwrap();
    give(&mut admin, "'mallory', '{select,delete}', 'TABLE public.parents', '1 h', 'x'");
    give(&mut admin, "'mallory', '{execute}', 'SCHEMA public', '1 h', 'x'");
    let mut mallory = shop.person("mallory", &[]);
    // The cascade lends its rights to nobody.
    let error = assert_refused(mallory.simple_query("delete from public.parents where id = 1"), &DENIED);
    assert!(error.message().contains("requires a live grant"), "{error:?}");
    assert_eq!(text(&mut admin, "select count(*)::text from public.loot").as_deref(), Some("0"));
    // Some rows are not all of them, within a cascade either.
    give(&mut admin, "'mallory', '{insert}', 'TABLE public.loot', '1 h', 'x'");
    give(&mut admin, "'mallory', '{select}', 'TABLE public.customers', '1 h', 'x', rows => 'id = 1'");
    mallory.simple_query("delete from public.parents where id = 1").unwrap();
    assert_eq!(text(&mut admin, "select count(*)::text from public.loot").as_deref(), Some("1"));
    let records = shop.recorded("insert into public.loot select");
    let hers: Vec<_> = records.iter().filter(|record| record.user() == "mallory").collect();
    let ended: Vec<_> = hers.iter().map(|record| (record.outcome(), record.grants)).collect();
    assert_eq!(ended, [("denied", 0), ("ok", 2)], "{hers:?}");
    // Without the trigger the cascade itself needs no more than the parent's grant.
    admin.batch_execute("drop trigger peek on public.children").unwrap();
    mallory.simple_query("delete from public.parents where id = 2").unwrap();
    assert_eq!(text(&mut admin, "select count(*)::text from public.children").as_deref(), Some("0"));
}
