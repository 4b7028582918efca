//! Who sees what of a table, and why.

use crate::access;
use crate::identity::Person;
use crate::masking::clearance::{Verdict, judge};
use crate::masking::known::{self, Known, Protected, Source};
use crate::masking::{MaskError, store};
use crate::pg::{catalog, lineage, session, shared, spi};
use pgrx::pg_sys::Oid;

/// What a person sees of a column.
pub struct Explained {
    pub column: String,
    /// `clear`, `masked` or, without any policy, `unprotected`.
    pub sees: &'static str,
    pub masking: Option<String>,
    pub policy: Option<i64>,
    pub place: Option<i32>,
    pub origin: Option<String>,
    pub reason: String,
    /// When it ends, in microseconds since 2000.
    pub until: Option<i64>,
}

/// Every column of the table, for the person with these groups, now.
pub fn explain(
    relation: Option<Oid>,
    user_id: Option<String>,
    issuer: Option<String>,
    groups: Option<Vec<Option<String>>>,
) -> Result<Vec<Explained>, MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let user_id = user_id.ok_or(MaskError::NullArgument("user_id"))?;
    spi::as_owner(|client| store::table(client, relation).map(|_| ()))?;
    let groups = groups.unwrap_or_default().into_iter().flatten().collect();
    let person = Person::absent(issuer.unwrap_or_default(), user_id, groups);
    let now = session::now();
    let live = access::live_of(&person, now)?;
    let known = known::current()?;
    let columns = known.columns_of(relation);
    Ok(lineage::columns(relation)
        .into_iter()
        .map(|column| match columns.iter().find(|protected| protected.attnum == column.number) {
            None => Explained {
                column: column.name,
                sees: "unprotected",
                masking: None,
                policy: None,
                place: None,
                origin: None,
                reason: "no policy names it".into(),
                until: None,
            },
            Some(protected) => {
                let verdict = judge(&known, protected, relation, Some(&person), &live, now);
                told(&known, protected, &person, verdict, now)
            }
        })
        .collect())
}

fn told(known: &Known, column: &Protected, person: &Person, verdict: Verdict, now: i64) -> Explained {
    let policy = verdict.policy.and_then(|id| known.policy(id));
    let clear = now < verdict.revealed_until;
    let is_whose = || match policy {
        Some(policy) => match policy.for_groups.iter().find(|group| person.is_in(group)) {
            Some(group) => format!("the policy is for group \"{group}\""),
            None => "the policy is for everybody else".into(),
        },
        None => "its policies are for groups of others".into(),
    };
    let reason = match (verdict.grant.filter(|_| clear), policy) {
        (Some(grant), _) => format!("grant {grant} reveals it"),
        (None, Some(policy)) if clear => {
            let group = policy.reveal_to.iter().find(|group| person.is_in(group));
            format!("{}, and reveals to \"{}\"", is_whose(), group.map_or("", String::as_str))
        }
        (None, Some(policy))
            if !policy.masking.as_ref().is_some_and(|masking| masking.fits(&column.base_type)) =>
        {
            format!("{}, and its masking does not fit the type of the column", is_whose())
        }
        _ => is_whose(),
    };
    let masking = match policy {
        Some(policy) => known.masking(policy.id, &column.base_type).to_string(),
        None => "null_value".into(),
    };
    Explained {
        column: column.name.clone(),
        sees: if clear { "clear" } else { "masked" },
        masking: (!clear).then_some(masking),
        policy: verdict.policy,
        place: policy.map(|policy| policy.place),
        origin: Some(match column.source {
            Source::Own => "the table".into(),
            Source::Inherited(parent) => catalog::qualified_name(parent)
                .map_or_else(|| "a parent".into(), |name| String::from_utf8_lossy(&name).into_owned()),
            Source::Default => "a default of the schema".into(),
        }),
        reason,
        until: Some(verdict.revealed_until).filter(|until| clear && *until != i64::MAX),
    }
}
