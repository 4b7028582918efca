//! Whatever is asked at random, a masked person is told what a masked copy tells, and a cleared one what is there.
//!
//! tests/harness/generator.rs makes the statements. A run prints its seed, and for what it finds the smallest
//! statement that shows it: `PGC_FUZZ_SEED` runs the same again, `PGC_FUZZ_SECONDS` (30) says for how long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::generator::{Choices, shrink};
use harness::load::seed;
use harness::masked::{COLUMNS, Who, World};
use harness::transcript::{Session, same, sorted};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many are compared, whatever the time.
const LEAST_TRIED: u64 = 100;
/// How long that may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(900);
/// How much of what is made has to run: a generator of errors compares nothing.
const LEAST_THAT_RUN: f64 = 0.9;
/// So many more may fail: of few statements the share varies.
const CHANCE: f64 = 10.0;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn seconds() -> Duration {
    Duration::from_secs(number("PGC_FUZZ_SECONDS").unwrap_or(30))
}

fn told(session: &mut Session, statement: &str) -> String {
    session.run("begin");
    let told = sorted(&session.run(statement));
    session.run("rollback");
    told
}

/// Too slow is no answer.
fn excused(told: &str) -> bool {
    told.contains("C 57014")
}

/// What a filter on a whole row with masks in it is documented to cost (transparent-masking.md, "What remains").
fn is_documented(who: Who, statement: &str, got: &str) -> bool {
    who == Who::Masked
        && got.contains("C 0A000 · M FULL JOIN is only supported")
        && statement.contains("full join")
        && names_a_whole_row(statement)
}

/// Whether an alias of the generator's, `r1`, stands for all of its columns.
fn names_a_whole_row(statement: &str) -> bool {
    let words: Vec<_> = statement
        .split(|c: char| !c.is_alphanumeric() && c != '.' && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let is_alias = |word: &str| {
        word.strip_prefix('r')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
    };
    words.windows(2).any(|pair| pair[0] != "as" && is_alias(pair[1]))
}

#[test]
fn a_whole_row_is_told_from_its_columns() {
    assert!(names_a_whole_row("select r2.body as c1 from memos as r2 where to_jsonb(r2) = '{}'"));
    assert!(!names_a_whole_row(
        "select r2.body as c1 from memos as r2 full join staff as r1 on r1.id = r2.id"
    ));
}

#[derive(Default)]
struct Tally {
    tried: u64,
    /// Too slow to tell anything.
    stopped: u64,
    ran: u64,
    written: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    fn compared(&self) -> u64 {
        self.tried - self.stopped
    }
}

/// Compares random statements until the time is over or one is answered differently: that one made small.
fn compare(
    world: &World,
    who: Who,
    like: &str,
    seed: u64,
    most: Duration,
    tally: &mut Tally,
) -> Option<String> {
    let (mut session, mut model) = (world.session("live", who), world.session(like, Who::Nobody));
    for one in [&mut session, &mut model] {
        one.run("set statement_timeout = '2s'");
    }
    let differ = |statement: &str, expected: &str, got: &str| {
        !same(expected, got) && !excused(got) && !is_documented(who, statement, got)
    };
    // A few that take long, on a machine that has other things to do, must not be all there is.
    let start = Instant::now();
    while start.elapsed() < most || tally.compared() <= LEAST_TRIED && start.elapsed() < PATIENCE {
        let mut choices =
            Choices::random(seed.wrapping_add(tally.tried.wrapping_mul(0x9E37_79B9_7F4A_7C15)), false);
        let statement = choices.statement();
        let (got, expected) = (told(&mut session, &statement), told(&mut model, &statement));
        tally.tried += 1;
        if excused(&got) || excused(&expected) {
            tally.stopped += 1;
            continue;
        }
        tally.ran += u64::from(!expected.contains("ERROR"));
        if let Some((_, error)) = expected.split_once(" M ") {
            *tally.errors.entry(error.chars().take(60).collect()).or_default() += 1;
        }
        tally.written += u64::from(statement.contains("returning"));
        if differ(&statement, &expected, &got) {
            let small = shrink(choices.taken(), false, |statement| {
                let (got, expected) = (told(&mut session, statement), told(&mut model, statement));
                differ(statement, &expected, &got) && !expected.contains("ERROR")
            });
            let (got, expected) = (told(&mut session, &small), told(&mut model, &small));
            return Some(format!("{small}\nexpected:\n{expected}\ngot:\n{got}\nmade of:\n{statement}"));
        }
    }
    None
}

fn run(who: Who, like: &str, share: u32) {
    let world = World::open();
    let seed = number("PGC_FUZZ_SEED").unwrap_or_else(seed);
    println!("PGC_FUZZ_SEED={seed}");
    let mut tally = Tally::default();
    let wrong = compare(&world, who, like, seed, seconds() / share, &mut tally);
    println!(
        "{who:?}: {} random statements tried, {} ran, {} took too long, {} write",
        tally.tried, tally.ran, tally.stopped, tally.written
    );
    assert!(wrong.is_none(), "PGC_FUZZ_SEED={seed}, statement {}:\n{}", tally.tried, wrong.unwrap());
    let (compared, ran) = (tally.compared(), tally.ran);
    assert!(
        compared > LEAST_TRIED && ran as f64 + CHANCE > compared as f64 * LEAST_THAT_RUN,
        "only {ran} of {compared} statements run: {:#?}",
        tally.errors
    );
}

#[test]
fn a_masked_person_is_told_what_a_masked_copy_tells() {
    run(Who::Masked, "copy", 2);
}

#[test]
fn a_cleared_person_is_told_what_is_there() {
    run(Who::Cleared, "plain", 3);
}

/// The statements find what they are there to find, and make it small.
#[test]
fn a_column_that_is_not_masked_is_found() {
    let world = World::open();
    for column in COLUMNS.iter().filter(|column| ["iban", "salary", "who"].contains(&column.name)) {
        world.unprotect("live", column);
        let mut tally = Tally::default();
        // As many statements as it takes, also on a machine that has other things to do.
        let found = compare(&world, Who::Masked, "copy", 4711, Duration::from_secs(400), &mut tally);
        let found = found.unwrap_or_else(|| panic!("nobody notices {}", column.name));
        let small = found.lines().next().unwrap();
        println!("{} found after {} statements tried: {small}", column.name, tally.tried);
        assert!(small.len() < 400, "{small}");
        world.protect(&mut world.admin("live"), column);
    }
}
