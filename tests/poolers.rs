//! Two people who alternate over one server connection of pgbouncer: never is one taken for the other.
//!
//! pgbouncer is configured with the lines that docs/poolers.md recommends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::{as_server, plain};
use harness::shop::{self, Shop, identify};
use harness::token::random_text;
use harness::{assert_refused, free_port, refusal, text, wait_for};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;

/// How often each of the two gets his turn.
const ROUNDS: u32 = 700;

const SCOPE: &str = "alter role readonly set pg_custodian.identity_scope = 'transaction'";

#[test]
fn two_people_alternate_in_session_mode() {
    let shop = shop::open("identify");
    alternate(&shop, &documented("session"), "session");
}

#[test]
fn two_people_alternate_in_transaction_mode() {
    let shop = shop::open("identify");
    alternate(&shop, &documented("transaction"), "transaction");
}

#[test]
fn two_people_who_forget_that_it_is_transaction_mode_alternate() {
    let shop = shop::open("identify");
    shop.admin().batch_execute(SCOPE).unwrap();
    alternate(&shop, &documented("transaction"), "forgetful");
}

#[test]
fn an_identity_of_a_session_stays_behind_in_transaction_mode_unless_its_scope_is_the_transaction() {
    let shop = shop::open("identify");
    let stranger_is = |bouncer: &Bouncer| {
        let mut alice = bouncer.client();
        identify_simply(&mut alice, &shop.issuer.person("alice", &["support"]));
        let mut stranger = bouncer.client();
        let rows = stranger.simple_query("select custodian.user_id()").unwrap();
        let is = rows.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
            _ => None,
        });
        let reads = stranger.simple_query("select iban from masked.customers").map(|_| ());
        (is, reads)
    };
    // What the setting is there for: pgbouncer does not reset in this mode.
    let (is, reads) = stranger_is(&Bouncer::start(&shop, &documented("transaction")));
    assert_eq!(is.as_deref(), Some("alice"));
    reads.unwrap();

    let always = format!(
        "{}\nserver_reset_query = DISCARD ALL\nserver_reset_query_always = 1",
        documented("transaction")
    );
    let (is, reads) = stranger_is(&Bouncer::start(&shop, &always));
    assert_eq!(is, None);
    assert_refused(reads, &NO_PERSON);

    shop.admin().batch_execute(SCOPE).unwrap();
    let (is, reads) = stranger_is(&Bouncer::start(&shop, &documented("transaction")));
    assert_eq!(is, None);
    assert_refused(reads, &NO_PERSON);
}

#[test]
fn the_rows_of_an_hour_are_each_persons_behind_a_pooler_too() {
    let shop = shop::open("identify");
    shop.admin().batch_execute(SCOPE).unwrap();
    shop.admin()
        .batch_execute("select custodian.enroll('readonly', 'identify', rows_per_hour => 40)")
        .unwrap();
    let bouncer = Bouncer::start(&shop, &documented("transaction"));
    let read = |user: &str, rows: u32| {
        let mut client = bouncer.client();
        client.simple_query("begin").unwrap();
        identify_simply(&mut client, &shop.issuer.person(user, &[]));
        let read = client.simple_query(&format!("select id from public.orders limit {rows}"));
        client.simple_query("rollback").unwrap();
        read
    };
    for user in ["alice", "bob", "bob", "alice"] {
        read(user, 15).unwrap();
    }
    assert_refused(read("alice", 11), &SqlState::PROGRAM_LIMIT_EXCEEDED);
    read("bob", 10).unwrap();
    // What left before the refusal counts.
    for user in ["alice", "bob"] {
        assert_refused(read(user, 1), &SqlState::PROGRAM_LIMIT_EXCEEDED);
    }
}

#[test]
fn the_scope_of_identities_is_not_for_the_governed_to_change() {
    let shop = shop::open("identify");
    shop.admin().batch_execute(SCOPE).unwrap();
    let refused = shop.try_readonly("-c pg_custodian.identity_scope=session").err().unwrap();
    assert_eq!(refused.as_db_error().unwrap().code(), &SqlState::INSUFFICIENT_PRIVILEGE);
    let mut client = shop.readonly();
    for statement in [
        "set pg_custodian.identity_scope = 'session'",
        "alter role readonly set pg_custodian.identity_scope = 'session'",
        "alter role readonly reset pg_custodian.identity_scope",
        "reset pg_custodian.identity_scope",
        "select set_config('pg_custodian.identity_scope', 'session', false)",
    ] {
        client.simple_query("begin").unwrap();
        identify(&mut client, &shop.issuer.person("alice", &["support"])).unwrap();
        let error = refusal(client.simple_query(statement));
        assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{statement}: {error:?}");
        client.simple_query("rollback").unwrap();
    }
    client.simple_query("reset all").unwrap();
    client.simple_query("discard all").unwrap();
    assert_eq!(text(&mut client, "show pg_custodian.identity_scope").as_deref(), Some("transaction"));

    // With it, whoever identifies does so for one transaction.
    identify(&mut client, &shop.issuer.person("alice", &["support"])).unwrap();
    let error = assert_refused(client.simple_query("select now()"), &NO_PERSON);
    assert!(error.hint().unwrap().starts_with("Identify in each transaction: BEGIN;"), "{error:?}");
    client.simple_query("begin").unwrap();
    identify(&mut client, &shop.issuer.person("alice", &["support"])).unwrap();
    client.simple_query("select 1; commit").unwrap();
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
}

/// Rounds of both at the same time; what they believe is what the ledger says, of every statement.
fn alternate(shop: &Shop, conf: &str, mode: &str) {
    let bouncer = Bouncer::start(shop, conf);
    let seed = random_text(4);
    let mut program = plain(&state().join("clients/python/bin/python"));
    program.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pooler.py"));
    program.args([mode, &ROUNDS.to_string(), &u32::from_str_radix(&seed, 16).unwrap().to_string()]);
    let said = shop
        .introduce(&mut program)
        .env("PGPORT", bouncer.port.to_string())
        .env("PGC_ALICE", shop.issuer.person("alice", &["support"]))
        .env("PGC_BOB", shop.issuer.person("bob", &["analytics"]))
        .run();
    assert!(said.success, "seed {seed}: {}\n{}", said.stderr, bouncer.log());

    let mut believed = BTreeMap::new();
    for line in said.stdout.lines() {
        let (mark, rest) = line.split_once('\t').unwrap();
        let (user, outcome) = rest.split_once('\t').unwrap();
        assert!(believed.insert(mark.to_string(), (user.to_string(), outcome.to_string())).is_none());
    }
    assert!(believed.len() > ROUNDS as usize * 2, "{} statements", believed.len());

    // Who vanished while his statement was on its way may have been faster than the statement.
    let unseen = believed.values().filter(|(_, outcome)| outcome == "?").count();
    assert!(unseen > 0);
    let (mut recorded, mut last, mut turns, mut found_unseen) = (0, BTreeMap::new(), 0, 0);
    for row in records(shop) {
        let (mark, user, outcome, pid): (String, String, String, i32) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let (believed_user, believed_outcome) = believed
            .remove(&mark)
            .unwrap_or_else(|| panic!("seed {seed}: {mark} is recorded twice, or was not sent"));
        assert_eq!(user, believed_user, "seed {seed}: {mark}");
        if believed_outcome == "?" {
            found_unseen += 1;
        } else {
            assert_eq!(outcome, believed_outcome, "seed {seed}: {mark}");
        }
        recorded += 1;
        // Whoever has been between them: Alice after Bob, or Bob after Alice.
        if user != "-" {
            turns += u32::from(last.insert(pid, user.clone()).is_some_and(|before| before != user));
        }
    }
    // The pooler itself ran nothing that needs a person.
    let refused =
        "select count(*) from audit.denials where event = 'statement' and what not like '%mark\\_%'";
    assert_eq!(shop.admin().query_one(refused, &[]).unwrap().get::<_, i64>(0), 0);
    believed.retain(|_, (_, outcome)| outcome != "?");
    assert!(believed.is_empty(), "seed {seed}: not recorded: {believed:?}");
    // That there was something to confuse: they came after one another on the same server connection.
    assert!(turns >= 500, "seed {seed}: {turns} alternations of the two within a server connection");
    println!(
        "{mode}: {recorded} statements on {} server connections, {turns} alternations within one, \
         {found_unseen} of {unseen} abandoned statements had begun",
        last.len()
    );
}

fn records(shop: &Shop) -> Vec<postgres::Row> {
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    admin
        .query(
            "select substring(statement from 'mark_[a-z]+_[0-9]+'), coalesce(user_id, '-'), outcome, pid
             from audit.statements where statement like '%mark\\_%' and session_role::text = 'readonly' order by seq",
            &[],
        )
        .unwrap()
}

/// The lines of pgbouncer.ini that docs/poolers.md gives for a mode.
fn documented(mode: &str) -> String {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/poolers.md")).unwrap();
    let block = docs
        .split("```ini\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .find(|block| block.contains(&format!("pool_mode = {mode}")));
    block.expect("docs/poolers.md has the lines").to_string()
}

/// Without a prepared statement, which would stay with one server connection.
fn identify_simply(client: &mut Client, token: &str) {
    client.simple_query(&format!("select custodian.set_identity('{token}')")).unwrap();
}

/// A pgbouncer with one server connection to the shop.
struct Bouncer {
    directory: PathBuf,
    port: u16,
}

impl Bouncer {
    fn start(shop: &Shop, conf: &str) -> Bouncer {
        let directory = harness::command::make_directory("pg_custodian-bouncer");
        let port = free_port();
        let bouncer = Bouncer { directory, port };
        let file = |name: &str| bouncer.directory.join(name).display().to_string();
        let ini = format!(
            "[databases]
             shop = host={} port={} dbname=shop
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = trust
             auth_file = {}
             logfile = {}
             pidfile = {}
             default_pool_size = 1
             server_check_delay = 0
             {conf}",
            shop.cluster.socket().display(),
            shop.cluster.port(),
            file("users"),
            file("log"),
            file("pid"),
        );
        let lines: Vec<_> = ini.lines().map(str::trim).collect();
        place(&bouncer.directory.join("ini"), &lines.join("\n"));
        place(&bouncer.directory.join("users"), "\"readonly\" \"\"\n");
        // In the background, as a daemon.
        as_server(Path::new("/usr/sbin/pgbouncer"))
            .args(["-q", "-d"])
            .arg(bouncer.directory.join("ini"))
            .succeed();
        wait_for("pgbouncer", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        bouncer
    }

    /// The shared login through the pooler.
    fn client(&self) -> Client {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("readonly").dbname("shop");
        config.connect(NoTls).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.directory.join("pid"))
            && let Ok(pid) = pid.trim().parse()
        {
            harness::command::kill_hard(pid);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Writes a file that the server's user can read.
fn place(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// Where scripts/setup.sh puts the clients.
fn state() -> PathBuf {
    std::env::var("PGC_STATE").expect("PGC_STATE is set by scripts/client.sh").into()
}
