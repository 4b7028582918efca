//! Trust that is taken back, and tokens that may be used once: across sessions, transactions, restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify};
use harness::token::{AUDIENCE, ISSUER, claims, claims_but, now, wait_beyond};
use harness::{assert_refused, custodian, refusal, text, wait_for};
use postgres::Client;
use postgres::error::{DbError, SqlState};
use serde_json::json;
use std::fs;
use std::sync::Barrier;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
const ONCE: &str = "https://once.shop.example";

fn revoke(shop: &Shop, user: &str) {
    shop.admin().execute("select custodian.revoke_person($1, 'left the company')", &[&user]).unwrap();
}

fn reinstate(shop: &Shop, user: &str) {
    shop.admin().execute("select custodian.reinstate_person($1, 'came back')", &[&user]).unwrap();
}

#[track_caller]
fn assert_says<T>(result: Result<T, postgres::Error>, message: &str) -> DbError {
    let error = assert_refused(result, &NO_PERSON);
    assert_eq!(error.message(), message, "{error:?}");
    error
}

/// How many attempts to identify were refused for this reason, according to the ledger.
fn refused_attempts(shop: &Shop, reason: &str) -> i64 {
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    let query = "select count(*) from audit.events
                 where event = 'identity' and outcome = 'denied' and detail ->> 'reason' = $1";
    admin.query_one(query, &[&reason]).unwrap().get(0)
}

const REVOKED: &str = "person \"alice\" has been revoked";

#[test]
fn revoking_a_person_stops_the_next_statement_of_each_of_her_sessions() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &["support"]);
    let mut bob = shop.person("bob", &[]);
    let mut plain = shop.person("alice", &["support"]);
    let mut prepared = shop.person("alice", &["support"]);
    let statement = prepared.prepare("select id from public.orders order by id").unwrap();
    prepared.query(&statement, &[]).unwrap();
    let mut for_transaction = shop.readonly();
    for_transaction.batch_execute("begin").unwrap();
    for_transaction.execute("select custodian.set_identity($1, for_transaction => true)", &[&token]).unwrap();
    let mut with_cursor = shop.person("alice", &["support"]);
    with_cursor
        .batch_execute(
            "begin isolation level repeatable read;
             declare c cursor for select id from public.orders order by id;
             fetch 1 from c;",
        )
        .unwrap();
    let mut with_portal = shop.person("alice", &["support"]);
    let mut transaction = with_portal.transaction().unwrap();
    let portal = transaction.bind("select id from public.orders order by id", &[]).unwrap();
    assert_eq!(transaction.query_portal(&portal, 1).unwrap().len(), 1);

    revoke(&shop, "alice");

    let error = assert_says(plain.query("select now()", &[]), REVOKED);
    assert!(error.hint().unwrap().contains("custodian_admin"), "{error:?}");
    assert!(!format!("{error:?}").contains("left the company"), "the reason is not for her: {error:?}");
    assert_says(prepared.query(&statement, &[]), REVOKED);
    assert_says(for_transaction.query("select now()", &[]), REVOKED);
    assert_says(with_cursor.simple_query("fetch 1 from c"), REVOKED);
    assert_says(transaction.query_portal(&portal, 1), REVOKED);
    drop(transaction);
    // From then on the sessions are nobody's, and nobody may run anything on this role.
    for client in [&mut plain, &mut prepared, &mut for_transaction, &mut with_cursor, &mut with_portal] {
        let _ = client.simple_query("rollback");
        assert_says(client.query("select now()", &[]), "role \"readonly\" requires an identified person");
        assert_says(identify(client, &token), REVOKED);
    }
    let mut fresh = shop.readonly();
    assert_says(identify(&mut fresh, &shop.issuer.person("alice", &["support"])), REVOKED);
    assert_eq!(refused_attempts(&shop, "revoked"), 6);
    bob.query("select now()", &[]).unwrap();
}

#[test]
fn a_revocation_is_on_record_with_its_reason() {
    let shop = shop::open("identify");
    revoke(&shop, "alice");
    reinstate(&shop, "alice");
    shop.admin().execute("select custodian.revoke_token($1, 'jti-1', 'lost laptop')", &[&ISSUER]).unwrap();
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    let rows = admin
        .query(
            "select object, detail ->> 'action', detail ->> 'reason' from audit.events
             where event = 'revocation' order by seq",
            &[],
        )
        .unwrap();
    let found: Vec<(String, String, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let expected = [
        ("alice", "revoke_person", "left the company"),
        ("alice", "reinstate_person", "came back"),
        ("jti-1", "revoke_token", "lost laptop"),
    ];
    assert_eq!(found, expected.map(|(a, b, c)| (a.into(), b.into(), c.into())));
}

#[test]
fn after_reinstatement_only_tokens_issued_since_are_good() {
    let shop = shop::open("identify");
    shop.admin()
        .execute(
            "select custodian.trust_issuer($1, $2, array[$3], leeway => '3 s')",
            &[&ISSUER, &shop.issuer.jwks(), &AUDIENCE],
        )
        .unwrap();
    let mut alice = shop.person("alice", &[]);
    let old = shop.issuer.person("alice", &[]);
    // As an issuer makes it whose clock is ahead of ours.
    let from_the_future = shop.issuer.sign(&claims_but("alice", &[], json!({"iat": now() + 2})));
    let dateless = shop.issuer.sign(&claims_but("alice", &[], json!({"iat": null})));
    revoke(&shop, "alice");
    reinstate(&shop, "alice");
    let message = "token of \"alice\" was issued before the person was revoked, and may not be used any more";
    // The session that slept through all of it.
    assert_says(alice.query("select now()", &[]), message);
    for token in [&old, &from_the_future, &dateless] {
        assert_says(identify(&mut alice, token), message);
    }
    sleep(Duration::from_millis(5100));
    for token in [&old, &from_the_future, &dateless] {
        assert_says(identify(&mut alice, token), message);
    }
    identify(&mut alice, &shop.issuer.person("alice", &[])).unwrap();
    assert_eq!(text(&mut alice, "select custodian.user_id()").as_deref(), Some("alice"));
}

#[test]
fn a_revoked_token_ends_its_sessions_and_no_others() {
    let shop = shop::open("identify");
    let lost = claims("alice", &[]);
    let mut with_lost = shop.readonly();
    identify(&mut with_lost, &shop.issuer.sign(&lost)).unwrap();
    let mut with_other = shop.person("alice", &[]);
    let jti = lost["jti"].as_str().unwrap();
    shop.admin().execute("select custodian.revoke_token($1, $2)", &[&ISSUER, &jti]).unwrap();
    assert_says(with_lost.query("select now()", &[]), "token of \"alice\" has been revoked");
    let again = identify(&mut with_lost, &shop.issuer.sign(&lost));
    assert_says(again, "token of \"alice\" has been revoked");
    with_other.query("select now()", &[]).unwrap();
    identify(&mut with_lost, &shop.issuer.person("alice", &[])).unwrap();
}

#[test]
fn a_revocation_that_is_rolled_back_ends_nobody() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &[]);
    let mut admin = shop.admin();
    admin.batch_execute("begin; select custodian.revoke_person('alice', 'mistake')").unwrap();
    alice.query("select now()", &[]).unwrap();
    admin.batch_execute("rollback").unwrap();
    alice.query("select now()", &[]).unwrap();
    admin.batch_execute("begin; select custodian.revoke_person('alice', 'no mistake'); commit").unwrap();
    assert_says(alice.query("select now()", &[]), REVOKED);
}

#[test]
fn a_revocation_written_by_hand_counts_too() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &[]);
    shop.admin()
        .batch_execute(
            "set session_replication_role = replica;
             insert into custodian.revocation (user_id, reason) values ('alice', 'restored from a dump')",
        )
        .unwrap();
    assert_says(alice.query("select now()", &[]), REVOKED);
}

#[test]
fn a_revocation_outlives_the_issuer_and_the_server() {
    let shop = shop::open("identify");
    revoke(&shop, "alice");
    let mut admin = shop.admin();
    admin.execute("select custodian.distrust_issuer($1)", &[&ISSUER]).unwrap();
    shop.trust(&mut admin, &shop.issuer);
    shop.cluster.restart();
    assert_says(identify(&mut shop.readonly(), &shop.issuer.person("alice", &[])), REVOKED);
}

/// Trusts the same keys under another name, once per token.
fn trust_once(shop: &Shop) {
    shop.admin()
        .execute(
            "select custodian.trust_issuer($1, $2, array[$3], single_use => true)",
            &[&ONCE, &shop.issuer.jwks(), &AUDIENCE],
        )
        .unwrap();
}

fn token_for_once(shop: &Shop, user: &str) -> String {
    shop.issuer.sign(&claims_but(user, &[], json!({"iss": ONCE})))
}

const USED: &str = "token of \"alice\" has been used already";

#[test]
fn a_single_use_token_identifies_once_whatever_becomes_of_the_session() {
    let shop = shop::open("identify");
    trust_once(&shop);
    let token = token_for_once(&shop, "alice");
    let mut client = shop.readonly();
    identify(&mut client, &token).unwrap();
    assert_eq!(text(&mut client, "select custodian.user_id()").as_deref(), Some("alice"));
    // In the same session, which the replay ends.
    assert_says(identify(&mut client, &token), USED);
    assert_says(client.query("select now()", &[]), "role \"readonly\" requires an identified person");
    // In another one.
    assert_says(identify(&mut shop.readonly(), &token), USED);

    // ROLLBACK takes back no use, nor does the end of the transaction that it was for.
    let (rolled_back, for_transaction) = (token_for_once(&shop, "alice"), token_for_once(&shop, "alice"));
    client.batch_execute("begin").unwrap();
    identify(&mut client, &rolled_back).unwrap();
    client.batch_execute("rollback").unwrap();
    assert_says(identify(&mut client, &rolled_back), USED);
    let set = "select custodian.set_identity($1, for_transaction => true)";
    client.execute(set, &[&for_transaction]).unwrap();
    assert_says(client.execute(set, &[&for_transaction]), USED);

    shop.cluster.restart();
    for token in [&token, &rolled_back, &for_transaction] {
        assert_says(identify(&mut shop.readonly(), token), USED);
    }
    let last = token_for_once(&shop, "alice");
    let mut client = shop.readonly();
    identify(&mut client, &last).unwrap();
    shop.cluster.kill_postmaster();
    drop(client);
    shop.cluster.start();
    assert_says(identify(&mut shop.readonly(), &last), USED);
    identify(&mut shop.readonly(), &token_for_once(&shop, "alice")).unwrap();
    // Tokens of other issuers are as good as ever.
    let token = shop.issuer.person("bob", &[]);
    for _ in 0..2 {
        identify(&mut shop.readonly(), &token).unwrap();
    }
    assert_eq!(refused_attempts(&shop, "used"), 8);
}

#[test]
fn of_sessions_that_present_one_token_at_once_exactly_one_gets_in() {
    const RIVALS: usize = 6;
    let shop = shop::open("identify");
    trust_once(&shop);
    let tokens: Vec<String> = (0..5).map(|_| token_for_once(&shop, "alice")).collect();
    let start = Barrier::new(RIVALS);
    let wins: Vec<Vec<bool>> = thread::scope(|scope| {
        let rivals: Vec<_> = (0..RIVALS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = shop.readonly();
                    let attempt = |token: &String| {
                        start.wait();
                        identify(&mut client, token).is_ok()
                    };
                    tokens.iter().map(attempt).collect()
                })
            })
            .collect();
        rivals.into_iter().map(|rival| rival.join().unwrap()).collect()
    });
    for token in 0..tokens.len() {
        assert_eq!(wins.iter().filter(|won| won[token]).count(), 1, "token {token}: {wins:?}");
    }
}

#[test]
fn a_token_that_is_refused_for_something_else_is_not_used_up() {
    let shop = shop::open("identify");
    trust_once(&shop);
    shop.admin().execute("update custodian.issuer set leeway = '0 s' where issuer = $1", &[&ONCE]).unwrap();
    let mut client = shop.readonly();
    let begin = now() + 4;
    let token = shop.issuer.sign(&claims_but("alice", &[], json!({"iss": ONCE, "nbf": begin})));
    assert_says(identify(&mut client, &token), "token is not valid yet");
    wait_beyond(begin);
    identify(&mut client, &token).unwrap();
}

#[test]
fn a_damaged_file_of_used_tokens_stops_single_use_tokens_and_no_others() {
    let shop = shop::open("identify");
    trust_once(&shop);
    let used = token_for_once(&shop, "alice");
    identify(&mut shop.readonly(), &used).unwrap();
    identify(&mut shop.readonly(), &token_for_once(&shop, "alice")).unwrap();
    let file = shop.cluster.file("pg_custodian/used_tokens");
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    for token in [&used, &token_for_once(&shop, "alice")] {
        let error = assert_refused(identify(&mut shop.readonly(), token), &SqlState::IO_ERROR);
        assert!(error.message().contains("used_tokens\" is damaged"), "{error:?}");
    }
    assert_eq!(refused_attempts(&shop, "failed"), 2);
    shop.person("bob", &[]).query("select now()", &[]).unwrap();
    // A directory in its place cannot be read at all.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_refused(identify(&mut shop.readonly(), &token_for_once(&shop, "alice")), &SqlState::IO_ERROR);
    fs::remove_dir(&file).unwrap();
    identify(&mut shop.readonly(), &token_for_once(&shop, "alice")).unwrap();
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (work(), began.elapsed())
}

fn attempt(client: &mut Client, token: &str) -> Duration {
    let (result, took) = timed(|| identify(client, token));
    refusal(result);
    took
}

#[test]
fn failed_attempts_are_answered_late_and_later_each_time() {
    let shop = shop::open_on(custodian().conf("pg_custodian.failure_delay = '400ms'"), "identify");
    let mut client = shop.readonly();
    let good = shop.issuer.person("alice", &[]);
    let expired = shop.issuer.sign(&claims_but("alice", &[], json!({"exp": now() - 1})));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    // Whichever check refuses: the shape, the signature, the claims.
    for (token, least) in [("no token", 400), (&forged, 800), (&expired, 1600)] {
        let took = attempt(&mut client, token);
        assert!(took >= Duration::from_millis(least), "{took:?} instead of {least} ms");
    }
    let (result, took) = timed(|| identify(&mut client, &good));
    result.unwrap();
    assert!(took < Duration::from_millis(3200), "a good token took {took:?}");
    let took = attempt(&mut client, "no token");
    assert!((400..3200).contains(&took.as_millis()), "after a success: {took:?}");
    // Nobody else pays for it.
    for _ in 0..2 {
        attempt(&mut client, "no token");
    }
    let took = attempt(&mut shop.readonly(), "no token");
    assert!(took < Duration::from_millis(3200), "in a new session: {took:?}");
}

#[test]
fn the_delay_comes_after_the_record_holds_no_lock_and_can_be_cancelled_but_not_escaped() {
    let shop = shop::open_on(custodian().conf("pg_custodian.failure_delay = '5s'"), "identify");
    let (mut client, mut admin) = (shop.readonly(), shop.admin());
    let pid: i32 = {
        identify(&mut client, &shop.issuer.person("alice", &[])).unwrap();
        client.query_one("select pg_backend_pid()", &[]).unwrap().get(0)
    };
    let began = Instant::now();
    let waiting = thread::spawn(move || {
        let refused = identify(&mut client, "no token");
        (client, refused, began.elapsed())
    });
    wait_for("the record of the attempt", || refused_attempts(&shop, "malformed") == 1);
    // Others change the configuration meanwhile.
    admin.execute("select custodian.rotate_keys($1, $2)", &[&ISSUER, &shop.issuer.jwks()]).unwrap();
    admin.execute("select pg_cancel_backend($1)", &[&pid]).unwrap();
    let (mut client, refused, took) = waiting.join().unwrap();
    assert!(took < Duration::from_millis(4900), "cancelled after {took:?}");
    assert_eq!(refusal(refused).code(), &SqlState::QUERY_CANCELED);
    // What was not waited for is waited for now, before a good token is looked at.
    identify(&mut client, &shop.issuer.person("alice", &[])).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(5), "the wait was escaped: {:?}", began.elapsed());
    // Long enough for the first to be looked at; all three are over before the first has been waited for.
    client.batch_execute("set statement_timeout = '800ms'").unwrap();
    for _ in 0..3 {
        assert_eq!(refusal(identify(&mut client, "no token")).code(), &SqlState::QUERY_CANCELED);
    }
    assert_eq!(refused_attempts(&shop, "malformed"), 2, "only the first of them was looked at");
}
