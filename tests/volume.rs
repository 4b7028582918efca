//! How many rows leave: by statement, and by person and hour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify, sync};
use harness::wire::{Wire, kinds};
use harness::{assert_refused, refusal, wait_for};
use postgres::error::{DbError, SqlState};
use postgres::{Client, SimpleQueryMessage};
use std::io::Read;
use std::thread;

const TOO_MANY: SqlState = SqlState::PROGRAM_LIMIT_EXCEEDED;

/// A shop in identify mode whose shared role has these limits.
fn limited(limits: &str) -> (Shop, Client) {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(&format!(
            "create table public.numbers (n int); insert into public.numbers select generate_series(1, 1000);
             create table public.copies (n int); grant select on public.numbers to readonly;
             grant select, insert, update, delete on public.copies to readonly;
             create function public.numbers_upto(int) returns setof int language plpgsql as
                'begin return query select n from public.numbers where n <= $1; end';
             create function public.opened() returns refcursor language plpgsql as
                'declare c refcursor := ''inner''; begin open c for select n from public.numbers; return c; end';
             select custodian.enroll('readonly', 'identify', {limits})"
        ))
        .unwrap();
    (shop, admin)
}

/// The rows that a client saw of a string of statements, and the error that came then.
fn seen(client: &mut Client, statements: &str) -> (usize, Option<DbError>) {
    match client.simple_query(statements) {
        Ok(messages) => {
            (messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count(), None)
        }
        Err(error) => (0, error.as_db_error().cloned()),
    }
}

/// Asserts that a statement is refused for its rows.
#[track_caller]
fn too_many(client: &mut Client, statements: &str) -> DbError {
    let told = refusal(client.simple_query(statements));
    assert_eq!(told.code(), &TOO_MANY, "{statements}: {told:?}");
    let _ = client.simple_query("rollback");
    told
}

#[track_caller]
fn given(client: &mut Client, statements: &str, rows: usize) {
    let (found, error) = seen(client, statements);
    assert!(error.is_none(), "{statements}: {error:?}");
    assert_eq!(found, rows, "{statements}");
}

fn copied_out(client: &mut Client, statement: &str) -> Result<usize, std::io::Error> {
    let mut text = String::new();
    client.copy_out(statement).map_err(std::io::Error::other)?.read_to_string(&mut text)?;
    Ok(text.lines().count())
}

#[test]
fn a_statement_returns_as_many_rows_as_it_may_by_whichever_way() {
    let (shop, mut admin) = limited("row_limit => 10");
    let mut alice = shop.person("alice", &[]);
    for (fits, exceeds) in [
        ("select n from public.numbers where n <= 10", "select n from public.numbers where n <= 11"),
        ("values (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)", "select generate_series(1, 11)"),
        ("select * from public.numbers_upto(10)", "select public.numbers_upto(11)"),
        (
            "prepare a as select n from public.numbers where n <= $1; execute a (10); deallocate a",
            "prepare b as select n from public.numbers where n <= $1; execute b (11)",
        ),
        (
            "begin; declare c cursor for select n from public.numbers; fetch 4 from c; fetch 6 from c; commit",
            "begin; declare c cursor for select n from public.numbers; fetch 4 from c; fetch 7 from c",
        ),
        (
            "begin; declare c scroll cursor for select n from public.numbers; fetch 5 from c; fetch backward 4 from c; \
             fetch 1 from c; commit",
            "begin; declare c scroll cursor for select n from public.numbers; fetch 6 from c; fetch backward all from c",
        ),
        (
            "begin; select public.opened(); fetch 10 from \"inner\"; commit",
            "begin; select public.opened(); fetch 10 from \"inner\"; fetch 1 from \"inner\"",
        ),
        (
            "insert into public.copies select generate_series(1, 10) returning n",
            "insert into public.copies select generate_series(1, 11) returning n",
        ),
        (
            "with d as (delete from public.copies returning n) select n from d limit 10",
            "with i as (insert into public.copies select generate_series(1, 11) returning n) select n from i",
        ),
        (
            "table public.numbers limit 10",
            "(table public.numbers limit 6) union all (table public.numbers limit 5)",
        ),
    ] {
        let (rows, error) = seen(&mut alice, fits);
        assert!(error.is_none(), "{fits}: {error:?}");
        assert!(rows >= 10, "{fits}: {rows}");
        let told = too_many(&mut alice, exceeds);
        assert_eq!(told.message(), "statement exceeds the limit of 10 rows of role \"readonly\"");
        assert_eq!(
            told.hint().unwrap(),
            "Ask for fewer rows, or an administrator for another limit: \
             SELECT custodian.enroll('readonly', 'identify', row_limit => 100);"
        );
    }
    // What returns nothing, or is somebody's else to count.
    for free in [
        "insert into public.copies select n from public.numbers",
        "create temp table mine as select n from public.numbers",
        "do 'declare r record; begin for r in select n from public.numbers loop null; end loop; end'",
        "begin; declare c cursor for select n from public.numbers; move all in c; commit",
    ] {
        given(&mut alice, free, 0);
    }
    given(&mut alice, "select count(*) from public.numbers_upto(1000)", 1);
    let (lines, error) = seen(&mut alice, "explain (analyze, verbose) select n from public.numbers");
    assert!(error.is_none() && lines > 0, "{error:?}");

    // COPY of a table and of a query, to the client.
    assert_eq!(copied_out(&mut alice, "copy (select n from public.numbers limit 10) to stdout").unwrap(), 10);
    for statement in [
        "copy public.numbers to stdout /* table */",
        "copy public.numbers (n) to stdout (format csv, header)",
        "copy (select n from public.numbers) to stdout (format binary)",
    ] {
        let error = format!("{:?}", copied_out(&mut alice, statement).unwrap_err());
        assert!(error.contains("E54000"), "{statement}: {error}");
    }

    // The rows before are on record as sent, and the refusal is an event.
    let record = shop.the_record("select n from public.numbers where n <= 11");
    assert_eq!(
        (record.outcome(), record.sqlstate.as_deref(), record.rows),
        ("error", Some("54000"), Some(10))
    );
    let copy = shop.recorded("/* table */");
    assert!(copy.iter().all(|record| record.rows == Some(10)), "{copy:#?}");
    sync(&mut admin);
    let events: i64 = admin
        .query_one(
            "select count(*) from audit.events as e join audit.statements as s
                on s.session = e.session and s.number = (e.detail ->> 'statement')::int
             where e.event = 'row_limit' and e.object = 'readonly' and e.outcome = 'denied' and e.sqlstate = '54000'
               and e.user_id = 'alice' and e.detail ->> 'limit' = '10' and s.sqlstate = '54000'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(events, 13);
}

#[test]
fn cursors_that_outlive_their_transaction_or_function_are_counted() {
    let (shop, _) = limited("row_limit => 10");
    let mut alice = shop.person("alice", &[]);
    given(&mut alice, "begin; declare few cursor with hold for table public.numbers limit 10; commit", 0);
    given(&mut alice, "fetch all from few", 10);
    // All of its rows are read when the transaction ends.
    for held in [
        "begin; declare c cursor with hold for table public.numbers; commit",
        "declare c cursor with hold for table public.numbers",
        "do $$ begin execute 'declare c cursor with hold for table public.numbers'; end $$",
        "begin; do $$ begin execute 'declare c cursor with hold for table public.numbers'; end $$; commit",
        "do $$ begin execute 'declare c cursor with hold for table public.numbers'; commit; end $$",
    ] {
        let refused = alice.simple_query(held).and_then(|_| alice.simple_query("fetch all from c"));
        assert_eq!(refusal(refused).code(), &TOO_MANY, "{held}");
        let _ = alice.simple_query("rollback");
    }
    // A function that copies meanwhile has a count of its own, and the statement keeps its.
    let (shop, mut admin) = limited("row_limit => 10");
    admin
        .batch_execute(
            "grant pg_write_server_files to readonly;
             create function public.copying(int) returns int language plpgsql as
                $$begin execute format('copy (table public.numbers limit %s) to %L', $1, '/dev/null'); return $1; end$$",
        )
        .unwrap();
    let mut alice = shop.person("alice", &[]);
    given(&mut alice, "select public.copying(n) from public.numbers where n <= 10", 10);
    too_many(&mut alice, "select public.copying(3) from public.numbers where n <= 11");
    too_many(&mut alice, "select public.copying(11)");
    too_many(&mut alice, "do 'begin perform public.copying(11); end'");
    given(&mut alice, "table public.numbers limit 10", 10);
    too_many(&mut alice, "table public.numbers limit 11");
    // By the protocol, in pieces.
    let (shop, _) = limited("row_limit => 10");
    shop.admin()
        .batch_execute(
            "create role local login; grant readonly to local; grant select on public.numbers to local",
        )
        .unwrap();
    shop.admin().batch_execute("select custodian.enroll('local', 'identify', row_limit => 10)").unwrap();
    let mut wire = Wire::connect(&shop.cluster, "local", "shop");
    wire.query(&format!("select custodian.set_identity('{}')", shop.issuer.person("bob", &[]))).send();
    wire.ready();
    wire.parse("s", "select n from public.numbers", &[]).bind("p", "s", &[]);
    wire.execute("p", 4).execute("p", 6).execute("p", 1).sync().send();
    let answers = wire.ready();
    assert_eq!(answers.iter().filter(|answer| answer.kind == 'D').count(), 10, "{}", kinds(&answers));
    assert_eq!(answers.iter().find(|answer| answer.kind == 'E').unwrap().sqlstate(), "54000");
}

#[test]
fn limits_hold_for_people_and_not_for_the_application_nor_where_nothing_is_refused() {
    let (shop, mut admin) = limited("row_limit => 10, rows_per_hour => 15");
    given(&mut admin, "table public.numbers", 1000);
    let mut alice = shop.person("alice", &[]);
    given(&mut alice, "table public.numbers limit 10", 10);
    given(&mut alice, "select row_limit, rows_per_hour from custodian.my_limits()", 1);
    // A call says all terms: what is not said is gone.
    admin
        .batch_execute("select custodian.enroll('readonly', 'observe', row_limit => 10, rows_per_hour => 5)")
        .unwrap();
    given(&mut alice, "table public.numbers", 1000);
    admin.batch_execute("select custodian.enroll('readonly', 'identify', row_limit => 20)").unwrap();
    given(&mut alice, "table public.numbers limit 20", 20);
    too_many(&mut alice, "table public.numbers limit 21");
    let row = alice
        .query_one("select row_limit, rows_per_hour, rows_in_last_hour from custodian.my_limits()", &[])
        .unwrap();
    assert_eq!(
        (row.get(0), row.get::<_, Option<i64>>(1), row.get::<_, Option<i64>>(2)),
        (Some(20_i64), None, None)
    );
    admin.batch_execute("select custodian.enroll('readonly', 'identify')").unwrap();
    given(&mut alice, "table public.numbers", 1000);
    // What is set takes effect for a cursor that is open.
    alice.simple_query("begin; declare c cursor for table public.numbers; fetch 20 from c").unwrap();
    admin.batch_execute("select custodian.enroll('readonly', 'identify', row_limit => 10)").unwrap();
    given(&mut alice, "fetch 10 from c", 10);
    too_many(&mut alice, "fetch 1 from c");
    let row = admin
        .query_one("select row_limit, rows_per_hour, ad_hoc from custodian.enrolled_roles", &[])
        .unwrap();
    assert_eq!((row.get(0), row.get::<_, Option<i64>>(1), row.get(2)), (Some(10_i64), None, true));
    // The event has all of it.
    sync(&mut admin);
    let detail: serde_json::Value = admin
        .query_one(
            "select detail from audit.events where event = 'enrollment' order by seq desc limit 1",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(detail, serde_json::json!({"action": "enroll", "mode": "identify", "row_limit": 10}));
}

#[test]
fn an_hours_rows_are_counted_over_all_that_a_person_does() {
    let (shop, mut admin) = limited("rows_per_hour => 100");
    admin
        .batch_execute(
            "create role other login; grant other to readonly; grant select on public.numbers to other;
             create role looser login; grant looser to readonly; grant select on public.numbers to looser;
             select custodian.enroll('looser', 'identify', rows_per_hour => 1000)",
        )
        .unwrap();
    let token = shop.issuer.person("alice", &[]);
    let fresh = || {
        let mut client = shop.readonly();
        identify(&mut client, &token).unwrap();
        client
    };
    // Small sessions, transactions that are rolled back, cursors, COPY, functions, other roles.
    given(&mut fresh(), "select n from public.numbers limit 10", 10);
    given(&mut fresh(), "begin; select n from public.numbers limit 10; rollback", 10);
    given(&mut fresh(), "begin; declare c cursor for table public.numbers; fetch 10 from c; rollback", 10);
    assert_eq!(copied_out(&mut fresh(), "copy (table public.numbers limit 10) to stdout").unwrap(), 10);
    given(&mut fresh(), "select * from public.numbers_upto(10)", 10);
    given(&mut fresh(), "set role other; select n from public.numbers limit 10", 10);
    given(&mut fresh(), "set role looser; select n from public.numbers limit 10", 10);
    let mut alice = fresh();
    let counted = |client: &mut Client| -> i64 {
        client.query_one("select rows_in_last_hour from custodian.my_limits()", &[]).unwrap().get(0)
    };
    assert_eq!(counted(&mut alice), 70);
    // 71 by that very row; then what is left, and no more.
    given(&mut alice, "table public.numbers limit 29", 29);
    let told = too_many(&mut alice, "table public.numbers limit 1");
    assert_eq!(told.message(), "person \"alice\" exceeds the limit of 100 rows an hour of role \"readonly\"");
    assert!(told.detail().unwrap().starts_with("The first of them are forgotten at 20"), "{told:?}");
    assert!(
        told.hint().unwrap().contains("custodian.enroll('readonly', 'identify', rows_per_hour => 1000);")
    );
    for statement in ["select count(*) from public.numbers", "select now()"] {
        too_many(&mut fresh(), statement);
    }
    too_many(&mut fresh(), "set role looser; select n from public.numbers limit 1");
    // Constants and identification are free, or nobody could take the session over.
    given(&mut alice, "select 1", 1);
    identify(&mut alice, &shop.issuer.person("bob", &[])).unwrap();
    given(&mut alice, "table public.numbers limit 100", 100);
    too_many(&mut alice, "table public.numbers limit 1");
    // Of her issuer: another one's alice is somebody else. And a refusal counts nothing.
    sync(&mut admin);
    let events: i64 = admin
        .query_one(
            "select count(*) from audit.denials where event = 'rows_per_hour' and user_id = 'alice'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(events, 4);
    admin.batch_execute("select custodian.enroll('readonly', 'identify', rows_per_hour => 110)").unwrap();
    given(&mut fresh(), "table public.numbers limit 10", 10);
    too_many(&mut fresh(), "table public.numbers limit 1");
}

#[test]
fn neither_kill_nor_restart_forgets_what_was_given() {
    let (shop, mut admin) = limited("rows_per_hour => 100");
    let mut alice = shop.person("alice", &[]);
    // Ended in the middle of a statement.
    let pid: i32 = alice.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    let killed = thread::spawn(move || {
        alice
            .simple_query("select n, pg_sleep(case n when 50 then 60 else 0 end) from public.numbers")
            .is_err()
    });
    wait_for("its sleep", || {
        admin
            .query_one(
                "select count(*) from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'",
                &[&pid],
            )
            .unwrap()
            .get::<_, i64>(0)
            == 1
    });
    harness::command::kill_hard(u32::try_from(pid).unwrap());
    assert!(killed.join().unwrap());
    shop.cluster.wait_until_restarted(admin);
    let counted = || -> i64 {
        shop.person("alice", &[])
            .query_one("select rows_in_last_hour from custodian.my_limits()", &[])
            .unwrap()
            .get(0)
    };
    // Those before it slept; from then on one for each time of asking.
    assert_eq!(counted(), 49);
    shop.cluster.restart();
    assert_eq!(counted(), 50);
    shop.cluster.kill_postmaster();
    shop.cluster.start();
    assert_eq!(counted(), 51);
    let mut alice = shop.person("alice", &[]);
    given(&mut alice, "table public.numbers limit 48", 48);
    too_many(&mut alice, "table public.numbers limit 1");

    // A file that cannot be read refuses who is counted, and nobody else.
    shop.cluster.stop();
    std::fs::write(shop.cluster.file("pg_custodian/row_counts"), "something else").unwrap();
    shop.cluster.start();
    let mut alice = shop.person("alice", &[]);
    assert_refused(alice.simple_query("table public.numbers limit 1"), &SqlState::IO_ERROR);
    given(&mut alice, "select 1", 1);
    given(&mut shop.admin(), "table public.numbers", 1000);
}

#[test]
fn sessions_that_read_at_once_are_given_no_more_together() {
    let (shop, _) = limited("rows_per_hour => 5000");
    let total: usize = thread::scope(|scope| {
        let reader = |size: usize| {
            let mut alice = shop.person("alice", &[]);
            scope.spawn(move || {
                let mut total = 0;
                while let (rows, None) = seen(&mut alice, &format!("table public.numbers limit {size}")) {
                    total += rows;
                }
                // By single rows to the end.
                while let (rows, None) = seen(&mut alice, "table public.numbers limit 1") {
                    total += rows;
                }
                total
            })
        };
        let readers: Vec<_> = [7, 31, 100, 613].map(reader).into_iter().collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    // Of the statements that were refused some rows had left, too: each of the eight at most its size.
    assert!(total <= 5000, "{total} rows were given");
    assert!(total >= 5000 - (7 + 31 + 100 + 613) - 8, "{total} rows were given");
}

/// Many short statements against a count of one's own: the limit is met to the row.
#[test]
fn random_statements_are_given_what_is_left() {
    let (shop, _) = limited("row_limit => 60, rows_per_hour => 1500");
    let mut alice = shop.person("alice", &[]);
    let (mut left, mut seed) = (1500_usize, 7_usize);
    let mut refusals = 0;
    for _ in 0..150 {
        seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
        let (size, shape) = (seed / 8 % 75, seed / 1024 % 4);
        let statement = match shape {
            0 => format!("table public.numbers limit {size}"),
            1 => format!("select * from public.numbers_upto({size})"),
            2 => format!("begin; declare c cursor for table public.numbers; fetch {size} from c; commit"),
            _ => format!("insert into public.copies select generate_series(1, {size}) returning n"),
        };
        let (rows, error) = seen(&mut alice, &statement);
        if size <= 60 && size <= left {
            assert!(error.is_none(), "{left} left: {statement}: {error:?}");
            assert_eq!(rows, size);
            left -= size;
        } else {
            let error = error.unwrap_or_else(|| panic!("{left} left: {statement} was not refused"));
            assert_eq!(error.code(), &TOO_MANY, "{statement}: {error:?}");
            refusals += 1;
            // What is on its way to a limit counts.
            left -= 60.min(left);
            let _ = alice.simple_query("rollback");
        }
    }
    assert!(refusals > 3 && left == 0, "{refusals} refusals, {left} rows left");
}
