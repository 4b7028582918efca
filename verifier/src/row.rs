//! An exported row, and its canonical bytes.

use crate::{Hash, Refusal, bad, hash_from, unreadable};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Version of the canonical bytes.
const VERSION: u8 = 3;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Text,
    Texts,
    Integers,
}

/// The columns in the order of the table, without the hash.
pub const COLUMNS: [(&str, Kind); 39] = {
    use Kind::{Integer, Integers, Text, Texts};
    [
        ("seq", Integer),
        ("at", Integer),
        ("stored", Integer),
        ("event", Text),
        ("session", Text),
        ("statement", Integer),
        ("parent", Integer),
        ("depth", Integer),
        ("pid", Integer),
        ("issuer", Text),
        ("user_id", Text),
        ("user_email", Text),
        ("token_id", Text),
        ("session_role", Text),
        ("role", Text),
        ("client_addr", Text),
        ("application", Text),
        ("class", Text),
        ("command", Text),
        ("origin", Text),
        ("objects", Texts),
        ("object_types", Texts),
        ("changes", Texts),
        ("columns_read", Texts),
        ("columns_written", Texts),
        ("masked", Texts),
        ("revealed", Texts),
        ("query", Text),
        ("parameters", Texts),
        ("grants", Integers),
        ("rows", Integer),
        ("duration", Integer),
        ("bytes", Integer),
        ("transaction", Integer),
        ("committed", Integer),
        ("outcome", Text),
        ("sqlstate", Text),
        ("object", Text),
        ("detail", Text),
    ]
};

/// A row as it was exported.
#[derive(Debug, Clone)]
pub struct Row {
    pub seq: i64,
    /// The hash that was stored with it.
    pub hash: Hash,
    canonical: Vec<u8>,
}

impl Row {
    /// Reads an object of columns; those that are not there are NULL.
    pub fn from_json(value: &Value) -> Result<Self, Refusal> {
        let Value::Object(columns) = value else { return unreadable("a row is a JSON object") };
        let Some(seq) = columns.get("seq").and_then(Value::as_i64) else {
            return unreadable("a row has a number, \"seq\"");
        };
        let Some(hash) = hash_from(columns.get("hash")) else {
            return bad(seq, "the row's hash is not a hash");
        };
        // What is not hashed proves nothing: it must not look as if it did.
        let known = |name: &str| name == "hash" || COLUMNS.iter().any(|(column, _)| *column == name);
        if let Some(name) = columns.keys().find(|name| !known(name)) {
            return bad(seq, format!("the ledger has no column \"{name}\""));
        }
        let canonical = canonical(seq, columns)?;
        Ok(Self { seq, hash, canonical })
    }

    /// The hash that the row has behind a row with this hash.
    #[must_use]
    pub fn hash_after(&self, previous: &Hash) -> Hash {
        Sha256::new().chain_update(previous).chain_update(&self.canonical).finalize().into()
    }
}

fn canonical(seq: i64, columns: &Map<String, Value>) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(1024);
    out.push(VERSION);
    for (name, kind) in COLUMNS {
        if put(&mut out, columns.get(name).unwrap_or(&Value::Null), kind).is_none() {
            return bad(seq, format!("column \"{name}\" has another type than the ledger's"));
        }
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, value: &Value, kind: Kind) -> Option<()> {
    match (kind, value) {
        (_, Value::Null) => out.push(0),
        (Kind::Integer, value) => {
            out.push(1);
            out.extend_from_slice(&integer(value)?.to_le_bytes());
        }
        (Kind::Text, value) => put_text(out, value.as_str()?)?,
        (Kind::Texts, value) => {
            let values = value.as_array()?;
            out.push(3);
            out.extend_from_slice(&u32::try_from(values.len()).ok()?.to_le_bytes());
            values.iter().try_for_each(|value| put(out, value, Kind::Text))?;
        }
        (Kind::Integers, value) => {
            let values = value.as_array()?;
            out.push(4);
            out.extend_from_slice(&u32::try_from(values.len()).ok()?.to_le_bytes());
            for value in values {
                out.extend_from_slice(&integer(value)?.to_le_bytes());
            }
        }
    }
    Some(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.push(2);
    out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// A boolean counts as 0 or 1.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_bool().map(i64::from))
}
