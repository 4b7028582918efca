//! What a grant is on, as people write it: `DATABASE`, `SCHEMA s`, `TABLE s.t`, `COLUMN s.t.c`, `QUERY q`.
//!
//! Names follow PostgreSQL's rules: unquoted ones are folded to lower case, quoted ones are taken
//! as they are with `""` for a quote inside. Names are parsed here and never pasted into SQL.
//! Knows nothing of PostgreSQL.

use std::fmt;

/// The forms there are, for hints.
pub const FORMS: &str =
    "'DATABASE', 'SCHEMA schema', 'TABLE schema.table', 'COLUMN schema.table.column' or 'QUERY name'";

/// An object as it was asked for: a name, not yet an object that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectName {
    Database,
    Schema {
        schema: String,
    },
    Table {
        schema: String,
        table: String,
    },
    Column {
        schema: String,
        table: String,
        column: String,
    },
    /// A function in schema `queries`.
    Query {
        name: String,
    },
}

/// Why a text names no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAnObject {
    /// Not one of the forms.
    Malformed,
    /// A table without its schema: which one is meant would depend on somebody's `search_path`.
    NoSchema,
}

impl ObjectName {
    /// Reads one of [`FORMS`].
    pub fn parse(text: &str) -> Result<Self, NotAnObject> {
        let text = text.trim_matches(is_space);
        let (keyword, rest) = text.split_at(text.find(is_space).unwrap_or(text.len()));
        let keyword = keyword.to_ascii_uppercase();
        if !["DATABASE", "SCHEMA", "TABLE", "COLUMN", "QUERY"].contains(&keyword.as_str()) {
            return Err(NotAnObject::Malformed);
        }
        let names = parts(rest).ok_or(NotAnObject::Malformed)?;
        match (keyword.as_str(), names.as_slice()) {
            ("DATABASE", []) => Ok(Self::Database),
            ("SCHEMA", [schema]) => Ok(Self::Schema { schema: schema.clone() }),
            ("TABLE", [_]) | ("COLUMN", [_, _]) => Err(NotAnObject::NoSchema),
            ("TABLE", [schema, table]) => Ok(Self::Table { schema: schema.clone(), table: table.clone() }),
            ("COLUMN", [schema, table, column]) => {
                Ok(Self::Column { schema: schema.clone(), table: table.clone(), column: column.clone() })
            }
            ("QUERY", [name]) => Ok(Self::Query { name: name.clone() }),
            _ => Err(NotAnObject::Malformed),
        }
    }

    /// The word in `object_type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Schema { .. } => "schema",
            Self::Table { .. } => "table",
            Self::Column { .. } => "column",
            Self::Query { .. } => "query",
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("DATABASE"),
            Self::Schema { schema } => write!(f, "SCHEMA {}", identifier(schema)),
            Self::Table { schema, table } => write!(f, "TABLE {}.{}", identifier(schema), identifier(table)),
            Self::Column { schema, table, column } => {
                write!(f, "COLUMN {}.{}.{}", identifier(schema), identifier(table), identifier(column))
            }
            Self::Query { name } => write!(f, "QUERY {}", identifier(name)),
        }
    }
}

/// A name as it must be written to be read back as itself: quoted only where folding would change it.
pub fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A text as an SQL string constant, for hints that can be pasted.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// What PostgreSQL's scanner takes for white space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}' | '\u{b}')
}

/// The identifiers of a dotted name; none for an empty text; `None` if it is not one.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim_matches(is_space);
    let mut names = Vec::new();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, after) =
            if let Some(quoted) = rest.strip_prefix('"') { quoted_name(quoted)? } else { plain_name(rest)? };
        names.push(name);
        rest = after.trim_start_matches(is_space);
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix('.')?.trim_start_matches(is_space);
    }
}

/// What follows an opening quote, up to the closing one.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

/// An unquoted identifier, folded as PostgreSQL folds it.
fn plain_name(text: &str) -> Option<(String, &str)> {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let goes_on = |c: char| starts(c) || c.is_ascii_digit() || c == '$';
    if !text.starts_with(starts) {
        return None;
    }
    let (name, rest) = text.split_at(text.find(|c| !goes_on(c)).unwrap_or(text.len()));
    Some((name.to_ascii_lowercase(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(schema: &str, table: &str, column: &str) -> ObjectName {
        ObjectName::Column { schema: schema.into(), table: table.into(), column: column.into() }
    }

    fn table(schema: &str, table: &str) -> ObjectName {
        ObjectName::Table { schema: schema.into(), table: table.into() }
    }

    #[test]
    fn object_names_follow_the_quoting_rules_of_postgresql() {
        for (text, expected) in [
            ("DATABASE", ObjectName::Database),
            ("  database\t", ObjectName::Database),
            ("SCHEMA sales", ObjectName::Schema { schema: "sales".into() }),
            ("schema \"Sales 2026\"", ObjectName::Schema { schema: "Sales 2026".into() }),
            ("TABLE public.customers", table("public", "customers")),
            ("Table PUBLIC.Customers", table("public", "customers")),
            ("TABLE public . \"Customers\"", table("public", "Customers")),
            ("TABLE \"a.b\".\"c\"\"d\"", table("a.b", "c\"d")),
            ("TABLE größe.t$1", table("größe", "t$1")),
            ("TABLE\n  x._y  ", table("x", "_y")),
            ("column a.B.\"C\"", column("a", "b", "C")),
            ("QUERY Orders", ObjectName::Query { name: "orders".into() }),
        ] {
            assert_eq!(ObjectName::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_object_is_refused_by_its_reason() {
        for text in [
            "",
            " ",
            "customers",
            "DATABASE shop",
            "SCHEMA",
            "SCHEMA a.b",
            "TABLE",
            "TABLE .",
            "TABLE a.",
            "TABLE a..b",
            "TABLE a.b.c",
            "TABLE a.\"\"",
            "TABLE a.\"b",
            "TABLE a.b; DROP TABLE c",
            "TABLE a.b c",
            "TABLE 1a.b",
            "TABLE a.b--",
            "TABLEa.b",
            "VIEW a.b",
            "TABLE a.b, a.c",
            "COLUMN a",
            "COLUMN a.b.c.d",
            "COLUMN a.b.*",
            "QUERY",
            "QUERY queries.q",
            "QUERY q()",
            "DATABASE;",
        ] {
            assert_eq!(ObjectName::parse(text), Err(NotAnObject::Malformed), "{text}");
        }
        assert_eq!(ObjectName::parse("TABLE customers"), Err(NotAnObject::NoSchema));
        assert_eq!(ObjectName::parse("COLUMN customers.id"), Err(NotAnObject::NoSchema));
    }

    #[test]
    fn an_object_written_out_is_read_back_as_itself() {
        for names in [
            ("public", "customers"),
            ("A", "b c"),
            ("x\"y", "\""),
            ("select", "table"),
            ("é", "1"),
            ("a$", "."),
        ] {
            for object in [
                table(names.0, names.1),
                column(names.0, names.1, names.0),
                ObjectName::Schema { schema: names.0.into() },
                ObjectName::Query { name: names.1.into() },
                ObjectName::Database,
            ] {
                assert_eq!(ObjectName::parse(&object.to_string()), Ok(object.clone()), "{object}");
            }
        }
    }

    #[test]
    fn literals_in_hints_cannot_end_early() {
        assert_eq!(literal("o'brien"), "'o''brien'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }
}
