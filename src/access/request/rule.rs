//! Rules: which requests one is for, and who decides on those. Knows nothing of PostgreSQL.
//!
//! Promises: of the rules that fit a request, the first by priority, then by name, decides; a request
//! that none fits is refused. Everything in a rule is a condition, the longest duration too: what is
//! asked for longer is for the next rule that fits.

use super::machine::Decision;
use crate::access::object::{NotAnObject, ObjectName};
use crate::access::privilege::Privileges;

/// What a rule is about, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Any,
    /// Any schema as a whole, or anything in one.
    AnySchema,
    /// Any single table, or a column of one.
    AnyTable,
    /// This object, and what is in it if it is a schema or a table.
    Exactly(ObjectName),
}

impl Pattern {
    /// The forms there are, for hints.
    pub const FORMS: &str =
        "'ANY', 'DATABASE', 'SCHEMA *', 'SCHEMA schema', 'TABLE *' or 'TABLE schema.table'";

    pub fn parse(text: &str) -> Result<Self, NotAnObject> {
        let words: Vec<String> = text.split_ascii_whitespace().map(str::to_ascii_uppercase).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["ANY"] => Ok(Self::Any),
            ["SCHEMA", "*"] => Ok(Self::AnySchema),
            ["TABLE", "*"] => Ok(Self::AnyTable),
            _ => ObjectName::parse(text).map(Self::Exactly),
        }
    }

    fn covers(&self, object: &ObjectName) -> bool {
        match self {
            Self::Any => true,
            Self::AnySchema => matches!(object, ObjectName::Schema { .. }) || schema_of(object).is_some(),
            Self::AnyTable => schema_of(object).is_some(),
            Self::Exactly(ObjectName::Schema { schema }) => {
                matches!(object, ObjectName::Schema { schema: asked } if asked == schema)
                    || schema_of(object) == Some(schema)
            }
            Self::Exactly(ObjectName::Table { schema, table }) => matches!(object,
                ObjectName::Table { schema: s, table: t } | ObjectName::Column { schema: s, table: t, .. }
                    if s == schema && t == table),
            Self::Exactly(exactly) => exactly == object,
        }
    }
}

/// The schema that a table is in, or a column's table.
fn schema_of(object: &ObjectName) -> Option<&String> {
    match object {
        ObjectName::Database | ObjectName::Schema { .. } | ObjectName::Query { .. } => None,
        ObjectName::Table { schema, .. } | ObjectName::Column { schema, .. } => Some(schema),
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("ANY"),
            Self::AnySchema => f.write_str("SCHEMA *"),
            Self::AnyTable => f.write_str("TABLE *"),
            Self::Exactly(object) => object.fmt(f),
        }
    }
}

/// Whether what is asked for must have columns with a mask policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensitivity {
    Any,
    Protected,
    Unprotected,
}

impl Sensitivity {
    pub const ALL: [Self; 3] = [Self::Any, Self::Protected, Self::Unprotected];

    /// The word in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Protected => "protected",
            Self::Unprotected => "unprotected",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sensitivity| sensitivity.word() == word)
    }

    fn admits(self, protected: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Protected => protected,
            Self::Unprotected => !protected,
        }
    }
}

/// A rule, with the time at which the request was made as its own clock shows it.
#[derive(Debug, Clone)]
pub struct Rule {
    pub name: String,
    pub revision: i64,
    pub pattern: Pattern,
    pub privileges: Privileges,
    pub asker_group: Option<String>,
    pub sensitivity: Sensitivity,
    /// 1 is Monday; `None`: all.
    pub days: Option<Vec<i32>>,
    /// Microseconds of the day, the second one excluded.
    pub hours: Option<(i64, i64)>,
    /// Day of the week and microsecond of the day, where the rule is.
    pub local: (i32, i64),
    /// Microseconds.
    pub longest: i64,
    pub decision: Decision,
    pub groups: Vec<String>,
    /// Microseconds.
    pub lifetime: i64,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    pub object: &'a ObjectName,
    pub privileges: Privileges,
    pub groups: &'a [String],
    pub protected: bool,
    /// Microseconds.
    pub duration: i64,
}

impl Rule {
    /// Why the rule is not for this wish; `None`: it is.
    pub fn unfit(&self, wish: &Wish<'_>) -> Option<&'static str> {
        let in_hours = self.hours.is_none_or(|(from, until)| (from..until).contains(&self.local.1));
        let on_day = self.days.as_ref().is_none_or(|days| days.contains(&self.local.0));
        let conditions = [
            (self.pattern.covers(wish.object), "it is about other objects"),
            (wish.privileges.iter().all(|wanted| self.privileges.has(wanted)), "it gives fewer privileges"),
            (
                self.asker_group.as_ref().is_none_or(|group| wish.groups.contains(group)),
                "it is for members of another group",
            ),
            (self.sensitivity.admits(wish.protected), "it is about other data, as the mask policies go"),
            (wish.duration <= self.longest, "it gives access for a shorter time"),
            (on_day && in_hours, "it is for other days or hours"),
        ];
        conditions.into_iter().find(|(fits, _)| !fits).map(|(_, why)| why)
    }
}

/// The rule that decides; `rules` are in their order.
pub fn first<'a>(rules: &'a [Rule], wish: &Wish<'_>) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.unfit(wish).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Privilege;

    const HOUR: i64 = 3_600_000_000;

    fn table(schema: &str, table: &str) -> ObjectName {
        ObjectName::Table { schema: schema.into(), table: table.into() }
    }

    fn schema(schema: &str) -> ObjectName {
        ObjectName::Schema { schema: schema.into() }
    }

    fn rule() -> Rule {
        Rule {
            name: "r".into(),
            revision: 1,
            pattern: Pattern::Any,
            privileges: [Privilege::Select, Privilege::Reveal].into_iter().collect(),
            asker_group: Some("staff".into()),
            sensitivity: Sensitivity::Unprotected,
            days: Some(vec![1, 2, 3, 4, 5]),
            hours: Some((8 * HOUR, 18 * HOUR)),
            local: (1, 8 * HOUR),
            longest: HOUR,
            decision: Decision::Automatic,
            groups: vec![],
            lifetime: HOUR,
        }
    }

    #[test]
    fn each_condition_keeps_a_rule_from_what_it_is_not_for() {
        let (object, groups) = (table("public", "t"), ["staff".to_owned()]);
        let wish = Wish {
            object: &object,
            privileges: Privileges::NONE.with(Privilege::Select),
            groups: &groups,
            protected: false,
            duration: HOUR,
        };
        assert_eq!(rule().unfit(&wish), None);
        for (changed, about) in [
            (Rule { pattern: Pattern::Exactly(table("public", "u")), ..rule() }, "objects"),
            (Rule { privileges: Privileges::NONE.with(Privilege::Reveal), ..rule() }, "privileges"),
            (Rule { asker_group: Some("dba".into()), ..rule() }, "group"),
            (Rule { sensitivity: Sensitivity::Protected, ..rule() }, "mask"),
            (Rule { longest: HOUR - 1, ..rule() }, "time"),
            (Rule { local: (6, 8 * HOUR), ..rule() }, "days"),
            (Rule { local: (1, 8 * HOUR - 1), ..rule() }, "hours"),
            (Rule { local: (1, 18 * HOUR), ..rule() }, "hours"),
        ] {
            assert!(changed.unfit(&wish).is_some_and(|why| why.contains(about)), "{about}");
            assert!(first(&[changed, rule()], &wish).is_some_and(|rule| rule.pattern == Pattern::Any));
        }
        let more = Wish { privileges: wish.privileges.with(Privilege::Export), ..wish.clone() };
        assert!(first(&[rule()], &more).is_none());
        assert!(Rule { asker_group: None, days: None, hours: None, ..rule() }.unfit(&wish).is_none());
    }

    #[test]
    fn a_pattern_covers_what_is_in_it_and_nothing_around_it() {
        let objects = [ObjectName::Database, schema("public"), table("public", "t"), table("sales", "t")];
        for (text, covered) in [
            ("any", [true, true, true, true]),
            ("DATABASE", [true, false, false, false]),
            ("SCHEMA *", [false, true, true, true]),
            ("schema Public", [false, true, true, false]),
            (" TABLE  * ", [false, false, true, true]),
            ("TABLE public.t", [false, false, true, false]),
            ("SCHEMA \"*\"", [false, false, false, false]),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(objects.each_ref().map(|object| pattern.covers(object)), covered, "{text}");
            assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern), "{text}");
        }
        for text in ["", "*", "ANY *", "TABLE public.*", "SCHEMA", "TABLE t", "ANY; DATABASE"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
