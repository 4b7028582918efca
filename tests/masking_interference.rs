//! Two databases that differ only in masked values answer a masked person alike: results, errors in all their fields,
//! numbers of rows, plans, statistics.
//!
//! * `masking_shapes/attacks.sql` are attacks by name, and `attacks.txt` what each is told on version 15
//!   (`PGC_ACCEPT=1` writes it: read the difference). No answer holds a masked value. What tells something all
//!   the same is marked `documented` and stands in docs/threat-model.md.
//! * Random statements, reads and writes, rolled back and committed: `PGC_FUZZ_SEED`, `PGC_FUZZ_SECONDS` (30).
//! * sqlsmith's statements, `PGC_SQLSMITH` (60) of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::clock::Clock;
use harness::command::plain;
use harness::custodian;
use harness::generator::{self, Choices, shrink};
use harness::load::{Dice, seed};
use harness::masked::{COLUMNS, Who, World};
use harness::script::{self, Script};
use harness::transcript::{Session, sorted};
use postgres::Client;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many random statements are tried, whatever the time.
const LEAST_TRIED: u64 = 100;
/// How long that may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(900);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn pair(world: &World) -> (Session, Session) {
    (masked(world, "live"), masked(world, "twin"))
}

fn masked(world: &World, database: &str) -> Session {
    let mut session = world.session(database, Who::Masked);
    session.with_source = true;
    session.run("set statement_timeout = '20s'");
    session
}

/// What of the answers differs.
fn difference(live: &str, twin: &str) -> String {
    let lines = live.lines().zip(twin.lines()).filter(|(live, twin)| live != twin).take(4);
    let mut out: String = lines.map(|(live, twin)| format!("  live: {live}\n  twin: {twin}\n")).collect();
    if live.lines().count() != twin.lines().count() {
        writeln!(out, "  live: {} lines, twin: {} lines", live.lines().count(), twin.lines().count())
            .unwrap();
    }
    out
}

fn attacks(world: &World) -> Vec<Script> {
    let words = std::env::var("PGC_SHAPE").unwrap_or_default();
    script::read(include_str!("masking_shapes/attacks.sql"))
        .into_iter()
        .filter(|attack| attack.since <= world.version && title(attack).contains(&words))
        .collect()
}

fn title(attack: &Script) -> String {
    format!("{}: {}", attack.section, attack.title)
}

/// What of an answer goes to attacks.txt: nothing that differs between runs.
fn shown(told: &str) -> String {
    let mut out = String::new();
    for line in told.lines() {
        let words: Vec<&str> = line
            .split(' ')
            .map(|word| match word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                true => "(hash)",
                false => word,
            })
            .collect();
        let line = words.join(" ");
        // Where a result's columns come from is compared, and not for reading.
        if !line.starts_with('[') {
            let cut: String = line.chars().take(160).collect();
            writeln!(out, "{}{}", cut.trim_end(), if cut.len() < line.len() { " ..." } else { "" }).unwrap();
        }
    }
    out
}

/// Attacks that told something, with what they told, and the text of all answers.
fn attack(world: &World) -> (Vec<String>, String) {
    let secrets = world.secrets();
    let mut wrong = Vec::new();
    let mut text = String::new();
    let mut section = String::new();
    let ((mut live, mut twin), mut clean) = (pair(world), world.session("live", Who::Masked));
    for attack in attacks(world) {
        let (on_live, on_twin) = (attack.run(&mut live), attack.run(&mut twin));
        if (on_live == on_twin) == attack.documented {
            let what = if attack.documented { "  documented, and tells nothing" } else { "" };
            wrong.push(format!("{}\n{what}{}", title(&attack), difference(&on_live, &on_twin)));
        }
        let said: String = on_live.lines().filter(|line| !line.starts_with("> ")).collect();
        let asked = attack.statements.join("\n");
        if let Some(secret) = secrets.iter().find(|secret| said.contains(*secret) && !asked.contains(*secret))
        {
            let line = on_live.lines().find(|line| line.contains(secret) && !line.starts_with("> "));
            wrong.push(format!("{}\n  tells {secret}: {}\n", title(&attack), line.unwrap_or_default()));
        }
        if attack.section != section {
            section.clone_from(&attack.section);
            writeln!(text, "# {section}\n").unwrap();
        }
        writeln!(text, "/ {}\n{}", attack.title, shown(&attack.run(&mut clean))).unwrap();
    }
    (wrong, text)
}

#[test]
fn attacks_learn_nothing() {
    let world = World::open();
    let tried = attacks(&world).len();
    let (wrong, text) = attack(&world);
    println!("{} attacks tried, {} of them learn something", tried, wrong.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/masking_shapes/attacks.txt");
    let whole = world.version == 15 && std::env::var_os("PGC_SHAPE").is_none();
    let accepted = whole && std::env::var_os("PGC_ACCEPT").is_some();
    if accepted {
        fs::write(&path, &text).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if whole && !accepted {
        let expected = fs::read_to_string(path).unwrap();
        assert!(expected == text, "attacks.txt has something else:\n{}", difference(&expected, &text));
    }
}

/// Each column that attacks are made on is missed if it is not masked.
#[test]
fn attacks_notice_a_column_that_is_not_masked() {
    let world = World::open();
    let before = attack(&world).0.len();
    for column in COLUMNS.iter().filter(|column| ["vault", "lab.owned"].contains(&column.table)) {
        for name in ["live", "twin"] {
            world.unprotect(name, column);
        }
        let after = attack(&world).0.len();
        println!("{}.{} not masked: {} attacks learn something", column.table, column.name, after - before);
        assert!(after > before, "no attack learns {}.{} though it is not masked", column.table, column.name);
        for name in ["live", "twin"] {
            world.protect(&mut world.admin(name), column);
        }
    }
}

/// What a session is told of a statement, and of its plan, which is data too.
fn told(session: &mut Session, statement: &str) -> String {
    session.run("begin");
    let mut told = session.run(&format!("explain (verbose) {statement}"));
    session.run("rollback; begin");
    told += &session.run(statement);
    session.run("rollback");
    told
}

#[derive(Default)]
struct Tally {
    tried: u64,
    /// Too slow to tell anything.
    stopped: u64,
    failed: u64,
    committed: u64,
}

impl Tally {
    fn compared(&self) -> u64 {
        self.tried - self.stopped
    }
}

/// Two databases, and a masked person in each.
struct Pair {
    live: Session,
    twin: Session,
    admins: [Client; 2],
    secrets: Vec<String>,
}

impl Pair {
    fn of(world: &World) -> Self {
        let (live, twin) = pair(world);
        let secrets = world.secrets().into_iter().filter(|secret| secret.to_lowercase().contains("secret"));
        Self { live, twin, admins: [world.admin("live"), world.admin("twin")], secrets: secrets.collect() }
    }

    fn told(&mut self, statement: &str) -> (String, String) {
        let both = (told(&mut self.live, statement), told(&mut self.twin, statement));
        // What was rolled back leaves room behind, more or less of it as values are long or short, and the
        // number of pages is part of a plan's costs.
        if let Some((table, _)) = generator::written(statement) {
            for admin in &mut self.admins {
                admin.batch_execute(&format!("vacuum {table}")).unwrap();
            }
        }
        both
    }

    /// Random statements, rolled back, until the time is over or one is answered differently: that one made small.
    fn interfere(&mut self, seed: u64, most: Duration, tally: &mut Tally) -> Option<String> {
        let start = Instant::now();
        // A few that take long, on a machine that has other things to do, must not be all there is.
        while start.elapsed() < most || tally.compared() <= LEAST_TRIED && start.elapsed() < PATIENCE {
            let mut choices = Choices::random(nth(seed, tally.tried), true);
            let statement = choices.statement();
            let (live, twin) = self.told(&statement);
            tally.tried += 1;
            if live.contains("C 57014") || twin.contains("C 57014") {
                tally.stopped += 1;
                continue;
            }
            tally.failed += u64::from(live.contains("ERROR"));
            if live != twin {
                let small = shrink(choices.taken(), true, |statement| {
                    let (live, twin) = self.told(statement);
                    live != twin
                });
                let (live, twin) = self.told(&small);
                return Some(format!("{small}\n{}made of:\n{statement}", difference(&live, &twin)));
            }
            let leaks = |secret: &&String| live.contains(*secret) && !statement.contains(*secret);
            if let Some(secret) = self.secrets.iter().find(leaks) {
                return Some(format!("{statement}\n  tells {secret}"));
            }
        }
        None
    }

    /// Random writes that stay, and what is read after them. Rows lie elsewhere then, so in no order and without plans.
    fn commit(&mut self, seed: u64, most: Duration, tally: &mut Tally) -> Option<String> {
        let start = Instant::now();
        let mut made = 0;
        while start.elapsed() < most {
            made += 1;
            let statement = Choices::random(nth(seed, made), false).statement();
            let stays = generator::written(&statement).is_some_and(|(_, secrets_stay)| secrets_stay);
            if generator::written(&statement).is_some() && !stays {
                continue;
            }
            let mut run = |text: &str| (sorted(&self.live.run(text)), sorted(&self.twin.run(text)));
            run("begin");
            let (live, twin) = run(&statement);
            // What only one of them had the time for must not stay there.
            let stopped = live.contains("C 57014") || twin.contains("C 57014");
            run(if stopped { "rollback" } else { "commit" });
            tally.committed += u64::from(stays && !stopped && !live.contains("ERROR"));
            if live != twin && !stopped {
                return Some(format!("committed, number {made}:\n{statement}\n{}", difference(&live, &twin)));
            }
        }
        None
    }
}

fn nth(seed: u64, number: u64) -> u64 {
    seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[test]
fn random_statements_learn_nothing() {
    let world = World::open();
    let seed = number("PGC_FUZZ_SEED").unwrap_or_else(seed);
    println!("PGC_FUZZ_SEED={seed}");
    let mut tally = Tally::default();
    let most = Duration::from_secs(number("PGC_FUZZ_SECONDS").unwrap_or(30));
    let mut pair = Pair::of(&world);
    let wrong = pair.interfere(seed, most * 3 / 4, &mut tally);
    let wrong = wrong.or_else(|| pair.commit(seed, most / 4, &mut tally));
    println!(
        "{} random statements tried with their plans, {} of them fail, {} take too long; {} writes committed",
        tally.tried, tally.failed, tally.stopped, tally.committed
    );
    assert!(wrong.is_none(), "PGC_FUZZ_SEED={seed}, statement {}:\n{}", tally.tried, wrong.unwrap());
    let (compared, failed) = (tally.compared(), tally.failed);
    // Of few statements the share varies.
    assert!(compared > LEAST_TRIED && failed < compared / 2 + 20, "{failed} of {compared} fail");
}

#[test]
fn random_statements_find_a_column_that_is_not_masked() {
    let world = World::open();
    for column in COLUMNS.iter().filter(|column| ["ssn", "card", "pay"].contains(&column.name)) {
        for name in ["live", "twin"] {
            world.unprotect(name, column);
        }
        let mut tally = Tally::default();
        // As many statements as it takes, also on a machine that has other things to do.
        let found = Pair::of(&world).interfere(4711, Duration::from_secs(400), &mut tally);
        let found = found.unwrap_or_else(|| panic!("nobody notices {}", column.name));
        println!(
            "{} found after {} statements tried: {}",
            column.name,
            tally.tried,
            found.lines().next().unwrap()
        );
        for name in ["live", "twin"] {
            world.protect(&mut world.admin(name), column);
        }
    }
}

/// How often an answer must differ between the values, and between them alone, to tell something of them.
/// A statement with a coin in it does so by chance once in four times at most.
const REPEATED: usize = 10;

/// Statements of somebody else's making. They may ask for the time, a random number, a sample, a process or the name
/// of a database: what a database with the same values answers differently tells nothing of the values.
#[test]
fn statements_of_sqlsmith_learn_nothing() {
    let most = number("PGC_SQLSMITH").unwrap_or(60);
    let world = World::open();
    world.add_control();
    let seed = (number("PGC_FUZZ_SEED").unwrap_or_else(seed) % 1_000_000_000).to_string();
    let target = format!(
        "--target=host={} port={} dbname=plain user=reader",
        world.cluster.socket().display(),
        world.cluster.port()
    );
    let printed = plain(Path::new("sqlsmith"))
        .args([
            &target,
            "--exclude-catalog",
            "--dry-run",
            &format!("--seed={seed}"),
            &format!("--max-queries={most}"),
        ])
        .succeed()
        .stdout;
    let names = ["live", "twin", "control"];
    let (mut sessions, mut admins) =
        (names.map(|name| masked(&world, name)), names.map(|name| world.admin(name)));
    let mut answers = |statement: &str| {
        let told = [0, 1, 2].map(|number| {
            sessions[number].run("set statement_timeout = '2s'");
            told(&mut sessions[number], statement)
        });
        if !statement.starts_with("select") {
            for admin in &mut admins {
                admin.batch_execute("vacuum").unwrap();
            }
        }
        told
    };
    let (mut tried, mut unsteady) = (0, 0);
    for statement in printed.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        tried += 1;
        let mut wrong = None;
        for _ in 0..REPEATED {
            let [live, twin, control] = answers(statement);
            let stopped = [&live, &twin, &control].iter().any(|told| told.contains("C 57014"));
            wrong = Some(difference(&live, &twin)).filter(|_| live != twin && live == control && !stopped);
            if wrong.is_none() {
                unsteady += u64::from(live != twin);
                break;
            }
        }
        if let Some(wrong) = wrong {
            panic!("sqlsmith --seed={seed}, statement {tried}:\n{statement}\n{wrong}");
        }
    }
    println!(
        "sqlsmith: {tried} statements tried, {unsteady} of them answer differently for the same values, too"
    );
    assert!(tried > most / 2, "sqlsmith made {tried} statements:\n{printed}");
    assert!(unsteady < tried / 2, "{unsteady} of {tried} answer differently for the same values");
}

/// Prepared once, executed by whoever comes.
const PREPARED: &[(&str, &str)] = &[
    ("p1", "select id, email, iban, ssn from customers where id > $1::int order by id"),
    ("p2", "select id from customers where email like 'a%' and id > $1::int order by id"),
    ("p3", "select email_of($1::int), email_of_immutable($1::int), plpgsql_email($1::int), definer($1::int)"),
    ("p4", "select * from customers_in('Turin') where id > $1::int order by id"),
    (
        "p5",
        "select c, o.card from customers as c join orders as o on o.customer_id = c.id where o.id > $1::int order by o.id",
    ),
    ("p6", "select iban, count(*) from customers where id > $1::int group by rollup (iban) order by 1, 2"),
    (
        "p7",
        "select id, email, ssn from guarded where id > $1::int and iban_or_email(id) is not null order by id",
    ),
    ("p8", "select who, address from visits where id > $1::int order by id"),
    (
        "p9",
        "select id, salary, pay, email from staff where salary > 77000 or salary is null and id > $1::int order by id",
    ),
    (
        "p10",
        "update customers set name = name where iban like 'D%' and id > $1::int returning id, email, ssn",
    ),
    ("p11", "select plpgsql_dynamic('iban', $1::int), plpgsql_cursor()"),
    (
        "p12",
        "with x as materialized (select email, id from customers) select * from x where id > $1::int order by id",
    ),
    ("p13", "select email_of_immutable(3), $1::int"),
];

#[test]
fn a_plan_is_right_for_whoever_runs_it() {
    let world = World::open();
    for name in ["live", "copy", "plain"] {
        world
            .admin(name)
            .batch_execute(
                "create function public.iban_or_email(int) returns text language sql stable
                 as 'select coalesce(iban, email) from public.customers where id = $1'",
            )
            .unwrap();
    }
    let mut admin = world.admin("live");
    let tokens = [world.token("mallory", &[]), world.token("alice", &["support"]), world.token("bob", &[])];
    let mut session = world.session("live", Who::Masked);
    let (mut copy, mut plain) = (world.session("copy", Who::Nobody), world.session("plain", Who::Nobody));
    for one in [&mut session, &mut copy, &mut plain] {
        for (name, text) in PREPARED {
            let said = one.parse(name, text);
            assert!(!said.contains("ERROR"), "{said}");
        }
    }
    let seed = number("PGC_FUZZ_SEED").unwrap_or_else(seed);
    println!("PGC_FUZZ_SEED={seed}");
    let mut dice = Dice(seed | 1);
    let (mut who, mut grant, mut switched, mut executed) = (0, None::<i64>, 0, 0);
    for _ in 0..number("PGC_SWITCHES").unwrap_or(600) {
        match dice.roll(8) {
            0 => {
                who = dice.roll(3) as usize;
                let said = session.run(&format!("select custodian.set_identity('{}')", tokens[who]));
                assert!(!said.contains("ERROR"), "{said}");
                switched += 1;
            }
            1 => {
                match grant.take() {
                    Some(grant) => {
                        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
                    }
                    None => {
                        grant = Some(
                            admin
                                .query_one(
                                    "select access.grant_access('bob', array['select', 'reveal'], 'DATABASE', '1 hour', 'a test')",
                                    &[],
                                )
                                .unwrap()
                                .get(0),
                        );
                    }
                }
                switched += 1;
            }
            2 => {
                let mode = ["auto", "force_generic_plan", "force_custom_plan"][dice.roll(3) as usize];
                for one in [&mut session, &mut copy, &mut plain] {
                    one.run(&format!("set plan_cache_mode = {mode}"));
                }
            }
            _ => {
                let (name, text) = PREPARED[dice.roll(PREPARED.len() as u64) as usize];
                let value = dice.roll(25).to_string();
                let cleared = who == 1 || who == 2 && grant.is_some();
                let model = if cleared { &mut plain } else { &mut copy };
                let mut answers = [String::new(), String::new()];
                for (answer, one) in answers.iter_mut().zip([&mut session, model]) {
                    one.run("begin");
                    *answer = one.execute(name, &[Some(&value)]);
                    one.run("rollback");
                }
                executed += 1;
                let [got, expected] = answers;
                let person = ["mallory", "alice", "bob"][who];
                assert!(
                    got == expected,
                    "PGC_FUZZ_SEED={seed}, {person}, cleared: {cleared}, {text} of {value}\nexpected:\n{expected}\ngot:\n{got}"
                );
            }
        }
    }
    println!(
        "{executed} executions of prepared statements tried, {switched} changes of who may see what between them"
    );
    assert!(executed > 100 && switched > 20);
}

/// What was opened in the clear does not go on in the clear.
#[test]
fn a_cursor_does_not_outlive_its_clearance() {
    let world = World::open();
    let mut admin = world.admin("live");
    let reveal =
        "select access.grant_access('bob', array['select', 'reveal'], 'DATABASE', '1 hour', 'a test')";
    for (declare, fetch) in [
        ("declare c cursor for select id, ssn from customers order by id", "fetch 3 from c"),
        ("declare c scroll cursor for select id, ssn from customers order by id", "fetch 3 from c"),
        ("declare c cursor for select id, ssn from customers_in('Turin')", "fetch 1 from c"),
        ("declare c cursor for select id, ssn from guarded where ssn like '9%'", "fetch 3 from c"),
    ] {
        let grant: i64 = admin.query_one(reveal, &[]).unwrap().get(0);
        let mut session = world.session("live", Who::Nobody);
        session.run(&format!("select custodian.set_identity('{}')", world.token("bob", &[])));
        session.run("begin");
        session.run(declare);
        let before = session.run(fetch);
        assert!(before.contains("-55-"), "{declare}: {before}");
        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
        let after = session.run(fetch);
        assert!(!after.contains("-55-"), "{declare}: {after}");
        session.run("rollback");
        // A portal of the protocol's.
        let grant: i64 = admin.query_one(reveal, &[]).unwrap().get(0);
        session.parse("p", declare.split_once(" for ").unwrap().1);
        session.run("begin");
        let before = session.open("portal", "p", 1);
        assert!(before.contains("-55-"), "{declare}: {before}");
        admin.execute("select access.revoke_access($1, 'done')", &[&grant]).unwrap();
        let after = session.go_on("portal", 2);
        assert!(!after.contains("-55-"), "{declare}, as a portal: {after}");
        session.run("rollback");
        session.run("deallocate all");
        // The same cursor in the hands of somebody else.
        session.run(&format!("select custodian.set_identity('{}')", world.token("alice", &["support"])));
        session.run("begin");
        session.run(declare);
        assert!(session.run(fetch).contains("-55-"), "{declare}");
        session.run(&format!("select custodian.set_identity('{}')", world.token("mallory", &[])));
        let after = session.run(fetch);
        assert!(!after.contains("-55-"), "{declare}: {after}");
        session.run("rollback");
    }
}

/// A grant ends by the clock, in the middle of a session that prepared its statements in the clear.
#[test]
fn a_generic_plan_masks_from_the_moment_the_grant_ends() {
    let clock = Clock::new();
    let world = World::open_on(custodian().environment(clock.environment()));
    let mut admin = world.admin("live");
    admin
        .execute(
            "select access.grant_access('bob', array['select', 'reveal'], 'TABLE public.customers', '5 minutes', 'a test')",
            &[],
        )
        .unwrap();
    let mut session = world.session("live", Who::Nobody);
    session.run(&format!("select custodian.set_identity('{}')", world.token("bob", &[])));
    session.run("set plan_cache_mode = force_generic_plan");
    session.parse("p", "select ssn from customers where id < 6 and ssn is not null order by id");
    for _ in 0..3 {
        assert!(session.execute("p", &[]).contains("-55-"), "masked before the grant has ended");
    }
    clock.set(360);
    harness::wait_for("the grant's end", || !session.execute("p", &[]).contains("-55-"));
    let ended = "select not exists (select from access.grants where live)";
    assert!(admin.query_one(ended, &[]).unwrap().get::<_, bool>(0));
    assert_eq!(session.execute("p", &[]).matches("-55-").count(), 0);
}
