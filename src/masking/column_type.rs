//! Which maskings fit a column of which type, by the type's name as `format_type` writes it with
//! `pg_catalog` in front of the search path. Knows nothing of PostgreSQL.

use crate::masking::spec::Masking;

/// What a token is long: `tok_` and 32 digits. Shorter ones would collide, or not be those of other tables.
const TOKEN_LENGTH: u32 = 36;

/// Types that are masked alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// text, varchar, char, name, citext
    Text,
    /// Arrays of these, but for citext and name
    Texts,
    Smallint,
    Integer,
    Bigint,
    Numeric,
    Real,
    Double,
    Date,
    Timestamp,
    Timestamptz,
    Uuid,
    Json,
    Jsonb,
    Inet,
    Cidr,
    Bytea,
    Other,
}

/// The type of a column, below its domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    pub kind: Kind,
    /// What stands in parentheses: a length, or precision and scale.
    pub modifiers: Vec<i32>,
}

impl ColumnType {
    /// Reads a name such as `text`, `character varying(40)`, `numeric(10,2)`, `public.citext`.
    pub fn of(name: &str) -> Self {
        let (modifiers, base) = split(name);
        let is_citext = |name: &str| matches!(name.rsplit('.').next(), Some("citext" | "\"citext\""));
        let kind = match base.as_str() {
            "text" | "character varying" | "character" | "bpchar" | "name" => Kind::Text,
            "text[]" | "character varying[]" | "character[]" | "bpchar[]" => Kind::Texts,
            "smallint" => Kind::Smallint,
            "integer" => Kind::Integer,
            "bigint" => Kind::Bigint,
            "numeric" => Kind::Numeric,
            "real" => Kind::Real,
            "double precision" => Kind::Double,
            "date" => Kind::Date,
            "timestamp without time zone" => Kind::Timestamp,
            "timestamp with time zone" => Kind::Timestamptz,
            "uuid" => Kind::Uuid,
            "json" => Kind::Json,
            "jsonb" => Kind::Jsonb,
            "inet" => Kind::Inet,
            "cidr" => Kind::Cidr,
            "bytea" => Kind::Bytea,
            // an extension's, in whichever schema
            other if is_citext(other) => Kind::Text,
            _ => Kind::Other,
        };
        Self { kind, modifiers }
    }

    /// Whether a column of this type can be masked so.
    pub fn takes(&self, masking: &Masking) -> bool {
        use Kind::{Bigint, Bytea, Cidr, Date, Inet, Integer, Json, Jsonb, Smallint};
        use Kind::{Numeric, Other, Text, Texts, Timestamp, Timestamptz, Uuid};
        match masking {
            Masking::NullValue | Masking::Constant(_) => true,
            Masking::Partial { .. }
            | Masking::Email
            | Masking::Phone
            | Masking::Card
            | Masking::Iban
            | Masking::Name => matches!(self.kind, Text | Texts),
            Masking::Ip => matches!(self.kind, Text | Texts | Inet | Cidr),
            Masking::Hash => matches!(self.kind, Text | Texts | Bytea),
            Masking::Token => match self.kind {
                Text | Texts => self.modifiers.first().is_none_or(|n| *n >= TOKEN_LENGTH as i32),
                Uuid | Integer | Bigint => true,
                _ => false,
            },
            Masking::Redact => matches!(self.kind, Text | Texts | Json | Jsonb),
            Masking::JsonbPaths(_) => matches!(self.kind, Json | Jsonb),
            Masking::Year | Masking::Month => matches!(self.kind, Date | Timestamp | Timestamptz),
            Masking::Range(amount) | Masking::Noise(amount) => match self.kind {
                Smallint | Integer | Bigint => amount.is_whole(),
                // days
                Date | Timestamp | Timestamptz => amount.is_whole() && amount.whole() <= MOST_DAYS,
                Numeric | Kind::Real | Kind::Double => true,
                Other | Text | Texts | Uuid | Json | Jsonb | Inet | Cidr | Bytea => false,
            },
        }
    }

    /// The maskings that fit, for hints.
    pub fn forms(&self) -> &'static str {
        match self.kind {
            Kind::Text | Kind::Texts => {
                "null_value, constant, partial, email, phone, card, iban, name, ip, hash, redact, and \
                 token where there is room for 36 characters"
            }
            Kind::Smallint => "null_value, constant, range and noise with whole numbers",
            Kind::Integer | Kind::Bigint => {
                "null_value, constant, token, and range and noise with whole numbers"
            }
            Kind::Numeric | Kind::Real | Kind::Double => "null_value, constant, range and noise",
            Kind::Date | Kind::Timestamp | Kind::Timestamptz => {
                "null_value, constant, year, month, and range and noise with whole numbers of days"
            }
            Kind::Uuid => "null_value, constant and token",
            Kind::Json | Kind::Jsonb => "null_value, constant, redact and jsonb_paths",
            Kind::Inet | Kind::Cidr => "null_value, constant and ip",
            Kind::Bytea => "null_value, constant and hash",
            Kind::Other => "null_value and constant",
        }
    }

    /// The largest number that a numeric column can hold, as text; `None` if there is no limit.
    pub fn largest(&self) -> Option<String> {
        let (precision, scale) = match (self.kind, self.modifiers.as_slice()) {
            (Kind::Numeric, [precision]) => (*precision, 0),
            (Kind::Numeric, [precision, scale]) => (*precision, *scale),
            _ => return None,
        };
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        Some(if scale <= 0 {
            format!("{}{}", "9".repeat(count(precision)), "0".repeat(count(-scale)))
        } else if scale >= precision {
            format!("0.{}{}", "0".repeat(count(scale - precision)), "9".repeat(count(precision)))
        } else {
            format!("{}.{}", "9".repeat(count(precision - scale)), "9".repeat(count(scale)))
        })
    }
}

/// A hundred thousand years: dates have no more.
const MOST_DAYS: i64 = 36_525_000;

/// The name without its modifiers, and these.
fn split(name: &str) -> (Vec<i32>, String) {
    let parts = name.split_once('(').and_then(|(before, rest)| {
        let (inside, after) = rest.split_once(')')?;
        let modifiers = inside.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
        Some((modifiers, format!("{before}{after}")))
    });
    parts.unwrap_or_else(|| (Vec::new(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        ColumnType::of(name).kind
    }

    #[test]
    fn types_are_known_by_the_names_the_server_gives_them() {
        for (name, expected) in [
            ("text", Kind::Text),
            ("character varying(40)", Kind::Text),
            ("character(6)", Kind::Text),
            ("name", Kind::Text),
            ("public.citext", Kind::Text),
            ("\"Odd\".\"citext\"", Kind::Text),
            ("character varying(3)[]", Kind::Texts),
            ("text[]", Kind::Texts),
            ("numeric(10,2)", Kind::Numeric),
            ("numeric", Kind::Numeric),
            ("timestamp(3) without time zone", Kind::Timestamp),
            ("timestamp with time zone", Kind::Timestamptz),
            ("double precision", Kind::Double),
            ("\"char\"", Kind::Other),
            ("shop.mood", Kind::Other),
            ("shop.text", Kind::Other),
            ("shop.\"a(1)\"", Kind::Other),
            ("integer[]", Kind::Other),
            ("interval", Kind::Other),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
        assert_eq!(ColumnType::of("numeric(10,-2)").modifiers, [10, -2]);
    }

    #[test]
    fn each_masking_fits_the_types_it_is_for() {
        let fits = |masking: &str, name: &str| {
            ColumnType::of(name).takes(&Masking::parse(masking).unwrap_or_else(|| panic!("{masking}")))
        };
        for (masking, yes, no) in [
            ("email", "text", "date"),
            ("partial(1, '*', 1)", "character varying(5)[]", "bytea"),
            ("hash", "bytea", "integer"),
            ("token", "character varying(36)", "character varying(35)"),
            ("token", "uuid", "smallint"),
            ("range(10)", "smallint", "text"),
            ("range(0.5)", "numeric(5,2)", "integer"),
            ("noise(2)", "date", "interval"),
            ("noise(0.5)", "real", "date"),
            ("range(36525001)", "bigint", "date"),
            ("year", "timestamp(0) with time zone", "time without time zone"),
            ("ip", "cidr", "macaddr"),
            ("redact", "json", "xml"),
            ("jsonb_paths('{a}')", "jsonb", "text"),
            ("null_value", "shop.mood", ""),
            ("constant('x')", "integer[]", ""),
        ] {
            assert!(fits(masking, yes), "{masking} {yes}");
            assert!(no.is_empty() || !fits(masking, no), "{masking} {no}");
        }
    }

    #[test]
    fn the_largest_number_of_a_column_has_its_digits() {
        for (name, expected) in [
            ("numeric(5,2)", Some("999.99")),
            ("numeric(3)", Some("999")),
            ("numeric(3,0)", Some("999")),
            ("numeric(3,-2)", Some("99900")),
            ("numeric(2,4)", Some("0.0099")),
            ("numeric(2,2)", Some("0.99")),
            ("numeric", None),
            ("integer", None),
        ] {
            assert_eq!(ColumnType::of(name).largest().as_deref(), expected, "{name}");
        }
    }
}
