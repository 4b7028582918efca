//! Statements end with the identity that they run under, and nothing else does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::promise::{Lateness, PROMISE, in_the_end};
use harness::shop::{self, Shop, Sleeper, identify, sync, wait_until_under_way};
use harness::token::{Algorithm, ISSUER, Signer, claims_but};
use harness::{assert_refused, custodian, refusal, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use serde_json::{Value, json};
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;

/// How long a token lives that is to expire while a statement runs: long enough to get there on a busy machine.
const MOMENT: Duration = Duration::from_millis(1500);

/// After so long the steward has looked again, and has stopped all that it wants to stop.
const SETTLED: Duration = Duration::from_millis(1500);

/// Forty orders, joined to billions of rows.
const FOREVER: &str =
    "select count(*) from public.orders a, public.orders b, public.orders c, public.orders d,
    public.orders e, public.orders f, public.orders g";

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A token that expires after so long, and when that is.
fn short_token(shop: &Shop, user: &str, life: Duration) -> (String, f64) {
    let end = unix_time() + life.as_secs_f64();
    (shop.issuer.sign(&claims_but(user, &[], json!({ "exp": end }))), end)
}

/// The shared login in the hands of a person until `end`.
fn for_a_moment(shop: &Shop, user: &str, life: Duration) -> (Client, f64) {
    // Connecting takes its time: the token's begins after it.
    let mut client = shop.readonly();
    let (token, end) = short_token(shop, user, life);
    identify(&mut client, &token).unwrap();
    (client, end)
}

/// How long ago `end` was, which must have come at `ended`.
#[track_caller]
fn late(what: &str, ended: f64, end: f64) -> Duration {
    assert!(ended >= end, "{what}: ended {} s before its cause", end - ended);
    Duration::from_secs_f64(ended - end)
}

/// How a statement ended, which did not end well. `None`: the connection is gone, and the client
/// library has seen that before it looked at the server's last words.
#[track_caller]
fn code<T>(ended: &Result<T, postgres::Error>) -> Option<SqlState> {
    ended.as_ref().err().expect("this should have been stopped").code().cloned()
}

/// What the steward wrote down, oldest first.
fn notes(shop: &Shop) -> Vec<Value> {
    let mut admin = shop.admin();
    sync(&mut admin);
    let query = "select detail || jsonb_build_object('object', object) from audit.events
                 where event = 'steward' order by seq";
    admin.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn pid(client: &mut Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).unwrap().get(0)
}

fn count(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap().get(0)
}

fn steward(admin: &mut Client) -> Option<i32> {
    let query = "select min(pid) from pg_stat_activity
                 where backend_type = 'pg_custodian steward' and datname = current_database()";
    admin.query_one(query, &[]).unwrap().get(0)
}

fn wait_for_steward(shop: &Shop) -> i32 {
    let mut admin = shop.admin();
    wait_for("the steward", || steward(&mut admin).is_some());
    steward(&mut admin).unwrap()
}

#[test]
fn a_running_statement_ends_with_its_token() {
    let shop = shop::open("identify");
    shop.admin()
        .batch_execute(
            "create function public.slow() returns int immutable language plpgsql as
                 'begin perform pg_sleep(60); return 1; end';
             create function public.busy() returns int language plpgsql as
                 'begin loop perform count(*) from public.orders; end loop; end';",
        )
        .unwrap();
    wait_for_steward(&shop);
    let statements = [
        "select pg_sleep(60)",
        FOREVER,
        // Folded by the planner: the executor never starts.
        "select 1 where public.slow() = 1",
        "do $$ begin perform pg_sleep(60); end $$",
        "begin; declare c cursor for select pg_sleep(case id when 1 then 0 else 60 end) from public.orders;
             fetch 1 from c; fetch all from c",
        "begin; declare d cursor for select a.* from public.orders a, public.orders b, public.orders c,
             public.orders d, public.orders e; move forward all in d",
        "explain analyze select pg_sleep(60)",
        "prepare p as select pg_sleep(60); execute p",
    ];
    let mut lateness = Lateness::default();
    for statement in statements {
        // Long enough for the steward to have gone to sleep.
        sleep(Duration::from_millis(400));
        let (mut alice, end) = for_a_moment(&shop, "alice", MOMENT);
        let error = assert_refused(alice.simple_query(statement), &NO_PERSON);
        lateness.note(statement, late(statement, unix_time(), end));
        assert_eq!(error.message(), "canceling statement because the identity of \"alice\" has ended");
        assert!(error.hint().unwrap().contains("custodian.set_identity"), "{error:?}");
        let _ = alice.simple_query("rollback");
        assert_refused(alice.simple_query("select now()"), &NO_PERSON);
        // The session goes on, in the hands of whoever identifies.
        identify(&mut alice, &shop.issuer.person("bob", &[])).unwrap();
        assert_eq!(harness::text(&mut alice, "select custodian.user_id()").as_deref(), Some("bob"));
    }
    lateness.kept_the_promise();
    let notes = notes(&shop);
    assert_eq!(notes.len(), statements.len(), "{notes:#?}");
    for note in notes {
        assert_eq!((&note["action"], &note["reason"]), (&json!("cancel"), &json!("expired")), "{note}");
        assert_eq!((&note["user_id"], &note["object"]), (&json!("alice"), &json!("alice")), "{note}");
        assert_eq!((&note["issuer"], &note["session_role"]), (&json!(ISSUER), &json!("readonly")), "{note}");
    }
    let record = shop.recorded("a, public.orders b, public.orders c, public.orders d,\n    public");
    let ended: Vec<_> = record.iter().map(|record| (record.outcome(), record.sqlstate.as_deref())).collect();
    assert_eq!(ended, [("denied", Some("28000"))]);
    assert!(shop.cluster.log().contains("canceling statement because the identity of \"alice\" has ended"));

    // Where one statement runs others, the next of those may be refused before the steward comes.
    let (mut alice, end) = for_a_moment(&shop, "alice", MOMENT);
    let error = refusal(alice.simple_query("select public.busy()"));
    in_the_end("busy", late("busy", unix_time(), end));
    assert_eq!(error.code(), &NO_PERSON, "{error:?}");
}

#[test]
fn copy_out_and_parallel_plans_end_with_the_token() {
    let shop = shop::open("identify");
    shop.admin()
        .batch_execute(
            "create table public.big as select n from generate_series(1, 100000) n; analyze public.big;
             grant select on public.big to readonly;
             alter role readonly set parallel_setup_cost = 0;
             alter role readonly set parallel_tuple_cost = 0;
             alter role readonly set min_parallel_table_scan_size = 0;",
        )
        .unwrap();
    wait_for_steward(&shop);

    let mut lateness = Lateness::default();
    for _ in 0..3 {
        let (mut alice, end) = for_a_moment(&shop, "alice", MOMENT);
        // Slowly, lest the client still read when the server has long stopped.
        let copy = "copy (select pg_sleep(0.01) from public.orders a, public.orders b) to stdout";
        let mut out = alice.copy_out(copy).unwrap();
        let error = out.read_to_end(&mut Vec::new()).unwrap_err();
        lateness.note("copy", late("copy", unix_time(), end));
        let error = error.into_inner().unwrap().downcast::<postgres::Error>().unwrap();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &NO_PERSON, "{error:?}");
        assert!(error.message().contains("the identity of \"alice\" has ended"), "{error:?}");
    }
    lateness.kept_the_promise();

    // Leader and workers: the leader only waits, the workers scan.
    let mut admin = shop.admin();
    let (mut leaders, mut all) = (Lateness::default(), Lateness::default());
    for _ in 0..3 {
        let (mut alice, end) = for_a_moment(&shop, "alice", MOMENT * 2);
        let workers = "select count(*) from pg_stat_activity where backend_type = 'parallel worker'";
        let running = thread::spawn(move || {
            let error = refusal(
                alice.simple_query("select count(*) from public.big a, public.big b where a.n <> b.n"),
            );
            (error, unix_time())
        });
        wait_for("parallel workers", || count(&mut admin, workers) > 0);
        assert!(unix_time() < end, "the plan was parallel too late");
        let (error, ended) = running.join().unwrap();
        assert_eq!(error.code(), &NO_PERSON, "{error:?}");
        leaders.note("leader", late("leader", ended, end));
        wait_for("the workers' end", || count(&mut admin, workers) == 0);
        all.note("workers", late("workers", unix_time(), end));
    }
    leaders.kept_the_promise();
    all.kept_the_promise();
}

#[test]
fn what_catches_the_cancellation_does_not_escape() {
    let shop = shop::open("identify");
    wait_for_steward(&shop);
    let mut lateness = Lateness::default();
    for _ in 0..3 {
        let (mut mallory, end) = for_a_moment(&shop, "mallory", MOMENT);
        // Nothing of it but the loop within looks for interrupts, and that is caught.
        let statement = "do $$ begin loop begin loop null; end loop; exception when query_canceled then null; end; end loop; end $$";
        let ended = mallory.simple_query(statement);
        lateness.note(statement, late(statement, unix_time(), end));
        assert!([None, Some(SqlState::ADMIN_SHUTDOWN)].contains(&code(&ended)), "{ended:?}");
        assert!(mallory.is_closed() || mallory.simple_query("select now()").is_err());
    }
    let said = "FATAL:  terminating connection because the identity of \"mallory\" has ended";
    assert_eq!(shop.cluster.log().matches(said).count(), 3);
    let notes = notes(&shop);
    let actions: Vec<_> = notes.iter().map(|note| note["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["cancel", "terminate"].repeat(3));

    // Here the nested statements are refused as well, so that it may also end by a cancellation.
    for caught in ["perform pg_sleep(5)", "select count(*) into n from public.orders"] {
        let (mut mallory, end) = for_a_moment(&shop, "mallory", MOMENT);
        let ended = mallory.simple_query(&format!(
            "do $$ declare n int; begin loop
                 begin {caught}; exception when query_canceled or others then null; end;
             end loop; end $$"
        ));
        lateness.note(caught, late(caught, unix_time(), end));
        let expected = [None, Some(NO_PERSON), Some(SqlState::ADMIN_SHUTDOWN)];
        assert!(expected.contains(&code(&ended)), "{ended:?}");
    }
    lateness.kept_the_promise();
}

#[test]
fn a_cursor_of_a_function_gives_nothing_more_once_the_identity_has_ended() {
    let shop = shop::open("identify");
    wait_for_steward(&shop);
    let (mut mallory, end) = for_a_moment(&shop, "mallory", MOMENT);
    // Each FETCH that is given after the end writes a line into the server log.
    let statement = format!(
        "do $$ declare c cursor for select a.id from public.orders a, public.orders b, public.orders d, public.orders e;
             r record; begin open c; loop
             begin perform pg_sleep(0.01); exception when query_canceled or others then null; end;
             begin
                 fetch c into r;
                 if clock_timestamp() > to_timestamp({end}) then raise log 'fetched in vain'; end if;
             exception when query_canceled or others then null; end; end loop; end $$"
    );
    assert!(mallory.simple_query(&statement).is_err());
    let log = shop.cluster.log();
    let lines = log.lines().filter(|line| line.contains("LOG:  fetched in vain")).count();
    assert!(lines <= 1, "{lines} rows were fetched by nobody");
}

#[test]
fn a_client_that_does_not_read_does_not_keep_its_statement() {
    let shop = shop::open("identify");
    wait_for_steward(&shop);
    let mut admin = shop.admin();
    let mut lateness = Lateness::default();
    for _ in 0..3 {
        let (mut alice, end) = for_a_moment(&shop, "alice", MOMENT * 2);
        let stalled = pid(&mut alice);
        let query = format!("copy ({}) to stdout", FOREVER.replace("count(*)", "repeat('x', 8000)"));
        let out = alice.copy_out(&query).unwrap();
        let stuck = format!(
            "select count(*) from pg_stat_activity where pid = {stalled} and wait_event = 'ClientWrite'"
        );
        wait_for("the full buffers", || count(&mut admin, &stuck) == 1);
        // Whether the cancellation gets through depends on a few bytes of room in the socket; if not, the
        // session is ended. In neither case is a row made that was not in a buffer before.
        let running = format!(
            "select count(*) from custodian.sessions where pid = {stalled} and running_since is not null"
        );
        assert_eq!(count(&mut admin, &running), 1);
        // Three cancellations in vain take most of the second: the look at it must not take the rest.
        while count(&mut admin, &running) > 0 {
            in_the_end(
                "copy to a client that does not read",
                Duration::from_secs_f64((unix_time() - end).max(0.0)),
            );
            sleep(Duration::from_millis(5));
        }
        lateness.note("copy to a client that does not read", late("copy", unix_time(), end));
        drop(out);
    }
    lateness.kept_the_promise();
}

#[test]
fn distrusting_an_issuer_ends_what_its_people_run_and_nothing_else() {
    let shop = shop::open("identify");
    let (other, mut admin) = (Signer::new(Algorithm::ES256), shop.admin());
    const OTHER: &str = "https://other.example";
    admin
        .execute("select custodian.trust_issuer($1, $2, array['pg_custodian'])", &[&OTHER, &other.jwks()])
        .unwrap();
    wait_for_steward(&shop);
    let mut alice = shop.person("alice", &[]);
    let mut bob = shop.readonly();
    identify(&mut bob, &other.sign(&claims_but("bob", &[], json!({"iss": OTHER})))).unwrap();
    let hers = thread::spawn(move || (refusal(alice.simple_query("select pg_sleep(60)")), Instant::now()));
    let others = [bob, shop.admin()].map(|other| Sleeper::new(other, "select pg_sleep(600)"));
    wait_until_under_way(&mut admin, "true", 3);
    // Before it is committed, it has not happened.
    let mut transaction = admin.transaction().unwrap();
    transaction.execute("select custodian.distrust_issuer($1)", &[&ISSUER]).unwrap();
    sleep(Duration::from_millis(400));
    assert!(!hers.is_finished());
    transaction.commit().unwrap();
    let committed = Instant::now();
    let (error, ended) = hers.join().unwrap();
    assert_eq!(error.code(), &NO_PERSON, "{error:?}");
    assert!(error.hint().unwrap().contains("trusted issuer"), "{error:?}");
    // The commit was before its acknowledgement came here. That it is a second at most: see below.
    in_the_end("distrust_issuer", ended.saturating_duration_since(committed));
    sleep(SETTLED);
    assert!(
        others.into_iter().all(|other| other.slept_on(&mut admin)),
        "somebody else's statement was stopped"
    );
    let notes = notes(&shop);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!((&notes[0]["reason"], &notes[0]["user_id"]), (&json!("issuer"), &json!("alice")));
}

#[test]
fn revoking_a_person_or_a_token_ends_what_runs_under_it_and_nothing_else() {
    let shop = shop::open("identify");
    wait_for_steward(&shop);
    let mut admin = shop.admin();
    let token = |user: &str, id: &str| shop.issuer.sign(&claims_but(user, &[], json!({ "jti": id })));
    // Reinstated in the same transaction: her token is from before all the same.
    let causes = [
        ("person", "select custodian.revoke_person('alice', 'left')"),
        ("token", "select custodian.revoke_token('{issuer}', 'hers', 'lost')"),
        (
            "issued_before",
            "select custodian.revoke_person('alice', 'left'), custodian.reinstate_person('alice', 'came back')",
        ),
    ];
    let mut lateness = Lateness::default();
    for (reason, cause) in causes {
        let [mut alice, alice_too, bob] =
            [("alice", "hers"), ("alice", "another"), ("bob", "his")].map(|(user, id)| {
                let mut client = shop.readonly();
                identify(&mut client, &token(user, id)).unwrap();
                client
            });
        let hers =
            thread::spawn(move || (refusal(alice.simple_query("select pg_sleep(60)")), Instant::now()));
        let [other_token, his] = [alice_too, bob].map(|other| Sleeper::new(other, "select pg_sleep(600)"));
        wait_until_under_way(&mut admin, "true", 3);
        admin.batch_execute(&cause.replace("{issuer}", ISSUER)).unwrap();
        let committed = Instant::now();
        let (error, ended) = hers.join().unwrap();
        assert_eq!(error.code(), &NO_PERSON, "{reason}: {error:?}");
        assert_eq!(error.message(), "canceling statement because the identity of \"alice\" has ended");
        assert!(error.hint().is_some(), "{reason}");
        lateness.note(reason, ended.saturating_duration_since(committed));
        sleep(SETTLED);
        assert!(his.slept_on(&mut admin), "{reason}: somebody else's statement was stopped");
        if reason == "token" {
            assert!(other_token.slept_on(&mut admin), "another token's statement was stopped");
        } else {
            assert_eq!(refusal(other_token.end()).code(), &NO_PERSON, "{reason}");
        }
        let stopped: Vec<_> = notes(&shop).into_iter().filter(|note| note["reason"] == reason).collect();
        assert_eq!(stopped.len(), if reason == "token" { 1 } else { 2 }, "{stopped:?}");
        assert!(stopped.iter().all(|note| note["user_id"] == "alice"), "{stopped:?}");
        admin
            .batch_execute(
                "delete from custodian.revocation; -- by hand, so that the next round begins as this one",
            )
            .unwrap();
    }
    lateness.kept_the_promise();
}

#[test]
fn enrolling_a_role_ends_what_nobody_runs_on_it() {
    let shop = shop::open("observe");
    wait_for_steward(&shop);
    let mut admin = shop.admin();
    for mode in ["identify", "govern"] {
        let mut nobody = shop.readonly();
        let others = [shop.person("alice", &[]), shop.admin()]
            .map(|other| Sleeper::new(other, "select pg_sleep(600)"));
        let running =
            thread::spawn(move || (refusal(nobody.simple_query("select pg_sleep(60)")), Instant::now()));
        wait_until_under_way(&mut admin, "true", 3);
        admin.execute("select custodian.enroll('readonly', $1)", &[&mode]).unwrap();
        let committed = Instant::now();
        let (error, ended) = running.join().unwrap();
        assert_eq!(error.code(), &NO_PERSON, "{error:?}");
        assert_eq!(error.message(), "canceling statement because its role requires an identified person");
        in_the_end(mode, ended.saturating_duration_since(committed));
        sleep(SETTLED);
        assert!(
            others.into_iter().all(|other| other.slept_on(&mut admin)),
            "somebody else's statement was stopped"
        );
        admin.batch_execute("select custodian.unenroll('readonly')").unwrap();
    }
    assert!(notes(&shop).iter().all(|note| note["reason"] == "no_person" && note["object"] == "readonly"));
}

#[test]
fn where_no_person_is_needed_any_more_nobody_is_stopped() {
    let shop = shop::open("identify");
    wait_for_steward(&shop);
    let mut admin = shop.admin();
    let (alice, end) = for_a_moment(&shop, "alice", MOMENT * 2);
    let sleeper = Sleeper::new(alice, "select pg_sleep(600)");
    wait_until_under_way(&mut admin, "true", 1);
    admin.batch_execute("select custodian.unenroll('readonly')").unwrap();
    sleep(Duration::from_secs_f64((end - unix_time()).max(0.0)) + SETTLED);
    assert!(sleeper.slept_on(&mut admin), "a statement was stopped that needs no person");
    assert!(notes(&shop).is_empty());
}

#[test]
fn people_who_identify_while_somebody_else_is_stopped_are_left_alone() {
    let shop = shop::open("identify");
    wait_for_steward(&shop);
    let (done, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let (shop, done, rounds) = (&shop, &done, &rounds);
        let busy: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn(move || {
                    let mut client = shop.readonly();
                    while !done.load(Ordering::Relaxed) {
                        let token = shop.issuer.person(&format!("user{n}"), &[]);
                        identify(&mut client, &token).unwrap();
                        client.query("select count(*) from public.orders", &[]).unwrap();
                        client.simple_query("discard all").unwrap();
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // Each moves the configuration's number, and has the steward look.
        let mut admin = shop.admin();
        let mut looks = 0;
        while looks < 600 || rounds.load(Ordering::Relaxed) <= 30 {
            // Who was stopped is gone, and makes no more rounds.
            if busy.iter().any(|thread| thread.is_finished()) {
                break;
            }
            admin.execute("select custodian.enroll('readonly', 'identify')", &[]).unwrap();
            sleep(Duration::from_millis(5));
            looks += 1;
        }
        done.store(true, Ordering::Relaxed);
        busy.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(notes(&shop).is_empty());
}

/// How often a process has gone to sleep by itself.
fn naps(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn an_idle_session_is_not_touched_and_an_idle_steward_sleeps() {
    let shop = shop::open("identify");
    let steward = wait_for_steward(&shop);
    let (mut idle, _) = for_a_moment(&shop, "alice", MOMENT);
    let (mut waiting, end) = for_a_moment(&shop, "alice", MOMENT);
    waiting.simple_query("begin; select 1").unwrap();
    // The later of the two.
    sleep(Duration::from_secs_f64((end - unix_time()).max(0.0) + 1.5));
    // Identities have expired, another has an hour to go: nothing is due.
    let mut bob = shop.person("bob", &[]);
    bob.simple_query("select now()").unwrap();
    sleep(Duration::from_millis(600));
    let mut woken: Vec<u64> = (0..3)
        .map(|_| {
            let before = naps(steward);
            for _ in 0..20 {
                bob.simple_query("select count(*) from public.orders").unwrap();
                sleep(Duration::from_millis(50));
            }
            naps(steward) - before
        })
        .collect();
    // What it does by the clock may fall into one of them: a checkpoint each minute, a look each half.
    woken.sort_unstable();
    assert_eq!(woken[1], 0, "the steward woke up for nothing: {woken:?}");
    for client in [&mut idle, &mut waiting] {
        assert_refused(client.simple_query("select now()"), &NO_PERSON);
    }
    assert!(notes(&shop).is_empty());
}

#[test]
fn a_steward_that_is_ended_comes_back() {
    let shop = shop::open("identify");
    let first = wait_for_steward(&shop);
    let mut admin = shop.admin();
    admin.execute("select pg_terminate_backend($1)", &[&first]).unwrap();
    wait_for("a successor", || steward(&mut admin).is_some_and(|pid| pid != first));
    // It finds what was identified before its time.
    let second = wait_for_steward(&shop);
    let (mut alice, end) = for_a_moment(&shop, "alice", MOMENT * 2);
    let running = thread::spawn(move || (refusal(alice.simple_query("select pg_sleep(60)")), unix_time()));
    wait_until_under_way(&mut admin, "true", 1);
    admin.execute("select pg_terminate_backend($1)", &[&second]).unwrap();
    let (error, ended) = running.join().unwrap();
    assert_eq!(error.code(), &NO_PERSON, "{error:?}");
    // The successor comes after a second or so, as a rule before the end.
    in_the_end("under a successor", late("under a successor", ended, end));

    // kill -9 restarts the server, and with it everything else.
    let third = wait_for_steward(&shop);
    harness::command::kill_hard(third as u32);
    wait_for("the death of the steward", || !harness::command::is_alive(third as u32));
    shop.cluster.wait_until_restarted(admin);
    assert_ne!(wait_for_steward(&shop), third);
    let (mut alice, end) = for_a_moment(&shop, "alice", MOMENT);
    assert_refused(alice.simple_query("select pg_sleep(60)"), &NO_PERSON);
    in_the_end("after the crash", late("after the crash", unix_time(), end));
}

#[test]
fn a_steward_is_in_nobodys_way() {
    let cluster = custodian().conf("pg_custodian.maintenance = on").start();
    cluster.create_database("one");
    let mut outside = cluster.superuser("postgres");
    let stewards = |client: &mut Client, database: &str| {
        let query = "select count(*) from pg_stat_activity where backend_type = 'pg_custodian steward' and datname = $1";
        client.query_one(query, &[&database]).unwrap().get::<_, i64>(0)
    };
    wait_for("the steward", || stewards(&mut outside, "one") == 1);
    let start = Instant::now();
    outside.batch_execute("create database two template one").unwrap();
    outside.batch_execute("alter database two rename to three").unwrap();
    wait_for("the steward's return", || stewards(&mut outside, "one") == 1);
    wait_for("the copy's steward", || stewards(&mut outside, "three") == 1);
    outside.batch_execute("drop database three").unwrap();
    outside.batch_execute("drop database one").unwrap();
    // What it must not do is to wait for the steward until it gives up.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    // Nothing is left of it, and its place can be taken again.
    cluster.create_database("one");
    wait_for("the steward of the new one", || stewards(&mut outside, "one") == 1);
    // DROP EXTENSION sends it away, CREATE EXTENSION brings it back.
    let mut admin = cluster.superuser("one");
    for _ in 0..2 {
        admin.batch_execute("drop extension pg_custodian cascade").unwrap();
        wait_for("its leave", || stewards(&mut outside, "one") == 0);
        admin.batch_execute("create extension pg_custodian").unwrap();
        wait_for("its return", || stewards(&mut outside, "one") == 1);
    }
    // Whatever the workers are doing just then: where they and DROP wait for each other, they give way.
    for pause in 0..25 {
        sleep(Duration::from_millis(pause * 8));
        admin.batch_execute("drop extension pg_custodian cascade").unwrap();
        admin.batch_execute("create extension pg_custodian").unwrap();
    }
}

#[test]
fn a_database_that_is_renamed_while_its_workers_start_has_one_of_each() {
    let cluster = custodian().start();
    cluster.create_database("one");
    let mut outside = cluster.superuser("postgres");
    let workers = |client: &mut Client| {
        let query = "select count(*) filter (where backend_type = 'pg_custodian ledger writer'),
                            count(*) filter (where backend_type = 'pg_custodian steward')
                     from pg_stat_activity where datname in ('one', 'another')";
        let row = client.query_one(query, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    for _ in 0..40 {
        outside.batch_execute("alter database one rename to another").unwrap();
        outside.batch_execute("alter database another rename to one").unwrap();
    }
    wait_for("its workers", || workers(&mut outside) == (1, 1));
    // A second one would have come by now, and nobody would know of it.
    for _ in 0..20 {
        sleep(Duration::from_millis(100));
        assert_eq!(workers(&mut outside), (1, 1));
    }
    outside.batch_execute("alter database one rename to another").unwrap();
}

/// Prints and checks how long it took, in milliseconds. The machine may hold up one of twenty: what a single one
/// took at most is printed.
fn figures(what: &str, mut late: Vec<f64>) {
    late.sort_by(f64::total_cmp);
    let (min, max) = (late[0], late[late.len() - 1]);
    let median = late[late.len() / 2];
    println!("{what}: {} times, min {:.1}, median {:.1}, max {:.1} ms", late.len(), min, median, max);
    let as_a_rule = late[late.len() - 1 - late.len() / 20];
    assert!(as_a_rule < PROMISE.as_secs_f64() * 1000.0, "{what}: {late:?}");
}

#[test]
fn latencies_are_far_below_a_second() {
    let shop = shop::open("observe");
    wait_for_steward(&shop);
    let mut admin = shop.admin();
    let mut nobody = shop.readonly();
    let mut enrolled = Vec::new();
    for _ in 0..50 {
        admin.execute("select custodian.unenroll('readonly')", &[]).unwrap();
        let running = thread::spawn(move || {
            let error = refusal(nobody.simple_query("select pg_sleep(60)"));
            assert_eq!(error.code(), &NO_PERSON, "{error:?}");
            (nobody, Instant::now())
        });
        wait_until_under_way(&mut admin, "true", 1);
        let asked = Instant::now();
        admin.execute("select custodian.enroll('readonly', 'identify')", &[]).unwrap();
        let (client, ended) = running.join().unwrap();
        nobody = client;
        enrolled.push((ended - asked).as_secs_f64() * 1000.0);
    }
    figures("running statement, from asking for enroll to the client's error", enrolled);

    let mut expired = Vec::new();
    for _ in 0..20 {
        let (token, end) = short_token(&shop, "alice", Duration::from_secs(1));
        identify(&mut nobody, &token).unwrap();
        assert_refused(nobody.simple_query("select pg_sleep(60)"), &NO_PERSON);
        expired.push(late("pg_sleep", unix_time(), end).as_secs_f64() * 1000.0);
    }
    figures("running statement, from exp to the client's error", expired);

    let trust_again = |admin: &mut Client| shop.trust(admin, &shop.issuer);
    let reinstate = |admin: &mut Client| {
        admin.execute("delete from custodian.revocation", &[]).unwrap();
    };
    let causes: [(&str, String, &dyn Fn(&mut Client)); 2] = [
        ("distrust_issuer", format!("select custodian.distrust_issuer('{ISSUER}')"), &trust_again),
        ("revoke_person", "select custodian.revoke_person('alice', 'left')".into(), &reinstate),
    ];
    for (cause, call, undo) in causes {
        let mut late = Vec::new();
        for _ in 0..50 {
            let mut alice = shop.person("alice", &[]);
            let running = thread::spawn(move || {
                assert_refused(alice.simple_query("select pg_sleep(60)"), &NO_PERSON);
                Instant::now()
            });
            wait_until_under_way(&mut admin, "true", 1);
            let asked = Instant::now();
            admin.execute(&call, &[]).unwrap();
            late.push((running.join().unwrap() - asked).as_secs_f64() * 1000.0);
            undo(&mut admin);
        }
        figures(&format!("running statement, from asking for {cause} to the client's error"), late);
    }

    let mut next = Vec::new();
    for _ in 0..50 {
        let mut alice = shop.person("alice", &[]);
        admin.execute("select custodian.revoke_person('alice', 'left')", &[]).unwrap();
        let asked = Instant::now();
        assert_refused(alice.simple_query("select now()"), &NO_PERSON);
        next.push(asked.elapsed().as_secs_f64() * 1000.0);
        admin.execute("delete from custodian.revocation", &[]).unwrap();
    }
    figures("next statement after revoke_person, from asking to the refusal", next);
}
