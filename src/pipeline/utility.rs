//! Utility statements: everything that has no plan of its own.

use super::asker::{self, Asker, refuse};
use super::harmless::needs_nobody;
use super::surroundings::{Surroundings, installed};
use super::{KEY, split, write_fields};
use crate::capture::build::{self, Fields};
use crate::capture::choice;
use crate::capture::failure;
use crate::capture::statement::{self as capture, Facts, Nature};
use crate::error::report;
use crate::event::Outcome;
use crate::gate::{self, UtilityUse};
use crate::identity::{arrival, session as identity};
use crate::ledger::guard;
use crate::masking;
use crate::pg::hooks::{Depth, Ticket};
use crate::pg::query::RelationUse;
use crate::pg::sent;
use crate::pg::sessions::{self, Standing};
use crate::pg::utility::{Kind, Utility};
use crate::pg::{catalog, shared};
use crate::trail;
use crate::workers;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use std::cell::RefCell;

/// What a utility statement means for what happens inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// COPY of a query's result out of the database.
    Exports,
    DropsExtension,
    /// The workers of some database have left it.
    PausedWorkers(u32),
}

thread_local! {
    static SCOPES: RefCell<Vec<(Depth, Scope)>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn is_in(scope: Scope) -> bool {
    SCOPES.with_borrow(|scopes| scopes.iter().any(|(_, open)| *open == scope))
}

fn enter(depth: Depth, scope: Scope) {
    SCOPES.with_borrow_mut(|scopes| scopes.push((depth, scope)));
}

/// Leaves what was entered at `depth` or deeper.
pub(super) fn leave(depth: Depth) {
    let left: Vec<Scope> = SCOPES.with_borrow_mut(|scopes| {
        let first = scopes.partition_point(|(at, _)| *at < depth);
        scopes.drain(first..).map(|(_, scope)| scope).collect()
    });
    for scope in left {
        match scope {
            Scope::Exports => {}
            Scope::DropsExtension => guard::set_dropping(false),
            Scope::PausedWorkers(database) => workers::resume(database),
        }
    }
}

pub(super) fn utility_starting(utility: &Utility<'_>) -> Result<Ticket, ErrorReport> {
    let kind = utility.kind();
    let depth = capture::depth();
    let number = match installed() {
        // Parts of another utility statement were judged and recorded with it.
        Some(known) if !utility.is_subcommand() => judge_utility(utility, &kind, &known)?,
        Some(_) => 0,
        // From a database without the extension, one with a ledger must not be dropped either.
        None => {
            if matches!(kind, Kind::Database { .. }) {
                guard::check_utility(&kind).map_err(report)?;
            }
            0
        }
    };
    if matches!(kind, Kind::Fetch) {
        // What somebody else left open must not be read by who came after.
        identity::close_cursors();
    }
    if utility.discards_all() {
        if depth == 0 {
            sessions::judged(Standing::Excused);
        }
        identity::end();
        arrival::forget();
    }
    match &kind {
        Kind::CopyOut(None) => enter(depth, Scope::Exports),
        Kind::DropExtension(_) if guard::drops_extension(&kind) => {
            guard::set_dropping(true);
            enter(depth, Scope::DropsExtension);
            shared::config_changed();
        }
        // A worker is a connection; PostgreSQL wants none to a database that it drops or copies.
        Kind::Database { name, .. } => {
            if let Some(database) = catalog::database(name) {
                enter(depth, Scope::PausedWorkers(database.to_u32()));
                workers::pause(database.to_u32());
            }
        }
        // What the prepared transaction changed shows from now on.
        Kind::Transaction if utility.command() == b"COMMIT PREPARED" => shared::config_changed(),
        _ => {}
    }
    let nature = if utility.carries() { Nature::Carrier } else { Nature::Utility };
    let names = number != 0 && utility.names_silently();
    let closes = utility.closes_transaction();
    let depth = capture::utility_running(number, nature, utility.place());
    Ok(Ticket { statement: number, depth, names, closes, sent: sent::bytes() })
}

fn judge_utility(utility: &Utility<'_>, kind: &Kind, known: &Surroundings) -> Result<u32, ErrorReport> {
    if !is_harmless(kind) {
        asker::arrive().map_err(report)?;
    }
    let (asker, ended) = Asker::find().map_err(report)?;
    let relids = build::utility_relations(kind);
    let mut relevant = false;
    for relid in &relids {
        relevant |= known.keeps(*relid) || masking::relevant(*relid).map_err(report)?;
    }
    let secrecy = build::utility_secrecy(utility);
    let text = || build::utility_text(utility, secrecy);
    let origin = capture::origin();
    // The gate asks for those of the kind only; the others need a grant for all DDL.
    let named = || [relids.as_slice(), &utility.relations()].concat();
    let bare = || build::utility(utility, kind, origin, &named(), Fields::default());
    if let Some(role) = asker.lacks_person().filter(|_| !needs_nobody(utility, kind)) {
        return Err(match ended {
            Some(error) => refuse(&asker, error, &text(), bare),
            None => refuse(&asker, gate::GateError::no_person(role), &text(), bare),
        });
    }
    let mut grants = Vec::new();
    if let Some(governed) = asker.governed() {
        grants = match judge_uses(&governed, kind, &relids) {
            Ok(grants) => grants,
            Err(error) => return Err(refuse(&asker, error, &text(), bare)),
        };
    }
    let asked = || utility.demand().map_or(Ok(()), |demand| guard::check_demand(&demand));
    if let Err(error) = guard::check_utility(kind).and_then(|()| asked()) {
        return Err(refuse(&asker, error, &text(), bare));
    }
    let class = build::utility_class(utility, kind);
    if !asker.leaves_record(relevant, class, || origin, || utility.text(), || choice::uses_of(kind)) {
        return Ok(0);
    }
    let text = text();
    let (masked, revealed) = match kind {
        // COPY of a table does not go through the executor: what it touches is known from its name only.
        Kind::CopyOut(Some(relid)) if relevant => {
            split(masking::fields_for(&[whole_relation(*relid, Access::Select)]).map_err(report)?)
        }
        _ => Default::default(),
    };
    let mut key = KEY.take();
    key.clear();
    key.extend_from_slice(&catalog::names_generation().to_le_bytes());
    key.push(0xff);
    let named = named();
    key.push(class as u8 | (origin as u8) << 4);
    key.extend_from_slice(utility.command());
    key.push(0);
    for relid in &named {
        key.extend_from_slice(&relid.to_u32().to_le_bytes());
    }
    for column in utility.copied_columns() {
        key.push(0);
        key.extend_from_slice(column);
    }
    write_fields(&mut key, &masked, &revealed);
    let (parameters, parameter_count) = build::parameters(&utility.parameters(), secrecy);
    let facts = Facts {
        at: asker.now,
        text: &text,
        grants: &grants,
        parameters: &parameters,
        parameter_count,
        key: &key,
    };
    if capture::depth() == 0 {
        failure::passed(
            utility.end(),
            [b"COMMIT".as_slice(), b"PREPARE TRANSACTION"].contains(&utility.command()),
        );
    }
    let recorded = capture::start_utility(&facts, || {
        build::utility(utility, kind, origin, &named, Fields { masked: &masked, revealed: &revealed })
    });
    KEY.set(key);
    // Without room in the journal people must still be able to end their transactions. Nor do these wait for the
    // disk: they read and change nothing by themselves.
    if *kind == Kind::Transaction {
        return Ok(recorded.unwrap_or_else(|error| {
            trail::warn(&error);
            0
        }));
    }
    asker.judge(recorded)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Select,
    Insert,
    Truncate,
}

fn whole_relation(relid: Oid, access: Access) -> RelationUse {
    RelationUse {
        relid,
        select: access == Access::Select,
        insert: access == Access::Insert,
        update: false,
        delete: false,
        truncate: access == Access::Truncate,
        through: None,
        selected: if access == Access::Select { vec![0] } else { Vec::new() },
        written: if access == Access::Insert { vec![0] } else { Vec::new() },
    }
}

fn is_harmless(kind: &Kind) -> bool {
    matches!(kind, Kind::Transaction | Kind::Set | Kind::Show | Kind::Session)
}

/// What the gate says of a utility statement: everything that is on no list needs a grant for DDL.
fn judge_uses(asker: &gate::Asker<'_>, kind: &Kind, relids: &[Oid]) -> Result<Vec<i64>, gate::GateError> {
    let judge =
        |wanted: UtilityUse<'_>| gate::check_utility(asker, wanted, &masking::table_behind).into_result();
    let relations = |access: Access, exporting: bool| {
        let uses: Vec<RelationUse> = relids.iter().map(|relid| whole_relation(*relid, access)).collect();
        judge(UtilityUse::Relations { uses: &uses, exporting })
    };
    match kind {
        kind if is_harmless(kind) => judge(UtilityUse::Harmless),
        Kind::Wrapper | Kind::Fetch | Kind::Code | Kind::Messages | Kind::CopyOut(None) => {
            judge(UtilityUse::Carrier)
        }
        Kind::CopyOut(Some(_)) => relations(Access::Select, true),
        Kind::CopyIn(Some(_)) => relations(Access::Insert, false),
        Kind::Truncate(_) => relations(Access::Truncate, false),
        Kind::Lock(_) => relations(Access::Select, false),
        Kind::Attaches(Some(relid)) | Kind::Alters(Some(relid)) => {
            judge(UtilityUse::Ddl { relation: Some(*relid) })
        }
        _ => judge(UtilityUse::Ddl { relation: None }),
    }
}

pub(super) fn utility_ended(utility: &Utility<'_>, ticket: Ticket, processed: u64) {
    leave(ticket.depth);
    let named = if ticket.names { build::named(utility, &utility.kind()) } else { Vec::new() };
    capture::utility_ended(ticket, processed, Outcome::Ok, *b"00000", named);
}

pub(super) fn utility_failed(ticket: Ticket, processed: u64, sqlstate: [u8; 5]) {
    leave(ticket.depth);
    let outcome = Outcome::of_sqlstate(sqlstate);
    capture::utility_ended(ticket, processed, outcome, sqlstate, Vec::new());
}
