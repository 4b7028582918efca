//! What a record says of its transaction: which one it was, whether it committed, and what was sent meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{sync, verified};
use harness::{Cluster, custodian, wait_for};
use postgres::Client;

const DATABASE: &str = "bank";

fn bank() -> Cluster {
    let cluster =
        custodian().conf("pg_custodian.nested_statements = on").conf("max_prepared_transactions = 2").start();
    cluster.create_database(DATABASE);
    let mut admin = cluster.superuser(DATABASE);
    admin
        .batch_execute(
            "create table account (id int primary key, amount int check (amount >= 0));
             create table late (id int unique deferrable initially deferred);
             create procedure pay(amount int) language plpgsql as $$
             begin
                 insert into account values (100, $1); commit;
                 insert into account values (101, $1); rollback;
                 insert into account values (102, $1);
             end $$",
        )
        .unwrap();
    cluster
}

/// The statements with this mark, in the order in which they began: whether they have a transaction, and whether it
/// committed.
fn fates(admin: &mut Client, mark: &str) -> Vec<(String, bool, Option<bool>)> {
    sync(admin);
    let query = "select statement, transaction is not null, committed from audit.statements
                 where statement like '%' || $1 || '%' and statement not like '%audit.statements%'
                   and class <> 'DDL' order by at, seq";
    let rows = admin.query(query, &[&mark]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn outcomes(admin: &mut Client, mark: &str) -> Vec<(bool, Option<bool>)> {
    fates(admin, mark).into_iter().map(|(_, changed, committed)| (changed, committed)).collect()
}

#[test]
fn each_record_tells_whether_its_transaction_committed() {
    let cluster = bank();
    let mut admin = cluster.superuser(DATABASE);
    let mut client = cluster.superuser(DATABASE);
    let cases: [(&str, &str, &[(bool, Option<bool>)]); 8] = [
        ("alone", "insert into account values (1, 1) /* alone */", &[(true, Some(true))]),
        ("reads", "select 1 /* reads */", &[(false, None)]),
        (
            "kept",
            "begin /* kept */; select 1 /* kept */; update account set amount = 2 /* kept */; select 2 /* kept */; commit /* kept */",
            &[(false, None), (false, None), (true, Some(true)), (true, Some(true)), (true, Some(true))],
        ),
        (
            "taken",
            "begin; update account set amount = 3 /* taken */; rollback /* taken */",
            &[(true, Some(false)), (true, Some(false))],
        ),
        (
            "string",
            "insert into account values (2, 1) /* string */; insert into account values (3, 1) /* string */",
            &[(true, Some(true)), (true, Some(true))],
        ),
        ("wrong", "insert into account values (1, 1) /* wrong */", &[(true, Some(false))]),
        (
            "half",
            "insert into account values (5, 1) /* half */; insert into account values (6, -1) /* half */",
            &[(true, Some(false)), (true, Some(false))],
        ),
        (
            "late",
            "begin; insert into late values (1), (1) /* late */; commit",
            // The commit's failure has the text that the client sent.
            &[(true, Some(false)), (true, Some(false))],
        ),
    ];
    for (mark, sql, expected) in cases {
        let _ = client.simple_query(sql);
        // After an error a transaction of the client's own is over only now.
        let _ = client.simple_query("rollback");
        let found = outcomes(&mut admin, &format!("/* {mark} */"));
        assert_eq!(found, expected, "{sql}: {:?}", fates(&mut admin, mark));
    }
    assert!(verified(&mut admin));
}

#[test]
fn a_procedures_transactions_and_those_of_lost_sessions_are_told_apart() {
    let cluster = bank();
    let mut admin = cluster.superuser(DATABASE);
    let mut client = cluster.superuser(DATABASE);
    client.simple_query("call pay(7)").unwrap();
    let found = outcomes(&mut admin, "insert into account values (10");
    assert_eq!(found, [(true, Some(true)), (true, Some(false)), (true, Some(true))]);

    client.simple_query("begin; insert into account values (7, 1) /* lost */").unwrap();
    assert_eq!(outcomes(&mut admin, "/* lost */"), [(true, None)], "it goes on");
    drop(client);
    wait_for("the end of the transaction", || outcomes(&mut admin, "/* lost */") == [(true, Some(false))]);

    // Who prepares a transaction does not decide what becomes of it: its name does.
    admin
        .simple_query("begin; insert into account values (8, 1) /* prepared */; prepare transaction 'p'")
        .unwrap();
    admin.simple_query("commit prepared 'p'").unwrap();
    assert_eq!(outcomes(&mut admin, "/* prepared */"), [(true, None)]);
}

#[test]
fn an_end_that_waits_for_its_transaction_is_not_kept_back_from_anybody() {
    let cluster = bank();
    let mut admin = cluster.superuser(DATABASE);
    let mut client = cluster.superuser(DATABASE);
    // Answered is recorded: whoever asks afterwards finds it.
    for n in 0..50 {
        client
            .simple_query(&format!("insert into account values ({}, 1) /* answered {n} */", 1000 + n))
            .unwrap();
        let found = outcomes(&mut admin, &format!("/* answered {n} */"));
        assert_eq!(found, [(true, Some(true))]);
    }
}

#[test]
fn the_number_of_a_transaction_is_the_servers() {
    let cluster = bank();
    let mut admin = cluster.superuser(DATABASE);
    let mut transaction = admin.transaction().unwrap();
    let number: String = transaction.query_one("select pg_current_xact_id()::text", &[]).unwrap().get(0);
    transaction.execute("insert into account values (9, 1) /* numbered */", &[]).unwrap();
    transaction.commit().unwrap();
    sync(&mut admin);
    let query = "select distinct transaction::text from audit.statements where statement like 'insert % /* numbered */'";
    assert_eq!(admin.query_one(query, &[]).unwrap().get::<_, String>(0), number);
}

#[test]
fn what_was_sent_is_counted() {
    let cluster = bank();
    let mut admin = cluster.superuser(DATABASE);
    let bytes = |admin: &mut Client, sql: &str| -> i64 {
        let _ = admin.simple_query(sql);
        sync(admin);
        let query =
            "select coalesce(bytes, 0) from audit.statements where statement = $1 order by seq desc limit 1";
        admin.query_one(query, &[&sql]).unwrap().get(0)
    };
    let small = bytes(&mut admin, "select 'x'");
    // A description of the row, and the row: five bytes each and what is in them.
    assert!((20..100).contains(&small), "{small}");
    let large = bytes(&mut admin, "select repeat('x', 100000)");
    assert!((100_000..100_100).contains(&large), "{large}");
    let many = bytes(&mut admin, "select n from generate_series(1, 1000) as n");
    assert!((1000 * 12..1000 * 16).contains(&many), "{many}");
    let copied = bytes(&mut admin, "copy (select repeat('x', 1000) from generate_series(1, 10)) to stdout");
    assert!((10_000..10_200).contains(&copied), "{copied}");
    let silent = bytes(&mut admin, "do $$ begin perform repeat('x', 1000); end $$");
    assert_eq!(silent, 0);
    let fetched = bytes(&mut admin, "select repeat('x', 500), 1 / (2 - n) from generate_series(1, 3) as n");
    assert!((500..700).contains(&fetched), "of the row before the error: {fetched}");
}
