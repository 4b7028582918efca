//! How long access outlives its revocation: what runs, and what is asked next.
//!
//! A thousand revocations of each kind, one after the other, on a server that does nothing else, as clients see it. A
//! running statement: from before the call is sent until the client has its error. The next one: whether it is
//! refused, always, once the call has been answered; and how long that answer and that refusal take.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::assert_refused;
use harness::shop::{self, Shop, identify};
use harness::token::ISSUER;
use postgres::Client;
use postgres::error::SqlState;
use std::thread;
use std::time::{Duration, Instant};

const SLEEPS: &str = "select pg_sleep(60) from public.orders limit 1";
const READS: &str = "select count(*) from public.orders";

/// What is taken back, by which call, and how it is given again.
#[derive(Clone)]
struct Kind {
    name: &'static str,
    code: SqlState,
    revoke: &'static str,
    /// Run by the administrator before each; `$1` of `revoke`, as text, is what it returns.
    give: &'static str,
}

fn kinds() -> [Kind; 3] {
    let grant =
        "select access.grant_access('alice', '{select}', 'TABLE public.orders', '1 hour', 'bench')::text";
    [
        Kind {
            name: "grant",
            code: SqlState::INSUFFICIENT_PRIVILEGE,
            revoke: "select access.revoke_access($1::text::bigint, 'bench')",
            give: grant,
        },
        Kind {
            name: "person",
            code: SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            revoke: "select custodian.revoke_person($1, 'bench')",
            give: "with back as (delete from custodian.revocation) select 'alice'",
        },
        Kind {
            name: "issuer",
            code: SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            revoke: "select custodian.distrust_issuer($1)",
            give: "select ''",
        },
    ]
}

fn main() {
    let times = std::env::var("PGC_REVOCATIONS")
        .map_or(1000, |value| value.parse().expect("PGC_REVOCATIONS is a number"));
    let shop = shop::open("govern");
    let mut admin = shop.admin();
    println!("{:<10}{:<52}{:>10}{:>10}{:>10}", "", "milliseconds", "p50", "p99", "max");
    let mut before: Option<Kind> = None;
    for kind in kinds() {
        // What the kind before has taken last: the grant stays from now on, and the person comes back.
        if let Some(before) = before.replace(kind.clone()) {
            admin.query_one(before.give, &[]).unwrap();
        }
        let (mut running, mut call, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            let (mut client, what) = let_in(&shop, &mut admin, &kind);
            let sleeping = thread::spawn(move || {
                let result = client.simple_query(SLEEPS);
                (result, Instant::now())
            });
            wait_until_running(&mut admin);
            let asked = Instant::now();
            admin.query_one(kind.revoke, &[&what]).unwrap();
            let (result, ended) = sleeping.join().unwrap();
            assert_refused(result, &kind.code);
            running.push(ended - asked);

            let (mut client, what) = let_in(&shop, &mut admin, &kind);
            client.simple_query(READS).unwrap();
            let asked = Instant::now();
            admin.query_one(kind.revoke, &[&what]).unwrap();
            let answered = Instant::now();
            let refused = client.simple_query(READS);
            next.push(answered.elapsed());
            assert_refused(refused, &kind.code);
            call.push(answered - asked);
        }
        figures(kind.name, "running statement: from the call to its error", running);
        figures("", "the call itself", call);
        figures("", "next statement after the call: its refusal", next);
    }
}

/// The shared login in alice's hands, with access, and what the call is to take back.
fn let_in(shop: &Shop, admin: &mut Client, kind: &Kind) -> (Client, String) {
    if kind.name == "issuer" {
        shop.trust(admin, &shop.issuer);
    }
    let what: String = admin.query_one(kind.give, &[]).unwrap().get(0);
    let mut client = shop.readonly();
    identify(&mut client, &shop.issuer.person("alice", &[])).unwrap();
    (client, if kind.name == "issuer" { ISSUER.to_owned() } else { what })
}

fn wait_until_running(admin: &mut Client) {
    let query = "select count(*) from custodian.sessions
                 where user_id = 'alice' and running_since < clock_timestamp() - interval '5 ms'";
    while admin.query_one(query, &[]).unwrap().get::<_, i64>(0) == 0 {
        thread::sleep(Duration::from_millis(2));
    }
}

fn figures(kind: &str, what: &str, mut taken: Vec<Duration>) {
    taken.sort_unstable();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
    println!("{kind:<10}{what:<52}{:>10.2}{:>10.2}{:>10.2}", at(0.5), at(0.99), at(1.0));
    assert!(at(1.0) < 1000.0, "{kind} {what}: more than the second that is promised");
}
