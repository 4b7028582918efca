//! Attacks on what the ledger proves, by whoever has the server's files, and can open the guards so. Each is
//! exposed by audit.verify(), by a checkpoint that was kept elsewhere, or by the offline verifier.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::kill_hard;
use harness::shop::{freeze_writer, sync, verified};
use harness::{Cluster, custodian, refusal, wait_for};
use pg_custodian_verifier::Refusal;
use pg_custodian_verifier::checkpoint::{Checkpoint, Kept, List};
use pg_custodian_verifier::ledger::{Held, Walk};
use pg_custodian_verifier::{merkle, proof, row};
use postgres::Client;
use serde_json::Value;
use std::path::Path;

/// A ledger with two checkpoints and some rows behind them, whose guards are open.
fn opened() -> (Cluster, Client, Value) {
    let cluster = custodian().conf("pg_custodian.maintenance = on").start();
    cluster.create_database("kept");
    let mut admin = cluster.superuser("kept");
    let mut kept = Value::Null;
    for round in 0..3 {
        for n in 0..20 {
            admin.simple_query(&format!("select {n} as kept_{round}, array['ä', null]::text[]")).unwrap();
        }
        sync(&mut admin);
        if round < 2 {
            kept = checkpoint(&mut admin);
        }
    }
    assert_eq!(verify(&mut admin, Some(&kept)), (true, None, None));
    (cluster, admin, kept)
}

fn checkpoint(admin: &mut Client) -> Value {
    admin.query_one("select audit.checkpoint()", &[]).unwrap().get(0)
}

fn verify(admin: &mut Client, against: Option<&Value>) -> (bool, Option<i64>, Option<String>) {
    let mut said = Vec::new();
    // By one process and by several: the same.
    for workers in [0, 2] {
        let query = "select ok, first_bad, problem from audit.verify(against => $1, workers => $2)";
        let row = admin.query_one(query, &[&against, &workers]).unwrap();
        said.push((row.get(0), row.get(1), row.get(2)));
    }
    assert_eq!(said[0], said[1]);
    said.remove(0)
}

/// An attack while the writer is held, and kill -9 of all before it could go on from the end that it knows: the
/// next one knows only what the table says.
fn attack_unseen(cluster: &Cluster, mut admin: Client, statements: &str) -> Client {
    sync(&mut admin);
    let writer = freeze_writer(&mut admin);
    attack(&mut admin, statements);
    cluster.kill_postmaster();
    kill_hard(writer);
    cluster.start();
    cluster.superuser("kept")
}

/// Runs an attacker's statements with the guards away, and puts these back.
fn attack(admin: &mut Client, statements: &str) {
    let all = |what: &str| {
        format!(
            "do $$ declare t regclass; begin
                 for t in select oid from pg_class
                          where relnamespace = 'audit'::regnamespace and relkind in ('r', 'p')
                          -- as the writer locks them, or the two might wait for each other
                          order by relname = 'chain' loop
                     {what}
                 end loop;
             end $$"
        )
    };
    let disable = all("execute format('alter table %s disable trigger all', t);");
    let enable = all("execute format('alter table %s enable always trigger append_only', t);
                      execute format('alter table %s enable always trigger append_only_row', t);");
    admin.batch_execute(&format!("begin; {disable}; {statements}; {enable}; commit")).unwrap();
}

#[track_caller]
fn assert_found(said: (bool, Option<i64>, Option<String>), seq: i64, problem: &str) {
    let (ok, bad, what) = said;
    assert!(!ok && bad == Some(seq), "{bad:?}: {what:?}");
    assert!(what.as_deref().is_some_and(|what| what.contains(problem)), "{what:?}");
}

#[test]
fn rows_that_are_edited_removed_added_or_swapped_are_named() {
    for (statements, seq, problem) in [
        ("update audit.ledger set query = 'select 1' where seq = 11", 11, "altered"),
        ("update audit.ledger set user_id = '' where seq = 11", 11, "altered"),
        ("update audit.ledger set objects = '{}' where seq = 11", 11, "altered"),
        ("update audit.ledger set objects = '{{a},{b}}' where seq = 11", 11, "another type"),
        ("update audit.ledger set hash = sha256('x') where seq = 11", 11, "altered"),
        ("update audit.ledger set hash = 'x' where seq = 11", 11, "not a hash"),
        ("delete from audit.ledger where seq = 11", 11, "missing"),
        ("delete from audit.ledger where seq < 11", 1, "missing"),
        ("delete from audit.ledger where seq between 11 and 30", 11, "missing"),
        (
            "update audit.ledger as l set at = o.at, query = o.query, hash = o.hash from audit.ledger as o
             where l.seq in (11, 12) and o.seq = 23 - l.seq",
            11,
            "altered",
        ),
        ("update audit.ledger set seq = 1000000 where seq = 11", 11, "missing"),
    ] {
        let (_cluster, mut admin, _) = opened();
        attack(&mut admin, statements);
        assert_found(verify(&mut admin, None), seq, problem);
    }
}

#[test]
fn a_row_that_is_put_in_is_named_wherever_it_lies() {
    for (seq, named, problem) in
        [(11, 11, "twice"), (0, 0, "does not belong"), (1_000_000, 1_000_000, "behind the end")]
    {
        let (_cluster, mut admin, _) = opened();
        // A unique index is no guard: the attacker owns it.
        attack(
            &mut admin,
            &format!(
                "drop index if exists audit.ledger_seq;
                 create temporary table forged as select * from audit.ledger where seq = 11;
                 update forged set seq = {seq};
                 insert into audit.ledger select * from forged"
            ),
        );
        let (ok, bad, what) = verify(&mut admin, None);
        assert!(!ok && bad == Some(named) && what.clone().unwrap().contains(problem), "{bad:?}: {what:?}");
    }
}

#[test]
fn an_update_that_moves_rows_and_changes_nothing_is_no_damage() {
    let (_cluster, mut admin, kept) = opened();
    // Moves each row behind all others, in another order, as a dump and restore of files by hand might.
    attack(
        &mut admin,
        "create temporary table moved as select * from audit.ledger;
         delete from audit.ledger;
         insert into audit.ledger select * from moved order by seq % 7, seq",
    );
    assert_eq!(verify(&mut admin, Some(&kept)), (true, None, None));
    let part: bool =
        admin.query_one("select ok from audit.verify(from_seq => 15, to_seq => 33)", &[]).unwrap().get(0);
    assert!(part);
    let proved: Value = admin.query_one("select audit.prove(33)", &[]).unwrap().get(0);
    assert_eq!(proof::check(&proved, &[Kept::from_json(&kept).unwrap()]).unwrap().seq, 33);
}

#[test]
fn an_edit_of_the_tables_file_is_named() {
    let (cluster, mut admin, _) = opened();
    let seq: i64 = admin
        .query_one("select seq from audit.ledger where query like 'select 7 as kept_1%'", &[])
        .unwrap()
        .get(0);
    let files: Vec<String> = admin
        .query(
            "select pg_relation_filepath(oid) from pg_class where relkind = 'r' and relnamespace = 'audit'::regnamespace",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    admin.batch_execute("checkpoint").unwrap();
    drop(admin);
    cluster.stop();
    let (what, by) = (b"select 7 as kept_1", b"select 8 as kept_1");
    let mut edited = 0;
    for file in files.iter().map(|file| cluster.file(file)) {
        let mut bytes = std::fs::read(&file).unwrap();
        let Some(at) = bytes.windows(what.len()).position(|window| window == what) else { continue };
        bytes[at..at + by.len()].copy_from_slice(by);
        std::fs::write(file, bytes).unwrap();
        edited += 1;
    }
    assert_eq!(edited, 1);
    cluster.start();
    let mut admin = cluster.superuser("kept");
    assert_found(verify(&mut admin, None), seq, "altered");
}

#[test]
fn a_page_that_cannot_be_read_is_named_and_the_session_goes_on() {
    let (cluster, mut admin, _) = opened();
    for n in 0..300 {
        admin.simple_query(&format!("select {n} as more")).unwrap();
    }
    sync(&mut admin);
    let row = admin
        .query_one(
            "select tableoid::regclass::text, pg_relation_filepath(tableoid),
                    min(seq) over () from audit.ledger where (ctid::text::point)[0] = 2 limit 1",
            &[],
        )
        .unwrap();
    let (file, first): (String, i64) = (row.get(1), row.get(2));
    admin.batch_execute("checkpoint").unwrap();
    drop(admin);
    cluster.stop();
    let file = cluster.file(&file);
    let mut bytes = std::fs::read(&file).unwrap();
    // The page's header says now that its items end before they begin.
    bytes[2 * 8192 + 12..2 * 8192 + 16].copy_from_slice(&[0xff; 4]);
    std::fs::write(&file, bytes).unwrap();
    cluster.start();
    let mut admin = cluster.superuser("kept");
    assert_found(verify(&mut admin, None), first, "cannot be read");
    assert_eq!(admin.query_one("select 1", &[]).unwrap().get::<_, i32>(0), 1);
}

/// Computes all hashes from row `from` on anew, in the attacker's session.
const RESEAL: &str = "
    create function pg_temp.int(value bigint) returns bytea language sql as
        $$ select case when value is null then '\\x00' else '\\x01' ||
           (select string_agg(set_byte('\\x00', 0, ((value >> (8 * n)) & 255)::int), '' order by n) from generate_series(0, 7) n) end $$;
    create function pg_temp.u32(value int) returns bytea language sql as
        $$ select string_agg(set_byte('\\x00', 0, (value >> (8 * n)) & 255), '' order by n) from generate_series(0, 3) n $$;
    create function pg_temp.txt(value text) returns bytea language sql as
        $$ select case when value is null then '\\x00' else '\\x02' || pg_temp.u32(octet_length(value)) || convert_to(value, 'UTF8') end $$;
    create function pg_temp.txts(value text[]) returns bytea language sql as
        $$ select case when value is null then '\\x00' else '\\x03' || pg_temp.u32(cardinality(value)) ||
           coalesce((select string_agg(pg_temp.txt(v), '' order by n) from unnest(value) with ordinality as u(v, n)), '') end $$;
    create function pg_temp.canonical(l audit.ledger) returns bytea language plpgsql as $$
    declare c record; part bytea; whole bytea := '\\x03';
    begin
        for c in select attname, atttypid::regtype::text as kind from pg_attribute
                 where attrelid = 'audit.ledger'::regclass and attnum > 0 and attname <> 'hash' order by attnum loop
            if c.kind = 'text' then execute format('select pg_temp.txt(($1).%I)', c.attname) into part using l;
            elsif c.kind = 'text[]' then execute format('select pg_temp.txts(($1).%I)', c.attname) into part using l;
            elsif c.kind = 'bigint[]' then part := '\\x00';
            elsif c.kind = 'boolean' then execute format('select pg_temp.int(($1).%I::int)', c.attname) into part using l;
            elsif c.kind like 'timestamp%' then
                execute format('select pg_temp.int((extract(epoch from ($1).%I) * 1000000)::bigint - 946684800000000)', c.attname) into part using l;
            else execute format('select pg_temp.int(($1).%I)', c.attname) into part using l;
            end if;
            whole := whole || part;
        end loop;
        return whole;
    end $$;
    do $$
    declare l audit.ledger; h bytea;
    begin
        select hash into h from audit.ledger where seq = 10;
        for l in select * from audit.ledger where seq > 10 order by seq loop
            h := sha256(h || pg_temp.canonical(l));
            update audit.ledger set hash = h where seq = l.seq;
        end loop;
        update audit.chain set hash = h;
    end $$";

#[test]
fn a_chain_that_was_sealed_anew_is_exposed_by_a_checkpoint_kept_elsewhere() {
    let (cluster, admin, kept) = opened();
    let forge = format!("update audit.ledger set user_id = 'mallory' where seq = 11; {RESEAL}");
    let mut admin = attack_unseen(&cluster, admin, &forge);
    let seq = kept["seq"].as_i64().unwrap();
    // The checkpoints that are stored beside it show it already,
    let first: i64 = admin.query_one("select min(seq) from audit.checkpoints", &[]).unwrap().get(0);
    assert_found(verify(&mut admin, None), first, "audit.checkpoints");
    // and if they are gone or rewritten, too, the one that is out of reach does.
    attack(&mut admin, "delete from audit.checkpoints");
    sync(&mut admin);
    assert_eq!(verify(&mut admin, None), (true, None, None), "alone it cannot be seen");
    assert_found(verify(&mut admin, Some(&kept)), seq, "sealed anew");
    let bare = serde_json::json!({ "seq": seq, "hash": kept["hash"] });
    assert_found(verify(&mut admin, Some(&bare)), seq, "sealed anew");
    // So it is without the database.
    assert!(matches!(offline(&mut admin, Some(&kept)), Err(Refusal::Bad { seq: bad, .. }) if bad == seq));
    assert!(offline(&mut admin, None).is_ok());
}

#[test]
fn checkpoints_that_are_rewritten_are_exposed() {
    let forge = "update audit.checkpoints set root = sha256('forged') where seq = (select min(seq) from audit.checkpoints)";
    // As the format says.
    let relink = "
        create or replace function pg_temp.le(value bigint) returns bytea language sql as
            $$ select string_agg(set_byte('\\x00', 0, ((value >> (8 * n)) & 255)::int), '' order by n) from generate_series(0, 7) n $$;
        do $$
        declare c audit.checkpoints; p bytea := decode(repeat('00', 32), 'hex');
        begin
            for c in select * from audit.checkpoints order by seq loop
                update audit.checkpoints set previous = p,
                    link = sha256('\\x02' || p || pg_temp.le(c.seq) || c.hash || pg_temp.le(c.rows) || c.root
                        || pg_temp.le((extract(epoch from c.at) * 1000000)::bigint - 946684800000000))
                    where seq = c.seq returning link into p;
            end loop;
        end $$";
    let (_cluster, mut admin, kept) = opened();
    let first: i64 = admin.query_one("select min(seq) from audit.checkpoints", &[]).unwrap().get(0);
    attack(&mut admin, relink);
    assert_eq!(verify(&mut admin, Some(&kept)), (true, None, None), "the attacker computes what we compute");
    attack(&mut admin, forge);
    assert_found(verify(&mut admin, None), first, "the checkpoint was altered");
    let error = refusal(admin.query("select audit.prove(1)", &[]));
    assert_eq!(error.code().code(), "XX001", "{error:?}");
    attack(&mut admin, relink);
    assert_eq!(verify(&mut admin, None), (true, None, None), "alone it cannot be seen");
    let seq = kept["seq"].as_i64().unwrap();
    assert_found(verify(&mut admin, Some(&kept)), seq, "not the one that was kept");
    attack(&mut admin, &format!("delete from audit.checkpoints where seq = {seq}"));
    assert_found(verify(&mut admin, Some(&kept)), seq, "missing in audit.checkpoints");
}

#[test]
fn a_tail_that_was_cut_off_is_exposed() {
    let (cluster, mut admin, kept) = opened();
    attack(&mut admin, "delete from audit.ledger where seq > 40");
    assert_found(verify(&mut admin, None), 41, "missing");
    // With the end that the writer stored, and the checkpoints behind it.
    let mut admin = attack_unseen(
        &cluster,
        admin,
        "delete from audit.ledger where seq > 10; delete from audit.checkpoints;
         update audit.chain set seq = 10, hash = (select hash from audit.ledger where seq = 10)",
    );
    assert_eq!(verify(&mut admin, None), (true, None, None), "alone it cannot be seen");
    // The rows that came since have the numbers of those that were cut off, all of them: the end of a ledger that
    // is shorter would be another one at each look.
    for n in 0..kept["seq"].as_i64().unwrap() {
        admin.simple_query(&format!("select {n} as since")).unwrap();
    }
    sync(&mut admin);
    let (ok, _, problem) = verify(&mut admin, Some(&kept));
    assert!(!ok && problem.as_deref().is_some_and(|problem| problem.contains("checkpoint")), "{problem:?}");
}

#[test]
fn a_verification_goes_on_from_a_checkpoint() {
    let (_cluster, mut admin, kept) = opened();
    let seq = kept["seq"].as_i64().unwrap();
    let mut go_on = |against: &Value, workers: i32| {
        let query = "select ok, rows, from_seq, first_bad, problem from audit.verify($1, against => $2, workers => $3)";
        let row = admin.query_one(query, &[&(seq + 1), against, &workers]).unwrap();
        (row.get::<_, bool>(0), row.get::<_, i64>(1), row.get::<_, Option<i64>>(3))
    };
    let (ok, rows, _) = go_on(&kept, 0);
    assert!(ok && rows > 20);
    // With what has been recorded since.
    let (ok, more, bad) = go_on(&kept, 1);
    assert!(ok && (rows..rows + 10).contains(&more) && bad.is_none(), "{rows}, {more}, {bad:?}");
    let mut other = serde_json::json!({ "seq": seq, "hash": kept["hash"] });
    assert!(go_on(&other, 0).0);
    other["hash"] = "ab".repeat(32).into();
    assert_eq!(go_on(&other, 0), (false, 0, Some(seq)));
    assert_eq!(go_on(&other, 1), (false, 0, Some(seq)));
}

/// What the offline verifier says of all that is exported.
fn offline(admin: &mut Client, kept: Option<&Value>) -> Result<Held, Refusal> {
    let kept: Vec<Kept> = kept.map(|kept| Kept::from_json(kept).unwrap()).into_iter().collect();
    let mut walk = Walk::new(&kept);
    for row in admin.query("select audit.export()", &[]).unwrap() {
        walk.line(row.get(0))?;
    }
    walk.finish()
}

#[test]
fn an_export_convinces_without_the_database() {
    let (_cluster, mut admin, kept) = opened();
    let held = offline(&mut admin, Some(&kept)).unwrap();
    assert!(held.from_seq == 1 && held.to_seq > 60 && held.compared == 1 && !held.on_trust);
    let mut list = List::default();
    for row in admin.query("select audit.export_checkpoints()", &[]).unwrap() {
        let one: Value = serde_json::from_str(row.get(0)).unwrap();
        list.push(Checkpoint::from_json(&one).unwrap(), &[Kept::from_json(&kept).unwrap()]).unwrap();
    }
    let (last, count, from_first) = list.finish(&[]).unwrap();
    assert!(count >= 2 && from_first && last.to_json()["link"] == kept["link"]);
    // The one in Python reads the same from psql.
    for (what, query) in [("ledger", "audit.export()"), ("checkpoints", "audit.export_checkpoints()")] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/second_opinion/verify.py");
        let said = _cluster
            .program(Path::new("sh"))
            .args([
                "-c",
                "\"$0\" -XAtq -d kept -c \"select $1\" | PYTHONDONTWRITEBYTECODE=1 python3 \"$2\" $3",
            ])
            .arg(_cluster.path_of("psql"))
            .args([query, script.to_str().unwrap(), what])
            .run();
        assert!(said.success && said.stdout.starts_with("ok: "), "{}{}", said.stdout, said.stderr);
    }
}

#[test]
fn the_columns_that_are_exported_are_those_that_are_hashed() {
    let (_cluster, mut admin, _) = opened();
    let columns: Vec<(String, String)> = admin
        .query(
            "select attname::text, atttypid::regtype::text from pg_attribute
             where attrelid = 'audit.ledger'::regclass and attnum > 0 order by attnum",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let (hash, columns) = columns.split_last().unwrap();
    assert_eq!(hash.0, "hash");
    let known: Vec<(String, row::Kind)> = columns
        .iter()
        .map(|(name, kind)| {
            let kind = match kind.as_str() {
                "text" => row::Kind::Text,
                "text[]" => row::Kind::Texts,
                "bigint[]" => row::Kind::Integers,
                _ => row::Kind::Integer,
            };
            (name.clone(), kind)
        })
        .collect();
    let expected: Vec<_> = row::COLUMNS.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    assert_eq!(known, expected);
}

#[test]
fn a_proof_holds_and_a_forged_one_does_not() {
    let (_cluster, mut admin, kept) = opened();
    let kept = Kept::from_json(&kept).unwrap();
    let under = kept.whole.clone().unwrap();
    for seq in [1, under.first_seq() - 1, under.first_seq(), under.first_seq() + 1, under.seq] {
        let proved: Value = admin.query_one("select audit.prove($1)", &[&seq]).unwrap().get(0);
        assert_eq!(proof::check(&proved, &[]).unwrap().seq, seq);
        let compared = proof::check(&proved, std::slice::from_ref(&kept));
        assert_eq!(
            compared.is_ok(),
            seq >= under.first_seq(),
            "only what is under the checkpoint that was kept"
        );
    }
    let proved: Value = admin.query_one("select audit.prove($1)", &[&(under.seq - 3)]).unwrap().get(0);
    let text = |proof: &Value| -> String { serde_json::to_string(proof).unwrap() };
    assert!(text(&proved).len() < 3000, "{} bytes", text(&proved).len());
    // A row that says something else, with a hash and a tree of its own that fit.
    let mut forged = proved.clone();
    forged["row"]["user_id"] = "mallory".into();
    assert!(matches!(proof::check(&forged, &[]), Err(Refusal::Bad { .. })));
    let previous = pg_custodian_verifier::hash_from(forged.get("previous_hash")).unwrap();
    let hash = row::Row::from_json(&forged["row"]).unwrap().hash_after(&previous);
    forged["row"]["hash"] = hex(&hash).into();
    assert!(matches!(proof::check(&forged, &[]), Err(Refusal::Bad { .. })));
    let mut tree = merkle::Tree::watching(0);
    tree.push(&hash);
    let (root, _) = tree.finish().unwrap();
    let seq = under.seq - 3;
    let sealed = Checkpoint::seal(seq, hash, 1, root, under.at, under.previous);
    forged["checkpoint"] = sealed.to_json();
    forged["index"] = 0.into();
    forged["path"] = serde_json::json!([]);
    assert!(!proof::check(&forged, &[]).unwrap().compared, "alone it cannot be seen");
    assert!(matches!(proof::check(&forged, &[kept]), Err(Refusal::Bad { .. })));
    for (seq, code) in [(0, "22023"), (1_000_000, "22023")] {
        let error = refusal(admin.query("select audit.prove($1)", &[&i64::from(seq)]));
        assert_eq!(error.code().code(), code, "{error:?}");
    }
    let last: i64 = admin.query_one("select seq from audit.chain", &[]).unwrap().get(0);
    let error = refusal(admin.query("select audit.prove($1)", &[&last]));
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("audit.checkpoint()")));
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn checkpoints_are_told_to_the_log_to_listeners_and_to_the_command() {
    let cluster = custodian().start();
    cluster.create_database("kept");
    let file = cluster.socket().join("checkpoints");
    // Fails twice before it takes any.
    let command = format!(
        "f={}; n=$(cat $f.n 2>/dev/null || echo 0); echo $((n + 1)) >$f.n; [ $n -ge 1 ] || exit 7; cat >>$f",
        file.display()
    );
    cluster.add_conf(&format!("pg_custodian.checkpoint_command = '{command}'"));
    cluster.restart();
    let mut admin = cluster.superuser("kept");
    let mut listener = cluster.superuser("kept");
    listener.batch_execute("listen pg_custodian_checkpoint").unwrap();
    admin.simple_query("select 1 as kept").unwrap();
    sync(&mut admin);
    let kept = checkpoint(&mut admin);
    let mut told = Value::Null;
    wait_for("the notification", || {
        listener.simple_query("select 1").unwrap();
        use postgres::fallible_iterator::FallibleIterator;
        if let Some(notification) = listener.notifications().iter().next().unwrap() {
            told = serde_json::from_str(notification.payload()).unwrap();
        }
        !told.is_null()
    });
    assert_eq!(told["database"], "kept");
    assert_eq!(Checkpoint::from_json(&told), Checkpoint::from_json(&kept));
    let link = kept["link"].as_str().unwrap();
    assert!(cluster.log().lines().any(|line| line.contains("LOG:") && line.contains(link)));
    wait_for("the command", || std::fs::read_to_string(&file).is_ok_and(|text| text.contains(link)));
    let taken = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = taken.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // After a minute there is another one.
    let line = lines.iter().find(|line| line["link"] == kept["link"]).unwrap();
    assert_eq!(Checkpoint::from_json(line), Checkpoint::from_json(&kept));
    assert!(cluster.log().contains("\"pg_custodian.checkpoint_command\" failed: exit status: 7"));
    assert!(verified(&mut admin));
    // A superuser cannot choose another witness by SQL.
    for statement in [
        "alter system set pg_custodian.checkpoint_command = 'true'",
        "set pg_custodian.checkpoint_command = 'true'",
        "alter role postgres set pg_custodian.checkpoint_command = 'true'",
    ] {
        refusal(admin.simple_query(statement));
    }
}

#[test]
fn a_minute_of_activity_has_a_checkpoint_and_idleness_has_none() {
    let cluster = custodian().start();
    cluster.create_database("kept");
    let mut admin = cluster.superuser("kept");
    admin.simple_query("select 1 as kept").unwrap();
    sync(&mut admin);
    let count = |admin: &mut Client| -> i64 {
        admin.query_one("select count(*) from audit.checkpoints", &[]).unwrap().get(0)
    };
    assert_eq!(count(&mut admin), 0);
    drop(admin);
    // Nobody asks: the log tells.
    let made = || cluster.log().matches("pg_custodian: checkpoint {").count();
    wait_for("a checkpoint of what happened", || made() == 1);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(made(), 1);
}

#[test]
fn nobody_writes_to_the_checkpoints() {
    let cluster = custodian().start();
    cluster.create_database("kept");
    let mut admin = cluster.superuser("kept");
    checkpoint(&mut admin);
    for statement in [
        "delete from audit.checkpoints",
        "update audit.checkpoints set seq = seq",
        "insert into audit.checkpoints select * from audit.checkpoints",
        "truncate audit.checkpoints",
        "drop table audit.checkpoints",
        "alter table audit.checkpoints disable trigger all",
    ] {
        let error = refusal(admin.simple_query(statement));
        assert!(["42501", "2BP01"].contains(&error.code().code()), "{statement}: {error:?}");
    }
}
