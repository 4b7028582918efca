//! The life of a statement: the only file that knows the order of the parts.
//!
//! identity -> gate -> guard of the ledger -> capture. A refusal is recorded before it is raised.
//! If an event cannot be recorded, people and enrolled roles are refused; everybody else goes on,
//! and the server log says so: our fault must not become the application's outage.

mod asker;
mod exports;
mod failures;
mod functions;
mod harmless;
mod queries;
pub mod recording;
mod surroundings;
mod utility;
mod visits;
mod volume;

use crate::pg::local::process_local;
use asker::{Asker, enrolled, refuse};
use surroundings::{Surroundings, installed};
use utility::{
    copied, exporting, exporting_directly, utility_closing, utility_ended, utility_failed, utility_starting,
};

use crate::access::{self, reliance, steward, unsettled};
use crate::capture::build::{self, Fields, Secrecy};
use crate::capture::failure;
use crate::capture::statement::{self as capture, Facts, Opened};
use crate::error::{Report, ServerError, report};
use crate::event::{Change, Class, Object, Origin, Shape, redact};
use crate::gate::{self, export::Means};
use crate::identity::enrolled::{self as enrolments, Mode};
use crate::identity::{IdentityError, session as identity};
use crate::ledger::guard;
use crate::masking::{self, FieldPolicy, MaskError, rewrite};
use crate::pg::hooks::{Depth, Handlers};
use crate::pg::outlet;
use crate::pg::query::{Analysed, Planned};
use crate::pg::receiver::Exit;
use crate::pg::sessions::{self, Standing};
use crate::pg::transaction::Ending;
use crate::pg::tree::draft::Draft;
use crate::pg::tree::frames::Manner;
use crate::pg::tree::stamp::Destination;
use crate::pg::{catalog, scope, session, shared};
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
        rewriting,
        rewriting_in_worker,
        looks: |relations| rewrite::looks(relations).map_err(report),
        depends_on: rewrite::depends_on,
        stands: |stamp| rewrite::stands(stamp).map_err(report),
        unstamped,
        hides: |relation, column| rewrite::hides(relation, column).map_err(report),
        copied,
        conceals: rewrite::conceals,
        starting,
        running,
        finishing,
        row_leaves: volume::row_leaves,
        ran,
        failed,
        ended,
        utility_starting,
        utility_closing,
        utility_ended,
        utility_failed,
        secrets: redact::parts,
        redacted,
        stopped: steward::explanation,
        object_access: functions::object_access,
        function_entered: queries::entered,
        function_left: queries::left,
        erring: failures::erring,
        failed_at_top: failures::failed_at_top,
        admitting: visits::admitting,
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

process_local! {
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
    if query.is_utility() || scope::is_directly_referential() {
        return Ok(false);
    }
    asker::arrive().map_err(report)?;
    let (asker, ended) = Asker::find().map_err(report)?;
    let class = build::query_class(query.writes());
    let recorded = asker.leaves_record(false, class, capture::origin, || query.text(), || query.relations());
    let Some(role) = asker.lacks_person() else {
        if let Some(governed) = asker.governed().filter(|_| queries::inside().is_none()) {
            let permits = || queries::permits(&known, query).unwrap_or(false);
            if let Err(error) = gate::check_ad_hoc(&governed, permits) {
                return Err(refuse(&asker, error, &open_text(query.text()), || shape_of_query(query)));
            }
        }
        return Ok(recorded);
    };
    if query.only_calls(&known.identifying, &known.readable) {
        return Ok(recorded);
    }
    let (text, shape) = (open_text(query.text()), || shape_of_query(query));
    Err(match ended {
        Some(error) => refuse(&asker, error, &text, shape),
        None => refuse(&asker, gate::GateError::no_person(role), &text, shape),
    })
}

/// Limits the query to the rows that the person's grants are on.
fn limit(query: &Analysed<'_>) -> Result<(), ErrorReport> {
    if enrolled().map_err(report)?.is_none_or(|(_, mode)| mode != Mode::Govern) || query.is_utility() {
        return Ok(());
    }
    // A query has its own conditions.
    if queries::inside().is_some() {
        return Ok(());
    }
    let asker = Asker::find().map_err(report)?.0;
    let Some(governed) = asker.governed().filter(|_| asker.person.is_some()) else { return Ok(()) };
    if scope::is_directly_referential() || !gate::may_limit(&governed).map_err(report)? {
        return Ok(());
    }
    let exporting = exporting().or_else(|| Means::of_uses(&query.relations())).is_some();
    let limited = query.limit(|target| {
        let limits = gate::limits(&governed, &target.used, exporting, &masking::table_behind)?;
        // Without limits the executor's start refuses it.
        Ok(limits.filter(|_| !target.merges))
    });
    let refused = match limited {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(flaw)) => gate::GateError::UnreadableRows(flaw.to_string()),
        Err(error) => error,
    };
    Err(refuse(&asker, refused, &open_text(query.text()), || shape_of_query(query)))
}

/// After the judgement: what the person may not see is replaced, and then rows are limited, by true values.
fn rewriting(draft: &mut Draft<'_>, query: &Analysed<'_>) -> Result<Manner, ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(Manner::default());
    }
    let mut manner = Manner::default();
    if !rewrite::is_untouched(draft).map_err(report)? {
        manner = rewrite::rewrite(draft).map_err(report)?;
        // What was put into the query just now may read views of ours, too.
        masking::seal_views(query).map_err(report)?;
    }
    limit(query)?;
    Ok(manner)
}

fn rewriting_in_worker(draft: &mut Draft<'_>) -> Result<(), ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(());
    }
    rewrite::in_worker(draft).map_err(report)
}

fn unstamped(planned: &Planned<'_>) -> Result<(), ErrorReport> {
    rewrite::forget(planned.key());
    if installed().is_none() {
        return Ok(());
    }
    rewrite::unstamped(planned).map_err(report)
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

/// What a statement names, as far as it makes a difference.
struct Names {
    /// Whether it names any relation whose privileges count.
    relations: bool,
    /// Whether one of them has masks or is the extension's own: then the statement is recorded, whoever runs it.
    relevant: bool,
}

impl Names {
    fn of(planned: &Planned<'_>, known: &Surroundings) -> Result<Self, ServerError> {
        let (mut relations, mut relevant) = (false, Ok(false));
        planned.each_relid(|relid| {
            relations = true;
            if let Ok(false) = relevant {
                relevant = if known.keeps(relid) { Ok(true) } else { masking::relevant(relid) };
            }
        });
        Ok(Self { relations, relevant: relevant? })
    }
}

fn starting(planned: &Planned<'_>, explain: bool) -> Result<(), ErrorReport> {
    let Some(known) = installed() else { return Ok(()) };
    // What a foreign key looks up is part of the statement that it belongs to; what it deletes or updates is
    // recorded, and nobody's to judge. What triggers run within it is theirs.
    let referential = scope::is_directly_referential();
    if referential && !planned.writes() {
        return Ok(());
    }
    let (asker, ended) = Asker::find().map_err(report)?;
    let Names { relations, relevant } = Names::of(planned, &known).map_err(report)?;
    // Only what names no relation can be an identification, or nothing but constants.
    let harmless = !relations && planned.only_calls(&known.identifying);
    let identifies = harmless && planned.calls_any(&known.identifying);
    if identifies && capture::depth() == 0 {
        // It ends the person it was judged under, and is not to be stopped for that.
        sessions::judged(Standing::Excused);
    }
    // What was planned without a person was found harmless then: see `planning`. A plan that was made
    // for somebody is not used any more when he is gone: see `identity::session`.
    let looks_up_types = asker.lacks_person().is_some() && planned.only_reads(&known.readable);
    let secrecy = if planned.calls_any_added(&known.presenting) {
        Secrecy::Identifies
    } else if planned.calls_any_added(&known.confiding) {
        Secrecy::Withheld
    } else {
        Secrecy::Open
    };
    let uses = || planned.relations();
    // Looked through for tokens only where it is kept: not for every statement of the application.
    let running = queries::inside();
    let query = running.as_ref().filter(|running| running.own).map(|running| &running.query);
    let own_text = || match (planned.text(capture::enclosing()), query) {
        // The body of a function has no text of its own.
        (b"", Some(query)) => query.text.as_bytes(),
        (text, _) => text,
    };
    let text = || build::text(own_text(), secrecy);
    let (class, origin) = (build::planned_class(planned), capture::origin());
    let bare = || build::planned(planned.command(), class, origin, &uses(), Fields::default());

    // The query itself, not what it runs.
    let sends = || {
        let mut any = false;
        if planned.writes() && !referential {
            planned.each_written(|relid| any |= outlet::leads_elsewhere(relid));
        }
        any
    };
    let means = exporting_directly().or_else(|| sends().then_some(Means::ForeignTable));
    let refused = |error: ErrorReport| match means {
        Some(means) => exports::refused(means, error),
        None => error,
    };
    if let Some(error) = ended.filter(|_| !harmless && !looks_up_types && !referential) {
        return Err(refused(refuse(&asker, error, &text(), bare)));
    }
    let mut grants = Vec::new();
    let judged = asker.person.is_some() && !referential;
    if judged {
        reliance::judging();
        if capture::depth() == 0
            && session::in_trigger()
            && let Some(person) = &asker.person
        {
            reliance::judging_at_commit(access::live_for(person).map_err(report)?.as_ref(), asker.now);
        }
    }
    if let Some(governed) = asker.governed().filter(|_| !looks_up_types && !referential) {
        let uses = uses();
        let statement = gate::Statement { uses: &uses, exporting: exporting(), identifying: harmless };
        let permits = || harmless || queries::permits_plan(&known, planned).unwrap_or(false);
        let verdict = match &running {
            Some(running) => gate::check_query(&governed, &running.called).into_result(),
            None => gate::check_ad_hoc(&governed, permits)
                .and_then(|()| gate::check(&governed, &statement, &masking::table_behind).into_result()),
        };
        grants = match verdict {
            Ok(grants) => grants,
            Err(error) => return Err(refused(refuse(&asker, error, &text(), bare))),
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
    if !explain && asker.is_limited() {
        volume::starting(planned.key(), harmless || looks_up_types);
    }
    let (masked, revealed) = match relevant {
        true => split(masking::fields_for(&uses()).map_err(report)?),
        false => Default::default(),
    };
    reliance::started(planned.key(), judged);
    // Whoever calls a query on his account has it on record, whatever is left out.
    let called = query.is_some() && asker.is_accountable();
    if !called && !asker.leaves_record(relevant, class, || origin, own_text, uses) {
        if let Some((means, statement)) = means.zip(capture::current()) {
            exports::allowed(&asker, means, statement)?;
        }
        capture::passed();
        return Ok(());
    }
    let mut key = KEY.take();
    write_key(&mut key, planned, (explain, class, origin), &masked, &revealed);
    if let Some(query) = query {
        key.push(3);
        key.extend_from_slice(query.call.as_bytes());
    }
    // Most statements come again and again: what was found clean once need not be looked through each time.
    let text = match secrecy {
        Secrecy::Open if trail::has_sent(&key, own_text()) => Cow::Borrowed(own_text()),
        _ => text(),
    };
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
        if let Some(query) = query {
            let name = query.call.as_bytes().to_vec();
            shape.name(Object { kind: b"query".to_vec(), name, change: Change::Called });
        }
        shape
    };
    let anybody = identifies || looks_up_types || referential;
    let serial = if anybody { ANYBODY } else { asker.serial };
    let recorded = capture::start(planned.key(), serial, &facts, shape);
    KEY.set(key);
    let number = asker.judge(recorded)?;
    if let Some(means) = means.filter(|_| number != 0 && !explain) {
        exports::allowed(&asker, means, number)?;
    }
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
fn running(key: usize, destination: Destination, exit: Exit) -> Result<Depth, ErrorReport> {
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
            failed(key, depth, 0, error.sqlstate());
            failure::recorded_ahead();
            return Err(report(error));
        }
    }
    if reliance::is_known(key)
        && let Some(grant) = ended_under(key).map_err(report)?
    {
        let error = gate::GateError::ended(grant);
        failed(key, capture::depth(), 0, *b"42501");
        failure::recorded_ahead();
        return Err(report(error));
    }
    if let Err(error) = rewrite::goes_on(key, destination) {
        failed(key, capture::depth(), 0, *b"42501");
        failure::recorded_ahead();
        return Err(report(error));
    }
    if enrolments::any_limits() {
        volume::running(key, exit)?;
    }
    Ok(capture::running(key))
}

/// A grant that the execution relies on and that has ended.
fn ended_under(key: usize) -> Result<Option<i64>, ServerError> {
    let asker = Asker::find()?.0;
    // Whoever is not there any more is judged by that.
    let Some(person) = &asker.person else { return Ok(None) };
    reliance::goes_on(key, (asker.is_governed(), asker.now), || access::live_for(person))
}

fn finishing(key: usize) -> Depth {
    reliance::finishing(key);
    capture::finishing(key)
}

fn ran(key: usize, depth: Depth, processed: u64) {
    if enrolments::any_limits() {
        volume::ran(key);
    }
    capture::ran(key, depth, processed);
}

fn failed(key: usize, depth: Depth, processed: u64, sqlstate: [u8; 5]) {
    reliance::ended(key);
    if enrolments::any_limits() {
        volume::ran(key);
    }
    capture::failed(key, depth, processed, sqlstate);
}

fn ended(key: usize) {
    rewrite::forget(key);
    reliance::ended(key);
    if enrolments::any_limits() {
        volume::ended(key);
    }
    capture::ended(key);
}

/// A text on its way into the server log or to the client, if it holds a token: without it.
fn redacted(text: &[u8]) -> Option<Vec<u8>> {
    redact::message(text)
}

fn transaction_ended(ending: Ending) {
    if enrolments::any_limits() {
        volume::transaction_ended();
    }
    utility::transaction_ended(ending != Ending::Aborted);
    rewrite::transaction_ended();
    queries::forget();
    capture::transaction_ended();
    masking::upkeep::forget(0);
    trail::transaction_ended(match ending {
        Ending::Committed => Some(true),
        Ending::Aborted => Some(false),
        Ending::Prepared => None,
    });
    identity::end_of_transaction(ending != Ending::Aborted);
    unsettled::settle();
    reliance::transaction_ended();
}

fn session_ending(processed: fn(usize) -> u64) {
    utility::leave(0);
    capture::session_ended(session::last_words(), processed, session::copied_out());
}

fn subtransaction_aborted(number: u32) {
    capture::subtransaction_aborted(number);
    identity::subtransaction_aborted(number);
}
