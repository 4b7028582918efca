//! Whether a statement may run: pure rules over facts that others collected.
//!
//! Promises: on a role in `identify` mode nothing runs without a person but what touches no data
//! and the identification itself; in `govern` mode each relation a statement uses needs, for each
//! thing it does to it, a grant of that person that is live now. A grant on some rows covers a statement only as it was
//! limited to them when it was planned ([`limits`]). Statements are allowed by a list of what is known
//! to be harmless or covered; what is unknown is refused.
//!
//! Does not promise that the database itself allows the statement: its privileges are checked
//! after ours, and the gate only narrows. Built-in functions need no grant; what any function does is judged by the
//! statements it runs.

mod error;
mod exempt;
pub mod export;
mod named;
pub mod rule;
mod sql;
pub mod volume;

pub use error::GateError;
pub use named::{check_ad_hoc, check_query};

use crate::access::live::{LiveGrants, Place};
use crate::access::reliance::{self, Need};
use crate::access::{self, Privilege, Privileges};
use crate::error::ServerError;
use crate::identity::Person;
use crate::identity::enrolled::{self, Mode};
use crate::pg::builtin;
use crate::pg::query::RelationUse;
use crate::pg::row_filter::Limits;
use crate::pg::{catalog, session};
use exempt::Kind;
use export::Means;
use pgrx::pg_sys::Oid;
use rule::{Claim, Cover, Limited, Refusal, Standing, Why};

/// Who wants something, on which terms, and when.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The enrolled role the session belongs to.
    pub role: Oid,
    pub mode: Mode,
    pub person: Option<&'a Person>,
    /// Whether he may run anything but named queries.
    pub ad_hoc: bool,
    /// Microseconds since 2000.
    pub now: i64,
}

/// A statement that the executor is about to run.
#[derive(Clone, Copy)]
pub struct Statement<'a> {
    /// One entry per range table entry whose privileges PostgreSQL checks.
    pub uses: &'a [RelationUse],
    /// It is the query inside COPY (...) TO, or feeds something like it.
    pub exporting: Option<Means>,
    /// It calls nothing but set_identity, clear_identity and whoami, and reads no relation.
    pub identifying: bool,
}

/// A utility statement, sorted by what it needs. The caller keeps the list of node types; a type
/// that is on no list is [`UtilityUse::Ddl`] without a relation.
#[derive(Clone, Copy)]
pub enum UtilityUse<'a> {
    /// Touches no data: transaction control, SET, SHOW, RESET, DISCARD, DEALLOCATE, CLOSE, LISTEN, UNLISTEN.
    Harmless,
    /// Runs statements that come to the gate themselves: PREPARE, EXECUTE, EXPLAIN, DECLARE CURSOR,
    /// FETCH, CALL, DO, COPY (query) TO.
    Carrier,
    /// Works on relations without a plan: COPY table FROM (insert), COPY table TO (select,
    /// exporting), TRUNCATE (truncate), LOCK (select). None at all means that there is no such relation.
    Relations { uses: &'a [RelationUse], exporting: Option<Means> },
    /// Defines, changes or maintains a relation, or else something of the database.
    Ddl { relation: Option<Oid> },
    /// The same for several relations.
    DdlOn { relations: &'a [Oid] },
    /// Makes something in a schema.
    DdlIn { schema: Oid },
    /// Needs this on the whole database.
    Needs(Privilege),
}

/// What the gate says.
#[must_use]
#[derive(Debug)]
pub enum Verdict {
    /// It may run; these grants are what it relies on.
    Allowed {
        grants: Vec<i64>,
    },
    Denied(GateError),
}

impl Verdict {
    const FREE: Self = Self::Allowed { grants: Vec::new() };

    fn of(judged: Result<Vec<i64>, GateError>) -> Self {
        match judged {
            Ok(grants) => Self::Allowed { grants },
            Err(error) => Self::Denied(error),
        }
    }

    /// The grants, or the error to raise.
    pub fn into_result(self) -> Result<Vec<i64>, GateError> {
        match self {
            Self::Allowed { grants } => Ok(grants),
            Self::Denied(error) => Err(error),
        }
    }
}

/// The table behind a generated view, whose grants count for the view too.
pub type AliasOf<'a> = &'a dyn Fn(Oid) -> Result<Option<Oid>, ServerError>;

/// Judges a statement of an enrolled role.
pub fn check(asker: &Asker<'_>, statement: &Statement<'_>, alias_of: AliasOf<'_>) -> Verdict {
    if asker.mode == Mode::Observe || statement.identifying && statement.uses.is_empty() {
        return Verdict::FREE;
    }
    Verdict::of(person_of(asker).and_then(|person| {
        if asker.mode != Mode::Govern {
            return Ok(Vec::new());
        }
        covered_uses(asker, person, statement.uses, statement.exporting, alias_of)
    }))
}

/// Judges a utility statement of an enrolled role.
pub fn check_utility(asker: &Asker<'_>, utility: UtilityUse<'_>, alias_of: AliasOf<'_>) -> Verdict {
    if asker.mode == Mode::Observe || matches!(utility, UtilityUse::Harmless) {
        return Verdict::FREE;
    }
    Verdict::of(person_of(asker).and_then(|person| {
        if asker.mode != Mode::Govern {
            return Ok(Vec::new());
        }
        match utility {
            UtilityUse::Harmless | UtilityUse::Carrier => Ok(Vec::new()),
            UtilityUse::Relations { uses: [], .. } => Err(GateError::UnknownRelation),
            UtilityUse::Relations { uses, exporting } => {
                covered_uses(asker, person, uses, exporting, alias_of)
            }
            UtilityUse::Ddl { relation: Some(relation) } => defines(asker, person, relation),
            UtilityUse::DdlOn { relations } => {
                let mut grants = Vec::new();
                for relation in relations {
                    rule::add(&mut grants, &defines(asker, person, *relation)?);
                }
                Ok(grants)
            }
            UtilityUse::DdlIn { schema } => {
                match covering(asker, person, Place::Schema(schema), Privilege::Ddl)? {
                    Some(grant) => Ok(vec![grant]),
                    None => Err(GateError::no_schema(schema, Privilege::Ddl)),
                }
            }
            UtilityUse::Needs(privilege) => covered_at(asker, person, Place::Database, privilege, None),
            UtilityUse::Ddl { relation: None } => {
                covered_at(asker, person, Place::Database, Privilege::Ddl, None)
            }
        }
    }))
}

/// Judges the call of a function that did not come with the server, or that reaches what no statement names. The
/// grants are no part of the record: what the function does to data is judged, and recorded, by itself.
pub fn check_function(asker: &Asker<'_>, function: Oid) -> Result<(), GateError> {
    named::check_function(asker, function)?;
    if asker.mode != Mode::Govern {
        return Ok(());
    }
    if let Some(privilege) = export::needed_for(builtin::reach(function)) {
        return covered_at(asker, person_of(asker)?, Place::Database, privilege, None).map(drop);
    }
    if Means::of_function(function).is_some() {
        let _ = covered_at(asker, person_of(asker)?, Place::Database, Privilege::Export, None)?;
    }
    let Some(schema) = catalog::namespace_of_function(function) else { return Ok(()) };
    // Those of ours say themselves whom they serve, and a session's temporary ones are its own text.
    if exempt::kind_of(schema) != Kind::Ordinary || builtin::is_behind_a_sign(function) {
        return Ok(());
    }
    let person = person_of(asker)?;
    let place = Place::Function { function, schema };
    match covering(asker, person, place, Privilege::Execute)? {
        Some(_) => Ok(()),
        None => Err(GateError::no_function(function, schema)),
    }
}

/// To which rows a use of a relation is to be limited, if to any. Says nothing of whether it is allowed: that is
/// judged when the statement starts, and then it must have been limited to just these.
pub fn limits(
    asker: &Asker<'_>,
    used: &RelationUse,
    exporting: bool,
    alias_of: AliasOf<'_>,
) -> Result<Option<Limits>, GateError> {
    let Some(person) = asker.person.filter(|_| asker.mode == Mode::Govern) else { return Ok(None) };
    let live = access::live_for(person)?;
    if !live.has_rows() {
        return Ok(None);
    }
    let claim = claim(used, exporting, alias_of)?;
    let covers = |claim: &Claim, place, need| covers(&live, claim, place, need, asker.now);
    let Ok(limited) = rule::cover(&claim, covers, |_, _| {}) else { return Ok(None) };
    Ok(if limited.0.is_empty() { None } else { spelled(&live, &limited) })
}

/// Whether the person holds anything for which [`limits`] is to be asked.
pub fn may_limit(asker: &Asker<'_>) -> Result<bool, GateError> {
    match asker.person.filter(|_| asker.mode == Mode::Govern) {
        Some(person) => Ok(access::live_for(person)?.has_rows()),
        None => Ok(false),
    }
}

/// The conditions behind the grants; nothing, and so no stamp, if one is not there.
fn spelled(live: &LiveGrants, limited: &Limited) -> Option<Limits> {
    let mut limits = Limits { stamp: limited.stamp(), ..Limits::default() };
    for (privilege, grants) in &limited.0 {
        let conditions: Option<Vec<_>> = grants.iter().map(|grant| live.predicate(*grant).cloned()).collect();
        let conditions = conditions.filter(|conditions| !conditions.is_empty())?;
        match privilege {
            Privilege::Insert => limits.insert = conditions,
            Privilege::Update => limits.update = conditions,
            Privilege::Delete => limits.delete = conditions,
            _ => limits.select.push(conditions),
        }
    }
    Some(limits)
}

fn covers(live: &LiveGrants, claim: &Claim, place: Place, need: Privilege, now: i64) -> Cover {
    if let Some(grant) = live.covering(place, need, now) {
        return Cover::Whole(grant.id);
    }
    // Columns and rows are those of the relation that is named, not of one that shows it.
    let Place::Relation { relation, .. } = place else { return Cover::Nothing };
    if relation != claim.relation {
        return Cover::Nothing;
    }
    let [read, written] = &claim.columns;
    let columns = match need {
        Privilege::Select | Privilege::Export => Some(read),
        Privilege::Insert | Privilege::Update => Some(written),
        _ => None,
    };
    if let Some(columns) = columns
        && let Some(grants) = covers_columns(live, relation, columns, need, now)
    {
        return Cover::Columns(grants);
    }
    let rows = live.covering_rows(relation, need, now);
    if rows.is_empty() { Cover::Nothing } else { Cover::Rows(rows) }
}

fn covers_columns(
    live: &LiveGrants,
    relation: Oid,
    columns: &[i16],
    need: Privilege,
    now: i64,
) -> Option<Vec<i64>> {
    // None is granted: no need to ask which columns there are.
    live.covering_columns(relation, &[], need, now)?;
    if !columns.contains(&0) {
        return live.covering_columns(relation, columns, need, now);
    }
    let all: Vec<i16> = catalog::columns(relation).iter().map(|(_, column)| column.number).collect();
    let system = columns.iter().copied().filter(|column| *column < 0);
    live.covering_columns(relation, &all.into_iter().chain(system).collect::<Vec<_>>(), need, now)
}

fn defines(asker: &Asker<'_>, person: &Person, relation: Oid) -> Result<Vec<i64>, GateError> {
    let schema = catalog::namespace_of(relation).unwrap_or(Oid::INVALID);
    covered_at(asker, person, Place::Relation { relation, schema }, Privilege::Ddl, Some(relation))
}

/// The person, alive. Sessions end persons themselves; an end that was overlooked still counts here.
fn person_of<'a>(asker: &Asker<'a>) -> Result<&'a Person, GateError> {
    match asker.person {
        Some(person) if asker.now < person.expires_at => Ok(person),
        _ => Err(GateError::no_person(asker.role)),
    }
}

/// The grants that cover all uses. What leaves the database and is of no table that can be granted needs a grant on
/// all of it.
fn covered_uses(
    asker: &Asker<'_>,
    person: &Person,
    uses: &[RelationUse],
    exporting: Option<Means>,
    alias_of: AliasOf<'_>,
) -> Result<Vec<i64>, GateError> {
    let exporting = exporting.or_else(|| Means::of_uses(uses));
    let claims = claims(uses, exporting.is_some(), alias_of)?;
    let mut grants = covered(asker, person, &claims)?;
    if exporting.is_some_and(Means::leaves) && !claims.iter().any(Claim::is_exported) {
        grants.extend(covered_at(asker, person, Place::Database, Privilege::Export, None)?);
    }
    Ok(grants)
}

fn claims(uses: &[RelationUse], exporting: bool, alias_of: AliasOf<'_>) -> Result<Vec<Claim>, GateError> {
    uses.iter().map(|used| claim(used, exporting, alias_of)).collect()
}

/// What a use of a relation asks for, with what the catalogs say of the relation.
fn claim(used: &RelationUse, exporting: bool, alias_of: AliasOf<'_>) -> Result<Claim, GateError> {
    let needs = Privileges::NONE
        .when(used.select, Privilege::Select)
        .when(used.insert, Privilege::Insert)
        .when(used.update, Privilege::Update)
        .when(used.delete, Privilege::Delete)
        .when(used.truncate, Privilege::Truncate)
        .when(exporting && used.select || export::sends(used), Privilege::Export);
    let schema = catalog::namespace_of(used.relid).unwrap_or(Oid::INVALID);
    let alias = alias_of(used.relid)?;
    let standing = match exempt::kind_of(schema) {
        Kind::System => Standing::System,
        Kind::Temporary => Standing::Temporary,
        Kind::Ordinary => match used.through {
            Some(owner) if enrolled::mode_of(owner)?.is_none() => Standing::ThroughOwner,
            _ => Standing::Own,
        },
    };
    let behind = alias.map(|relation| Place::Relation {
        relation,
        schema: catalog::namespace_of(relation).unwrap_or(Oid::INVALID),
    });
    Ok(Claim {
        relation: used.relid,
        asked_at: alias.unwrap_or(used.relid),
        places: [Some(Place::Relation { relation: used.relid, schema }), behind],
        needs,
        standing,
        columns: [used.selected.clone(), used.written.clone()],
        limits: used.limits,
    })
}

fn covered(asker: &Asker<'_>, person: &Person, claims: &[Claim]) -> Result<Vec<i64>, GateError> {
    if claims.iter().all(|claim| !claim.is_judged()) {
        return Ok(Vec::new());
    }
    let live = access::live_for(person)?;
    let mut met = Vec::new();
    let covers = |claim: &Claim, place, need| covers(&live, claim, place, need, asker.now);
    rule::judge(claims, covers, |claim, need, cover| met.push((claim, need, cover))).map_err(refused)?;
    let mut grants = Vec::new();
    for (claim, need, cover) in &met {
        rely(&live, claim, *need, cover, asker.now);
        rule::add(&mut grants, cover.grants());
    }
    Ok(grants)
}

#[cold]
fn refused(Refusal { relation, asked_at, why }: Refusal) -> GateError {
    match why {
        Why::Missing(lacking) => GateError::no_grant(Some(relation), Some(asked_at), lacking),
        // What was planned before is planned anew the next time.
        Why::Unlimited(lacking) => {
            session::forget_plans();
            GateError::rows_only(relation, asked_at, lacking)
        }
        Why::Outdated => {
            session::forget_plans();
            GateError::Outdated
        }
    }
}

/// Notes what keeps a statement going whose need of a claim is covered.
fn rely(live: &LiveGrants, claim: &Claim, need: Privilege, cover: &Cover, now: i64) {
    match cover {
        Cover::Whole(_) => {
            let places = claim.judged().into_iter().flat_map(|(_, places)| places).flatten();
            reliance::needs(Need::Govern, places.flat_map(|place| live.permitting(place, need, now)));
        }
        // One for each column.
        Cover::Columns(grants) => {
            grants.iter().for_each(|grant| reliance::needs(Need::Govern, live.like(*grant, need, now)));
        }
        // It sees the rows of each.
        Cover::Rows(grants) => grants
            .iter()
            .for_each(|grant| reliance::needs(Need::Govern, live.get(*grant).copied().into_iter())),
        Cover::Nothing => {}
    }
}

/// The grant of the person's that permits something at all of a place.
fn covering(
    asker: &Asker<'_>,
    person: &Person,
    place: Place,
    privilege: Privilege,
) -> Result<Option<i64>, ServerError> {
    let live = access::live_for(person)?;
    let grant = live.covering(place, privilege, asker.now);
    reliance::needs(Need::Govern, live.permitting(place, privilege, asker.now));
    Ok(grant.map(|grant| grant.id))
}

fn covered_at(
    asker: &Asker<'_>,
    person: &Person,
    place: Place,
    privilege: Privilege,
    relation: Option<Oid>,
) -> Result<Vec<i64>, GateError> {
    match covering(asker, person, place, privilege)? {
        Some(grant) => Ok(vec![grant]),
        None => Err(GateError::no_grant(relation, relation, Privileges::NONE.with(privilege))),
    }
}
