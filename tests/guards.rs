//! Everything that we could think of to rewrite the ledger or to hide what it says (`guards/attacks.txt`),
//! tried by whom it is open to: the superuser, the owner of the database, the administrator of access.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::as_server;
use harness::shop::{sync, verified};
use harness::token::random_text;
use harness::{Cluster, custodian};
use postgres::Client;
use postgres::error::{DbError, SqlState};
use std::path::Path;

/// What is to come of an attack.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Refused by us.
    Refused,
    /// Refused by PostgreSQL with this SQLSTATE.
    Impossible(String),
    /// One of both: what a partitioned table cannot do is something else.
    Either(String),
    /// Allowed, and of no use.
    Useless,
}

struct Attack {
    number: usize,
    verdict: Verdict,
    statement: String,
}

struct Place {
    cluster: Cluster,
    attacks: Vec<Attack>,
    password: String,
    /// The last row of what was there before the attacks.
    until: i64,
}

fn one<T: for<'a> postgres::types::FromSql<'a>>(client: &mut Client, query: &str) -> T {
    client.query_one(query, &[]).unwrap().get(0)
}

impl Place {
    fn new() -> Place {
        let cluster = custodian().start();
        cluster.create_database("shop");
        let mut admin = cluster.superuser("shop");
        admin.batch_execute(include_str!("guards/setup.sql")).unwrap();
        // Goes with the server's own directory.
        let elsewhere = cluster.socket().join("elsewhere");
        as_server(Path::new("mkdir")).arg(&elsewhere).succeed();
        admin
            .batch_execute(&format!("create tablespace elsewhere location '{}'", elsewhere.display()))
            .unwrap();
        let password = random_text(16);
        admin
            .batch_execute(&format!(
                "create role owner login password '{password}';
                 alter database shop owner to owner;
                 create role steward login password '{password}' in role custodian_admin;
                 create role auditor login password '{password}' in role custodian_auditor;
                 select mask.protect('public.orders', 'note', 'null_value');
                 select mask.generate_view('public.orders');
                 select note from masked.orders",
            ))
            .unwrap();
        sync(&mut admin);
        let until = one(&mut admin, "select max(seq) from audit.ledger");
        let partition: String = one(
            &mut admin,
            "select coalesce((select inhrelid::regclass::text from pg_inherits
                              where inhparent = 'audit.ledger'::regclass order by 1 desc limit 1), 'audit.ledger')",
        );
        let trigger: String = one(
            &mut admin,
            "select tgname::text from pg_trigger where tgrelid = 'audit.ledger'::regclass and not tgisinternal
             order by tgname limit 1",
        );
        let guard: String = one(
            &mut admin,
            "select tgfoid::regprocedure::text from pg_trigger
             where tgrelid = 'audit.ledger'::regclass and not tgisinternal order by tgname limit 1",
        );
        let attacks = include_str!("guards/attacks.txt")
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .enumerate()
            .map(|(number, line)| {
                let (verdict, statement) = line.split_at(10);
                let verdict = match verdict.trim().split_once(' ') {
                    Some(("no", code)) => match code.strip_suffix('?') {
                        Some(code) => Verdict::Either(code.into()),
                        None => Verdict::Impossible(code.into()),
                    },
                    None if verdict.trim() == "no" => Verdict::Refused,
                    None if verdict.trim() == "yes" => Verdict::Useless,
                    _ => panic!("what is to come of it? {line}"),
                };
                let statement = statement
                    .replace("{partition}", &partition)
                    .replace("{trigger}", &trigger)
                    .replace("{guard}", &guard);
                Attack { number, verdict, statement: format!("{statement} /* attack {number}. */") }
            })
            .collect();
        Place { cluster, attacks, password, until }
    }

    /// What somebody is shown of what was there before the attacks. The chain is checked by number, so that
    /// what is in the way of nothing but names makes no difference.
    fn shown(&self, client: &mut Client) -> Result<(i64, String, bool), postgres::Error> {
        let mut all = String::new();
        for view in ["ledger", "statements", "events", "objects", "denials", "access_log"] {
            let order = if view == "access_log" { "called_at" } else { "seq" };
            let limit = match view {
                "access_log" => format!("(select at from audit.ledger where seq = {})", self.until),
                _ => self.until.to_string(),
            };
            let query = format!(
                "select pg_catalog.md5(pg_catalog.string_agg(v::text, '|' order by {order}, v::text))
                 from audit.{view} v where {order} operator(pg_catalog.<=) {limit}"
            );
            all += client.query_one(&query, &[])?.get::<_, Option<&str>>(0).unwrap_or("nothing");
        }
        let row = client.query_one(
            "select pg_catalog.count(*) from audit.ledger where seq operator(pg_catalog.<=) $1",
            &[&self.until],
        )?;
        let count = row.get(0);
        let good = client.query_one("select ok from audit.verify(to_seq => $1)", &[&self.until])?.get(0);
        Ok((count, all, good))
    }

    /// Has all attacks made, each in a session and a transaction of its own, and says what is wrong.
    fn attack(&self, preparation: &str, connect: impl Fn() -> Client, superuser: bool) -> Vec<String> {
        let mut admin = self.cluster.superuser("shop");
        // Also what had begun before that row was written, and has ended since.
        sync(&mut admin);
        let before = self.shown(&mut admin).unwrap();
        assert!(before.2 && before.0 == self.until, "{before:?}");
        let mut bad = Vec::new();
        for Attack { statement, verdict, .. } in &self.attacks {
            let mut attacker = connect();
            attacker.batch_execute(preparation).unwrap();
            attacker.batch_execute("begin").unwrap();
            let result = attacker.simple_query(statement);
            match result {
                Ok(_) if superuser && *verdict != Verdict::Useless => {
                    bad.push(format!("went through: {statement}"));
                }
                Ok(_) if superuser => match self.shown(&mut attacker) {
                    Ok(after) if after == before => (),
                    Ok(after) => bad.push(format!("changed what is shown: {statement}: {after:?}")),
                    Err(error) => bad.push(format!("broke what is shown: {statement}: {error:?}")),
                },
                // What others make is theirs; what it did is looked at in the end.
                Ok(_) => (),
                Err(error) => match error.as_db_error() {
                    None => bad.push(format!("broke the connection: {statement}: {error:?}")),
                    Some(error) if superuser && !is_as_expected(verdict, error) => {
                        bad.push(format!("{}: {}: {statement}", error.code().code(), error.message()));
                    }
                    Some(_) => (),
                },
            }
            // Whoever may do more is held back; whoever may not keeps what he has done.
            let _ = attacker.simple_query(if superuser { "rollback" } else { "commit" });
        }
        sync(&mut admin);
        let after = self.shown(&mut admin).unwrap();
        if after != before {
            bad.push(format!("afterwards the ledger shows {after:?} instead of {before:?}"));
        }
        if !verified(&mut admin) {
            bad.push("the chain broke".into());
        }
        bad
    }

    /// The attacks of which the ledger does not tell what it should.
    fn unrecorded(&self) -> Vec<String> {
        let mut admin = self.cluster.superuser("shop");
        let mut bad = Vec::new();
        for Attack { number, statement, verdict } in &self.attacks {
            let mark = format!("%/* attack {number}. */%");
            let expected: &[&str] = match verdict {
                Verdict::Refused => &["denied 42501"],
                Verdict::Impossible(code) => &[&format!("error {code}")],
                Verdict::Either(code) => &["denied 42501", &format!("error {code}")],
                Verdict::Useless => &["ok"],
            };
            let recorded: Vec<String> = admin
                .query(
                    "select distinct concat_ws(' ', outcome, sqlstate) from audit.statements
                     where statement like $1",
                    &[&mark],
                )
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect();
            if !recorded.iter().any(|found| expected.contains(&found.as_str())) {
                bad.push(format!("on record as {recorded:?}, not {expected:?}: {statement}"));
            }
        }
        bad
    }
}

/// Whether an attack failed as it should: by our own word with a hint, and by PostgreSQL's otherwise.
fn is_as_expected(verdict: &Verdict, error: &DbError) -> bool {
    let ours = error.code() == &SqlState::INSUFFICIENT_PRIVILEGE && error.hint().is_some();
    match verdict {
        Verdict::Refused => ours,
        Verdict::Impossible(code) => error.code().code() == code,
        Verdict::Either(code) => ours || error.code().code() == code,
        Verdict::Useless => false,
    }
}

#[track_caller]
fn assert_none(bad: &[String]) {
    assert!(bad.is_empty(), "{} attacks:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn what_a_superuser_tries_is_refused_or_of_no_use_and_on_record() {
    let place = Place::new();
    let mut bad = place.attack("select 1", || place.cluster.superuser("shop"), true);
    bad.extend(place.unrecorded());
    assert_none(&bad);
}

#[test]
fn neither_does_it_help_to_switch_triggers_off_or_to_open_the_catalogs() {
    let place = Place::new();
    for preparation in
        ["set session_replication_role = replica", "set allow_system_table_mods = on; set row_security = off"]
    {
        assert_none(&place.attack(preparation, || place.cluster.superuser("shop"), true));
    }
}

#[test]
fn the_owner_of_the_database_and_the_administrator_of_access_can_do_no_more() {
    let place = Place::new();
    for who in ["owner", "steward"] {
        assert_none(&place.attack("select 1", || place.cluster.login(who, &place.password, "shop"), false));
    }
    // A superuser of his own, who is not the one that made the cluster.
    let mut admin = place.cluster.superuser("shop");
    admin
        .batch_execute(&format!("create role second superuser login password '{}'", place.password))
        .unwrap();
    let second = || place.cluster.login("second", &place.password, "shop");
    assert_none(&place.attack("select 1", second, true));
}
