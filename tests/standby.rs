//! A primary and hot standbys: what is done on a standby is in the primary's ledger, once and in order,
//! whatever dies meanwhile and whoever is promoted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::load::{self, Dice, List, divide_by_zero, kill_one, mark, marked};
use harness::shop::{self, sync, verified};
use harness::standby::{create_forwarder, forward_to};
use harness::token::{AUDIENCE, Algorithm, ISSUER, Signer};
use harness::{Cluster, assert_refused, custodian, refusal, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

const DATABASE: &str = "fleet";

/// A primary with a database, and a standby `one` that forwards.
fn pair() -> (Cluster, Cluster) {
    let primary = custodian().start();
    primary.create_database(DATABASE);
    create_forwarder(&mut primary.superuser(DATABASE), "standby1");
    let standby = primary.standby("one", &[forward_to(&primary, "standby1")]);
    (primary, standby)
}

/// One statement of a kind that depends on its number; none writes, a standby cannot.
fn send(client: &mut Client, number: u64) -> Result<(), postgres::Error> {
    let mark = mark(number);
    match number % 4 {
        0 => client.simple_query(&format!("select {number} as {mark}")).map(drop),
        1 => client.query("select $1::text as parameter", &[&mark]).map(drop),
        2 => client.simple_query(&format!("begin; select 1 as {mark}; rollback")).map(drop),
        _ => divide_by_zero(client, &mark),
    }
}

/// The numbers in a ledger in its order, with the server each came from.
fn recorded(admin: &mut Client) -> Vec<(u64, Option<String>)> {
    let rows = admin
        .query(
            "select coalesce(statement, '') || coalesce(array_to_string(parameters, ' '), '') as text, server
             from audit.statements
             where depth = 0 and command = 'SELECT' and statement not like '%audit.%' order by seq",
            &[],
        )
        .unwrap();
    rows.iter().filter_map(|row| Some((marked(row.get("text"))?, row.get("server")))).collect()
}

/// Asserts that a ledger has each of these numbers once, in this order, from the standby `one`.
#[track_caller]
fn assert_recorded(admin: &mut Client, expected: &[u64]) {
    let found = recorded(admin);
    assert!(found.iter().all(|(_, server)| server.as_deref() == Some("one")), "{found:?}");
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), expected);
    assert!(verified(admin));
}

fn segments(cluster: &Cluster) -> usize {
    std::fs::read_dir(cluster.file("pg_custodian"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "seg"))
        .count()
}

#[test]
fn what_a_person_reads_on_a_standby_is_in_the_primarys_ledger_once_with_its_origin() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    create_forwarder(&mut admin, "standby1");
    let standby = shop.cluster.standby("one", &[forward_to(&shop.cluster, "standby1")]);

    let mut client = shop.readonly_on(&standby);
    assert_refused(
        client.simple_query("select count(*) as leaked from masked.customers"),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    );
    shop::identify(&mut client, &shop.issuer.person("alice", &["support"])).unwrap();
    let iban: String =
        client.query_one("select iban from masked.customers order by id limit 1", &[]).unwrap().get(0);
    assert!(!iban.contains('*'), "{iban}");
    let mut other = shop.readonly_on(&standby);
    shop::identify(&mut other, &shop.issuer.person("bob", &[])).unwrap();
    let iban: String =
        other.query_one("select iban from masked.customers order by id limit 1", &[]).unwrap().get(0);
    assert!(iban.contains('*'), "{iban}");
    shop.person("carol", &[]).simple_query("select id as at_home from masked.customers").unwrap();

    sync(&mut standby.superuser("shop"));
    sync(&mut admin);
    let rows = admin
        .query(
            "select user_id, outcome, server, session from audit.statements
             where statement like '%masked.customers%' and session_role = 'readonly' and depth = 0 order by seq",
            &[],
        )
        .unwrap();
    let found: Vec<(Option<String>, String, Option<String>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let one = || Some("one".to_string());
    let expected = [
        (None, "denied".to_string(), one()),
        (Some("alice".into()), "ok".into(), one()),
        (Some("bob".into()), "ok".into(), one()),
        (Some("carol".into()), "ok".into(), None),
    ];
    // The two servers' rows come in any order, those of one server in theirs.
    for server in [one(), None] {
        let of = |rows: &[(Option<String>, String, Option<String>)]| {
            rows.iter().filter(|row| row.2 == server).cloned().collect::<Vec<_>>()
        };
        assert_eq!(of(&found), of(&expected), "{found:?}");
    }
    assert!(rows.iter().all(|row| row.get::<_, String>("session").ends_with("@one")
        == row.get::<_, Option<String>>("server").is_some()));
    let events =
        "select count(*) from audit.events where server = 'one' and event = 'identity' and user_id = 'alice'";
    assert_eq!(admin.query_one(events, &[]).unwrap().get::<_, i64>(0), 1);
    assert!(verified(&mut admin));

    // What came to the primary's ledger comes back by replication, to be read on the standby.
    standby.wait_until_replayed(&shop.cluster);
    let mut there = standby.superuser("shop");
    let query = "select count(*) from audit.statements where server = 'one' and user_id = 'alice' and objects @> array['masked.customers']";
    assert_eq!(there.query_one(query, &[]).unwrap().get::<_, i64>(0), 1);
    let well = "select ok from custodian.status() where \"check\" = 'forwarding'";
    assert!(there.query_one(well, &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn without_an_address_it_is_kept_and_forwarded_once_there_is_one() {
    let primary = custodian().start();
    primary.create_database(DATABASE);
    create_forwarder(&mut primary.superuser(DATABASE), "standby1");
    let standby = primary.standby("one", &[]);
    let mut client = standby.superuser(DATABASE);
    (1..=3).for_each(|number| send(&mut client, number).unwrap());
    let row = client
        .query_one("select ok, hint from custodian.status() where \"check\" = 'forwarding'", &[])
        .unwrap();
    assert!(!row.get::<_, bool>(0) && row.get::<_, &str>(1).contains("forward_to"));
    assert_eq!(refusal(client.execute("select audit.sync()", &[])).code().code(), "25006");
    // A database that gets the extension after its standby was made.
    primary.create_database("late");
    standby.wait_until_replayed(&primary);
    let mut late = standby.superuser("late");
    send(&mut late, 4).unwrap();
    standby.restart();

    standby.add_conf(&forward_to(&primary, "standby1"));
    standby.reload();
    let mut client = standby.superuser(DATABASE);
    send(&mut client, 5).unwrap();
    sync(&mut client);
    assert_recorded(&mut primary.superuser(DATABASE), &[1, 2, 3, 5]);
    let mut late = standby.superuser("late");
    sync(&mut late);
    assert_recorded(&mut primary.superuser("late"), &[4]);
}

#[test]
fn a_password_is_not_taken_in_the_address() {
    let cluster = custodian().start();
    cluster.add_conf("pg_custodian.forward_to = 'host=nowhere password=secret'");
    cluster.reload();
    wait_for("the refusal", || cluster.log().contains("passfile"));
    let mut admin = cluster.superuser("postgres");
    assert_eq!(text(&mut admin, "show pg_custodian.forward_to").as_deref(), Some(""));
}

#[test]
fn an_outage_of_the_primary_loses_and_doubles_nothing() {
    let (primary, standby) = pair();
    let mut client = standby.superuser(DATABASE);
    send(&mut client, 1).unwrap();
    sync(&mut client);
    primary.stop();
    // More than two segments, and more than a batch, while nobody takes it.
    let filler = "x".repeat(900_000);
    for number in 2..60 {
        client.simple_query(&format!("select {number} as {}, '{filler}' as f", mark(number))).unwrap();
    }
    drop(client);
    standby.restart();
    let mut client = standby.superuser(DATABASE);
    (60..70).for_each(|number| send(&mut client, number).unwrap());
    assert!(segments(&standby) >= 4, "{}", segments(&standby));
    primary.start();
    sync(&mut client);
    assert_recorded(&mut primary.superuser(DATABASE), &(1..70).collect::<Vec<_>>());
    // What the primary has, and the standby knows to be there, is removed here.
    standby.wait_until_replayed(&primary);
    wait_for("segments to be removed", || {
        send(&mut client, 1_000_000).unwrap();
        segments(&standby) <= 3
    });
}

/// Two clients of a standby, for as long as `meanwhile` runs.
fn load_on(standby: &Cluster, seed: u64, meanwhile: impl FnOnce()) -> Vec<List> {
    load::during(2, |_, _| standby.try_superuser(DATABASE).ok(), send, seed, meanwhile).0
}

/// Compares what was sent to a standby with a ledger: none missing, doubled, invented, and each client's
/// in its order.
#[track_caller]
fn assert_none_lost(admin: &mut Client, lists: &[List], what: &str) {
    let found: Vec<u64> = recorded(admin).into_iter().map(|(number, _)| number).collect();
    let mut times = HashMap::new();
    found.iter().for_each(|number| *times.entry(*number).or_insert(0) += 1);
    let acknowledged: usize = lists.iter().map(|list| list.acknowledged.len()).sum();
    let missing: Vec<u64> = lists
        .iter()
        .flat_map(|list| &list.acknowledged)
        .filter(|number| !times.contains_key(*number))
        .copied()
        .collect();
    let doubled = times.values().filter(|times| **times > 1).count();
    let invented =
        found.iter().filter(|number| !lists.iter().any(|list| list.sent.contains(*number))).count();
    println!(
        "{what}: {acknowledged} acknowledged, {} recorded; {} missing, {doubled} doubled, {invented} invented",
        found.len(),
        missing.len()
    );
    assert!(acknowledged > 100, "there was no load");
    assert_eq!((missing, doubled, invented), (vec![], 0, 0));
    for list in lists {
        let kept: HashSet<u64> = list.acknowledged.iter().copied().collect();
        let order: Vec<u64> = found.iter().filter(|number| kept.contains(number)).copied().collect();
        assert_eq!(order, list.acknowledged);
    }
    assert!(verified(admin));
}

#[test]
fn kill_9_of_forwarder_standby_and_primary_loses_and_doubles_nothing() {
    let (seconds, seed) = (load::seconds(20), load::seed());
    let (primary, standby) = pair();
    let mut kills = [0_u32; 4];
    let lists = load_on(&standby, seed, || {
        let (until, mut dice) = (Instant::now() + Duration::from_secs(seconds), Dice(seed));
        // On a slow machine there is time for a few only.
        while Instant::now() < until || kills.iter().sum::<u32>() <= 3 {
            thread::sleep(Duration::from_millis(500 + dice.roll(1500)));
            let forwarder = "backend_type = 'pg_custodian ledger writer'";
            let (what, happened) = match dice.roll(5) {
                0 | 1 => (0, kill_one(&standby, &mut dice, forwarder)),
                2 => (1, kill_one(&primary, &mut dice, "application_name = 'pg_custodian forwarder'")),
                3 => {
                    standby.kill_postmaster();
                    standby.start();
                    (2, true)
                }
                _ => {
                    primary.kill_postmaster();
                    primary.start();
                    (3, true)
                }
            };
            kills[what] += u32::from(happened);
            standby.wait_until_up();
            primary.wait_until_up();
        }
    });
    load::synced(&standby, DATABASE);
    let what = format!("{seconds} s, seed {seed}, kills of workers, connections, standby, primary {kills:?}");
    assert_none_lost(&mut primary.superuser(DATABASE), &lists, &what);
    assert!(kills.iter().sum::<u32>() > 3, "nothing was killed");
}

#[test]
fn a_promotion_under_load_loses_and_doubles_nothing() {
    let (primary, standby) = pair();
    let lists = load_on(&standby, load::seed(), || {
        thread::sleep(Duration::from_secs(3));
        let mut there = primary.superuser(DATABASE);
        wait_for("a load", || recorded(&mut there).len() > 110);
        // What was forwarded last is on the primary, and not here.
        primary.kill_postmaster();
        thread::sleep(Duration::from_millis(500));
        standby.promote();
        thread::sleep(Duration::from_secs(2));
        let mut here = standby.superuser(DATABASE);
        let of_its_own = |(_, server): &(u64, Option<String>)| server.is_none();
        wait_for("what is recorded since", || recorded(&mut here).iter().any(of_its_own));
    });
    let mut admin = standby.superuser(DATABASE);
    sync(&mut admin);
    assert_none_lost(&mut admin, &lists, "promotion");
    let servers: HashSet<Option<String>> =
        recorded(&mut admin).into_iter().map(|(_, server)| server).collect();
    assert_eq!(servers, HashSet::from([None, Some("one".to_string())]), "before and after the promotion");
    let gaps = "select count(*) from audit.events where event = 'gap'";
    assert_eq!(admin.query_one(gaps, &[]).unwrap().get::<_, i64>(0), 1, "that the old primary's end is lost");

    // A kill -9 and a restart of the new primary change nothing.
    standby.kill_postmaster();
    standby.start();
    let mut admin = standby.superuser(DATABASE);
    sync(&mut admin);
    assert_none_lost(&mut admin, &lists, "promotion and restart");
}

#[test]
fn the_other_standbys_go_on_with_the_new_primary() {
    let (primary, one) = pair();
    let mut admin = primary.superuser(DATABASE);
    create_forwarder(&mut admin, "standby2");
    one.wait_until_replayed(&primary);
    let both = format!(
        "pg_custodian.forward_to = 'host={},{} port={},{} user=standby2 target_session_attrs=read-write'",
        one.socket().display(),
        primary.socket().display(),
        one.port(),
        primary.port()
    );
    let two = primary.standby("two", &[both]);
    let mut client = two.superuser(DATABASE);
    send(&mut client, 4).unwrap();
    sync(&mut client);
    one.wait_until_replayed(&primary);
    primary.kill_postmaster();
    send(&mut client, 8).unwrap();
    one.promote();
    send(&mut client, 12).unwrap();
    sync(&mut client);
    let found: Vec<(u64, Option<String>)> = recorded(&mut one.superuser(DATABASE));
    let two = || Some("two".to_string());
    assert_eq!(found, [(4, two()), (8, two()), (12, two())]);
    assert!(verified(&mut one.superuser(DATABASE)));
}

#[test]
fn a_row_that_the_ledger_cannot_hold_does_not_stop_those_behind_it() {
    let primary = custodian().start();
    let mut admin = primary.superuser("postgres");
    admin.batch_execute("create database jp encoding 'EUC_JP' locale 'C' template template0").unwrap();
    let mut admin = primary.superuser("jp");
    admin.batch_execute("create extension pg_custodian").unwrap();
    let issuer = Signer::new(Algorithm::RS256);
    admin
        .execute("select custodian.trust_issuer($1, $2, array[$3])", &[&ISSUER, &issuer.jwks(), &AUDIENCE])
        .unwrap();
    create_forwarder(&mut admin, "standby1");
    let standby = primary.standby("one", &[forward_to(&primary, "standby1")]);
    let mut client = standby.superuser("jp");
    send(&mut client, 4).unwrap();
    // Three bytes of UTF-8 that are no characters of EUC_JP; whether he sees an answer does not matter.
    let _ = shop::identify(&mut client, &issuer.person("\u{65e5}", &[]));
    let mut client = standby.superuser("jp");
    send(&mut client, 8).unwrap();
    sync(&mut client);
    let found = recorded(&mut admin);
    assert_eq!(found, [(4, Some("one".into())), (8, Some("one".into()))]);
    let damage = "select detail ->> 'problem' from audit.events where event = 'damage' and server = 'one'";
    let rows = admin.query(damage, &[]).unwrap();
    assert!(
        !rows.is_empty() && rows.iter().all(|row| row.get::<_, &str>(0).contains("not forwarded")),
        "{rows:?}"
    );
    assert!(verified(&mut admin));
}

/// The call of somebody who forwards `records` of a journal.
fn forward(
    client: &mut Client,
    server: &str,
    journal: &[u8],
    records: &[u8],
) -> Result<u64, postgres::Error> {
    client.execute(
        "select * from audit.accept_forwarded($1, $2, 0, 0, 0, 100, 0, 100, $3)",
        &[&server, &journal, &records],
    )
}

/// A note `event` in the encoding of the journal: numbers below 128 are a byte, what is absent is zero.
fn note(event: &str, application: &[u8]) -> Vec<u8> {
    const SESSION: [u8; 8] = 7u64.to_le_bytes();
    const AT: [u8; 2] = [0xe8, 0x07];
    let text = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    [
        [&[1][..], &SESSION, &[1, 5, 7], &text(b"forger"), &text(b"forger"), &[0]].concat(),
        [&text(application)[..], &[0; 4]].concat(),
        [&[5][..], &SESSION, &[1], &AT, &text(event.as_bytes()), &[0; 4]].concat(),
    ]
    .concat()
}

#[test]
fn who_may_forward_can_add_rows_under_a_servers_name_and_nothing_else() {
    let (primary, standby) = pair();
    let mut client = standby.superuser(DATABASE);
    send(&mut client, 4).unwrap();
    sync(&mut client);
    let mut admin = primary.superuser(DATABASE);
    create_forwarder(&mut admin, "rogue");
    admin.batch_execute("create role nobody login").unwrap();
    let journals = "select journal from audit.origins union all select journal from audit.chain";
    let known: Vec<Vec<u8>> = admin.query(journals, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let login = |role: &str| {
        let mut config = postgres::Config::new();
        config.host_path(primary.socket()).port(primary.port()).user(role).dbname(DATABASE);
        config.connect(postgres::NoTls).unwrap()
    };
    let code = |result: Result<u64, postgres::Error>| refusal(result).code().code().to_string();
    let (new, good) = ([9u8; 16], note("forged", b""));
    assert_eq!(code(forward(&mut login("nobody"), "x", &new, &good)), "42501");
    let mut rogue = login("rogue");
    assert_eq!(code(forward(&mut rogue, "one", &known[0], &good)), "42501", "another role's");
    assert_eq!(code(forward(&mut rogue, "x", &known[1], &good)), "22023", "the primary's own");
    assert_eq!(code(forward(&mut rogue, "", &new, &good)), "22023", "nobody's");
    assert_eq!(code(forward(&mut rogue, "x", b"short", &good)), "22023");
    assert_eq!(code(forward(&mut rogue, "x", &new, b"\x01nonsense")), "22P03");
    assert_eq!(code(forward(&mut rogue, "x", &new, &note("statement", b""))), "22P03");
    assert_eq!(code(forward(&mut rogue, "x", &new, &note("forged", &[0xff]))), "22P03", "no text");
    assert_eq!(forward(&mut rogue, "x", &new, &good).unwrap(), 1);
    assert_eq!(forward(&mut rogue, "x", &new, &good).unwrap(), 1, "again");
    assert_eq!(code(rogue.execute("select * from audit.ledger", &[])), "42501");
    assert_eq!(code(rogue.execute("update audit.origins set journal_rows = 0", &[])), "42501");
    for attack in [
        "update audit.origins set journal_position = 0",
        "delete from audit.origins",
        "truncate audit.origins",
    ] {
        assert_eq!(code(admin.execute(attack, &[])), "42501", "{attack}");
    }
    let forged = "select count(*), min(server), min(session) from audit.events where event = 'forged'";
    let row = admin.query_one(forged, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get(1), row.get(2)), (1, Some("x"), Some("0.7@x")));
    // The standby is not disturbed.
    send(&mut client, 8).unwrap();
    sync(&mut client);
    assert_eq!(recorded(&mut admin).len(), 2);
    assert!(verified(&mut admin));
}
