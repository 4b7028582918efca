//! Whether a statement may run: pure rules over facts that others collected.
//!
//! Promises: on a role in `identify` mode nothing runs without a person but what touches no data
//! and the identification itself; in `govern` mode each relation a statement uses needs, for each
//! thing it does to it, a grant of that person that is live now. Statements are allowed by a list of what is known
//! to be harmless or covered; what is unknown is refused.
//!
//! Does not promise that the database itself allows the statement: its privileges are checked
//! after ours, and the gate only narrows. Functions are judged by the statements they run.

mod error;
mod exempt;
pub mod rule;

pub use error::GateError;

use crate::access::grant::Place;
use crate::access::{self, Privilege, Privileges};
use crate::error::ServerError;
use crate::identity::Person;
use crate::identity::enrolled::{self, Mode};
use crate::pg::catalog;
use crate::pg::query::RelationUse;
use exempt::Kind;
use pgrx::pg_sys::Oid;
use rule::{Claim, Missing, Standing};

/// Who wants something, on which terms, and when.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The enrolled role the session belongs to.
    pub role: Oid,
    pub mode: Mode,
    pub person: Option<&'a Person>,
    /// Microseconds since 2000.
    pub now: i64,
}

/// A statement that the executor is about to run.
#[derive(Clone, Copy)]
pub struct Statement<'a> {
    /// One entry per range table entry whose privileges PostgreSQL checks.
    pub uses: &'a [RelationUse],
    /// It is the query inside COPY (...) TO, or feeds something like it.
    pub exporting: bool,
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
    Relations { uses: &'a [RelationUse], exporting: bool },
    /// Defines, changes or maintains a relation, or else something of the database.
    Ddl { relation: Option<Oid> },
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
        let claims = claims(statement.uses, statement.exporting, alias_of)?;
        let needs_export_itself = statement.exporting && claims.iter().all(|claim| !claim.is_judged());
        let mut grants = covered(asker, person, &claims)?;
        if needs_export_itself {
            grants.extend(covered_at(asker, person, Place::Database, Privilege::Export, None)?);
        }
        Ok(grants)
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
                covered(asker, person, &claims(uses, exporting, alias_of)?)
            }
            UtilityUse::Ddl { relation: Some(relation) } => {
                let schema = catalog::namespace_of(relation).unwrap_or(Oid::INVALID);
                covered_at(
                    asker,
                    person,
                    Place::Relation { relation, schema },
                    Privilege::Ddl,
                    Some(relation),
                )
            }
            UtilityUse::Ddl { relation: None } => {
                covered_at(asker, person, Place::Database, Privilege::Ddl, None)
            }
        }
    }))
}

/// The person, alive. Sessions end persons themselves; an end that was overlooked still counts here.
fn person_of<'a>(asker: &Asker<'a>) -> Result<&'a Person, GateError> {
    match asker.person {
        Some(person) if asker.now < person.expires_at => Ok(person),
        _ => Err(GateError::no_person(asker.role)),
    }
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
        .when(exporting && used.select, Privilege::Export);
    let schema = catalog::namespace_of(used.relid).unwrap_or(Oid::INVALID);
    let alias = alias_of(used.relid)?;
    let standing = match exempt::kind_of(used.relid, schema) {
        Kind::System => Standing::System,
        Kind::Temporary => Standing::Temporary,
        Kind::Ordinary => match used.through {
            Some(owner) if enrolled::mode_of(owner)?.is_none() => Standing::ThroughOwner,
            _ => Standing::Own,
        },
    };
    let mut places = vec![Place::Relation { relation: used.relid, schema }];
    if let Some(relation) = alias {
        places.push(Place::Relation {
            relation,
            schema: catalog::namespace_of(relation).unwrap_or(Oid::INVALID),
        });
    }
    Ok(Claim { relation: used.relid, asked_at: alias.unwrap_or(used.relid), places, needs, standing })
}

fn covered(asker: &Asker<'_>, person: &Person, claims: &[Claim]) -> Result<Vec<i64>, GateError> {
    if claims.iter().all(|claim| !claim.is_judged()) {
        return Ok(Vec::new());
    }
    let live = access::live_for(person)?;
    rule::judge(claims, |place, privilege| live.covering(place, privilege, asker.now).map(|grant| grant.id))
        .map_err(|Missing { relation, asked_at, privileges }| {
            GateError::no_grant(person, Some(relation), Some(asked_at), privileges)
        })
}

fn covered_at(
    asker: &Asker<'_>,
    person: &Person,
    place: Place,
    privilege: Privilege,
    relation: Option<Oid>,
) -> Result<Vec<i64>, GateError> {
    match access::live_for(person)?.covering(place, privilege, asker.now) {
        Some(grant) => Ok(vec![grant.id]),
        None => Err(GateError::no_grant(person, relation, relation, Privileges::NONE.with(privilege))),
    }
}
