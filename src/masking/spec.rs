//! What people write as a masking: `email`, `null_value`, `range(1000)`, `partial(2, '****', 4)`.
//!
//! An allow-list with literal arguments: nothing of it is ever run as SQL, it is read, understood
//! and written anew. Knows nothing of PostgreSQL.

use crate::access::object::literal;
use crate::masking::column_type::{ColumnType, Kind};
use crate::masking::function::decimal::Amount;
use crate::masking::function::paths::Path;
use std::fmt;

/// The forms there are, for hints.
pub const FORMS: &str = "null_value, constant('text'), partial(prefix, 'padding', suffix), email, phone, card, \
    iban, name, ip, hash, token, year, month, range(step), noise(amount), redact or jsonb_paths('{path}', ...)";

/// More than that is no padding, but a text.
const LONGEST_PADDING: usize = 64;
const LONGEST_CONSTANT: usize = 1000;
const MOST_PATHS: usize = 100;

/// How one column is masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Masking {
    NullValue,
    Constant(String),
    Partial { prefix: i32, padding: String, suffix: i32 },
    Email,
    Phone,
    Card,
    Iban,
    Name,
    Ip,
    Hash,
    Token,
    Year,
    Month,
    Range(Amount),
    Noise(Amount),
    Redact,
    JsonbPaths(Vec<Path>),
}

/// An argument as written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    Number(Amount),
    Text(String),
}

impl Masking {
    /// Reads one of [`FORMS`]; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let name_end = text.find(|c: char| !(c.is_ascii_alphabetic() || c == '_')).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_end);
        let arguments = arguments(rest.trim_start())?;
        Some(match (name.to_ascii_lowercase().as_str(), arguments.as_slice()) {
            ("null_value", []) => Self::NullValue,
            ("constant", [Argument::Text(value)]) => Self::Constant(value_of(value, LONGEST_CONSTANT)?),
            ("partial", [Argument::Number(prefix), Argument::Text(padding), Argument::Number(suffix)]) => {
                let count =
                    |number: &Amount| number.is_whole().then(|| i32::try_from(number.whole()).ok())?;
                let padding = value_of(padding, LONGEST_PADDING)?;
                Self::Partial { prefix: count(prefix)?, padding, suffix: count(suffix)? }
            }
            ("email", []) => Self::Email,
            ("phone", []) => Self::Phone,
            ("card", []) => Self::Card,
            ("iban", []) => Self::Iban,
            ("name", []) => Self::Name,
            ("ip", []) => Self::Ip,
            ("hash", []) => Self::Hash,
            ("token", []) => Self::Token,
            ("year", []) => Self::Year,
            ("month", []) => Self::Month,
            ("range", [Argument::Number(step)]) if !step.is_zero() => Self::Range(*step),
            ("noise", [Argument::Number(amount)]) if !amount.is_zero() => Self::Noise(*amount),
            ("redact", []) => Self::Redact,
            ("jsonb_paths", paths) if !paths.is_empty() && paths.len() <= MOST_PATHS => {
                Self::JsonbPaths(paths.iter().map(path).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// Whether the mask of a value can be a value of a column of this type, which is named as
    /// `format_type` does with a search path of `pg_catalog`, below all domains.
    pub fn fits(&self, type_name: &str) -> bool {
        ColumnType::of(type_name).takes(self)
    }

    /// SQL for the mask of `column`, an SQL expression of the type called `type_name` (as in
    /// [`Masking::fits`]) or of a domain over it; the result is of that type, typmod and all.
    ///
    /// NULL gives NULL, and no value raises: every cast of a mask to the column's type is explicit,
    /// which shortens texts, and numbers are kept within what the type holds. Where the masking does not
    /// fit the type, the mask is NULL. Every name is qualified.
    pub fn expression(&self, column: &str, type_name: &str) -> String {
        let of = ColumnType::of(type_name);
        if !of.takes(self) || *self == Self::NullValue {
            return format!("mask.null_value({column}::{type_name})::{type_name}");
        }
        let (function, arguments) = match self {
            Self::NullValue => ("null_value", String::new()),
            Self::Constant(value) => ("constant", format!(", {}::{type_name}", literal(value))),
            Self::Partial { prefix, padding, suffix } => {
                ("partial", format!(", {prefix}, {}, {suffix}", literal(padding)))
            }
            Self::Email => ("email", String::new()),
            Self::Phone => ("phone", String::new()),
            Self::Card => ("card", String::new()),
            Self::Iban => ("iban", String::new()),
            Self::Name => ("name", String::new()),
            Self::Ip => ("ip", String::new()),
            Self::Hash => ("hash", String::new()),
            Self::Token => ("token", String::new()),
            Self::Year => ("year", String::new()),
            Self::Month => ("month", String::new()),
            Self::Range(amount) => ("range", amount_for(amount, &of)),
            Self::Noise(amount) => ("noise", amount_for(amount, &of)),
            Self::Redact => ("redact", String::new()),
            Self::JsonbPaths(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| literal(&path.to_string())).collect();
                ("jsonb_paths", format!(", ARRAY[{}]::pg_catalog.text[]", paths.join(", ")))
            }
        };
        let taken = match of.kind {
            Kind::Text if !matches!(self, Self::Constant(_)) => "pg_catalog.text",
            Kind::Texts if !matches!(self, Self::Constant(_)) => "pg_catalog.text[]",
            _ => type_name,
        };
        format!("mask.{function}({column}::{taken}{arguments})::{type_name}")
    }
}

/// The argument of `range` and `noise` in the type that the function wants beside the column's.
fn amount_for(amount: &Amount, of: &ColumnType) -> String {
    match of.kind {
        Kind::Smallint | Kind::Integer | Kind::Bigint => format!(", '{amount}'::pg_catalog.int8"),
        Kind::Date | Kind::Timestamp | Kind::Timestamptz => format!(", '{amount}'::pg_catalog.int4"),
        Kind::Real | Kind::Double => format!(", '{amount}'::pg_catalog.float8"),
        _ => match of.largest() {
            Some(largest) => format!(", '{amount}'::pg_catalog.numeric, '{largest}'::pg_catalog.numeric"),
            None => format!(", '{amount}'::pg_catalog.numeric"),
        },
    }
}

fn value_of(text: &str, longest: usize) -> Option<String> {
    (text.chars().count() <= longest && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn path(argument: &Argument) -> Option<Path> {
    match argument {
        Argument::Text(text) => Path::parse(&value_of(text, LONGEST_CONSTANT)?),
        Argument::Number(_) => None,
    }
}

/// The form it is stored in and read back from.
impl fmt::Display for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        match self {
            Self::NullValue => f.write_str("null_value"),
            Self::Constant(value) => write!(f, "constant({})", quoted(value)),
            Self::Partial { prefix, padding, suffix } => {
                write!(f, "partial({prefix}, {}, {suffix})", quoted(padding))
            }
            Self::Email => f.write_str("email"),
            Self::Phone => f.write_str("phone"),
            Self::Card => f.write_str("card"),
            Self::Iban => f.write_str("iban"),
            Self::Name => f.write_str("name"),
            Self::Ip => f.write_str("ip"),
            Self::Hash => f.write_str("hash"),
            Self::Token => f.write_str("token"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Range(step) => write!(f, "range({step})"),
            Self::Noise(amount) => write!(f, "noise({amount})"),
            Self::Redact => f.write_str("redact"),
            Self::JsonbPaths(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| quoted(&path.to_string())).collect();
                write!(f, "jsonb_paths({})", paths.join(", "))
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
            let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            Some((Argument::Number(Amount::parse(digits)?), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;

    fn partial(prefix: i32, padding: &str, suffix: i32) -> Masking {
        Masking::Partial { prefix, padding: padding.into(), suffix }
    }

    fn read(text: &str) -> Masking {
        Masking::parse(text).unwrap_or_else(|| panic!("{text}"))
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
            ("constant('')", Masking::Constant(String::new())),
            ("constant('o''neil')", Masking::Constant("o'neil".into())),
            ("range(01000)", Masking::Range(Amount::parse("1000").unwrap())),
            ("noise( 0.50 )", Masking::Noise(Amount::parse("0.5").unwrap())),
            ("jsonb_paths('{a, b}','{*}')", read("jsonb_paths('{a,b}', '{*}')")),
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
            "partial(1.5, '*', 2)",
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
            "constant",
            "constant(1)",
            "constant('a', 'b')",
            "constant('\0')",
            "range",
            "range(0)",
            "range(0.0)",
            "range(-5)",
            "range('5')",
            "range(5, 5)",
            "range(1e3)",
            "noise(0)",
            "noise(1234567890123456)",
            "jsonb_paths",
            "jsonb_paths()",
            "jsonb_paths('a')",
            "jsonb_paths('{}')",
            "jsonb_paths('{a}', 1)",
            "jsonb_paths('{a}' '{b}')",
            "year('x')",
            "token(5)",
        ] {
            assert_eq!(Masking::parse(text), None, "{text}");
        }
        assert_eq!(Masking::parse(&format!("partial(1, '{}', 1)", "*".repeat(65))), None);
        assert_eq!(Masking::parse(&format!("constant('{}')", "*".repeat(1001))), None);
        assert_eq!(Masking::parse(&format!("jsonb_paths({})", ["'{a}'"; 101].join(","))), None);
    }

    #[test]
    fn every_form_of_the_hint_is_there() {
        for form in FORMS.replace(" or ", ", ").split(", ").filter(|form| !form.contains(['(', ')', '\''])) {
            assert!(Masking::parse(form).is_some(), "{form}");
        }
    }

    /// A masking of any kind.
    fn any(samples: &mut Samples) -> Masking {
        let pieces = ["a", "'", "\"", "\\", ",", "(", ")", " ", "é", "*", "{", "}", "--", "$$"];
        let amount = |samples: &mut Samples| {
            Amount::parse(&format!("{}.{}", samples.below(1_000_000), 1 + samples.below(1000))).unwrap()
        };
        match samples.below(19) {
            0 => Masking::NullValue,
            1 => Masking::Constant(samples.text(&pieces, 9)),
            2 => partial(samples.below(9) as i32, &samples.text(&pieces, 9), i32::MAX),
            3 => Masking::Email,
            4 => Masking::Phone,
            5 => Masking::Card,
            6 => Masking::Iban,
            7 => Masking::Name,
            8 => Masking::Ip,
            9 => Masking::Hash,
            10 => Masking::Token,
            11 => Masking::Year,
            12 => Masking::Month,
            13 => Masking::Range(amount(samples)),
            14 => Masking::Noise(amount(samples)),
            15 => Masking::Redact,
            _ => {
                let step = |samples: &mut Samples| {
                    format!("\"{}\"", samples.text(&pieces, 4).replace('\\', "\\\\").replace('"', "\\\""))
                };
                let path = |samples: &mut Samples| {
                    Path::parse(&format!("{{{},{}}}", step(samples), step(samples))).unwrap()
                };
                Masking::JsonbPaths((0..=samples.below(3)).map(|_| path(samples)).collect())
            }
        }
    }

    #[test]
    fn a_masking_written_out_is_read_back_as_itself() {
        let mut samples = Samples::new();
        for _ in 0..20_000 {
            let masking = any(&mut samples);
            let written = masking.to_string();
            assert_eq!(Masking::parse(&written), Some(masking), "{written}");
            assert_eq!(read(&written).to_string(), written);
        }
    }

    #[test]
    fn expressions_are_typed_as_their_columns_and_hold_their_arguments_as_literals() {
        for (masking, type_name, expected) in [
            ("email", "text", "mask.email(c::pg_catalog.text)::text"),
            ("email", "text[]", "mask.email(c::pg_catalog.text[])::text[]"),
            (
                "partial(2, 'o''\\', 4)",
                "character varying(9)",
                "mask.partial(c::pg_catalog.text, 2, E'o''\\\\', 4)::character varying(9)",
            ),
            ("null_value", "date", "mask.null_value(c::date)::date"),
            (
                "constant('x')",
                "character(3)",
                "mask.constant(c::character(3), 'x'::character(3))::character(3)",
            ),
            ("range(1000)", "integer", "mask.range(c::integer, '1000'::pg_catalog.int8)::integer"),
            (
                "noise(0.5)",
                "numeric(5,2)",
                "mask.noise(c::numeric(5,2), '0.5'::pg_catalog.numeric, '999.99'::pg_catalog.numeric)::numeric(5,2)",
            ),
            ("range(30)", "date", "mask.range(c::date, '30'::pg_catalog.int4)::date"),
            (
                "jsonb_paths('{a,b}', '{c}')",
                "jsonb",
                "mask.jsonb_paths(c::jsonb, ARRAY['{a,b}', '{c}']::pg_catalog.text[])::jsonb",
            ),
        ] {
            assert_eq!(read(masking).expression("c", type_name), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_null() {
        assert_eq!(read("email").expression("c", "date"), "mask.null_value(c::date)::date");
        assert_eq!(
            read("token").expression("c", "character(8)"),
            "mask.null_value(c::character(8))::character(8)"
        );
    }
}
