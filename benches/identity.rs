//! What it costs to verify a token, and what a call of set_identity costs as a whole.
//!
//! Verification is the pure function: the token taken apart, its signature and its claims checked,
//! with the keys at hand; reading the keys of the issuer, which set_identity does each time, is
//! shown beside it. The algorithms take turns within a round, and a figure is the median over
//! rounds. A call as a whole is timed by a client over TCP on this machine; the time of a statement that asks only
//! who one is, in the same round, is subtracted: what is left is the price of identifying.
//!
//! `PGC_ROUNDS` (5) sets the rounds. The extension called is the release build that scripts/install.sh
//! has installed; the pure function is compiled with this program, so build it for release, as `make bench` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod pure;

use harness::shop::{self, Shop};
use harness::token::{AUDIENCE, Algorithm, ISSUER, Signer, claims, now};
use postgres::Client;
use pure::issuer::{Issuer, Terms};
use pure::token::Token;
use std::hint::black_box;
use std::time::Instant;

/// Verifications per round and algorithm.
const TIMES: u32 = 200;
/// Microseconds that one verification may take.
const GOAL: f64 = 200.0;
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

fn main() {
    let rounds =
        std::env::var("PGC_ROUNDS").map_or(5, |rounds| rounds.parse().expect("PGC_ROUNDS is a number"));
    let signers = ALGORITHMS.map(Signer::new);
    let verifying = verification(&signers, rounds * 5);
    let calling = calls(&signers, rounds);
    println!(
        "\nMicroseconds, median of {} rounds (lowest to highest); one token names one person in three groups.\n",
        rounds * 5
    );
    println!("{:<8}{:>24}{:>24}{:>30}", "", "verification", "reading the keys", "set_identity, whole call");
    for (which, algorithm) in ALGORITHMS.iter().enumerate() {
        let [verify, read] = &verifying[which];
        println!(
            "{:<8}{:>24}{:>24}{:>30}",
            format!("{algorithm:?}"),
            show(verify),
            show(read),
            show(&calling[which])
        );
        if median(verify) > GOAL {
            println!("goal missed for {algorithm:?}: at most {GOAL} us");
        }
    }
    println!("{:<8}{:>78}", "once", show(&calling[ALGORITHMS.len()]));
    println!("(\"once\": EdDSA for a single-use issuer, which writes to disk)");
    if cfg!(debug_assertions) {
        println!("goal not judged: this is a debug build");
    }
}

fn issuer(signer: &Signer) -> Issuer {
    let terms = Terms {
        issuer: ISSUER.into(),
        audience: vec![AUDIENCE.into()],
        algorithms: Terms::algorithms(None).unwrap(),
        user_claim: "sub".into(),
        email_claim: Some("email".into()),
        groups_claim: Some("groups".into()),
        leeway: 30_000_000,
        max_lifetime: 12 * 3_600_000_000,
        single_use: false,
    };
    terms.with_keys(&signer.jwks()).unwrap()
}

fn person(signer: &Signer) -> String {
    signer.sign(&claims("alice", &["support", "oncall", "dba"]))
}

/// For each algorithm: what a verification takes, and what reading the keys takes.
fn verification(signers: &[Signer], rounds: usize) -> Vec<[Vec<f64>; 2]> {
    let mut results = vec![[Vec::new(), Vec::new()]; signers.len()];
    let prepared: Vec<_> = signers.iter().map(|signer| (signer, issuer(signer), person(signer))).collect();
    for _ in 0..rounds {
        for ((signer, issuer, text), result) in prepared.iter().zip(&mut results) {
            let at = now() * 1_000_000;
            result[0].push(timed(TIMES, || {
                let token = Token::parse(black_box(text)).unwrap();
                token.verify(&issuer.keys, &issuer.terms.algorithms).unwrap();
                black_box(pure::claims::person(token.payload(), &issuer.terms, at).unwrap());
            }));
            let jwks = signer.jwks();
            result[1].push(timed(TIMES, || {
                black_box(issuer.terms.clone().with_keys(black_box(&jwks)).unwrap());
            }));
        }
    }
    results
}

/// For each algorithm and for single use: what a call of set_identity takes more than a statement that does nothing.
fn calls(signers: &[Signer], rounds: usize) -> Vec<Vec<f64>> {
    const ONCE: &str = "https://once.shop.example";
    let shop = shop::open("identify");
    let trust = |name: &str, signer: &Signer, once: bool| {
        shop.admin()
            .execute(
                "select custodian.trust_issuer($1, $2, array[$3], single_use => $4)",
                &[&name, &signer.jwks(), &AUDIENCE, &once],
            )
            .unwrap();
    };
    let names: Vec<String> = (0..signers.len()).map(|number| format!("{ISSUER}/{number}")).collect();
    for (name, signer) in names.iter().zip(signers) {
        trust(name, signer, false);
    }
    trust(ONCE, &signers[2], true);
    let token = |signer: &Signer, name: &str| {
        let mut claims = claims("alice", &["support", "oncall", "dba"]);
        claims["iss"] = name.into();
        signer.sign(&claims)
    };
    let mut client = identified(&shop);
    let mut results = vec![Vec::new(); signers.len() + 1];
    for _ in 0..rounds {
        for which in 0..results.len() {
            let (name, signer) = match signers.get(which) {
                Some(signer) => (names[which].as_str(), signer),
                None => (ONCE, &signers[2]),
            };
            let tokens: Vec<String> = (0..TIMES).map(|_| token(signer, name)).collect();
            results[which].push(call(&mut client, &tokens));
        }
    }
    results
}

fn identified(shop: &Shop) -> Client {
    shop.person("alice", &["support"])
}

/// Identifies with each token, and asks who one is in between.
fn call(client: &mut Client, tokens: &[String]) -> f64 {
    let identify = client.prepare("select custodian.set_identity($1)").unwrap();
    let ask = client.prepare("select custodian.whoami()").unwrap();
    let (mut identifying, mut asking) = (Vec::new(), Vec::new());
    for token in tokens {
        identifying.push(timed(1, || {
            client.execute(&identify, &[token]).unwrap();
        }));
        asking.push(timed(1, || {
            client.execute(&ask, &[]).unwrap();
        }));
    }
    median(&identifying) - median(&asking)
}

/// Microseconds that one of so many runs of `work` takes.
fn timed(times: u32, mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..times {
        work();
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn show(values: &[f64]) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.1} ({lowest:.1}-{highest:.1})", median(values))
}
