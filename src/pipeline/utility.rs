//! Utility statements: everything that has no plan of its own.

use super::asker::{self, Asker, refuse};
use super::harmless::needs_nobody;
use super::queries;
use super::surroundings::{Surroundings, installed};
use super::{KEY, split, write_fields};
use super::{exports, volume};
use crate::access::{self, Privilege, credential, reliance};
use crate::capture::build::{self, Fields};
use crate::capture::choice;
use crate::capture::failure;
use crate::capture::statement::{self as capture, Facts, Nature};
use crate::error::{ServerError, report};
use crate::event::Outcome;
use crate::gate::export::Means;
use crate::gate::{self, UtilityUse};
use crate::identity::{arrival, enrolled, session as identity};
use crate::ledger::guard;
use crate::masking;
use crate::pg::ddl::Ddl;
use crate::pg::hooks::{Depth, Ticket};
use crate::pg::local::process_local;
use crate::pg::query::RelationUse;
use crate::pg::sent;
use crate::pg::sessions::{self, Standing};
use crate::pg::utility::{Kind, Utility};
use crate::pg::{catalog, session, shared};
use crate::trail;
use crate::workers;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use std::cell::{Cell, RefCell};

/// What a utility statement means for what happens inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// A query's result goes out of the database, or into a new table.
    Exports(Means),
    /// DECLARE CURSOR.
    Declares,
    DropsExtension,
    /// The workers of some database have left it.
    PausedWorkers(u32),
}

process_local! {
    static SCOPES: RefCell<Vec<(Depth, Scope)>> = const { RefCell::new(Vec::new()) };
    /// Something may be called otherwise when this transaction has committed.
    static RENAMED: Cell<bool> = const { Cell::new(false) };
}

/// At the end of a transaction: the steward writes down what objects of grants are called by now.
pub(super) fn transaction_ended(committed: bool) {
    if RENAMED.replace(false) && committed {
        shared::config_changed();
    }
}

/// What a query's result is meant for: whatever runs within that may feed it.
pub(super) fn exporting() -> Option<Means> {
    SCOPES.with_borrow(|scopes| scopes.iter().rev().find_map(|(_, open)| means_of(*open)))
}

/// The same of what starts now, if it is the query itself.
pub(super) fn exporting_directly() -> Option<Means> {
    innermost().and_then(means_of)
}

/// Whether what starts now is carried by such a statement.
pub(super) fn is_directly_in(scope: Scope) -> bool {
    innermost() == Some(scope)
}

fn innermost() -> Option<Scope> {
    let depth = capture::depth();
    SCOPES.with_borrow(|scopes| scopes.last().filter(|(at, _)| *at + 1 == depth).map(|(_, scope)| *scope))
}

fn means_of(scope: Scope) -> Option<Means> {
    match scope {
        Scope::Exports(means) => Some(means),
        _ => None,
    }
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
            Scope::Exports(_) | Scope::Declares => {}
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
    if installed().is_some() && !utility.is_subcommand() {
        masking::upkeep::beginning(&utility.reshapes(), depth + 1).map_err(report)?;
    }
    if matches!(kind, Kind::Fetch) {
        // What somebody else left open must not be read by who came after.
        identity::close_cursors();
    }
    if utility.discards_all() {
        if depth == 0 {
            sessions::judged(Standing::Excused);
        }
        identity::hand_on();
        arrival::forget();
    }
    match &kind {
        Kind::CopyOut(None) | Kind::CreateAs | Kind::Wrapper => {
            if let Some(outlet) = utility.outlet() {
                enter(depth, Scope::Exports(Means::of_outlet(outlet)));
            } else if utility.declares_cursor() {
                enter(depth, Scope::Declares);
            }
        }
        Kind::DropExtension(_) if guard::drops_extension(&kind) => {
            if installed().is_some() && session::is_superuser(session::current_user()) {
                credential::withdraw().map_err(report)?;
            }
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
    let means = utility.outlet().map(Means::of_outlet).or_else(|| match kind {
        Kind::CopyIn(Some(relid)) => Means::of_uses(&[whole_relation(*relid, Access::Insert)]),
        _ => None,
    });
    let refused = |error: ErrorReport| match means {
        Some(means) => exports::refused(means, error),
        None => error,
    };
    if let Some(role) = asker.lacks_person().filter(|_| !needs_nobody(utility, kind)) {
        return Err(refused(match ended {
            Some(error) => refuse(&asker, error, &text(), bare),
            None => refuse(&asker, gate::GateError::no_person(role), &text(), bare),
        }));
    }
    let mut grants = Vec::new();
    if asker.person.is_some() {
        reliance::judging();
    }
    if let Some(governed) = asker.governed() {
        // What queries run is never a utility statement; what the functions that they call run may be.
        let permits = || queries::inside().is_some() || queries::permits_utility(utility, kind);
        if asker.person.is_some()
            && let Err(error) = gate::check_ad_hoc(&governed, permits)
        {
            return Err(refused(refuse(&asker, error, &text(), bare)));
        }
        grants = match judge_uses(&governed, utility, kind, &relids, means) {
            Ok(grants) => grants,
            Err(error) => return Err(refused(refuse(&asker, error, &text(), bare))),
        };
    }
    if let Some(error) = credential::forbids(utility) {
        return Err(refuse(&asker, error, &text(), bare));
    }
    let asked = || utility.demand().map_or(Ok(()), |demand| guard::check_demand(&demand));
    if let Err(error) = guard::check_utility(kind).and_then(|()| asked()) {
        return Err(refused(refuse(&asker, error, &text(), bare)));
    }
    if let Err(error) = masking::rewrite::utility(&relids, &utility.definition()) {
        return Err(refused(refuse(&asker, error, &text(), bare)));
    }
    if matches!(kind, Kind::Fetch)
        && let Some(grant) = ended_under(&asker, utility).map_err(report)?
    {
        return Err(refuse(&asker, gate::GateError::ended(grant), &text(), bare));
    }
    let class = build::utility_class(utility, kind);
    let (masked, revealed) = match kind {
        // COPY of a table does not go through the executor: what it touches is known from its name only.
        Kind::CopyOut(Some(relid)) if relevant => {
            split(masking::fields_for(&[whole_relation(*relid, Access::Select)]).map_err(report)?)
        }
        _ => Default::default(),
    };
    if asker.person.is_some() {
        reliance::runs();
    }
    if !asker.leaves_record(relevant, class, || origin, || utility.text(), || choice::uses_of(kind)) {
        return Ok(0);
    }
    let text = text();
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
    let number = asker.judge(recorded)?;
    // What a query brings is told of with the query.
    if let Some(means) =
        means.filter(|_| matches!(kind, Kind::CopyOut(Some(_)) | Kind::CopyIn(_)) && number != 0)
    {
        exports::allowed(&asker, means, number)?;
    }
    Ok(number)
}

/// A grant that the cursor to be read from relies on and that has ended. Rows that were put aside at the end of its
/// transaction come without the executor.
fn ended_under(asker: &Asker, utility: &Utility<'_>) -> Result<Option<i64>, ServerError> {
    if !reliance::holds_any() {
        return Ok(None);
    }
    let Some(person) = &asker.person else { return Ok(None) };
    utility.cursor().map_or(Ok(None), |name| {
        reliance::held_goes_on(name, (asker.is_governed(), asker.now), || access::live_for(person))
    })
}

/// The table that COPY must read by a query, so that it is masked, or its rows are counted.
pub(super) fn copied(utility: &Utility<'_>) -> Result<Option<Oid>, ErrorReport> {
    if !utility.copies() || !session::in_transaction() || installed().is_none() {
        return Ok(None);
    }
    match utility.kind() {
        Kind::CopyOut(Some(table)) if catalog::is_copied(table) => {
            let counts = enrolled::any_limits() && volume::limits(&Asker::find().map_err(report)?.0);
            Ok((counts || masking::rewrite::masks_any(table).map_err(report)?).then_some(table))
        }
        _ => Ok(None),
    }
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
        limits: 0,
    }
}

fn is_harmless(kind: &Kind) -> bool {
    matches!(kind, Kind::Transaction | Kind::Set | Kind::Show | Kind::Session)
}

/// What the gate says of a utility statement: everything that is on no list needs a grant for DDL.
fn judge_uses(
    asker: &gate::Asker<'_>,
    utility: &Utility<'_>,
    kind: &Kind,
    relids: &[Oid],
    means: Option<Means>,
) -> Result<Vec<i64>, gate::GateError> {
    let judge =
        |wanted: UtilityUse<'_>| gate::check_utility(asker, wanted, &masking::table_behind).into_result();
    let relations = |access: Access| {
        let uses: Vec<RelationUse> = relids.iter().map(|relid| whole_relation(*relid, access)).collect();
        judge(UtilityUse::Relations { uses: &uses, exporting: means })
    };
    match kind {
        // It outlives the session, and the grants under which it was made.
        Kind::Transaction if utility.is_two_phase() => judge(UtilityUse::Ddl { relation: None }),
        // Other sessions act on it.
        Kind::Messages if utility.notifies() => judge(UtilityUse::Needs(Privilege::Execute)),
        kind if is_harmless(kind) => judge(UtilityUse::Harmless),
        // EXPLAIN ANALYZE makes the table.
        Kind::Wrapper if utility.explains_creation() => judge(match utility.ddl() {
            Ddl::Temporary => UtilityUse::Carrier,
            Ddl::In(schema) => UtilityUse::DdlIn { schema },
            _ => UtilityUse::Ddl { relation: None },
        }),
        Kind::Wrapper | Kind::Fetch | Kind::Code | Kind::Messages | Kind::CopyOut(None) => {
            judge(UtilityUse::Carrier)
        }
        Kind::CopyOut(Some(_)) | Kind::Lock(_) => relations(Access::Select),
        Kind::CopyIn(Some(_)) => relations(Access::Insert),
        Kind::Truncate(_) => relations(Access::Truncate),
        kind => match (utility.ddl(), kind) {
            (Ddl::Temporary, _) => judge(UtilityUse::Carrier),
            (Ddl::On(relations), _) => judge(UtilityUse::DdlOn { relations: &relations }),
            (Ddl::In(schema), _) => judge(UtilityUse::DdlIn { schema }),
            (Ddl::Database, Kind::Attaches(Some(relid)) | Kind::Alters(Some(relid))) => {
                judge(UtilityUse::Ddl { relation: Some(*relid) })
            }
            (Ddl::Database, _) => judge(UtilityUse::Ddl { relation: None }),
        },
    }
}

/// Tables may have changed: what masks them follows.
pub(super) fn utility_closing(ticket: Ticket) -> Result<(), ErrorReport> {
    masking::upkeep::settle(ticket.depth + 1).map_err(report)
}

pub(super) fn utility_ended(utility: &Utility<'_>, ticket: Ticket, processed: u64) {
    leave(ticket.depth);
    if utility.moves_names() && installed().is_some() {
        RENAMED.set(true);
    }
    if let Some((name, key)) = utility.held_cursor() {
        reliance::hold(name, key, session::has_cursor);
    }
    let named = if ticket.names { build::named(utility, &utility.kind()) } else { Vec::new() };
    capture::utility_ended(ticket, processed, Outcome::Ok, *b"00000", named);
}

pub(super) fn utility_failed(ticket: Ticket, processed: u64, sqlstate: [u8; 5]) {
    leave(ticket.depth);
    masking::upkeep::forget(ticket.depth + 1);
    let outcome = Outcome::of_sqlstate(sqlstate);
    capture::utility_ended(ticket, processed, outcome, sqlstate, Vec::new());
}
