//! Setting and dropping rules.

use super::RequestError;
use super::machine::Decision;
use super::rule::{Pattern, Sensitivity};
use super::store;
use crate::access::error::AccessError;
use crate::access::grant::{Actor, LONGEST_DAYS};
use crate::access::privilege::{Privilege, Privileges};
use crate::event::{Note, Outcome};
use crate::identity::session as identity;
use crate::pg::{shared, spi};
use crate::trail;
use serde_json::{Value, json};

const DAY: i128 = 86_400_000_000;

/// The arguments of `access.set_rule`, as they came; lengths in microseconds, times of the day too.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub name: Option<String>,
    pub decision: Option<String>,
    pub on_object: Option<String>,
    pub privileges: Option<Vec<Option<String>>>,
    pub asker_group: Option<String>,
    pub sensitivity: Option<String>,
    pub days: Option<Vec<Option<i32>>>,
    pub from_time: Option<i64>,
    pub until_time: Option<i64>,
    pub time_zone: Option<String>,
    pub longest: Option<i128>,
    pub approver_groups: Option<Vec<Option<String>>>,
    pub priority: Option<i32>,
    pub lifetime: Option<i128>,
}

/// A rule that makes sense by itself; whether its time zone exists is for the server to say.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub name: String,
    pub decision: Decision,
    pub pattern: Pattern,
    pub privileges: Privileges,
    pub asker_group: Option<String>,
    pub sensitivity: Sensitivity,
    pub days: Option<Vec<i32>>,
    pub hours: Option<(i64, i64)>,
    pub time_zone: String,
    pub longest: i64,
    pub groups: Vec<String>,
    pub priority: i32,
    pub lifetime: i64,
}

impl Asked {
    fn checked(self) -> Result<Wanted, RequestError> {
        let name = text(self.name, "name")?;
        let decision = text(self.decision, "decision")?;
        let decision = Decision::parse(&decision).ok_or(RequestError::UnknownDecision(decision))?;
        let on_object = text(self.on_object, "on_object")?;
        let pattern = Pattern::parse(&on_object).map_err(|_| RequestError::NotAPattern(on_object))?;
        let mut privileges = Privileges::NONE;
        for word in self.privileges.ok_or_else(|| null("privileges"))? {
            let word = word.ok_or_else(|| null("privileges"))?;
            privileges = privileges.with(Privilege::parse(&word).ok_or(AccessError::UnknownPrivilege(word))?);
        }
        if privileges.is_empty() {
            return Err(AccessError::NoPrivileges.into());
        }
        let asker_group = self.asker_group.map(|group| text(Some(group), "asker_group")).transpose()?;
        let sensitivity = text(self.sensitivity, "sensitivity")?;
        let sensitivity =
            Sensitivity::parse(&sensitivity).ok_or(RequestError::UnknownSensitivity(sensitivity))?;
        let days = self.days.map(days).transpose()?;
        let hours = match (self.from_time, self.until_time) {
            (None, None) => None,
            (Some(from), Some(until)) if from < until => Some((from, until)),
            (Some(_), Some(_)) => return Err(RequestError::InvertedHours),
            _ => return Err(RequestError::HalfHours),
        };
        let longest = match self.longest.ok_or_else(|| null("longest"))? {
            ..=0 => return Err(AccessError::DurationNotPositive.into()),
            fits if fits <= i128::from(LONGEST_DAYS) * DAY => micros(fits),
            _ => return Err(AccessError::DurationTooLong(LONGEST_DAYS).into()),
        };
        let lifetime = self.lifetime.ok_or_else(|| null("request_lifetime"))?;
        if !(1..=30 * DAY).contains(&lifetime) {
            return Err(RequestError::OddLifetime);
        }
        let groups = self
            .approver_groups
            .ok_or_else(|| null("approver_groups"))?
            .into_iter()
            .map(|group| text(group, "approver_groups"))
            .collect::<Result<Vec<_>, _>>()?;
        let needed = match decision {
            Decision::Automatic => (groups.is_empty(), "no"),
            Decision::One => (!groups.is_empty(), "one or more"),
            Decision::Two => (groups.len() == 2, "two"),
        };
        if !needed.0 {
            let (decision, given) = (decision.word(), groups.len());
            return Err(RequestError::WrongGroups { decision, needed: needed.1, given });
        }
        Ok(Wanted {
            name,
            decision,
            pattern,
            privileges,
            asker_group,
            sensitivity,
            days,
            hours,
            time_zone: text(self.time_zone, "time_zone")?,
            longest,
            groups,
            priority: self.priority.ok_or_else(|| null("priority"))?,
            lifetime: micros(lifetime),
        })
    }
}

fn micros(checked: i128) -> i64 {
    i64::try_from(checked).unwrap_or(i64::MAX)
}

fn null(argument: &'static str) -> RequestError {
    AccessError::NullArgument(argument).into()
}

/// A text that says something.
pub fn text(value: Option<String>, argument: &'static str) -> Result<String, RequestError> {
    let value = value.ok_or_else(|| null(argument))?;
    match value.trim().is_empty() {
        true => Err(AccessError::EmptyArgument(argument).into()),
        false => Ok(value),
    }
}

fn days(days: Vec<Option<i32>>) -> Result<Vec<i32>, RequestError> {
    let mut days =
        days.into_iter().map(|day| day.ok_or_else(|| null("days"))).collect::<Result<Vec<_>, _>>()?;
    days.sort_unstable();
    days.dedup();
    match days.iter().find(|day| !(1..=7).contains(*day)) {
        Some(day) => Err(RequestError::NotADay(*day)),
        None if days.is_empty() => Err(RequestError::NoDays),
        None => Ok(days),
    }
}

/// Sets a rule, in the place of one of its name if there is one.
pub fn set(asked: Asked) -> Result<(), RequestError> {
    shared::preloaded()?;
    let wanted = asked.checked()?;
    let (revision, replaced) = spi::as_owner(|client| {
        if !store::has_time_zone(client, &wanted.time_zone)? {
            return Err(RequestError::UnknownTimeZone(wanted.time_zone.clone()));
        }
        store::set_rule(client, &wanted, &actor())
    })?;
    let clock = |at: i64| format!("{:02}:{:02}", at / 3_600_000_000, at / 60_000_000 % 60);
    record(
        &wanted.name,
        &json!({
            "action": "set", "revision": revision, "replaced": replaced, "decision": wanted.decision.word(),
            "on_object": wanted.pattern.to_string(), "privileges": wanted.privileges.words(),
            "asker_group": wanted.asker_group, "sensitivity": wanted.sensitivity.word(), "days": wanted.days,
            "hours": wanted.hours.map(|(from, until)| [clock(from), clock(until)]), "time_zone": wanted.time_zone,
            "longest_seconds": wanted.longest / 1_000_000, "approver_groups": wanted.groups,
            "priority": wanted.priority, "request_lifetime_seconds": wanted.lifetime / 1_000_000,
        }),
    )
}

/// Drops a rule.
pub fn drop(name: Option<String>) -> Result<(), RequestError> {
    shared::preloaded()?;
    let name = name.ok_or_else(|| null("name"))?;
    if !spi::as_owner(|client| store::drop_rule(client, &name))? {
        return Err(RequestError::UnknownRule(name));
    }
    record(&name, &json!({"action": "drop"}))
}

/// The person on whose behalf the session acts, if there is one.
pub fn actor() -> Actor {
    let person = identity::live();
    Actor {
        user_id: person.as_ref().map(|person| person.user_id.clone()),
        issuer: person.map(|person| person.issuer.clone()),
    }
}

fn record(rule: &str, detail: &Value) -> Result<(), RequestError> {
    let (object, detail) = (Some(rule.to_owned()), Some(detail.to_string()));
    Ok(trail::note(&Note { event: "rule", outcome: Outcome::Ok, sqlstate: None, object, detail })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        let texts = |words: &[&str]| Some(words.iter().map(|word| Some((*word).to_owned())).collect());
        Asked {
            name: Some("r".into()),
            decision: Some("two approvers".into()),
            on_object: Some("ANY".into()),
            privileges: texts(&["select"]),
            sensitivity: Some("any".into()),
            time_zone: Some("UTC".into()),
            longest: Some(1),
            approver_groups: texts(&["peers", "managers"]),
            priority: Some(1),
            lifetime: Some(1),
            ..Asked::default()
        }
    }

    #[test]
    fn a_malformed_rule_is_refused_with_a_hint() {
        use crate::error::Report;
        let groups = |groups: &[Option<&str>]| {
            Some(groups.iter().map(|group| group.map(str::to_owned)).collect::<Vec<_>>())
        };
        assert!(asked().checked().is_ok());
        for (wrong, message) in [
            (Asked { name: None, ..asked() }, "\"name\" must not be null"),
            (Asked { name: Some(" ".into()), ..asked() }, "\"name\" must not be empty"),
            (Asked { decision: Some("none".into()), ..asked() }, "unrecognized decision"),
            (Asked { on_object: Some("TABLE t".into()), ..asked() }, "cannot set a rule about"),
            (Asked { privileges: Some(vec![]), ..asked() }, "at least one privilege"),
            (Asked { privileges: groups(&[Some("all")]), ..asked() }, "unrecognized privilege"),
            (Asked { asker_group: Some(String::new()), ..asked() }, "\"asker_group\" must not be empty"),
            (Asked { sensitivity: Some("secret".into()), ..asked() }, "unrecognized sensitivity"),
            (Asked { days: Some(vec![]), ..asked() }, "at least one day"),
            (Asked { days: Some(vec![Some(0)]), ..asked() }, "0 is not a day"),
            (Asked { days: Some(vec![Some(8)]), ..asked() }, "8 is not a day"),
            (Asked { from_time: Some(5), ..asked() }, "a beginning and an end"),
            (Asked { from_time: Some(5), until_time: Some(5), ..asked() }, "end after they begin"),
            (Asked { from_time: Some(6), until_time: Some(5), ..asked() }, "end after they begin"),
            (Asked { longest: Some(0), ..asked() }, "must be positive"),
            (Asked { longest: Some(31 * DAY), ..asked() }, "must not exceed 30 days"),
            (Asked { longest: Some(i128::MAX), ..asked() }, "must not exceed 30 days"),
            (Asked { lifetime: Some(0), ..asked() }, "must wait for a positive time"),
            (Asked { lifetime: Some(i128::MAX), ..asked() }, "must wait for a positive time"),
            (Asked { approver_groups: groups(&[]), ..asked() }, "needs two groups of approvers, not 0"),
            (Asked { approver_groups: groups(&[Some("a"), None]), ..asked() }, "must not be null"),
            (Asked { approver_groups: groups(&[Some("a"), Some("")]), ..asked() }, "must not be empty"),
            (Asked { decision: Some("automatic".into()), ..asked() }, "needs no groups of approvers, not 2"),
            (
                Asked { decision: Some("one approver".into()), approver_groups: groups(&[]), ..asked() },
                "needs one or more groups",
            ),
        ] {
            let error = wrong.checked().unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            let named = error.to_string().starts_with("argument ");
            assert!(named || error.hint().is_some(), "{error}");
        }
    }
}
