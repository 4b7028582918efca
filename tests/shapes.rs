//! What is recorded of which shape of statement.
//!
//! `shapes/shapes.txt` is the table: a shape has a title, the statements that a client sends, and the records
//! that they leave. `docs/shapes.md` is printed of what was recorded. `PGC_ACCEPT=1` accepts what came out
//! for both; read the difference in git. The table holds what version 15 does; of other versions, which
//! have other catalogs, only what a client's own statements are is compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{sync, verified};
use harness::token::random_text;
use harness::{Cluster, custodian, wait_for};
use postgres::Client;
use postgres::types::ToSql;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Fewer would not be worth the name.
const LEAST: usize = 150;

#[derive(Default, Clone)]
struct Shape {
    section: String,
    title: String,
    sql: String,
    parameters: Option<Vec<Option<String>>>,
    input: Option<String>,
    records: Vec<String>,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn table() -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    let mut section = String::new();
    for line in fs::read_to_string(file("tests/shapes/shapes.txt")).unwrap().lines() {
        if let Some(title) = line.strip_prefix("# ") {
            section = title.to_string();
        } else if let Some(title) = line.strip_prefix("/ ") {
            shapes.push(Shape { section: section.clone(), title: title.into(), ..Shape::default() });
        } else if let Some(shape) = shapes.last_mut().filter(|_| !line.is_empty()) {
            match line.split_once(' ') {
                Some((">", record)) => shape.records.push(record.into()),
                Some(("=", values)) => {
                    let value = |value: &str| (value != "NULL").then(|| value.to_string());
                    shape.parameters = Some(values.split(" | ").map(value).collect());
                }
                Some(("<", data)) => {
                    shape.input = Some(data.replace("\\t", "\t").replace("\\n", "\n"));
                }
                _ => {
                    assert!(shape.sql.is_empty(), "{}: a shape is one line of SQL", shape.title);
                    shape.sql = line.into();
                }
            }
        }
    }
    shapes
}

/// The table again, with what was recorded.
fn print_table(shapes: &[Shape]) -> String {
    let mut out = String::new();
    let mut section = "";
    for shape in shapes {
        if shape.section != section {
            section = &shape.section;
            write!(out, "{}# {section}\n\n", if out.is_empty() { "" } else { "\n" }).unwrap();
        } else {
            out.push('\n');
        }
        writeln!(out, "/ {}", shape.title).unwrap();
        if let Some(parameters) = &shape.parameters {
            let values: Vec<&str> =
                parameters.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
            writeln!(out, "= {}", values.join(" | ")).unwrap();
        }
        if let Some(input) = &shape.input {
            writeln!(out, "< {}", input.replace('\t', "\\t").replace('\n', "\\n")).unwrap();
        }
        writeln!(out, "{}", shape.sql).unwrap();
        for record in &shape.records {
            writeln!(out, "> {record}").unwrap();
        }
    }
    out
}

fn print_page(shapes: &[Shape]) -> String {
    let mut out = String::from(
        "# What is recorded of which statement\n\n\
         Printed by `tests/shapes.rs` of what PostgreSQL 15 and the ledger made of each shape; do not edit. A line is a\n\
         record: class, command and number of rows; then `on` objects with their types and what became of them, `reads`\n\
         and `writes` columns, parameters. Indented is what a statement ran; `by` says which of them no client asked for.\n",
    );
    let mut section = "";
    for shape in shapes {
        if shape.section != section {
            section = &shape.section;
            write!(out, "\n## {section}\n\n| shape | statements | recorded |\n|---|---|---|\n").unwrap();
        }
        let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
        let records: Vec<String> = shape
            .records
            .iter()
            .map(|record| {
                let bare = record.trim_start();
                "&emsp;".repeat((record.len() - bare.len()) / 2) + &cell(bare)
            })
            .collect();
        writeln!(
            out,
            "| {} | `{}` | {} |",
            cell(&shape.title),
            shape.sql.replace('|', "\\|"),
            records.join("<br>")
        )
        .unwrap();
    }
    out
}

fn run(client: &mut Client, shape: &Shape) {
    // How it ends is in the record.
    if let Some(parameters) = &shape.parameters {
        let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| value as _).collect();
        let _ = client.query(shape.sql.as_str(), &values);
    } else if let Some(input) = &shape.input {
        let mut writer = client.copy_in(shape.sql.as_str()).unwrap();
        writer.write_all(input.as_bytes()).unwrap();
        let _ = writer.finish();
    } else if shape.sql.starts_with("copy") && shape.sql.ends_with("stdout") {
        client.copy_out(shape.sql.as_str()).unwrap().read_to_end(&mut Vec::new()).unwrap();
    } else {
        let _ = client.simple_query(&shape.sql.replace("{secret}", &random_text(12)));
    }
}

const MARK: &str = "/* next shape */";
const CLEAN: &str = "rollback /* clean */; reset role /* clean */";

/// Runs the shapes in one session and fills in what was recorded of each.
fn record(cluster: &Cluster, shapes: &mut [Shape]) {
    let mut client = cluster.superuser("shapes");
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    for shape in shapes.iter() {
        // Whatever the one before left.
        let _ = client.simple_query(CLEAN);
        client.simple_query(&format!("select 1 {MARK}")).unwrap();
        run(&mut client, shape);
    }
    let _ = client.simple_query(CLEAN);
    drop(client);
    let mut admin = cluster.superuser("shapes");
    sync(&mut admin);
    let rows = admin
        .query(
            "select statement, depth::int, class, command, origin, rows, sqlstate, outcome, parameters,
                    objects, object_types, changes, columns_read, columns_written
             from audit.statements where pid = $1 order by number",
            &[&pid],
        )
        .unwrap();
    let mut at = None;
    for row in rows {
        let text: String = row.get("statement");
        if text.ends_with(MARK) {
            at = Some(at.map_or(0, |at: usize| at + 1));
            shapes[at.unwrap()].records.clear();
        } else if let Some(at) = at.filter(|_| !text.ends_with("/* clean */")) {
            assert!(!text.contains("; ") || text.contains("$$"), "more than one statement: {text}");
            shapes[at].records.push(line(&row));
        }
    }
    assert_eq!(at, Some(shapes.len() - 1), "shapes that left records");
    let mute: Vec<&str> =
        shapes.iter().filter(|shape| shape.records.is_empty()).map(|shape| shape.title.as_str()).collect();
    assert!(mute.is_empty(), "nothing is recorded of {mute:?}");
    let damage = "select count(*) from audit.events where event in ('damage', 'gap')";
    assert_eq!(admin.query_one(damage, &[]).unwrap().get::<_, i64>(0), 0);
    assert!(verified(&mut admin));
}

fn line(row: &postgres::Row) -> String {
    let depth: i32 = row.get("depth");
    let text = |column: &str| row.get::<_, Option<String>>(column).unwrap_or_default();
    let list = |column: &str| row.get::<_, Option<Vec<Option<String>>>>(column).unwrap_or_default();
    let mut line = format!("{}{} {}", "  ".repeat(depth as usize), text("class"), text("command"));
    write!(line, " {}", row.get::<_, i64>("rows")).unwrap();
    if text("outcome") != "ok" {
        write!(line, " {} {}", text("outcome"), text("sqlstate")).unwrap();
    }
    if !text("origin").is_empty() {
        write!(line, " by {}", text("origin")).unwrap();
    }
    let (names, types, changes) = (list("objects"), list("object_types"), list("changes"));
    assert_eq!(names.len(), types.len());
    assert!(changes.is_empty() || changes.len() == names.len());
    let objects: Vec<String> = (0..names.len())
        .map(|at| {
            let change = changes.get(at).cloned().flatten().map(|change| format!(" ({change})"));
            format!(
                "{} {}{}",
                types[at].as_deref().unwrap(),
                without_numbers(names[at].as_deref().unwrap()),
                change.unwrap_or_default()
            )
        })
        .collect();
    for (word, values) in [
        ("on", objects),
        ("reads", list("columns_read").into_iter().flatten().collect()),
        ("writes", list("columns_written").into_iter().flatten().collect()),
        (
            "parameters",
            list("parameters").into_iter().map(|value| value.unwrap_or_else(|| "NULL".into())).collect(),
        ),
    ] {
        let values: Vec<String> = values.iter().map(|value| without_numbers(value)).collect();
        if !values.is_empty() {
            write!(line, "; {word} {}", values.join(", ")).unwrap();
        }
    }
    line
}

/// Temporary names of PostgreSQL's own, without their numbers.
fn without_numbers(name: &str) -> String {
    match name.strip_prefix("pg_temp.pg_temp_") {
        Some(rest) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("pg_temp.pg_temp_N{rest}")
        }
        None => name.into(),
    }
}

/// What is the same in all versions: class, command, rows and outcome of what the client sent.
fn essence(records: &[String]) -> Vec<&str> {
    records
        .iter()
        .filter(|record| !record.starts_with(' '))
        .map(|record| record.split(';').next().unwrap_or_default())
        .collect()
}

#[test]
fn each_shape_of_statement_leaves_the_records_that_it_should() {
    let cluster = custodian().conf("pg_custodian.trigger_statements = on").start();
    cluster.create_database("shapes");
    cluster.superuser("shapes").batch_execute(include_str!("shapes/setup.sql")).unwrap();
    // A new database can be dropped once the launcher has seen that there is no ledger in it.
    let mut admin = cluster.superuser("postgres");
    for name in ["doomed_db", "probe"] {
        admin.batch_execute(&format!("create database {name}")).unwrap();
    }
    wait_for("the launcher", || admin.batch_execute("drop database probe").is_ok());
    let expected = table();
    assert!(expected.len() >= LEAST, "{} shapes", expected.len());
    let mut got = expected.clone();
    record(&cluster, &mut got);
    let version: i32 = cluster
        .superuser("shapes")
        .query_one("select current_setting('server_version_num')::int / 10000", &[])
        .unwrap()
        .get(0);
    if version == 15 && std::env::var_os("PGC_ACCEPT").is_some() {
        fs::write(file("tests/shapes/shapes.txt"), print_table(&got)).unwrap();
        fs::write(file("docs/shapes.md"), print_page(&got)).unwrap();
        return;
    }
    let mut wrong = String::new();
    for (expected, got) in expected.iter().zip(&got) {
        let same = match version {
            15 => expected.records == got.records,
            _ => essence(&expected.records) == essence(&got.records),
        };
        if !same {
            let list = |records: &[String]| records.join("\n    ");
            write!(
                wrong,
                "{}\n  {}\n  expected:\n    {}\n  recorded:\n    {}\n",
                expected.title,
                expected.sql,
                list(&expected.records),
                list(&got.records)
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    if version == 15 {
        assert_eq!(
            fs::read_to_string(file("docs/shapes.md")).unwrap(),
            print_page(&got),
            "docs/shapes.md is not what this test prints"
        );
    }
}
