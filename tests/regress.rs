//! tests/pg_regress: SQL scripts whose whole output is compared with what was accepted before.
//!
//! Each script of `sql/` runs in a database of its own, after `setup.sql` if there is one, and its output
//! must be that of `expected/`. `PGC_ACCEPT=1` accepts what came out; read the difference in git.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::{Cluster, custodian};
use std::fs;
use std::path::{Path, PathBuf};

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pg_regress/sql");
    let mut scripts: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    scripts.sort();
    scripts
}

/// Runs a script as pg_regress does: from standard input, so that messages do not name a file, and with
/// both outputs in one, so that an error stands after its statement.
fn run(cluster: &Cluster, database: &str, script: &Path) -> String {
    let line = "exec \"$0\" -X -a -q -d \"$1\" <\"$2\" 2>&1";
    cluster
        .program(Path::new("sh"))
        .args(["-c", line])
        .arg(cluster.path_of("psql"))
        .arg(database)
        .arg(script)
        .env("PGTZ", "UTC")
        .env("PGDATESTYLE", "ISO, YMD")
        .env("PGAPPNAME", "regress")
        .run()
        .stdout
}

fn difference(expected: &str, actual: &str) -> String {
    let folder = harness::command::make_directory("pg_custodian-diff");
    let (one, other) = (folder.join("expected"), folder.join("actual"));
    fs::write(&one, expected).unwrap();
    fs::write(&other, actual).unwrap();
    let diff = harness::command::plain(Path::new("diff")).arg("-u").arg(&one).arg(&other).run().stdout;
    let _ = fs::remove_dir_all(folder);
    diff
}

#[test]
fn scripts_say_what_they_said_before() {
    let accept = std::env::var_os("PGC_ACCEPT").is_some();
    let cluster = custodian().start();
    let (setup, scripts): (Vec<_>, Vec<_>) =
        scripts().into_iter().partition(|path| path.ends_with("setup.sql"));
    assert!(!scripts.is_empty(), "there are no scripts");
    let mut differences = Vec::new();
    for script in scripts {
        let name = script.file_stem().unwrap().to_string_lossy().into_owned();
        cluster.superuser("postgres").batch_execute(&format!("create database \"{name}\"")).unwrap();
        for script in &setup {
            run(&cluster, &name, script);
        }
        let actual = run(&cluster, &name, &script);
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pg_regress/expected/{name}.out"));
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected == actual {
            continue;
        }
        if accept {
            fs::write(&file, &actual).unwrap();
        } else {
            differences.push(format!("{name}:\n{}", difference(&expected, &actual)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
