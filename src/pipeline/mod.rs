//! The life of a statement: the only file that knows the order of the parts.
//!
//! identity -> gate -> guard of the ledger -> capture. A refusal is recorded before it is raised.
//! If an event cannot be recorded, people and enrolled roles are refused; everybody else goes on,
//! and the server log says so: our fault must not become the application's outage.

mod asker;
mod failures;
mod harmless;
pub mod recording;
mod surroundings;
mod utility;
mod visits;

use asker::{Asker, enrolled, refuse};
use surroundings::installed;
use utility::{Scope, is_in, utility_ended, utility_failed, utility_starting};

use crate::access::steward;
use crate::capture::build::{self, Fields, Secrecy};
use crate::capture::failure;
use crate::capture::statement::{self as capture, Facts, Opened};
use crate::error::{ServerError, report};
use crate::event::{Class, Origin, Shape, redact};
use crate::gate;
use crate::identity::enrolled::Mode;
use crate::identity::{IdentityError, session as identity};
use crate::ledger::guard;
use crate::masking::{self, FieldPolicy, MaskError};
use crate::pg::hooks::object_access::{Access, ObjectAccess};
use crate::pg::hooks::{Depth, Handlers};
use crate::pg::query::{Analysed, Command, Planned};
use crate::pg::sessions::{self, Standing};
use crate::pg::transaction::Ending;
use crate::pg::{catalog, session, shared};
use crate::trail;
use pgrx::pg_sys::panic::ErrorReport;
use std::borrow::Cow;
use std::cell::Cell;

/// Stands for "whoever it is": a statement that identifies changes the person while it runs, and one
/// on types or of a foreign key needs nobody.
const ANYBODY: u64 = u64::MAX;

/// What the hooks call.
pub fn handlers() -> Handlers {
    Handlers {
        started,
        stopping: recording::stopping,
        analysed,
        planning,
        planning_failed,
        starting,
        running,
        finishing: capture::finishing,
        ran: capture::ran,
        failed: capture::failed,
        ended: capture::ended,
        utility_starting,
        utility_ended,
        utility_failed,
        secrets: redact::parts,
        redacted,
        stopped: steward::explanation,
        object_access,
        erring: failures::erring,
        failed_at_top: failures::failed_at_top,
        connected: visits::connected,
        turned_away: visits::turned_away,
        disconnected: visits::disconnected,
        transaction_ended,
        subtransaction_aborted,
        session_ending,
        depth: capture::depth,
    }
}

/// Shared memory is new.
fn started() {
    recording::start_journal();
}

thread_local! {
    static KEY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn analysed(query: &Analysed<'_>) -> Result<(), ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(());
    }
    if enrolled().map_err(report)?.is_none_or(|(_, mode)| mode < Mode::Identify) {
        return Ok(());
    }
    if query.calls_any(&masking::oracle_functions().map_err(report)?) {
        let (asker, _) = Asker::find().map_err(report)?;
        return Err(refuse(&asker, MaskError::oracle(), &open_text(query.text()), || shape_of_query(query)));
    }
    Ok(())
}

fn shape_of_query(query: &Analysed<'_>) -> Shape {
    let class = build::query_class(query.writes());
    build::planned(query.command(), class, capture::origin(), &query.relations(), Fields::default())
}

/// A text of which is known only what stands in it.
fn open_text(text: &[u8]) -> Cow<'_, [u8]> {
    build::text(text, build::secrecy_of_text(text))
}

/// The first judgement: planning folds functions, which runs them.
fn planning(query: &Analysed<'_>) -> Result<bool, ErrorReport> {
    let Some(known) = installed() else { return Ok(false) };
    if query.is_utility() || session::in_referential_check() {
        return Ok(false);
    }
    asker::arrive().map_err(report)?;
    let (asker, ended) = Asker::find().map_err(report)?;
    let class = build::query_class(query.writes());
    let recorded = asker.leaves_record(false, class, capture::origin, || query.text(), || query.relations());
    let Some(role) = asker.lacks_person() else { return Ok(recorded) };
    if query.only_calls(&known.identifying, &known.readable) {
        return Ok(recorded);
    }
    let (text, shape) = (open_text(query.text()), || shape_of_query(query));
    Err(match ended {
        Some(error) => refuse(&asker, error, &text, shape),
        None => refuse(&asker, gate::GateError::no_person(role), &text, shape),
    })
}

/// The statement will not come to the executor. No catalog may be read any more: the record has
/// its text and no objects.
fn planning_failed(query: &Analysed<'_>, sqlstate: [u8; 5]) {
    let now = session::now();
    let key = [b"unplanned".as_slice(), query.command().as_str().as_bytes()].concat();
    let text = open_text(query.text());
    let facts = Facts { at: now, text: &text, grants: &[], parameters: &[], parameter_count: 0, key: &key };
    let class = build::query_class(query.writes());
    let shape = || build::planned(query.command(), class, Origin::default(), &[], Fields::default());
    if capture::depth() == 0 {
        failure::recorded();
    }
    if let Err(lost) = capture::stopped(&facts, sqlstate, shape) {
        trail::warn(&lost);
    }
}

fn split(fields: Vec<(String, FieldPolicy)>) -> (Vec<String>, Vec<String>) {
    let (masked, revealed): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|(_, policy)| *policy == FieldPolicy::Masked);
    let names = |list: Vec<(String, FieldPolicy)>| list.into_iter().map(|(name, _)| name).collect();
    (names(masked), names(revealed))
}

fn is_any_relevant(planned: &Planned<'_>) -> Result<bool, ServerError> {
    let mut found = Ok(false);
    planned.each_relid(|relid| {
        if let Ok(false) = found {
            found = masking::relevant(relid);
        }
    });
    found
}

fn starting(planned: &Planned<'_>, explain: bool) -> Result<(), ErrorReport> {
    let Some(known) = installed() else { return Ok(()) };
    // What a foreign key looks up is part of the statement that it belongs to; what it deletes or updates is
    // recorded, and nobody's to judge.
    let referential = session::in_referential_check();
    if referential && !planned.writes() {
        return Ok(());
    }
    let (asker, ended) = Asker::find().map_err(report)?;
    let relevant = is_any_relevant(planned).map_err(report)? || known.keeps_any_of(planned);
    // Only what names no relation can be an identification, or nothing but constants.
    let harmless = !planned.names_relations() && planned.only_calls(&known.identifying);
    let identifies = harmless && planned.calls_any(&known.identifying);
    if identifies && capture::depth() == 0 {
        // It ends the person it was judged under, and is not to be stopped for that.
        sessions::judged(Standing::Excused);
    }
    // What was planned without a person was found harmless then: see `planning`. A plan that was made
    // for somebody is not used any more when he is gone: see `identity::session`.
    let looks_up_types = asker.person.is_none() && planned.only_reads(&known.readable);
    let secrecy = if planned.calls_any_added(&known.presenting) {
        Secrecy::Identifies
    } else if planned.calls_any_added(&known.confiding) {
        Secrecy::Withheld
    } else {
        Secrecy::Open
    };
    let uses = || planned.relations();
    // Looked through for tokens only where it is kept: not for every statement of the application.
    let own_text = || planned.text(capture::enclosing());
    let text = || build::text(own_text(), secrecy);
    let (class, origin) = (build::planned_class(planned), capture::origin());
    let bare = || build::planned(planned.command(), class, origin, &uses(), Fields::default());

    if let Some(error) = ended.filter(|_| !harmless && !looks_up_types && !referential) {
        return Err(refuse(&asker, error, &text(), bare));
    }
    let mut grants = Vec::new();
    if let Some(governed) = asker.governed().filter(|_| !looks_up_types && !referential) {
        let uses = uses();
        let exporting = is_in(Scope::Exports);
        let statement = gate::Statement { uses: &uses, exporting, identifying: harmless };
        grants = match gate::check(&governed, &statement, &masking::table_behind).into_result() {
            Ok(grants) => grants,
            Err(error) => return Err(refuse(&asker, error, &text(), bare)),
        };
    }
    let mut guarded = false;
    planned.each_written(|relid| guarded |= guard::concerns(relid, known.ledger));
    if guarded
        && !referential
        && let Err(error) = guard::check_writes(&uses())
    {
        return Err(refuse(&asker, error, &text(), bare));
    }
    if !asker.leaves_record(relevant, class, || origin, own_text, uses) {
        capture::passed();
        return Ok(());
    }
    let text = text();
    let (masked, revealed) = match relevant {
        true => split(masking::fields_for(&uses()).map_err(report)?),
        false => Default::default(),
    };
    let mut key = KEY.take();
    write_key(&mut key, planned, (explain, class, origin), &masked, &revealed);
    let (parameters, parameter_count) = build::parameters(&planned.parameters(), secrecy);
    let facts = Facts {
        at: asker.now,
        text: &text,
        grants: &grants,
        parameters: &parameters,
        parameter_count,
        key: &key,
    };
    let shape = || {
        let fields = Fields { masked: &masked, revealed: &revealed };
        let mut shape = build::planned(planned.command(), class, origin, &uses(), fields);
        if explain {
            shape.command = b"EXPLAIN".to_vec();
        }
        shape
    };
    let anybody = identifies || looks_up_types || referential;
    let serial = if anybody { ANYBODY } else { asker.serial };
    let recorded = capture::start(planned.key(), serial, &facts, shape);
    KEY.set(key);
    asker.judge(recorded)?;
    if capture::depth() == 0 {
        failure::passed(planned.end(), false);
    }
    Ok(())
}

/// Equal keys have equal shapes: the command, what is read and written, how it is shown, and the
/// state of all names.
fn write_key(
    key: &mut Vec<u8>,
    planned: &Planned<'_>,
    (explain, class, origin): (bool, Class, Origin),
    masked: &[String],
    revealed: &[String],
) {
    key.clear();
    key.extend_from_slice(&catalog::names_generation().to_le_bytes());
    key.push(u8::from(explain) | (planned.command() as u8) << 1);
    key.push(class as u8 | (origin as u8) << 4);
    planned.fingerprint(key);
    write_fields(key, masked, revealed);
}

/// The part of a key that tells how protected columns are shown.
fn write_fields(key: &mut Vec<u8>, masked: &[String], revealed: &[String]) {
    for (mark, names) in [(1, masked), (2, revealed)] {
        for name in names {
            key.push(mark);
            key.extend_from_slice(name.as_bytes());
        }
    }
}

/// Where nobody was and nobody is, nobody's time can have ended; but roles may have been enrolled.
fn is_unchanged_nobody(opened: Opened) -> bool {
    opened.person == identity::serial()
        && opened.generation == shared::generation()
        && identity::current().is_none()
}

/// A portal goes on, perhaps long after it was opened: not for somebody else. Inside functions it
/// was judged a moment ago, unless it is a cursor's second FETCH or later.
fn running(key: usize) -> Result<Depth, ErrorReport> {
    if let Some(opened) = capture::opened(key)
        && (opened.has_run || capture::depth() == 0)
        && opened.person != ANYBODY
        && !is_unchanged_nobody(opened)
    {
        let (asker, ended) = Asker::find().map_err(report)?;
        let depth = capture::depth();
        let changed = opened.person != asker.serial && depth == 0 || asker.person.is_none();
        let changed = asker.needs_person() && changed;
        if let Some(error) = ended.or(changed.then_some(IdentityError::PersonChanged)) {
            capture::failed(key, depth, 0, error.sqlstate());
            failure::recorded_ahead();
            return Err(report(error));
        }
    }
    Ok(capture::running(key))
}

fn object_access(access: &ObjectAccess) -> Result<(), ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(());
    }
    match access.access {
        Access::Called => return check_call(access),
        Access::Executed => {}
        // The statement that does it is on record already, and ends as denied.
        _ => guard::check_object(access).map_err(report)?,
    }
    capture::touched(access);
    Ok(())
}

/// A function called without a statement escapes capture and gate: not on enrolled roles.
fn check_call(access: &ObjectAccess) -> Result<(), ErrorReport> {
    asker::arrive().map_err(report)?;
    let (asker, _) = Asker::find().map_err(report)?;
    if !asker.needs_person() {
        return Ok(());
    }
    let command = format!("function call message for {}", catalog::describe(access.class, access.object, 0));
    let shape = || build::planned(Command::Other, Class::Function, Origin::default(), &[], Fields::default());
    Err(refuse(&asker, gate::GateError::FunctionCall, command.as_bytes(), shape))
}

/// A text on its way into the server log or to the client, if it holds a token: without it.
fn redacted(text: &[u8]) -> Option<Vec<u8>> {
    redact::message(text)
}

fn transaction_ended(ending: Ending) {
    capture::transaction_ended();
    trail::transaction_ended(match ending {
        Ending::Committed => Some(true),
        Ending::Aborted => Some(false),
        Ending::Prepared => None,
    });
    identity::end_of_transaction(ending != Ending::Aborted);
}

fn session_ending(processed: fn(usize) -> u64) {
    utility::leave(0);
    capture::session_ended(session::last_words(), processed, session::copied_out());
}

fn subtransaction_aborted(number: u32) {
    capture::subtransaction_aborted(number);
    identity::subtransaction_aborted(number);
}
