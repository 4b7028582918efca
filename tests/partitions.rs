//! The months of the ledger: their turn, their indexes, their end; and what the writer costs when nothing happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::clock::Clock;
use harness::promise::{Lateness, in_the_end};
use harness::shop::{sync, verified};
use harness::{Cluster, custodian, refusal, text, wait_for};
use postgres::Client;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// 2031-01-31 23:00:00 UTC
const JANUARY: i64 = 1_927_666_800;
const DAY: i64 = 86_400;

fn in_january(conf: &[&str]) -> (Clock, Cluster) {
    let clock = Clock::new();
    clock.show(JANUARY);
    let mut wanted = custodian().environment(clock.environment());
    for line in conf {
        wanted = wanted.conf(line);
    }
    let cluster = wanted.start();
    cluster.create_database("kept");
    (clock, cluster)
}

fn say(admin: &mut Client, what: &str, times: usize) {
    for n in 0..times {
        admin.simple_query(&format!("select {n} as {what}")).unwrap();
    }
    sync(admin);
}

fn partitions(admin: &mut Client) -> Vec<String> {
    let query = "select inhrelid::regclass::text from pg_inherits where inhparent = 'audit.ledger'::regclass order by 1";
    admin.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn writer(admin: &mut Client) -> i32 {
    let query = "select pid from pg_stat_activity
                 where backend_type = 'pg_custodian ledger writer' and datname = current_database()";
    admin.query_one(query, &[]).unwrap().get(0)
}

/// In maintenance. Up to 16, PostgreSQL describes a table anew when a column's statistics target changes, under a lock
/// beside which rows are appended: what the writer holds of the old description must not be freed twice.
#[test]
fn a_month_is_altered_again_and_again_while_it_is_appended_to() {
    let cluster = custodian().conf("pg_custodian.maintenance = on").start();
    cluster.create_database("kept");
    let mut admin = cluster.superuser("kept");
    say(&mut admin, "before", 1);
    let (first, month) = (writer(&mut admin), partitions(&mut admin).remove(0));
    let (begun, mut rounds) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(8) {
        let target = rounds % 100;
        let alter = format!("alter table {month} alter column command set statistics {target}");
        // Each of them is a row to append.
        admin.batch_execute(&alter).unwrap();
        rounds += 1;
    }
    sync(&mut admin);
    assert_eq!(writer(&mut admin), first, "another writer");
    let query =
        format!("select count(*) from audit.statements where statement like 'alter table {month} alter%'");
    assert_eq!(admin.query_one(&query, &[]).unwrap().get::<_, i64>(0), rounds);
    assert!(verified(&mut admin));
}

#[test]
fn the_turn_of_the_month_makes_a_partition_with_all_its_guards() {
    let (clock, cluster) = in_january(&[]);
    let mut admin = cluster.superuser("kept");
    say(&mut admin, "in_january", 5);
    assert_eq!(partitions(&mut admin), ["audit.ledger_2031_01", "audit.ledger_2031_02"]);
    clock.show(JANUARY + DAY);
    say(&mut admin, "in_february", 5);
    // March is made ahead.
    assert_eq!(partitions(&mut admin).last().unwrap(), "audit.ledger_2031_03");
    // A month in which nothing happened has no partition, and needs none.
    clock.show(JANUARY + 65 * DAY);
    say(&mut admin, "in_april", 5);
    for (month, what) in [("01", "in_january"), ("02", "in_february"), ("04", "in_april")] {
        let query =
            format!("select count(*) from audit.ledger_2031_{month} where query like 'select _ as {what}'");
        assert_eq!(admin.query_one(&query, &[]).unwrap().get::<_, i64>(0), 5, "{what}");
    }
    // Each holds a run of numbers, and the runs follow each other.
    let runs = admin
        .query("select min(seq), max(seq), count(*) from audit.ledger group by tableoid order by 1", &[])
        .unwrap();
    let mut next = 1;
    for run in &runs {
        let (first, last, count): (i64, i64, i64) = (run.get(0), run.get(1), run.get(2));
        assert_eq!((first, last), (next, next + count - 1));
        next = last + 1;
    }
    assert_eq!(runs.len(), 3);
    assert!(verified(&mut admin));
    let april = "audit.ledger_2031_04";
    for attack in [
        format!("delete from {april} where false"),
        format!("insert into {april} select * from {april} limit 1"),
        format!("truncate {april}"),
        format!("alter table {april} disable trigger append_only"),
        format!("alter table audit.ledger detach partition {april}"),
        format!("drop table {april}"),
        format!("alter extension pg_custodian drop table {april}"),
    ] {
        assert_eq!(refusal(admin.simple_query(&attack)).code().code(), "42501", "{attack}");
    }
    let missing = text(
        &mut admin,
        "select string_agg(c.relname, ' ') from pg_class c where c.relname ~ '^ledger_2031_..$' and
            (2 <> (select count(*) from pg_trigger t where t.tgrelid = c.oid and t.tgenabled = 'A'
                     and t.tgname in ('append_only', 'no_truncate'))
             or c.relacl::text like '%,=%'
             or not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e'))",
    );
    assert_eq!(missing, None);
    // The extension goes with all of them, once it may.
    let maintenance = "pg_custodian.maintenance = on";
    cluster.add_conf(maintenance);
    admin.simple_query("select pg_reload_conf()").unwrap();
    wait_for("the reload", || admin.simple_query("drop extension pg_custodian").is_ok());
}

#[test]
fn old_months_are_exported_and_removed_and_the_rest_still_verifies() {
    let exports = harness::command::make_directory("pg_custodian-exports");
    let setting = format!("pg_custodian.export_directory = '{}'", exports.display());
    let (clock, cluster) = in_january(&[]);
    let mut admin = cluster.superuser("kept");
    admin
        .simple_query(
            "create role clerk in role custodian_admin; create role auditor in role custodian_auditor",
        )
        .unwrap();
    say(&mut admin, "in_january", 5);
    admin.execute("select $1::text as \"in_january \\ with \"\"quotes\"\"\"", &[&"a\\b\"c\n\u{e9}"]).unwrap();
    sync(&mut admin);
    clock.show(JANUARY + DAY);
    say(&mut admin, "in_february", 5);
    clock.show(JANUARY + 40 * DAY);
    say(&mut admin, "in_march", 5);
    let heads = admin.query("select max(seq) from audit.ledger group by tableoid order by 1", &[]).unwrap();
    let (january, february): (i64, i64) = (heads[0].get(0), heads[1].get(0));

    let retain = "select * from audit.retain('1 day')";
    assert_eq!(refusal(admin.simple_query(retain)).code().code(), "55000");
    cluster.add_conf(&setting);
    admin.simple_query("select pg_reload_conf()").unwrap();
    let shown = "select setting from pg_settings where name = 'pg_custodian.export_directory'";
    wait_for("the reload", || text(&mut admin, shown).is_some_and(|setting| !setting.is_empty()));
    admin.simple_query("set role auditor").unwrap();
    assert_eq!(refusal(admin.simple_query(retain)).code().code(), "42501");
    admin.simple_query("reset role").unwrap();
    assert_eq!(refusal(admin.simple_query("select audit.retain('-1 day')")).code().code(), "22023");
    // Nothing is old enough.
    assert!(admin.query("select * from audit.retain('1 year')", &[]).unwrap().is_empty());

    // Only what has been over for that long: January, by the whole of February and some days.
    admin.simple_query("set role clerk").unwrap();
    let gone = admin.query("select * from audit.retain('30 days')", &[]).unwrap();
    admin.simple_query("reset role").unwrap();
    assert_eq!(gone.len(), 1);
    let of = |name: &str| gone[0].get::<_, i64>(name);
    assert_eq!(gone[0].get::<_, String>("partition"), "ledger_2031_01");
    assert_eq!((of("first_seq"), of("last_seq"), of("rows")), (1, january, january));
    assert!(!partitions(&mut admin).contains(&"audit.ledger_2031_01".to_owned()));

    // The file is what was promised, and describes itself.
    let path: String = gone[0].get("exported_to");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(gone[0].get::<_, String>("sha256"), hex::encode(Sha256::digest(&bytes)));
    let lines: Vec<Value> =
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (header, rows) = lines.split_first().unwrap();
    assert_eq!((header["first_seq"].as_i64(), header["last_seq"].as_i64()), (Some(1), Some(january)));
    assert_eq!(header["rows"].as_u64(), Some(rows.len() as u64));
    assert_eq!(header["previous_hash"].as_str().unwrap(), "0".repeat(64));
    assert_eq!(rows.last().unwrap()["hash"], header["last_hash"]);
    let columns = text(
        &mut admin,
        "select json_agg(attname order by attnum)::text from pg_attribute
         where attrelid = 'audit.ledger'::regclass and attnum > 0 and not attisdropped",
    );
    assert_eq!(header["columns"], serde_json::from_str::<Value>(&columns.unwrap()).unwrap());
    assert!(rows.iter().any(|row| row["parameters"][0].as_str() == Some("a\\b\"c\n\u{e9}")));
    assert!(chain_of(rows, &[0; 32]).is_ok());

    // What is left verifies, says that it begins later, and has the removal in it.
    sync(&mut admin);
    let row = admin.query_one("select ok, from_seq from audit.verify()", &[]).unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, january + 1));
    assert_eq!(refusal(admin.query("select * from audit.verify(1)", &[])).code().code(), "55000");
    let event = admin
        .query_one(
            "select object, detail->>'sha256', session_role from audit.events where event = 'retention'",
            &[],
        )
        .unwrap();
    assert_eq!(event.get::<_, String>(0), "ledger_2031_01");
    assert_eq!(event.get::<_, String>(1), gone[0].get::<_, String>("sha256"));
    let kept = admin.query_one("select last_seq, last_hash, exported_to from audit.retired", &[]).unwrap();
    assert_eq!(kept.get::<_, i64>(0), january);
    assert_eq!(hex::encode(kept.get::<_, Vec<u8>>(1)), header["last_hash"].as_str().unwrap());
    for attack in
        ["delete from audit.retired", "update audit.retired set last_seq = 1", "truncate audit.retired"]
    {
        assert_eq!(refusal(admin.simple_query(attack)).code().code(), "42501", "{attack}");
    }

    // Who rolls back keeps the rows; the file that was written must be moved away first.
    let mut transaction = admin.transaction().unwrap();
    assert_eq!(transaction.query(retain, &[]).unwrap().len(), 1);
    transaction.rollback().unwrap();
    assert!(partitions(&mut admin).contains(&"audit.ledger_2031_02".to_owned()));
    assert_eq!(refusal(admin.simple_query(retain)).code().code(), "58P02");
    assert!(verified(&mut admin));
    let february_file = exports.join("kept.ledger_2031_02.jsonl");
    std::fs::rename(&february_file, exports.join("moved")).unwrap();
    let gone = admin.query(retain, &[]).unwrap();
    assert_eq!(gone[0].get::<_, i64>("last_seq"), february);
    let file = std::fs::read_to_string(&february_file).unwrap();
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let before = hex::decode(header["last_hash"].as_str().unwrap()).unwrap();
    assert!(chain_of(&lines[1..], &before.try_into().unwrap()).is_ok());
    sync(&mut admin);
    assert!(verified(&mut admin));

    // A month that was tampered with stays, and leaves no file.
    clock.show(JANUARY + 80 * DAY);
    say(&mut admin, "in_april", 5);
    cluster.add_conf("pg_custodian.maintenance = on");
    admin.simple_query("select pg_reload_conf()").unwrap();
    wait_for("the reload", || text(&mut admin, "show pg_custodian.maintenance").as_deref() == Some("on"));
    let victim = february + 3;
    admin
        .batch_execute(&format!(
            "alter table audit.ledger_2031_03 disable trigger all;
             update audit.ledger_2031_03 set user_id = 'mallory' where seq = {victim}"
        ))
        .unwrap();
    let error = refusal(admin.simple_query(retain));
    assert_eq!(error.code().code(), "XX001", "{error:?}");
    assert!(error.message().contains(&victim.to_string()), "{error:?}");
    assert!(partitions(&mut admin).contains(&"audit.ledger_2031_03".to_owned()));
    assert!(!exports.join("kept.ledger_2031_03.jsonl").exists());
    let _ = std::fs::remove_dir_all(exports);
}

/// Walks exported rows as somebody without our code would.
fn chain_of(rows: &[Value], before: &[u8; 32]) -> Result<(), i64> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(2);
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let columns = "seq at stored event session statement parent depth pid issuer user_id user_email token_id session_role \
                   role client_addr application class command origin objects object_types changes columns_read \
                   columns_written masked revealed query parameters grants rows duration bytes transaction committed \
                   outcome sqlstate object detail";
    let mut hash = *before;
    for row in rows {
        let mut out = vec![3];
        for column in columns.split_whitespace() {
            let integer = |out: &mut Vec<u8>, value: i64| {
                out.push(1);
                out.extend(value.to_le_bytes());
            };
            match &row[column] {
                Value::Null => out.push(0),
                Value::Bool(value) => integer(&mut out, i64::from(*value)),
                Value::Number(value) => integer(&mut out, value.as_i64().unwrap()),
                Value::String(value) => text(&mut out, value),
                Value::Array(values) => {
                    out.push(if column == "grants" { 4 } else { 3 });
                    out.extend((values.len() as u32).to_le_bytes());
                    for value in values {
                        match value {
                            Value::Null => out.push(0),
                            Value::Number(value) => out.extend(value.as_i64().unwrap().to_le_bytes()),
                            value => text(&mut out, value.as_str().unwrap()),
                        }
                    }
                }
                Value::Object(_) => panic!("{column}"),
            }
        }
        hash = Sha256::new().chain_update(hash).chain_update(&out).finalize().into();
        if hex::encode(hash) != row["hash"].as_str().unwrap() {
            return Err(row["seq"].as_i64().unwrap());
        }
    }
    Ok(())
}

/// Pages that a query read, as a part of all pages of the ledger.
fn share(admin: &mut Client, query: &str) -> f64 {
    let all: i64 = admin
        .query_one(
            "select sum(pg_relation_size(inhrelid) / 8192)::bigint from pg_inherits where inhparent = 'audit.ledger'::regclass",
            &[],
        )
        .unwrap()
        .get(0);
    let plan: Value =
        admin.query_one(&format!("explain (analyze, buffers, format json) {query}"), &[]).unwrap().get(0);
    let plan = &plan[0]["Plan"];
    let read = plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap();
    eprintln!("{read} of {all} pages: {query}");
    read as f64 / all as f64
}

#[test]
fn the_questions_of_auditors_do_not_read_everything() {
    let (clock, cluster) = in_january(&["autovacuum = off"]);
    let mut admin = cluster.superuser("kept");
    admin
        .batch_execute(
            "create table public.busy (id int primary key); create table public.rare (id int);
             insert into public.busy select generate_series(1, 100)",
        )
        .unwrap();
    let load = "do $$ declare n int; begin for n in 1..150000 loop perform from public.busy where id = n % 100; end loop; end $$";
    admin.simple_query(load).unwrap();
    admin.simple_query("select from public.rare").unwrap();
    admin.simple_query("delete from public.rare").unwrap();
    sync(&mut admin);
    clock.show(JANUARY + 10 * DAY);
    admin.simple_query(load).unwrap();
    admin.simple_query("select 1 as late").unwrap();
    admin.execute("select audit.sync('90 s')", &[]).unwrap();
    let rows: i64 = admin.query_one("select count(*) from audit.ledger", &[]).unwrap().get(0);
    assert!(rows >= 300_000, "{rows}");
    wait_for("the indexes of January", || {
        text(&mut admin, "select to_regclass('audit.ledger_2031_01_objects')::text").is_some()
    });
    // As autovacuum does, which does not come within a minute.
    admin.batch_execute("vacuum (analyze) audit.ledger_2031_02").unwrap();

    // The month that is over is found by person, object, class and command; this month by its time.
    let late =
        "at >= (select max(at) from audit.ledger_2031_02 where seq = (select seq from audit.chain) - 2000)";
    let before = "at < '2031-02-01 00:00:00+00'";
    for (query, most) in [
        (format!("select * from audit.ledger where seq = {}", rows / 3), 0.05),
        (format!("select * from audit.ledger where seq between {} and {}", rows / 2, rows / 2 + 100), 0.05),
        (
            format!(
                "select at, user_id, statement from audit.statements where command = 'DELETE' and {before}"
            ),
            0.02,
        ),
        (
            format!(
                "select at, user_id, statement from audit.statements where objects @> array['public.rare'] and {before}"
            ),
            0.02,
        ),
        (format!("select at, statement from audit.statements where user_id = 'alice' and {before}"), 0.02),
        (format!("select * from audit.statements where class = 'WRITE' and {before}"), 0.02),
        (format!("select * from audit.ledger where {late}"), 0.15),
    ] {
        let share = share(&mut admin, &query);
        assert!(share <= most, "{share} of the ledger: {query}");
    }
    let found = "select count(*) from audit.statements where objects @> array['public.rare'] and at < '2031-02-01 00:00:00+00'";
    // Created, read, deleted from.
    assert_eq!(admin.query_one(found, &[]).unwrap().get::<_, i64>(0), 3);
    // What an index leaves out would be missing here: every row by its number, and by its time.
    let by_index = "select count(*) from generate_series(1, $1::bigint, 997) as n(seq)
                    where exists (select from audit.ledger as l where l.seq = n.seq)";
    admin.batch_execute("set enable_seqscan = off").unwrap();
    // Each look has added rows meanwhile, and goes on adding them.
    let last: i64 = admin.query_one("select max(seq) from audit.ledger", &[]).unwrap().get(0);
    let found: i64 = admin.query_one(by_index, &[&last]).unwrap().get(0);
    assert_eq!(found, (last - 1) / 997 + 1);
}

/// Rows that lie on an earlier page than a row before them, and rows that no index scan finds by number.
fn out_of_place(admin: &mut Client) -> (i64, i64) {
    let pages = "select count(*) from (
        select (ctid::text::point)[0] as page, lag((ctid::text::point)[0]) over (partition by tableoid order by seq) as before
        from audit.ledger) as l where l.page < l.before";
    let earlier = admin.query_one(pages, &[]).unwrap().get(0);
    // Each look adds rows.
    let last: i64 = admin.query_one("select max(seq) from audit.ledger", &[]).unwrap().get(0);
    let mut count = |settings: &str| -> i64 {
        admin.batch_execute(settings).unwrap();
        let query = "select count(*) from audit.ledger where seq between 1 and $1";
        admin.query_one(query, &[&last]).unwrap().get(0)
    };
    let present = count("set enable_bitmapscan = off");
    let by_index = count("reset enable_bitmapscan; set enable_seqscan = off");
    count("reset enable_seqscan");
    (earlier, present - by_index)
}

#[test]
fn rows_lie_in_order_however_long_they_are_and_whenever_the_writer_dies() {
    let cluster = custodian().start();
    cluster.create_database("kept");
    let mut admin = cluster.superuser("kept");
    for round in 0..3 {
        // Short, as long as half a page, toasted, and so that neither helps: texts that do not compress.
        for length in [3, 900, 1700, 1990, 2030, 2100, 5000, 40, 60_000, 700, 8000, 2500, 2600, 2700, 10] {
            let text = harness::token::random_text(length);
            admin.execute("select $1::text", &[&text]).unwrap();
            admin.simple_query(&format!("select '{text}' as text_{round}")).unwrap();
        }
        // All indexes know what vacuum has summarized, and what comes after it.
        admin.batch_execute("vacuum audit.ledger").unwrap();
        let load = "do $$ declare n int; begin for n in 1..20000 loop perform n; end loop; end $$";
        admin.simple_query(load).unwrap();
        let writer = "select pid from pg_stat_activity where backend_type = 'pg_custodian ledger writer' and datname = 'kept'";
        let mut pid: i32 = 0;
        wait_for("a writer", || {
            let found = admin.query_opt(writer, &[]).unwrap();
            found.is_some_and(|row| {
                pid = row.get(0);
                true
            })
        });
        harness::command::kill_hard(pid.unsigned_abs());
        drop(admin);
        // The server restarts when it notices; until then it answers as before.
        wait_for("the next writer", || {
            let asked = cluster.try_superuser("kept").and_then(|mut admin| admin.query_opt(writer, &[]));
            asked.is_ok_and(|row| row.is_some_and(|row| row.get::<_, i32>(0) != pid))
        });
        admin = cluster.superuser("kept");
        wait_for("the ledger", || admin.simple_query("select audit.sync('5 s')").is_ok());
        assert_eq!(out_of_place(&mut admin), (0, 0), "round {round}");
        assert!(verified(&mut admin));
    }
    let rows: i64 = admin.query_one("select count(*) from audit.ledger", &[]).unwrap().get(0);
    assert!(rows > 60_000, "{rows}");
}

#[test]
fn the_ledger_is_complete_within_a_second_after_the_load_and_idle_costs_nothing() {
    let cluster = custodian().conf("autovacuum = off").start();
    cluster.create_database("kept");
    let mut outside = cluster.superuser("postgres");
    let mut admin = cluster.superuser("kept");
    let mut lateness = Lateness::default();
    for round in 0..3 {
        let before: i64 =
            admin.query_one("select coalesce(max(seq), 0) from audit.ledger", &[]).unwrap().get(0);
        admin
            .simple_query("do $$ declare n int; begin for n in 1..20000 loop perform n; end loop; end $$")
            .unwrap();
        admin.simple_query(&format!("select {round} as the_last_of_them")).unwrap();
        let end = Instant::now();
        // Below SQL nobody waits for it: this look at the ledger is recorded later than what it looks for.
        let there = format!(
            "select 1 from audit.ledger where seq > {before} and query = 'select {round} as the_last_of_them'"
        );
        while admin.query(&there, &[]).unwrap().is_empty() {
            in_the_end("the ledger", end.elapsed());
            sleep(Duration::from_millis(10));
        }
        lateness.note("the ledger", end.elapsed());
    }
    lateness.kept_the_promise();
    let worker = "select pid from pg_stat_activity where backend_type = 'pg_custodian ledger writer' and datname = 'kept'";
    let pid: i32 = outside.query_one(worker, &[]).unwrap().get(0);
    drop(admin);
    // Until the session's end is stored, and the writer sleeps for good.
    sleep(Duration::from_secs(3));
    let mut figures = || {
        outside.simple_query("select pg_stat_clear_snapshot()").unwrap();
        let query = "select xact_commit + xact_rollback from pg_stat_database where datname = 'kept'";
        let transactions: i64 = outside.query_one(query, &[]).unwrap().get(0);
        let switches = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let wakeups =
            switches.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned();
        (transactions, wakeups)
    };
    // What the steward does by the clock, a checkpoint each minute, may fall into one of them.
    let quiet: Vec<_> = (0..3)
        .map(|_| {
            let before = figures();
            sleep(Duration::from_secs(2));
            (before, figures())
        })
        .collect();
    let changed = quiet.iter().filter(|(before, after)| before != after).count();
    assert!(changed <= 1, "transactions, and wake-ups of the ledger writer: {quiet:?}");
}
