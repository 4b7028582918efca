//! The shared login in the hands of programs as people have them: psql, psycopg, node-postgres, pgjdbc.
//!
//! Each goes through the same session (tests/clients/) with its own means and its default settings, and
//! says what it got; here is compared what it said, and what the ledger says of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::{Program, plain};
use harness::shop::{self, Shop};
use harness::token::{Algorithm, Signer};
use std::fs;
use std::path::{Path, PathBuf};

/// What a client is, to the tests.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Psql,
    Psycopg,
    Node,
    Jdbc,
}

impl Kind {
    /// What its statements are marked with.
    fn tag(self) -> &'static str {
        match self {
            Kind::Psql => "psql",
            Kind::Psycopg => "psycopg",
            Kind::Node => "node",
            Kind::Jdbc => "jdbc",
        }
    }

    fn program(self, shop: &Shop) -> Program {
        match self {
            Kind::Psql => {
                let mut psql = plain(&shop.cluster.path_of("psql"));
                psql.args(["-X", "-A", "-t", "-q"]);
                psql
            }
            Kind::Psycopg => script(&state().join("clients/python/bin/python"), "psycopg_client.py"),
            Kind::Node => script(Path::new("node"), "node_client.mjs"),
            Kind::Jdbc => {
                let mut java = plain(Path::new("java"));
                java.args(["-Xshare:auto", "-cp", "/usr/share/java/postgresql.jar"]);
                java.arg(file("JdbcClient.java"));
                java
            }
        }
    }
}

const PLAIN: &str = "DE89370400440532013000";
const MASKED: &str = "DE89**************3000";
const ALL_PLAIN: &str = "DE89370400440532013000,PT50000201231234567890154,GB29NWBK60161331926819,null";
const ALL_MASKED: &str = "DE89**************3000,PT50**************0154,GB29**************6819,null";

#[test]
fn psql_identifies_and_is_told_apart() {
    every_mode(Kind::Psql);
}

#[test]
fn psycopg_identifies_and_is_told_apart() {
    every_mode(Kind::Psycopg);
}

#[test]
fn node_postgres_identifies_and_is_told_apart() {
    every_mode(Kind::Node);
}

#[test]
fn pgjdbc_identifies_and_is_told_apart() {
    every_mode(Kind::Jdbc);
}

#[test]
fn what_programs_do_before_anybody_could_identify_is_not_refused() {
    let shop = shop::open("identify");
    shop.admin().batch_execute("create type public.mood as enum ('bad', 'good')").unwrap();
    for kind in [Kind::Psycopg, Kind::Node, Kind::Jdbc] {
        let said = introduce(kind.program(&shop).arg("usual"), &shop).succeed().stdout;
        let refused: Vec<_> = said.lines().filter(|line| !line.ends_with("\tok")).collect();
        assert!(said.lines().count() > 5 && refused.is_empty(), "{}: {refused:#?}", kind.tag());
    }
}

#[test]
fn a_chat_bridge_tells_what_waits_and_what_happens() {
    let shop = shop::open("govern");
    shop.admin()
        .batch_execute(
            "create role chat_bridge login in role custodian_auditor;
             select access.set_rule('reads', 'one approver', approver_groups => array['dba'])",
        )
        .unwrap();
    let bridge = || {
        let mut bridge = plain(Path::new("timeout"));
        bridge.arg("180").arg(state().join("clients/python/bin/python"));
        bridge.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/chat-bridge.py")).arg("--once");
        bridge.env("PGHOST", shop.cluster.socket()).env("PGPORT", shop.cluster.port().to_string());
        bridge.env("PGUSER", "chat_bridge").env("PGDATABASE", "shop");
        bridge
    };
    let listening =
        "select count(*) from pg_stat_activity where usename = 'chat_bridge' and query like '%pending%'";
    let ask =
        "select access.request_access(array['select'], 'TABLE public.orders', '1 hour', 'refund of 17')";
    let told = std::thread::scope(|scope| {
        let first = scope.spawn(|| bridge().succeed().stdout);
        harness::wait_for("the bridge", || {
            shop.admin().query_one(listening, &[]).unwrap().get::<_, i64>(0) > 0
        });
        shop.person("bob", &["staff"]).simple_query(ask).unwrap();
        first.join().unwrap()
    });
    assert!(told.starts_with("bob asks for select on TABLE public.orders for 1:00:00"), "{told}");
    assert!(
        told.contains("> refund of 17") && told.contains("dba: SELECT access.approve(1, 'comment');"),
        "{told}"
    );
    // One that was not there hears of what still waits.
    assert_eq!(bridge().succeed().stdout, told);
}

/// The same session in mode identify, where Carol gets masked rows, and govern, where she gets none.
fn every_mode(kind: Kind) {
    let shop = shop::open("identify");
    shop.admin()
        .batch_execute(
            "select access.grant_access('alice', array['select'], 'TABLE public.customers', '1 hour', 'test');
             select access.grant_access('bob', array['select'], 'TABLE public.customers', '1 hour', 'test');",
        )
        .unwrap();
    for (mode, carol) in [("identify", MASKED), ("govern", "42501")] {
        shop.admin().execute("select custodian.enroll('readonly', $1)", &[&mode]).unwrap();
        let before = last_record(&shop);
        let said = run(&shop, kind);
        assert_eq!(said, expected(carol).join("\n"), "{} in mode {mode}", kind.tag());
        check_the_record(&shop, kind, mode, before);
    }
}

/// What every client has to say, steps and answers.
fn expected(carol: &str) -> Vec<String> {
    let twice = |four: &str| format!("{four},{four}");
    let (all_plain, all_masked) = (twice(ALL_PLAIN), twice(ALL_MASKED));
    [
        ("connected", vec!["ok"]),
        ("nobody", vec!["28000"]),
        ("identified", vec!["alice"]),
        ("alice", vec![PLAIN]),
        ("prepared", vec![&all_plain]),
        ("in transaction", vec![PLAIN]),
        ("rolled back", vec!["alice"]),
        ("fails", vec!["22012"]),
        ("aborted", vec!["25P02"]),
        ("failed", vec!["alice"]),
        ("bob", vec![MASKED]),
        ("prepared", vec![&all_masked]),
        ("carol", vec![carol]),
        ("forged", vec!["28000"]),
        ("after forged", vec!["28000"]),
        ("pool alice", vec![PLAIN, &all_plain]),
        ("pool nobody", vec!["28000"]),
        ("pool bob", vec![MASKED, &all_masked]),
        ("transaction alice", vec![PLAIN]),
        ("transaction nobody", vec!["28000"]),
    ]
    .into_iter()
    .map(|(step, answers)| format!("{step}\t{}", answers.join("\t")))
    .collect()
}

/// Whose each statement was, by the ledger, and how it ended.
fn check_the_record(shop: &Shop, kind: Kind, mode: &str, before: i64) {
    let tag = kind.tag();
    let carol = if mode == "govern" { "denied" } else { "ok" };
    for (part, user, outcome) in [
        ("nobody ", None, "denied"),
        ("alice_reads", Some("alice"), "ok"),
        ("alice_rolls_back", Some("alice"), "ok"),
        ("alice_fails", Some("alice"), "error"),
        ("bob_reads", Some("bob"), "ok"),
        ("carol_reads", Some("carol"), carol),
        ("nobody_after", None, "denied"),
        ("alice_in_pool", Some("alice"), "ok"),
        ("nobody_in_pool", None, "denied"),
        ("bob_in_pool", Some("bob"), "ok"),
        ("alice_for_transaction", Some("alice"), "ok"),
        ("nobody_for_transaction", None, "denied"),
    ] {
        let records = records(shop, &format!("as {tag}_{part}"), before);
        let found: Vec<_> = records.iter().map(|r| (r.user.as_deref(), r.outcome.as_str())).collect();
        assert_eq!(found, [(user, outcome)], "{tag} in mode {mode}: {part}");
    }
    // The statement that Alice and Bob share: eight executions each, twice; revealed to Alice alone.
    let shared: Vec<_> = records(shop, &format!("{tag}_shared"), before)
        .into_iter()
        .filter(|record| record.command == "SELECT")
        .collect();
    assert_eq!(shared.len(), 32, "{tag} in mode {mode}: {shared:#?}");
    for (place, record) in shared.iter().enumerate() {
        let (user, shown) = if place / 8 % 2 == 0 { ("alice", "revealed") } else { ("bob", "masked") };
        let found = (record.user.as_deref(), record.iban.as_deref());
        assert_eq!(found, (Some(user), Some(shown)), "{tag} in mode {mode}, execution {place}: {record:?}");
    }
}

#[derive(Debug)]
struct Record {
    user: Option<String>,
    outcome: String,
    command: String,
    iban: Option<String>,
}

fn records(shop: &Shop, part: &str, before: i64) -> Vec<Record> {
    shop.admin()
        .query(
            "select user_id, outcome, command, fields ->> 'iban' from audit.statements
             where seq > $1 and session_role::text = 'readonly' and position($2 in statement) > 0 order by seq",
            &[&before, &part],
        )
        .unwrap()
        .iter()
        .map(|row| Record { user: row.get(0), outcome: row.get(1), command: row.get(2), iban: row.get(3) })
        .collect()
}

fn last_record(shop: &Shop) -> i64 {
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    admin.query_one("select coalesce(max(seq), 0) from audit.statements", &[]).unwrap().get(0)
}

/// What a client says when it goes through the session; the ledger has it all afterwards.
fn run(shop: &Shop, kind: Kind) -> String {
    let mut program = kind.program(shop);
    if kind == Kind::Psql {
        program.arg("-f").arg(psql_script(shop));
    }
    let said = introduce(&mut program, shop).succeed();
    shop::sync(&mut shop.admin());
    // psql puts each answer on a line of its own.
    said.stdout.trim_end().lines().fold(String::new(), |mut text, line| {
        if line.starts_with('\t') {
            text.push_str(line);
        } else if text.is_empty() {
            text = line.to_string();
        } else {
            text.push(if line.contains('\t') { '\n' } else { ',' });
            text.push_str(line);
        }
        text
    })
}

/// Tells a client where the server is, and the tokens of everybody.
fn introduce<'a>(program: &'a mut Program, shop: &Shop) -> &'a mut Program {
    let forger = Signer::new(Algorithm::RS256);
    shop.introduce(program)
        .env("PGC_STATE", state())
        .env("PGC_ALICE", shop.issuer.person("alice", &["support"]))
        .env("PGC_BOB", shop.issuer.person("bob", &["analytics"]))
        .env("PGC_CAROL", shop.issuer.person("carol", &["analytics"]))
        .env("PGC_FORGED", forger.person("alice", &["support"]))
}

/// The session of psql, identifying as the README says: by a parameter from version 16 on.
fn psql_script(shop: &Shop) -> PathBuf {
    let version = plain(&shop.cluster.path_of("psql")).arg("--version").succeed().stdout;
    let major: u32 = version
        .rsplit(' ')
        .next()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let template = fs::read_to_string(file("psql_client.sql")).unwrap();
    let mut script = String::new();
    for line in template.lines() {
        let call = line.strip_prefix('@').and_then(|line| line.strip_suffix('@'));
        let line = call.map_or(line.to_string(), |call| {
            let (person, extra) = call.split_at(call.find(',').unwrap_or(call.len()));
            if major >= 16 {
                format!("select custodian.set_identity($1{extra}) \\bind :{person} \\g /dev/null")
            } else {
                format!("select custodian.set_identity(:'{person}'{extra}) \\g /dev/null")
            }
        });
        script.push_str(&line);
        script.push('\n');
    }
    let path = shop.cluster.socket().join("session.sql");
    fs::write(&path, script).unwrap();
    path
}

fn script(interpreter: &Path, name: &str) -> Program {
    let mut program = plain(interpreter);
    program.arg(file(name));
    program
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Where scripts/setup.sh puts the clients.
fn state() -> PathBuf {
    std::env::var("PGC_STATE").expect("PGC_STATE is set by scripts/client.sh").into()
}

/// The same for clients that cannot run SQL first: the token comes with the connection.
mod at_start {
    use super::*;

    #[test]
    fn psql_presents_its_token_when_it_connects() {
        starts(Kind::Psql);
    }

    #[test]
    fn psycopg_presents_its_token_when_it_connects() {
        starts(Kind::Psycopg);
    }

    #[test]
    fn node_postgres_presents_its_token_when_it_connects() {
        starts(Kind::Node);
    }

    #[test]
    fn pgjdbc_presents_its_token_when_it_connects() {
        starts(Kind::Jdbc);
    }

    fn starts(kind: Kind) {
        let shop = shop::open("identify");
        let mut program = kind.program(&shop);
        if kind == Kind::Psql {
            let token = shop.issuer.person("alice", &["support"]);
            program.env("PGOPTIONS", format!("-c pg_custodian.token={token}"));
            program.args(["-c", r"\echo started", "-c", "select custodian.user_id()"]);
            program.args(["-c", "select iban as psql_alice_started from masked.customers where id = 1"]);
        } else {
            program.arg("start");
        }
        let said = introduce(&mut program, &shop).succeed();
        let words: Vec<_> = said.stdout.trim_end().split(['\t', '\n']).collect();
        assert_eq!(words, ["started", "alice", PLAIN], "{}", kind.tag());
        shop::sync(&mut shop.admin());
        let record = shop.the_record(&format!("{}_alice_started", kind.tag()));
        assert_eq!((record.user(), record.outcome()), ("alice", "ok"));
        assert!(!shop.cluster.log().contains("eyJ"), "a token in the server log");
    }
}
