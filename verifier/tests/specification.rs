//! The worked examples of docs/ledger-format.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pg_custodian_verifier::checkpoint::Checkpoint;
use pg_custodian_verifier::row::Row;
use pg_custodian_verifier::{GENESIS, Hash, merkle};
use serde_json::json;

fn specification() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ledger-format.md");
    std::fs::read_to_string(file).unwrap()
}

#[track_caller]
fn is_specified(what: &str, hash: &Hash) {
    let hash = hex::encode(hash);
    let line = specification().lines().any(|line| line.starts_with(what) && line.ends_with(&hash));
    assert!(line, "the page does not say: {what} {hash}");
}

fn first_row() -> Hash {
    let row = json!({
        "seq": 1, "at": 825_768_000_000_000_i64, "stored": 825_768_000_060_000_i64, "event": "enrollment", "session": "69a42c40.1267", "pid": 4711,
        "session_role": "dba", "role": "dba", "client_addr": "[local]", "application": "psql", "outcome": "ok",
        "object": "readonly", "detail": "{\"action\":\"enroll\",\"mode\":\"identify\"}", "hash": "00".repeat(32),
    });
    Row::from_json(&row).unwrap().hash_after(&GENESIS)
}

#[test]
fn the_first_row_has_the_hash_that_the_page_says() {
    is_specified("", &first_row());
}

#[test]
fn tree_checkpoint_and_path_are_those_of_the_page() {
    let rows = [first_row(), [0x22; 32], [0x33; 32]];
    let mut tree = merkle::Tree::watching(1);
    for (row, name) in rows.iter().zip(["leaf of row 1", "leaf of row 2", "leaf of row 3"]) {
        tree.push(row);
        is_specified(name, &merkle::leaf(row));
    }
    let (root, path) = tree.finish().unwrap();
    is_specified("root", &root);
    assert_eq!(path, [merkle::leaf(&rows[0]), merkle::leaf(&rows[2])]);
    let mut pair = merkle::Tree::default();
    rows[..2].iter().for_each(|row| pair.push(row));
    is_specified("node of 1 and 2", &pair.finish().unwrap().0);
    let made = Checkpoint::seal(3, rows[2], 3, root, 825_768_060_000_000, GENESIS);
    is_specified("link", &made.link);
}
