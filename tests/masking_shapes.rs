//! Whatever a masked person asks, the answer is that of tables that hold the masks.
//!
//! `masking_shapes/*.sql` are shapes of statements. Each runs four times (tests/harness/masked.rs): a masked person
//! must be told, byte for byte, what anybody is told by a physically masked copy, and a cleared person what anybody is
//! told by the same tables without policies. `PGC_SHAPE=words` runs those with these words in their title.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::masked::{COLUMNS, Who, World};
use harness::script::{self, Script};
use harness::transcript::{Session, same};
use std::fmt::Write as _;

/// Fewer would not be worth the name.
const LEAST: usize = 250;

fn shapes() -> Vec<Script> {
    [
        include_str!("masking_shapes/reading.sql"),
        include_str!("masking_shapes/joins.sql"),
        include_str!("masking_shapes/grouping.sql"),
        include_str!("masking_shapes/functions.sql"),
        include_str!("masking_shapes/views.sql"),
        include_str!("masking_shapes/statements.sql"),
        include_str!("masking_shapes/writing.sql"),
    ]
    .iter()
    .flat_map(|text| script::read(text))
    .collect()
}

/// One shape, and what of it was wrong.
struct Wrong {
    title: String,
    what: String,
}

/// Runs the shapes in `of` as `who`, and in `like` as nobody in particular.
fn compare(world: &World, shapes: &[Script], of: &str, who: Who, like: &str) -> Vec<Wrong> {
    let mut session = world.session(of, who);
    let mut model = world.session(like, Who::Nobody);
    let mut wrong = Vec::new();
    for shape in shapes.iter().filter(|shape| shape.since <= world.version) {
        let got = shape.run(&mut session);
        let what = if shape.refused && who == Who::Masked {
            if got.contains("C 42501") {
                continue;
            }
            format!("not refused:\n{got}")
        } else {
            let expected = shape.run(&mut model);
            if same(&expected, &got) {
                continue;
            }
            difference(&expected, &got)
        };
        wrong.push(Wrong { title: format!("{}: {}", shape.section, shape.title), what });
    }
    wrong
}

/// The lines that differ, with the statement they belong to.
fn difference(expected: &str, got: &str) -> String {
    let mut out = String::new();
    let (mut expected, mut got) = (expected.lines(), got.lines());
    let mut lines = 0;
    loop {
        let pair = (expected.next(), got.next());
        match pair {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {
                if a.starts_with("> ") {
                    writeln!(out, "  {a}").unwrap();
                }
            }
            (a, b) if lines < 6 => {
                lines += 1;
                writeln!(out, "  expected: {}\n       got: {}", a.unwrap_or("-"), b.unwrap_or("-")).unwrap();
            }
            _ => (),
        }
    }
    out
}

fn report(what: &str, tried: usize, wrong: &[Wrong]) -> String {
    let mut out = format!("{what}: {} of {tried} shapes match\n", tried - wrong.len());
    for wrong in wrong {
        writeln!(out, "\n{}\n{}", wrong.title, wrong.what).unwrap();
    }
    out
}

fn chosen(world: &World) -> Vec<Script> {
    let words = std::env::var("PGC_SHAPE").unwrap_or_default();
    shapes()
        .into_iter()
        .filter(|shape| {
            shape.since <= world.version && format!("{}: {}", shape.section, shape.title).contains(&words)
        })
        .collect()
}

#[test]
fn a_masked_person_is_told_what_a_masked_copy_tells() {
    let world = World::open();
    assert!(shapes().len() >= LEAST);
    let chosen = chosen(&world);
    let wrong = compare(&world, &chosen, "live", Who::Masked, "copy");
    let report = report("masked person and masked copy", chosen.len(), &wrong);
    println!("{}", report.lines().next().unwrap());
    assert!(wrong.is_empty(), "{report}");
}

#[test]
fn a_cleared_person_is_told_what_is_there() {
    let world = World::open();
    let chosen = chosen(&world);
    let wrong = compare(&world, &chosen, "live", Who::Cleared, "plain");
    let report = report("cleared person and no policies", chosen.len(), &wrong);
    println!("{}", report.lines().next().unwrap());
    assert!(wrong.is_empty(), "{report}");
}

/// The masked views show what a masked copy shows, where a view can stand for the table.
#[test]
fn the_generated_views_tell_what_a_masked_copy_tells() {
    const SECTIONS: &[&str] = &[
        "Plain reading",
        "Filters",
        "Order and limits",
        "Distinct",
        "Rows, arrays and composites",
        "Joins",
        "Subqueries",
        "LATERAL",
        "WITH",
        "Set operations",
        "Groups",
        "Aggregates",
        "Windows",
        "Parallel",
        "Cursors",
    ];
    // What only a table has, and the domain of a protected column, which is its base type in the view.
    const ONLY_TABLES: &[&str] = &[
        "ctid",
        "tableoid",
        "customers_pkey",
        "domain",
        "type of a value",
        "CURRENT OF",
        "insensitive",
        "primary key",
    ];
    let world = World::open();
    let mut admin = world.admin("live");
    for table in ["customers", "orders", "staff", "visits", "things", "readings"] {
        admin.execute("select mask.generate_view($1::text::regclass)", &[&table]).unwrap();
    }
    admin
        .batch_execute(
            "grant usage on schema masked to reader; grant select on all tables in schema masked to reader",
        )
        .unwrap();
    let shapes: Vec<Script> = chosen(&world)
        .into_iter()
        .filter(|shape| {
            let text = format!("{} {}", shape.title, shape.statements.join(" "));
            SECTIONS.contains(&shape.section.as_str()) && !ONLY_TABLES.iter().any(|word| text.contains(word))
        })
        .collect();
    let (mut session, mut model) = (world.session("live", Who::Masked), world.session("copy", Who::Nobody));
    session.run("set search_path = masked, public");
    for one in [&mut session, &mut model] {
        one.with_origin = false;
    }
    let mut wrong = Vec::new();
    for shape in &shapes {
        let (got, expected) = (shape.run(&mut session), shape.run(&mut model));
        if got != expected {
            let title = format!("{}: {}", shape.section, shape.title);
            wrong.push(Wrong { title, what: difference(&expected, &got) });
        }
    }
    let report = report("masked views and masked copy", shapes.len(), &wrong);
    println!("{}", report.lines().next().unwrap());
    assert!(wrong.is_empty(), "{report}");
    assert!(shapes.len() > 200 || std::env::var_os("PGC_SHAPE").is_some());
}

/// No shape is there for nothing, and no column is masked without a shape that would miss its mask.
#[test]
fn a_column_that_is_not_masked_is_noticed() {
    let world = World::open();
    let shapes = shapes();
    let mut first = Vec::new();
    for column in COLUMNS.iter().filter(|column| column.is_copied()) {
        world.unprotect("live", column);
        // One is enough, and those that name the column come first.
        let (mut naming, others): (Vec<_>, Vec<_>) =
            shapes.iter().cloned().partition(|shape| shape.statements.join(" ").contains(column.name));
        naming.extend(others);
        let wrong = naming.chunks(20).map(|some| compare(&world, some, "live", Who::Masked, "copy"));
        let wrong = wrong.into_iter().find_map(|wrong| wrong.into_iter().next());
        let name = format!("{}.{}", column.table, column.name);
        let wrong = wrong.unwrap_or_else(|| panic!("nobody notices that {name} is not masked"));
        first.push(format!("{name} by {}", wrong.title));
        world.protect(&mut world.admin("live"), column);
    }
    println!("noticed: {}", first.join(", "));
}

/// The planner sees in the mask of NULL that it is NULL, as in a column: outer joins become inner ones.
#[test]
fn outer_joins_are_reduced_for_masks_as_for_columns() {
    let world = World::open();
    let (mut session, mut model) = (world.session("live", Who::Masked), world.session("copy", Who::Nobody));
    let mut reduced = 0;
    for column in COLUMNS.iter().filter(|column| column.is_copied()) {
        let (table, name) = (column.table, format!("(t.{})", column.name));
        for condition in
            [format!("{name} is not null"), format!("{name} = {name}"), format!("{name} is null")]
        {
            let is_outer = |session: &mut Session| {
                let from = format!("cities as c left join {table} as t on t.id = c.people");
                let plan =
                    session.run(&format!("explain (costs off) select c.name from {from} where {condition}"));
                assert!(plan.contains("Join") || plan.contains("Nested Loop"), "{plan}");
                plan.contains("Left") || plan.contains("Right")
            };
            let expected = is_outer(&mut model);
            assert_eq!(is_outer(&mut session), expected, "{table} {condition}");
            reduced += usize::from(!expected);
        }
    }
    assert!(reduced > COLUMNS.len(), "{reduced} outer joins are reduced");
}
