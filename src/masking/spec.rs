//! What people write as a masking: `email`, `null_value`, `hash`, `partial(2, '****', 4)`.
//!
//! An allow-list with literal arguments: nothing of it is ever run as SQL, it is read, understood
//! and written anew. Knows nothing of PostgreSQL.

use crate::access::object::literal;
use std::fmt;

/// The forms there are, for hints.
pub const FORMS: &str = "email, hash, null_value or partial(prefix, 'padding', suffix)";

/// More than that is no padding, but a text.
const LONGEST_PADDING: usize = 64;

/// How one column is masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Masking {
    NullValue,
    Email,
    Hash,
    Partial { prefix: i32, padding: String, suffix: i32 },
}

/// An argument as written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    Number(i32),
    Text(String),
}

impl Masking {
    /// Reads one of [`FORMS`]; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let name_end = text.find(|c: char| !(c.is_ascii_alphabetic() || c == '_')).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_end);
        let arguments = arguments(rest.trim_start())?;
        match (name.to_ascii_lowercase().as_str(), arguments.as_slice()) {
            ("null_value", []) => Some(Self::NullValue),
            ("email", []) => Some(Self::Email),
            ("hash", []) => Some(Self::Hash),
            ("partial", [Argument::Number(prefix), Argument::Text(padding), Argument::Number(suffix)]) => {
                let sane = *prefix >= 0
                    && *suffix >= 0
                    && padding.chars().count() <= LONGEST_PADDING
                    && !padding.chars().any(char::is_control);
                sane.then(|| Self::Partial { prefix: *prefix, padding: padding.clone(), suffix: *suffix })
            }
            _ => None,
        }
    }

    /// Whether the masked value is a text, so that the column must be able to hold one.
    pub fn makes_text(&self) -> bool {
        match self {
            Self::NullValue => false,
            Self::Email | Self::Hash | Self::Partial { .. } => true,
        }
    }

    /// The SQL call on `operand`, an SQL expression of type text (of any type for `null_value`).
    pub fn call(&self, operand: &str) -> String {
        match self {
            Self::NullValue => format!("mask.null_value({operand})"),
            Self::Email => format!("mask.email({operand})"),
            Self::Hash => format!("mask.hash({operand})"),
            Self::Partial { prefix, padding, suffix } => {
                format!("mask.partial({operand}, {prefix}, {}, {suffix})", literal(padding))
            }
        }
    }
}

/// The form it is stored in and read back from.
impl fmt::Display for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullValue => f.write_str("null_value"),
            Self::Email => f.write_str("email"),
            Self::Hash => f.write_str("hash"),
            Self::Partial { prefix, padding, suffix } => {
                write!(f, "partial({prefix}, '{}', {suffix})", padding.replace('\'', "''"))
            }
        }
    }
}

/// The arguments in parentheses; none for an empty text.
fn arguments(text: &str) -> Option<Vec<Argument>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = text.strip_prefix('(')?.trim_start();
    let mut found = Vec::new();
    if let Some(after) = rest.strip_prefix(')') {
        return after.is_empty().then_some(found);
    }
    loop {
        let (argument, after) = argument(rest)?;
        found.push(argument);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return (rest == ")").then_some(found),
        }
    }
}

fn argument(text: &str) -> Option<(Argument, &str)> {
    match text.strip_prefix('\'') {
        Some(quoted) => {
            let mut value = String::new();
            let mut rest = quoted;
            loop {
                let (before, after) = rest.split_once('\'')?;
                value.push_str(before);
                match after.strip_prefix('\'') {
                    Some(more) => {
                        value.push('\'');
                        rest = more;
                    }
                    None => return Some((Argument::Text(value), after)),
                }
            }
        }
        None => {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            Some((Argument::Number(digits.parse().ok()?), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial(prefix: i32, padding: &str, suffix: i32) -> Masking {
        Masking::Partial { prefix, padding: padding.into(), suffix }
    }

    #[test]
    fn maskings_are_read_as_people_write_them() {
        for (text, expected) in [
            ("email", Masking::Email),
            (" EMAIL ", Masking::Email),
            ("email()", Masking::Email),
            ("null_value", Masking::NullValue),
            ("hash ( )", Masking::Hash),
            ("partial(2, '****', 4)", partial(2, "****", 4)),
            ("partial( 0 ,'it''s',0 )", partial(0, "it's", 0)),
            ("partial(1,'',1)", partial(1, "", 1)),
            ("partial(1, '),(', 1)", partial(1, "),(", 1)),
            ("partial(1, '\\', 1)", partial(1, "\\", 1)),
        ] {
            assert_eq!(Masking::parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "mail",
            "email(1)",
            "email(iban)",
            "email;",
            "email) OR (true",
            "mask.email",
            "partial",
            "partial()",
            "partial(2, '****')",
            "partial(2, '****', 4, 5)",
            "partial('2', '*', '4')",
            "partial(-1, '*', 2)",
            "partial(1, '*, 2)",
            "partial(1, \"*\", 2)",
            "partial(99999999999, '*', 1)",
            "partial(1 '*', 2)",
            "partial(1, '*', 2) -- x",
            "partial(1, E'*', 2)",
            "partial(1, $$*$$, 2)",
            "partial(1, '*', (select 2))",
            "partial(1, '*', 2",
            "partial 1, '*', 2",
            "partial(1,, 2)",
            "hash(",
            "null_value)",
            "pg_sleep(1)",
            "partial(1, '\n', 2)",
            "émail",
        ] {
            assert_eq!(Masking::parse(text), None, "{text}");
        }
        assert_eq!(Masking::parse(&format!("partial(1, '{}', 1)", "*".repeat(65))), None);
    }

    #[test]
    fn a_masking_written_out_is_read_back_as_itself() {
        for masking in [
            Masking::Email,
            Masking::Hash,
            Masking::NullValue,
            partial(2, "****", 4),
            partial(0, "'", 0),
            partial(i32::MAX, "a','b", 1),
            partial(1, "\\'", 2),
        ] {
            assert_eq!(Masking::parse(&masking.to_string()), Some(masking.clone()), "{masking}");
        }
    }

    #[test]
    fn calls_hold_their_arguments_as_literals() {
        assert_eq!(Masking::Email.call("c.\"a\"::text"), "mask.email(c.\"a\"::text)");
        assert_eq!(partial(2, "o'\\", 4).call("x"), "mask.partial(x, 2, E'o''\\\\', 4)");
    }
}
