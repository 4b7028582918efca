//! What the record says where psql cannot go: portals in pieces, pipelines, binary parameters, copies
//! that are broken off, clients that vanish.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::wire::{Wire, kinds};
use harness::{Cluster, custodian, shop, wait_for};

/// A statement as the ledger has it: command, outcome, SQLSTATE, rows.
type Told = (String, String, Option<String>, i64);

struct Office {
    cluster: Cluster,
}

fn open() -> Office {
    let cluster = custodian().start();
    cluster.create_database("office");
    let office = Office { cluster };
    office
        .cluster
        .superuser("office")
        .batch_execute(
            "create table public.letters (id int primary key, body text);
             insert into public.letters select n, repeat('x', 1000) from generate_series(1, 100) n",
        )
        .unwrap();
    office
}

impl Office {
    fn wire(&self) -> Wire {
        Wire::connect(&self.cluster, "postgres", "office")
    }

    /// What is recorded of the statements that contain `part`.
    fn told(&self, part: &str) -> Vec<Told> {
        let mut admin = self.cluster.superuser("office");
        shop::sync(&mut admin);
        admin
            .query(
                "select command, outcome, sqlstate, rows from audit.statements
                 where position($1 in statement) > 0 and statement not like '%audit.statements%' order by seq",
                &[&part],
            )
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
            .collect()
    }

    #[track_caller]
    fn assert_told(&self, part: &str, expected: &[(&str, &str, Option<&str>, i64)]) {
        let expected: Vec<Told> = expected
            .iter()
            .map(|(command, outcome, sqlstate, rows)| {
                (command.to_string(), outcome.to_string(), sqlstate.map(str::to_string), *rows)
            })
            .collect();
        assert_eq!(self.told(part), expected, "{part}");
    }

    fn wait_until_gone(&self, pid: i32) {
        let mut admin = self.cluster.superuser("office");
        wait_for("the end of the session", || {
            let there: bool = admin
                .query_one("select exists (select from pg_stat_activity where pid = $1)", &[&pid])
                .unwrap()
                .get(0);
            !there
        });
    }

    fn letters(&self) -> i64 {
        self.cluster.superuser("office").query_one("select count(*) from public.letters", &[]).unwrap().get(0)
    }
}

#[test]
fn a_portal_in_pieces_is_one_statement_with_all_its_rows() {
    let office = open();
    let mut wire = office.wire();
    wire.parse("", "select n as in_pieces from generate_series(1, 10) n", &[]).bind("p", "", &[]);
    let answers = wire.execute("p", 4).execute("p", 4).execute("p", 0).sync().ready();
    assert_eq!(kinds(&answers), "12DsDsDCZ");
    // CommandComplete counts the last piece only: the record must not believe it.
    assert_eq!(answers.iter().find(|answer| answer.kind == 'C').unwrap().tag(), "SELECT 2");
    office.assert_told("in_pieces", &[("SELECT", "ok", None, 10)]);
}

#[test]
fn a_portal_that_is_not_read_to_its_end_counts_what_was_read() {
    let office = open();
    let mut wire = office.wire();
    wire.parse("", "select n as left_at_sync from generate_series(1, 10) n", &[]).bind("p", "", &[]);
    assert_eq!(kinds(&wire.execute("p", 4).sync().ready()), "12DsZ");
    wire.parse("", "select n as closed_early from generate_series(1, 10) n", &[]).bind("p", "", &[]);
    assert_eq!(kinds(&wire.execute("p", 3).execute("p", 3).close_portal("p").sync().ready()), "12DsDs3Z");
    wire.query("begin").ready();
    wire.parse("", "select n as rolled_back from generate_series(1, 10) n", &[]).bind("p", "", &[]);
    wire.execute("p", 5).sync().ready();
    wire.query("rollback").ready();
    office.assert_told("left_at_sync", &[("SELECT", "ok", None, 4)]);
    office.assert_told("closed_early", &[("SELECT", "ok", None, 6)]);
    office.assert_told("rolled_back", &[("SELECT", "ok", None, 5)]);
}

#[test]
fn a_portal_that_fails_in_its_second_piece_fails_with_the_rows_it_gave() {
    let office = open();
    let mut wire = office.wire();
    wire.parse("", "select 1 / (6 - n) as fails_later from generate_series(1, 10) n", &[]).bind("p", "", &[]);
    let answers = wire.execute("p", 4).execute("p", 4).execute("p", 4).sync().ready();
    assert_eq!(kinds(&answers), "12DsDEZ");
    office.assert_told("fails_later", &[("SELECT", "error", Some("22012"), 5)]);
}

#[test]
fn rows_that_a_change_returns_in_pieces_are_those_it_changed() {
    let office = open();
    let mut wire = office.wire();
    let text = "update public.letters set body = 'returned' where id <= 7 returning id";
    wire.parse("", text, &[]).bind("p", "", &[]);
    // All rows are changed before the first one is returned.
    assert_eq!(kinds(&wire.execute("p", 2).sync().ready()), "12DsZ");
    office.assert_told("returning id", &[("UPDATE", "ok", None, 7)]);
}

#[test]
fn two_portals_that_take_turns_are_counted_apart() {
    let office = open();
    let mut wire = office.wire();
    wire.query("begin").ready();
    wire.parse("", "select n as first_of_two from generate_series(1, 10) n", &[]).bind("a", "", &[]);
    wire.parse("", "select n as second_of_two from generate_series(1, 20) n", &[]).bind("b", "", &[]);
    wire.execute("a", 3).execute("b", 5).execute("a", 3).execute("b", 0).execute("a", 0).sync().ready();
    wire.query("commit").ready();
    office.assert_told("first_of_two", &[("SELECT", "ok", None, 10)]);
    office.assert_told("second_of_two", &[("SELECT", "ok", None, 20)]);
}

#[test]
fn a_failure_in_a_pipeline_ends_what_was_run_and_nothing_after_it_is_recorded() {
    let office = open();
    let mut wire = office.wire();
    for text in [
        "insert into public.letters values (1001, 'before_the_failure')",
        "select 1 / (n - n) as the_failure from generate_series(1, 3) n",
        "insert into public.letters values (1002, 'after_the_failure')",
    ] {
        wire.parse("", text, &[]).bind("", "", &[]).execute("", 0);
    }
    assert_eq!(kinds(&wire.sync().ready()), "12C12EZ");
    // Rolled back with the pipeline; it ran all the same.
    office.assert_told("before_the_failure", &[("INSERT", "ok", None, 1)]);
    office.assert_told("the_failure as", &[]);
    office.assert_told("as the_failure", &[("SELECT", "error", Some("22012"), 0)]);
    office.assert_told("after_the_failure", &[]);
    assert_eq!(office.letters(), 100);
    // The session goes on, and so does its record.
    wire.parse("", "select 1 as next_pipeline", &[]).bind("", "", &[]).execute("", 0);
    assert_eq!(kinds(&wire.sync().ready()), "12DCZ");
    office.assert_told("next_pipeline", &[("SELECT", "ok", None, 1)]);
}

#[test]
fn binary_parameters_are_recorded_as_their_types_print_them() {
    let office = open();
    let mut wire = office.wire();
    const TYPES: [u32; 11] = [21, 23, 20, 16, 25, 701, 2950, 1184, 17, 1007, 1700];
    let array = [1_i32, 0, 23, 2, 1, 4, 7, 4, 8].map(i32::to_be_bytes).concat();
    // 12345.678 in four digits to the base of 10,000, the first two before the point: numeric_recv.
    let numeric = [3_i16, 1, 0, 3, 1, 2345, 6780].map(i16::to_be_bytes).concat();
    // A day after 2000-01-01.
    let time = 86_400_000_000_i64.to_be_bytes();
    let uuid: Vec<u8> = (0..16).collect();
    let values: [&[u8]; 11] = [
        &(-2_i16).to_be_bytes(),
        &4711_i32.to_be_bytes(),
        &i64::MIN.to_be_bytes(),
        &[1],
        "grüße".as_bytes(),
        &1.5_f64.to_be_bytes(),
        &uuid,
        &time,
        &[0, 255],
        &array,
        &numeric,
    ];
    let list: Vec<String> = (1..=12).map(|number| format!("${number}")).collect();
    wire.query("set timezone = 'UTC'").ready();
    wire.parse("", &format!("select {}::text as binary_values", list.join(", ")), &TYPES);
    let mut bound: Vec<(i16, Option<&[u8]>)> = values.iter().map(|value| (1, Some(*value))).collect();
    bound.push((0, None));
    let answers = wire.bind("", "", &bound).execute("", 0).sync().ready();
    assert_eq!(kinds(&answers), "12DCZ");
    let mut admin = office.cluster.superuser("office");
    shop::sync(&mut admin);
    let recorded: Vec<Option<String>> = admin
        .query_one("select parameters from audit.statements where statement like '%as binary_values'", &[])
        .unwrap()
        .get(0);
    let recorded: Vec<&str> = recorded.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    let expected = [
        "-2",
        "4711",
        "-9223372036854775808",
        "t",
        "grüße",
        "1.5",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "2000-01-02 00:00:00+00",
        "\\x00ff",
        "{7,8}",
        "12345.678",
        "NULL",
    ];
    assert_eq!(recorded, expected);
}

#[test]
fn a_copy_in_has_its_rows_and_an_aborted_one_its_sqlstate() {
    let office = open();
    let mut wire = office.wire();
    const COPY: &str = "copy public.letters from stdin";
    assert_eq!(kinds(&wire.query(&format!("{COPY} /* whole */")).until('G')), "G");
    wire.copy_data("201\ta\n202\tb\n").copy_data("203\tc\n").copy_done();
    let answers = wire.ready();
    assert_eq!((kinds(&answers).as_str(), answers[0].tag()), ("CZ", "COPY 3"));
    wire.query(&format!("{COPY} /* aborted */")).until('G');
    let answers = wire.copy_data("204\ta\n").copy_fail("changed my mind").ready();
    assert_eq!((kinds(&answers).as_str(), answers[0].sqlstate()), ("EZ", "57014"));
    // The same in the extended protocol.
    wire.parse("", &format!("{COPY} /* extended */"), &[])
        .bind("", "", &[])
        .execute("", 0)
        .flush()
        .until('G');
    let answers = wire.copy_data("205\ta\n").copy_fail("again").sync().ready();
    assert_eq!((kinds(&answers).as_str(), answers[0].sqlstate()), ("EZ", "57014"));
    wire.query(&format!("{COPY} /* wrong */")).until('G');
    let answers = wire.copy_data("206\ta\n206\tb\n").copy_done().ready();
    assert_eq!((kinds(&answers).as_str(), answers[0].sqlstate()), ("EZ", "23505"));
    assert_eq!(office.letters(), 103);
    office.assert_told("/* whole */", &[("COPY", "ok", None, 3)]);
    office.assert_told("/* aborted */", &[("COPY", "cancelled", Some("57014"), 0)]);
    office.assert_told("/* extended */", &[("COPY", "cancelled", Some("57014"), 0)]);
    office.assert_told("/* wrong */", &[("COPY", "error", Some("23505"), 0)]);
}

#[test]
fn a_client_that_vanishes_during_its_copy_in_leaves_a_failed_one() {
    let office = open();
    let mut wire = office.wire();
    wire.query("copy public.letters from stdin /* deserted */").until('G');
    let pid = wire.pid;
    wire.copy_data("301\ta\n");
    wire.vanish();
    office.wait_until_gone(pid);
    office.assert_told("/* deserted */", &[("COPY", "error", Some("08006"), 0)]);
    assert_eq!(office.letters(), 100);
}

/// Far more than fits into the buffers on the way.
const FLOOD: &str = "select n, repeat('y', 1000) from generate_series(1, 1000000) n";

#[test]
fn a_client_that_vanishes_while_rows_are_sent_leaves_an_interrupted_statement() {
    let office = open();
    let mut wire = office.wire();
    let pid = wire.pid;
    wire.query(&format!("{FLOOD} /* unread */")).until('D');
    wire.vanish();
    office.wait_until_gone(pid);
    let told = office.told("/* unread */");
    let [(command, outcome, sqlstate, rows)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(
        (command.as_str(), outcome.as_str(), sqlstate.as_deref()),
        ("SELECT", "interrupted", Some("08006"))
    );
    assert!((1..1_000_000).contains(rows), "{rows}");
}

#[test]
fn a_client_that_vanishes_during_its_copy_out_leaves_an_interrupted_one() {
    let office = open();
    let mut wire = office.wire();
    let pid = wire.pid;
    wire.query(&format!("copy ({FLOOD}) to stdout /* unread copy */")).until('d');
    wire.vanish();
    office.wait_until_gone(pid);
    // The COPY and, within it, its query.
    let told = office.told("/* unread copy */");
    assert_eq!(told.len(), 2, "{told:?}");
    for (_, outcome, sqlstate, rows) in &told {
        assert_eq!((outcome.as_str(), sqlstate.as_deref()), ("interrupted", Some("08006")), "{told:?}");
        assert!((1..1_000_000).contains(rows), "{told:?}");
    }
}

#[test]
fn a_copy_out_that_fails_has_the_rows_it_sent() {
    let office = open();
    let mut wire = office.wire();
    let answers =
        wire.query("copy (select 1 / (6 - n) from generate_series(1, 10) n) to stdout /* divided */").ready();
    assert_eq!(kinds(&answers), "HdEZ");
    office.assert_told(
        "/* divided */",
        &[("SELECT", "error", Some("22012"), 5), ("COPY", "error", Some("22012"), 5)],
    );
}

#[test]
fn a_session_that_is_terminated_ends_whatever_it_runs() {
    let office = open();
    let mut admin = office.cluster.superuser("office");
    let mut holder = office.wire();
    holder.query("begin; select pg_advisory_lock(4711); lock table public.letters").ready();
    for text in [
        "select pg_advisory_lock(4711) /* terminated */",
        "create index on public.letters (body) /* terminated */",
        "do $$ begin perform pg_advisory_lock(4711); end $$ /* terminated */",
    ] {
        let mut wire = office.wire();
        let pid = wire.pid;
        wire.query(text);
        wire.send_and_wait(&mut admin, "Lock");
        admin.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
        let answers = wire.until('E');
        assert_eq!(answers.last().unwrap().sqlstate(), "57P01");
        office.wait_until_gone(pid);
    }
    let interrupted = |command| (command, "interrupted", Some("57P01"), 0);
    office.assert_told(
        "/* terminated */",
        &[interrupted("SELECT"), interrupted("CREATE INDEX"), interrupted("DO")],
    );
    // The statement inside the DO block as well.
    let inner: i64 = admin
        .query_one(
            "select count(*) from audit.statements
             where depth = 1 and outcome = 'interrupted' and sqlstate = '57P01' and command = 'SELECT'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(inner, 1);
}

#[test]
fn a_session_that_is_terminated_while_it_copies_a_database_gives_its_workers_back() {
    let office = open();
    let mut admin = office.cluster.superuser("postgres");
    let mut workers = move || -> i64 {
        let count = "select count(*) from pg_stat_activity
                     where datname = 'office' and backend_type like 'pg\\_custodian%'";
        admin.query_one(count, &[]).unwrap().get(0)
    };
    wait_for("the workers", || workers() == 2);
    // PostgreSQL waits some seconds for other sessions to leave, and there is one.
    let holder = office.wire();
    let mut wire = Wire::connect(&office.cluster, "postgres", "postgres");
    let pid = wire.pid;
    wire.query("create database copy template office");
    wire.send();
    wait_for("the workers to make way", || workers() == 0);
    let mut admin = office.cluster.superuser("postgres");
    admin.execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    office.wait_until_gone(pid);
    drop(holder);
    wait_for("the workers to come back", || workers() == 2);
}

#[test]
fn a_client_that_leaves_or_vanishes_with_an_open_portal_leaves_it_interrupted() {
    let office = open();
    for (part, polite) in [("/* said good-bye */", true), ("/* vanished */", false)] {
        let mut wire = office.wire();
        let pid = wire.pid;
        wire.query("begin").ready();
        wire.parse("", &format!("select n from generate_series(1, 10) n {part}"), &[]).bind("p", "", &[]);
        wire.execute("p", 4).sync().ready();
        if polite {
            wire.terminate()
        } else {
            wire.vanish()
        }
        office.wait_until_gone(pid);
    }
    office.assert_told("/* said good-bye */", &[("SELECT", "interrupted", Some("08003"), 4)]);
    office.assert_told("/* vanished */", &[("SELECT", "interrupted", Some("08006"), 4)]);
}

#[test]
fn a_cancel_request_in_the_middle_of_a_portal_is_one() {
    let office = open();
    let mut wire = office.wire();
    let pid = wire.pid;
    wire.parse(
        "",
        "select n, pg_sleep(case n when 5 then 60 end) from generate_series(1, 10) n /* slept */",
        &[],
    );
    wire.bind("p", "", &[]);
    let answers = wire.execute("p", 4).flush().until('s');
    assert_eq!(kinds(&answers), "12Ds");
    wire.execute("p", 4).sync();
    let mut admin = office.cluster.superuser("office");
    wire.send_and_wait(&mut admin, "Timeout");
    admin.execute("select pg_cancel_backend($1)", &[&pid]).unwrap();
    assert_eq!(kinds(&wire.ready()), "EZ");
    office.assert_told("/* slept */", &[("SELECT", "cancelled", Some("57014"), 4)]);
}
