//! contrib/adopt.sh takes a role that is in use from nothing to govern, and the application notices nothing of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::{Finished, plain};
use harness::shop::{self, Shop, identify};
use harness::token::random_text;
use harness::{assert_refused, custodian, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

/// What the role's users do all the time.
const READS: &str = "select count(*) from public.orders";

/// Somebody with the rights that the script asks for.
struct Adopter<'a> {
    shop: &'a Shop,
    password: String,
}

impl<'a> Adopter<'a> {
    fn new(shop: &'a Shop) -> Self {
        let password = random_text(16);
        shop.admin()
            .batch_execute(&format!(
                "create role adopter login password '{password}' in role custodian_admin, custodian_auditor"
            ))
            .unwrap();
        Self { shop, password }
    }

    fn run(&self, arguments: &str) -> Finished {
        let mut program = plain(&Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/adopt.sh"));
        let psql = self.shop.cluster.path_of("psql");
        let path = format!("{}:{}", psql.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let program = self.shop.introduce(&mut program).env("PATH", path);
        program.env("PGUSER", "adopter").env("PGPASSWORD", &self.password);
        program.args(["--window", "4 s", "--watch", "2"]).args(arguments.split(' ')).run()
    }

    /// It does as it is told, and says this.
    #[track_caller]
    fn does(&self, arguments: &str, says: &[&str]) {
        let said = self.run(arguments);
        assert!(said.success, "{}{}", said.stdout, said.stderr);
        for part in says {
            assert!(said.stdout.contains(part), "{part:?} is not in {}", said.stdout);
        }
    }

    /// It does not, for this reason.
    #[track_caller]
    fn hesitates(&self, arguments: &str, says: &[&str]) -> String {
        let said = self.run(arguments);
        assert!(!said.success, "{}{}", said.stdout, said.stderr);
        for part in says {
            assert!(said.stdout.contains(part), "{part:?} is not in {}{}", said.stdout, said.stderr);
        }
        said.stdout
    }
}

fn mode(admin: &mut Client) -> String {
    let query =
        "select coalesce((select mode from custodian.enrolled_roles where role = 'readonly'), 'none')";
    text(admin, query).unwrap()
}

/// A shop whose installation is in order, as the script wants it.
fn in_order() -> Shop {
    let shop = shop::open_on(custodian().conf("fsync = on"), "observe");
    let mut admin = shop.admin();
    wait_for("the workers", || {
        admin.query_one("select bool_and(ok) from custodian.status()", &[]).unwrap().get(0)
    });
    shop
}

/// Reads on and on until told to stop; returns how often, all of it without an error.
fn read_on(mut client: Client, done: &AtomicBool, rounds: &AtomicU32) {
    while !done.load(Ordering::Relaxed) {
        client.query(READS, &[]).expect("a statement of the running application failed");
        rounds.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(20));
    }
}

/// Lets the others stop when the one who tells them to has failed.
struct AtLast<'a>(&'a [&'a AtomicBool]);

impl Drop for AtLast<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|done| done.store(true, Ordering::Relaxed));
    }
}

#[test]
fn a_role_in_use_is_taken_from_nothing_to_govern_and_nobody_notices() {
    let shop = in_order();
    let mut admin = shop.admin();
    admin.batch_execute("select custodian.unenroll('readonly')").unwrap();
    let adopter = Adopter::new(&shop);
    let (people_done, nightly_done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (people, nightly) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let flags = [&people_done, &nightly_done];
        let _at_last = AtLast(&flags);
        for user in ["alice", "bob"] {
            let client = shop.person(user, &[]);
            scope.spawn(|| read_on(client, &people_done, &people));
        }
        // A job that nobody has told of tokens.
        let client = shop.try_readonly("-c application_name=nightly").unwrap();
        let job = scope.spawn(|| read_on(client, &nightly_done, &nightly));

        adopter.does("readonly check", &["readonly: not enrolled", "Ready for observe."]);
        assert_eq!(mode(&mut admin), "none");
        adopter.does("readonly next", &["readonly: observe", "0 statements were refused"]);
        assert_eq!(mode(&mut admin), "observe");

        // It names who would be refused, and does not go on.
        for what in ["check", "next"] {
            let said =
                adopter.hesitates(&format!("readonly {what}"), &["nightly", "Not ready for identify."]);
            assert!(!said.contains("Nothing was recorded"), "{said}");
            assert_eq!(mode(&mut admin), "observe");
        }
        wait_for("the job's rounds", || nightly.load(Ordering::Relaxed) > 50 || job.is_finished());
        nightly_done.store(true, Ordering::Relaxed);
        job.join().unwrap();
        assert!(nightly.load(Ordering::Relaxed) > 50);
        sleep(Duration::from_secs(5));
        adopter.does("readonly next", &["readonly: identify", "0 statements were refused"]);
        assert_eq!(mode(&mut admin), "identify");
        assert_refused(shop.readonly().simple_query(READS), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);

        // The calls that it proposes are the ones that are missing.
        let said = adopter.hesitates("readonly next", &["'alice'", "'bob'", "Not ready for govern."]);
        assert_eq!(mode(&mut admin), "identify");
        let calls: Vec<&str> =
            said.lines().filter_map(|line| line.split_once(" times: ")).map(|(_, call)| call).collect();
        assert_eq!(calls.len(), 2, "{said}");
        for call in calls {
            assert!(call.contains("'TABLE public.orders'"), "{call}");
            admin.batch_execute(call).unwrap();
        }
        // What was refused on the way is not counted against it.
        adopter.does("readonly next", &["readonly: govern", "0 statements were refused"]);
        assert_eq!(mode(&mut admin), "govern");
        assert_refused(shop.person("carol", &[]).simple_query(READS), &SqlState::INSUFFICIENT_PRIVILEGE);
        adopter.does("readonly check", &["readonly: govern"]);
        let before = people.load(Ordering::Relaxed);
        // Two who were between two reads, and two more.
        wait_for("the application", || people.load(Ordering::Relaxed) > before + 4);
        people_done.store(true, Ordering::Relaxed);
    });
    adopter.does("readonly back", &["readonly: identify"]);
    adopter.does("readonly back", &["readonly: observe"]);
    adopter.does("readonly back", &["readonly: not enrolled"]);
    adopter.hesitates("readonly back", &["is not enrolled"]);
    adopter.hesitates("nobody_of_this_name next", &["The role does not exist"]);
    adopter.hesitates("postgres next", &["superuser"]);
}

#[test]
fn it_goes_back_by_itself_when_statements_are_refused() {
    let shop = in_order();
    let mut admin = shop.admin();
    let adopter = Adopter::new(&shop);
    let mut alice = shop.person("alice", &[]);
    alice.simple_query(READS).unwrap();
    // Somebody comes without a person only after the look at what there was.
    let (done, all_done, rounds) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let flags = [&done, &all_done];
        let _at_last = AtLast(&flags);
        // However long the script takes, there is something within its window.
        let client = shop.person("bob", &[]);
        scope.spawn(|| read_on(client, &all_done, &rounds));
        let late = scope.spawn(|| {
            let mut client = shop.readonly();
            let mut refused = 0;
            while !done.load(Ordering::Relaxed) {
                if mode(&mut shop.admin()) == "identify" {
                    refused += u32::from(client.simple_query(READS).is_err());
                }
                sleep(Duration::from_millis(50));
            }
            refused
        });
        let says = ["Refused within 5 s", "nobody, 28000", "readonly: observe"];
        adopter.hesitates("--watch 5 readonly next", &says);
        done.store(true, Ordering::Relaxed);
        assert!(late.join().unwrap() > 0);
        assert_eq!(mode(&mut admin), "observe");
        identify(&mut alice, &shop.issuer.person("alice", &[])).unwrap();
        alice.simple_query(READS).unwrap();
        // Who asked for the mode just before it went back has read without a person just after it.
        sleep(Duration::from_secs(5));
        // Or not, if so many are expected.
        adopter.does("--refusals 5 readonly next", &["readonly: identify"]);
    });
}
