//! What can happen to the files of the journal, and what the ledger says of it: a loss is never silent,
//! nothing is taken twice, and the writer goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{sync, verified};
use harness::{Cluster, Wanted, command, custodian, wait_for};
use postgres::Client;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const WAYS: [&str; 2] = ["mmap", "pwrite"];

fn server(io: &str) -> Wanted {
    // Two for each database.
    custodian().conf(&format!("pg_custodian.journal_io = {io}")).conf("max_worker_processes = 32")
}

/// A server with one database that has the extension.
fn open(io: &str) -> Cluster {
    let cluster = server(io).start();
    cluster.create_database("shop");
    cluster
}

fn mark(client: &mut Client, mark: &str) {
    client.simple_query(&format!("select 'mark {mark}'")).unwrap();
}

/// The marks in the ledger, as often as they are there.
fn marks(client: &mut Client) -> Vec<String> {
    sync(client);
    let rows = client
        .query(
            "select substring(statement from '^select ''mark (.*)''') from audit.statements
                where statement like 'select ''mark %' order by seq",
            &[],
        )
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Sees that the ledger has everything, and on disk: the writer's commits do not wait for it, because what
/// they lose is read again.
fn keep(client: &mut Client) {
    sync(client);
    client.batch_execute("checkpoint").unwrap();
}

/// What the ledger says of lost parts.
fn gaps(client: &mut Client) -> Vec<String> {
    sync(client);
    let gaps = "select detail->>'problem' from audit.events where event in ('gap', 'damage') order by seq";
    client.query(gaps, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn assert_one_gap(client: &mut Client, reason: &str) {
    let found = gaps(client);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains(reason), "{found:#?}");
    assert!(verified(client));
}

fn segments(cluster: &Cluster) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(cluster.file("pg_custodian"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    files.sort();
    files
}

/// kill -9 of the postmaster, and its orphans are gone: their files can be touched.
fn crash(cluster: &Cluster) {
    cluster.kill_postmaster();
    let data = cluster.data();
    wait_for("the orphans to leave", || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        !processes
            .into_iter()
            .any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data))
    });
}

/// Keeps the ledger from growing for as long as the client holds it, so that records wait in the journal.
fn hold_ledger(cluster: &Cluster) -> Client {
    let mut holder = cluster.superuser("shop");
    // Directly nobody is let; what a superuser gets through a view of his own is documented.
    holder.batch_execute("create or replace view public.held as select * from audit.chain").unwrap();
    holder.batch_execute("begin; lock table public.held in exclusive mode").unwrap();
    holder
}

/// Waits until the writer wants to write and cannot: so it dies with the postmaster. One that was still on its way
/// would find the holder gone and the ledger open.
fn wait_until_held(admin: &mut Client) {
    let waits =
        "select exists (select from pg_stat_activity where backend_type = 'pg_custodian ledger writer'
                                and datname = 'shop' and wait_event_type = 'Lock')";
    wait_for("the writer to come to the lock", || admin.query_one(waits, &[]).unwrap().get(0));
}

#[test]
fn a_segment_that_is_gone_is_an_event_of_the_ledger_which_goes_on() {
    for io in WAYS {
        let cluster = open(io);
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "kept");
        keep(&mut admin);
        let holder = hold_ledger(&cluster);
        mark(&mut admin, "lost");
        wait_until_held(&mut admin);
        // First: the writer would take from the journal as soon as it can.
        crash(&cluster);
        drop((admin, holder));
        for segment in segments(&cluster) {
            fs::remove_file(segment).unwrap();
        }
        cluster.start();
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "new");
        assert_eq!(marks(&mut admin), ["kept", "new"], "{io}");
        assert_one_gap(&mut admin, "of another journal");
        // It is told once.
        drop(admin);
        cluster.restart();
        assert_one_gap(&mut cluster.superuser("shop"), "of another journal");
    }
}

#[test]
fn of_a_truncated_segment_the_ledger_has_what_is_left_and_says_what_is_not() {
    for io in WAYS {
        let cluster = open(io);
        let mut admin = cluster.superuser("shop");
        let holder = hold_ledger(&cluster);
        mark(&mut admin, "left");
        let end: i64 = admin.query_one("select custodian.journal_position()", &[]).unwrap().get(0);
        mark(&mut admin, "cut off");
        wait_until_held(&mut admin);
        // First: the writer would take from the journal as soon as it can.
        crash(&cluster);
        drop((admin, holder));
        let path = cluster.file(&format!("pg_custodian/{:016x}.seg", end >> 24));
        OpenOptions::new().write(true).open(path).unwrap().set_len(end as u64 % (1 << 24)).unwrap();
        cluster.start();
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "new");
        assert_eq!(marks(&mut admin), ["left", "new"], "{io}");
        assert_one_gap(&mut admin, "truncated");
    }
}

#[test]
fn an_older_copy_of_the_journal_hides_nothing_that_comes_after_it() {
    for io in WAYS {
        let cluster = open(io);
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "in both");
        sync(&mut admin);
        drop(admin);
        cluster.stop();
        let (journal, copy) = (cluster.file("pg_custodian"), cluster.file("copy"));
        command::as_server(Path::new("cp")).arg("-a").args([&journal, &copy]).succeed();
        cluster.start();
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "in the ledger");
        keep(&mut admin);
        let holder = hold_ledger(&cluster);
        mark(&mut admin, "lost");
        wait_until_held(&mut admin);
        // First: the writer would take from the journal as soon as it can.
        crash(&cluster);
        drop((admin, holder));
        fs::remove_dir_all(&journal).unwrap();
        fs::rename(&copy, &journal).unwrap();
        cluster.start();
        let mut admin = cluster.superuser("shop");
        for number in 0..50 {
            mark(&mut admin, &format!("new {number}"));
        }
        let mut expected = vec!["in both".to_string(), "in the ledger".to_string()];
        expected.extend((0..50).map(|number| format!("new {number}")));
        assert_eq!(marks(&mut admin), expected, "{io}");
        assert_one_gap(&mut admin, "are lost");
    }
}

#[test]
fn a_place_beyond_the_end_of_the_journal_is_a_gap_and_what_is_recorded_since_is_not_lost() {
    let cluster = open("mmap");
    let mut admin = cluster.superuser("shop");
    mark(&mut admin, "before");
    drop(admin);
    // Numbers go up with each start.
    (0..3).for_each(|_| cluster.restart());
    keep(&mut cluster.superuser("shop"));
    cluster.stop();
    // The whole journal is that of the first day, and nothing says that there was more.
    let journal = cluster.file("pg_custodian");
    let first = rewound(&fs::read(segments(&cluster).last().unwrap()).unwrap());
    for segment in segments(&cluster) {
        fs::remove_file(segment).unwrap();
    }
    fs::remove_file(cluster.file("pg_custodian.newest")).unwrap();
    let path = journal.join(format!("{:016x}.seg", 1));
    fs::write(&path, first).unwrap();
    own_like(&path, &journal);
    cluster.start();
    let mut admin = cluster.superuser("shop");
    mark(&mut admin, "after");
    assert_eq!(marks(&mut admin), ["before", "after"]);
    assert_one_gap(&mut admin, "a part of the journal that is gone");
}

/// An empty segment number 1 of the journal and epoch that this one belongs to.
fn rewound(segment: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; segment.len()];
    bytes[..64].copy_from_slice(&segment[..64]);
    bytes[8..16].copy_from_slice(&1u64.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..52]);
    bytes[52..56].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn own_like(path: &Path, like: &Path) {
    use std::os::unix::fs::MetadataExt;
    let like = fs::metadata(like).unwrap();
    std::os::unix::fs::chown(path, Some(like.uid()), Some(like.gid())).unwrap();
}

#[test]
fn a_restored_base_backup_goes_on_in_a_journal_of_its_own() {
    for io in WAYS {
        let cluster = open(io);
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "of the first");
        sync(&mut admin);
        // The files of the journal are in the copy as well.
        let copy = cluster.base_backup(false);
        assert!(copy.file("pg_custodian").is_dir());
        for number in 0..20 {
            mark(&mut admin, &format!("of the first {number}"));
        }
        copy.start();
        let mut restored = copy.superuser("shop");
        for number in 0..20 {
            mark(&mut restored, &format!("of the copy {number}"));
        }
        let mut expected = vec!["of the first".to_string()];
        expected.extend((0..20).map(|number| format!("of the copy {number}")));
        assert_eq!(marks(&mut restored), expected, "{io}");
        assert_one_gap(&mut restored, "of another journal");
        assert!(gaps(&mut admin).is_empty());
        assert_eq!(marks(&mut admin).len(), 21);
    }
}

#[test]
fn after_promotion_the_ledger_has_what_the_standby_recorded_and_once() {
    for io in WAYS {
        let primary = open(io);
        let mut admin = primary.superuser("shop");
        mark(&mut admin, "of the primary");
        let standby = primary.base_backup(true);
        standby.start();
        let mut reader = standby.superuser("shop");
        mark(&mut reader, "on the standby");
        drop(reader);
        // A standby that restarts is still itself.
        standby.restart();
        // Meanwhile the primary, and the place that is replicated, get far ahead.
        for _ in 0..2 {
            primary.restart();
            admin = primary.superuser("shop");
            mark(&mut admin, "of the primary");
            sync(&mut admin);
        }
        let mut reader = standby.superuser("shop");
        mark(&mut reader, "on the standby again");
        // The ledger's rows, too: their writer does not wait until they are written.
        standby.wait_until_replayed(&primary);
        drop(admin);
        primary.stop();
        standby.promote();
        mark(&mut reader, "promoted");
        let expected = [
            "of the primary",
            "of the primary",
            "of the primary",
            "on the standby",
            "on the standby again",
            "promoted",
        ];
        assert_eq!(marks(&mut reader), expected, "{io}");
        assert_one_gap(&mut reader, "of another journal");
        drop(reader);
        standby.restart();
        let mut reader = standby.superuser("shop");
        mark(&mut reader, "later");
        assert_eq!(marks(&mut reader).len(), expected.len() + 1, "{io}");
        assert_eq!(gaps(&mut reader).len(), 1, "{io}");
    }
}

#[test]
fn a_journal_that_lies_elsewhere_is_the_same_journal() {
    for io in WAYS {
        let elsewhere = command::make_directory("pg_custodian-elsewhere");
        command::as_server(Path::new("chmod")).arg("700").arg(&elsewhere).succeed();
        let cluster = server(io).make();
        cluster.move_journal(&elsewhere);
        cluster.start();
        cluster.create_database("shop");
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "one");
        drop(admin);
        cluster.kill_postmaster();
        cluster.start();
        let mut admin = cluster.superuser("shop");
        mark(&mut admin, "two");
        assert_eq!(marks(&mut admin), ["one", "two"], "{io}");
        assert!(fs::read_dir(&elsewhere).unwrap().count() > 1);
        // A base backup does not follow the link: the copy makes a journal of its own.
        let copy = cluster.base_backup(false);
        assert!(!copy.file("pg_custodian").exists());
        copy.start();
        let mut restored = copy.superuser("shop");
        mark(&mut restored, "three");
        assert_eq!(marks(&mut restored), ["one", "two", "three"], "{io}");
        drop((admin, cluster));
        fs::remove_dir_all(&elsewhere).unwrap();
    }
}

#[test]
fn databases_come_and_go_under_load_and_each_has_its_own() {
    const CLIENTS: usize = 12;
    const EACH: usize = 150;
    for io in WAYS {
        // A database with a ledger is not dropped otherwise.
        let cluster = server(io).conf("pg_custodian.maintenance = on").start();
        for database in ["shop", "second", "third"] {
            cluster.create_database(database);
        }
        let databases = ["shop", "second", "third"];
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let comings = scope.spawn(|| {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) || rounds < 3 {
                    cluster.create_database("short");
                    let mut short = cluster.superuser("short");
                    mark(&mut short, "short");
                    assert_eq!(marks(&mut short), ["short"]);
                    drop(short);
                    let mut admin = cluster.superuser("postgres");
                    // PostgreSQL waits five seconds for others to leave, and under this load that may not do.
                    let left = "select not exists (select from pg_stat_activity
                                                   where datname = 'short' and backend_type = 'client backend')";
                    wait_for("the session's end", || admin.query_one(left, &[]).unwrap().get(0));
                    admin.batch_execute("create database clone template short").unwrap();
                    admin.batch_execute("drop database short").unwrap();
                    admin.batch_execute("drop database clone with (force)").unwrap();
                    rounds += 1;
                }
            });
            // More backends than the machine has cores, by far.
            let load: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let cluster = &cluster;
                    scope.spawn(move || {
                        let mut client = cluster.superuser(databases[number % databases.len()]);
                        (0..EACH).for_each(|n| mark(&mut client, &format!("{number}.{n}")));
                    })
                })
                .collect();
            load.into_iter().for_each(|thread| thread.join().unwrap());
            stop.store(true, Ordering::Relaxed);
            comings.join().unwrap();
        });
        for (place, database) in databases.iter().enumerate() {
            let mut client = cluster.superuser(database);
            let mut found = marks(&mut client);
            found.sort();
            let mut expected: Vec<String> = (0..CLIENTS)
                .filter(|number| number % databases.len() == place)
                .flat_map(|number| (0..EACH).map(move |n| format!("{number}.{n}")))
                .collect();
            expected.sort();
            assert_eq!(found, expected, "{io}: {database}");
            assert!(gaps(&mut client).is_empty() && verified(&mut client), "{io}: {database}");
        }
    }
}
