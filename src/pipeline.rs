//! The life of a statement: the only file that knows the order of the parts.
//!
//! identity -> gate -> guard of the ledger -> capture. A refusal is recorded before it is raised.
//! If an event cannot be recorded, people and enrolled roles are refused; everybody else goes on,
//! and the server log says so: our fault must not become the application's outage.

use crate::capture::build::{self, Fields, Secrecy};
use crate::capture::statement::{self as capture, Facts};
use crate::error::{Report, ServerError, report};
use crate::event::{Outcome, Shape, redact};
use crate::gate::{self, UtilityUse};
use crate::identity::enrolled::{self, Mode};
use crate::identity::{IdentityError, Person, session as identity};
use crate::ledger::{guard, writer};
use crate::masking::{self, FieldPolicy, MaskError};
use crate::pg::hooks::object_access::ObjectAccess;
use crate::pg::hooks::{Depth, Handlers, Ticket};
use crate::pg::query::{Analysed, Planned, RelationUse};
use crate::pg::transaction::Ending;
use crate::pg::utility::{Kind, Utility};
use crate::pg::{catalog, session, shared, transaction};
use crate::settings::{self, AuditRoles};
use crate::journal::recovery;
use crate::trail;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Stands for "whoever it is": a statement that identifies changes the person while it runs.
const ANYBODY: u64 = u64::MAX;

/// Catalogs that drivers read to learn the types of what they get, the answer of set_identity
/// included: pg_type, pg_range, pg_namespace, pg_attribute, pg_enum. They hold no data and no texts.
const TYPE_CATALOGS: [Oid; 5] = [
    Oid::from_u32(1247),
    Oid::from_u32(3541),
    Oid::from_u32(2615),
    Oid::from_u32(1249),
    Oid::from_u32(3501),
];

/// What the hooks call.
pub fn handlers() -> Handlers {
    Handlers {
        started,
        analysed,
        planning,
        starting,
        running,
        ran: capture::ran,
        failed: capture::failed,
        ended: capture::ended,
        utility_starting,
        utility_ended,
        utility_failed,
        redacted,
        object_access,
        transaction_ended,
        subtransaction_aborted: capture::subtransaction_aborted,
        depth: capture::depth,
    }
}

/// Shared memory is new: the journal goes on in a new epoch. If it cannot, every statement of
/// people and enrolled roles is refused until somebody mends it, and everybody else works.
fn started() {
    if let Some(journal) = trail::journal()
        && let Err(error) = recovery::begin_epoch(&trail::directory(), journal)
    {
        pgrx::warning!("pg_custodian: could not start the audit journal: {error}");
    }
}

/// What the backend knows of its database, good for one generation of the configuration.
#[derive(Default)]
struct Surroundings {
    generation: u64,
    installed: bool,
    /// Functions that a session without a person may call, and nothing else.
    identifying: Vec<Oid>,
    /// Functions that are given a token.
    presenting: Vec<Oid>,
    /// Functions that may be given another secret: the key of an issuer that signs with HS256.
    confiding: Vec<Oid>,
    /// Tables of the ledger.
    ledger: Vec<Oid>,
}

impl Surroundings {
    fn look(generation: u64) -> Self {
        if catalog::relation("audit", "ledger").is_none() || catalog::extension(guard::EXTENSION).is_none() {
            return Self { generation, ..Self::default() };
        }
        let ours = |names: &[&str]| catalog::functions("custodian", names);
        let mut identifying = ours(&["set_identity", "clear_identity", "whoami", "user_id", "email", "groups"]);
        // What drivers ask when they connect; none of them reads a table.
        identifying.extend(catalog::functions(
            "pg_catalog",
            &["version", "current_database", "current_schema", "pg_backend_pid", "pg_is_in_recovery"],
        ));
        Self {
            generation,
            installed: true,
            identifying,
            presenting: ours(&["set_identity"]),
            confiding: ours(&["trust_issuer", "rotate_keys"]),
            ledger: guard::tables(),
        }
    }
}

thread_local! {
    static SURROUNDINGS: RefCell<Option<Rc<Surroundings>>> = const { RefCell::new(None) };
    static SCOPES: RefCell<Vec<(Depth, Scope)>> = const { RefCell::new(Vec::new()) };
    static KEY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What a utility statement means for what happens inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// COPY of a query's result out of the database.
    Exports,
    DropsExtension,
    /// The writer of some database has left it.
    PausedWriter,
}

/// The surroundings, if the extension is installed here. While its own script installs or updates
/// it, it is not yet.
fn installed() -> Option<Rc<Surroundings>> {
    if catalog::in_script_of(guard::EXTENSION) {
        return None;
    }
    let generation = shared::generation();
    let known = SURROUNDINGS.with_borrow(Clone::clone);
    let known = match known {
        Some(known) if known.generation == generation || !session::in_transaction() => known,
        _ if !session::in_transaction() => return None,
        _ => {
            catalog::watch_names();
            transaction::register();
            let fresh = Rc::new(Surroundings::look(generation));
            SURROUNDINGS.replace(Some(fresh.clone()));
            fresh
        }
    };
    known.installed.then_some(known)
}

/// The enrolled role that the session acts for, and the stricter mode of the two it may have.
fn enrolled() -> Result<Option<(Oid, Mode)>, ServerError> {
    let (login, outer) = (session::session_user(), session::outer_user());
    let first = enrolled::mode_of(login)?.map(|mode| (login, mode));
    if outer == login {
        return Ok(first);
    }
    let second = enrolled::mode_of(outer)?.map(|mode| (outer, mode));
    Ok(match (first, second) {
        (Some(a), Some(b)) => Some(if b.1 > a.1 { b } else { a }),
        (a, b) => a.or(b),
    })
}

/// Who asks: the enrolled role, if any, and the person, if any.
struct Asker {
    enrolled: Option<(Oid, Mode)>,
    person: Option<Rc<Person>>,
    serial: u64,
    now: i64,
}

impl Asker {
    /// Finds out who asks. On roles that need a person, an identity that has ended is an error;
    /// elsewhere it is just gone.
    fn find() -> Result<(Self, Option<IdentityError>), ServerError> {
        let now = session::now();
        let enrolled = enrolled()?;
        let (person, ended) = match identity::check(now) {
            Ok(person) => (person, None),
            Err(error) => (None, Some(error)),
        };
        let asker = Self { enrolled, person, serial: identity::serial(), now };
        let ended = ended.filter(|_| asker.needs_person());
        Ok((asker, ended))
    }

    fn needs_person(&self) -> bool {
        self.enrolled.is_some_and(|(_, mode)| mode >= Mode::Identify)
    }

    fn governed(&self) -> Option<gate::Asker<'_>> {
        let (role, mode) = self.enrolled?;
        Some(gate::Asker { role, mode, person: self.person.as_deref(), now: self.now })
    }

    /// Whether statements are recorded whatever they touch.
    fn is_recorded(&self) -> bool {
        settings::audit_roles() == AuditRoles::All
            || self.person.is_some()
            || self.enrolled.is_some()
            || session::is_superuser(session::session_user())
    }

    /// Whether an unrecorded statement of theirs must not run.
    fn is_accountable(&self) -> bool {
        self.person.is_some() || self.enrolled.is_some()
    }

    /// What to do with an event that could not be recorded.
    fn judge(&self, recorded: Result<u32, trail::TrailError>) -> Result<u32, ErrorReport> {
        match recorded {
            Ok(number) => Ok(number),
            Err(error) if self.is_accountable() => Err(report(error)),
            Err(error) => {
                trail::warn(&error);
                Ok(0)
            }
        }
    }
}

/// Records the refusal of a statement and turns it into the error to raise.
fn refuse(asker: &Asker, error: impl Report, shape: impl FnOnce() -> Shape) -> ErrorReport {
    let sqlstate = crate::pg::attempt::sqlstate(error.code() as i32);
    // A refusal's shape is built anew each time: no key that another statement could have.
    let key = [b"refused".as_slice(), &asker.now.to_le_bytes()].concat();
    let facts = Facts { at: asker.now, grants: &[], parameters: &[], parameter_count: 0, key: &key };
    if let Err(lost) = capture::refused(&facts, sqlstate, shape) {
        trail::warn(&lost);
    }
    report(error)
}

fn analysed(query: &Analysed<'_>) -> Result<(), ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(());
    }
    let oracles = masking::oracle_functions().map_err(report)?;
    if oracles.is_empty() || !enrolled().map_err(report)?.is_some_and(|(_, mode)| mode >= Mode::Identify) {
        return Ok(());
    }
    if query.calls_any(&oracles) {
        let (asker, _) = Asker::find().map_err(report)?;
        return Err(refuse(&asker, MaskError::oracle(), || shape_of_query(query, Secrecy::Open)));
    }
    Ok(())
}

fn shape_of_query(query: &Analysed<'_>, secrecy: Secrecy) -> Shape {
    build::planned(query.text(), query.command(), query.writes(), &query.relations(), Fields::default(), secrecy)
}

/// The first judgement: planning folds functions, which runs them.
fn planning(query: &Analysed<'_>) -> Result<(), ErrorReport> {
    let Some(known) = installed() else { return Ok(()) };
    if query.is_utility() || session::in_referential_check() {
        return Ok(());
    }
    let Some((role, mode)) = enrolled().map_err(report)? else { return Ok(()) };
    if mode < Mode::Identify {
        return Ok(());
    }
    let (asker, ended) = Asker::find().map_err(report)?;
    if asker.person.is_some() || query.only_calls(&known.identifying, &TYPE_CATALOGS) {
        return Ok(());
    }
    let shape = || shape_of_query(query, Secrecy::Open);
    Err(match ended {
        Some(error) => refuse(&asker, error, shape),
        None => refuse(&asker, gate::GateError::no_person(role), shape),
    })
}

fn split(fields: Vec<(String, FieldPolicy)>) -> (Vec<String>, Vec<String>) {
    let (masked, revealed): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(_, policy)| *policy == FieldPolicy::Masked);
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
    if session::in_referential_check() {
        return Ok(());
    }
    let (asker, ended) = Asker::find().map_err(report)?;
    let relevant = is_any_relevant(planned).map_err(report)?;
    // Only what names no relation can be an identification.
    let identifies =
        !planned.names_relations() && planned.only_calls(&known.identifying) && planned.calls_any(&known.identifying);
    // What was planned without a person was found harmless then: see `planning`.
    let looks_up_types = asker.person.is_none() && planned.only_reads(&TYPE_CATALOGS);
    let secrecy = if planned.calls_any(&known.presenting) {
        Secrecy::Identifies
    } else if planned.calls_any(&known.confiding) {
        Secrecy::Withheld
    } else {
        Secrecy::Open
    };
    let uses = || planned.relations();
    let bare = || build::planned(planned.text(), planned.command(), planned.writes(), &uses(), Fields::default(), secrecy);

    if let Some(error) = ended.filter(|_| !identifies && !looks_up_types) {
        return Err(refuse(&asker, error, bare));
    }
    let mut grants = Vec::new();
    if let Some(governed) = asker.governed().filter(|_| !looks_up_types) {
        let uses = uses();
        let exporting = is_in(Scope::Exports);
        let statement = gate::Statement { uses: &uses, exporting, identifying: identifies };
        grants = match gate::check(&governed, &statement, &masking::table_behind).into_result() {
            Ok(grants) => grants,
            Err(error) => return Err(refuse(&asker, error, bare)),
        };
    }
    let mut guarded = false;
    planned.each_written(|relid| guarded |= guard::concerns(relid, &known.ledger));
    if guarded
        && let Err(error) = guard::check_writes(&uses())
    {
        return Err(refuse(&asker, error, bare));
    }
    if !(asker.is_recorded() || relevant) || (capture::depth() > 0 && !settings::nested_statements()) {
        return Ok(());
    }
    let (masked, revealed) = match relevant {
        true => split(masking::fields_for(&uses()).map_err(report)?),
        false => Default::default(),
    };
    let mut key = KEY.take();
    write_key(&mut key, planned, explain, secrecy, &masked, &revealed);
    let (parameters, parameter_count) = build::parameters(&planned.parameters(), secrecy);
    let facts = Facts { at: asker.now, grants: &grants, parameters: &parameters, parameter_count, key: &key };
    let shape = || {
        let fields = Fields { masked: &masked, revealed: &revealed };
        let mut shape = build::planned(planned.text(), planned.command(), planned.writes(), &uses(), fields, secrecy);
        if explain {
            shape.command = b"EXPLAIN".to_vec();
        }
        shape
    };
    let serial = if identifies { ANYBODY } else { asker.serial };
    let recorded = capture::start(planned.key(), serial, &facts, shape);
    KEY.set(key);
    asker.judge(recorded.map(|()| 0))?;
    Ok(())
}

/// Equal keys have equal shapes: the text, what is read and written, how it is shown, and the
/// state of all names.
fn write_key(
    key: &mut Vec<u8>,
    planned: &Planned<'_>,
    explain: bool,
    secrecy: Secrecy,
    masked: &[String],
    revealed: &[String],
) {
    key.clear();
    key.extend_from_slice(&catalog::names_generation().to_le_bytes());
    key.push(u8::from(explain) | u8::from(secrecy == Secrecy::Open) << 1);
    key.extend_from_slice(planned.text());
    key.push(0);
    planned.fingerprint(key);
    for (mark, names) in [(1, masked), (2, revealed)] {
        for name in names {
            key.push(mark);
            key.extend_from_slice(name.as_bytes());
        }
    }
}

/// A portal goes on, perhaps long after it was opened: not for somebody else.
fn running(key: usize) -> Result<Depth, ErrorReport> {
    if capture::depth() == 0
        && let Some(opened_by) = capture::person_of(key)
        && opened_by != ANYBODY
    {
        let (asker, ended) = Asker::find().map_err(report)?;
        if let Some(error) = ended {
            return Err(report(error));
        }
        if asker.needs_person() && opened_by != asker.serial {
            return Err(report(IdentityError::PersonChanged));
        }
    }
    Ok(capture::running(key))
}

fn is_in(scope: Scope) -> bool {
    SCOPES.with_borrow(|scopes| scopes.iter().any(|(_, open)| *open == scope))
}

fn enter(depth: Depth, scope: Scope) {
    SCOPES.with_borrow_mut(|scopes| scopes.push((depth, scope)));
}

/// Leaves what was entered at `depth` or deeper.
fn leave(depth: Depth) {
    let left: Vec<Scope> = SCOPES.with_borrow_mut(|scopes| {
        let first = scopes.partition_point(|(at, _)| *at < depth);
        scopes.drain(first..).map(|(_, scope)| scope).collect()
    });
    for scope in left {
        match scope {
            Scope::Exports => {}
            Scope::DropsExtension => guard::set_dropping(false),
            Scope::PausedWriter => writer::resume(),
        }
    }
}

fn utility_starting(utility: &Utility<'_>) -> Result<Ticket, ErrorReport> {
    let kind = utility.kind();
    let depth = capture::depth();
    let number = match installed() {
        // Parts of another utility statement were judged and recorded with it.
        Some(_) if !utility.is_subcommand() => judge_utility(utility, &kind)?,
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
        identity::end();
    }
    match &kind {
        Kind::CopyOut(None) => enter(depth, Scope::Exports),
        Kind::DropExtension(_) if guard::drops_extension(&kind) => {
            guard::set_dropping(true);
            enter(depth, Scope::DropsExtension);
            shared::config_changed();
        }
        // A writer is a connection; PostgreSQL wants none to a database that it drops or copies.
        Kind::Database { name, .. } => {
            if let Some(database) = catalog::database(name) {
                enter(depth, Scope::PausedWriter);
                writer::pause(database.to_u32());
            }
        }
        // What the prepared transaction changed shows from now on.
        Kind::Transaction if utility.command() == b"COMMIT PREPARED" => shared::config_changed(),
        _ => {}
    }
    Ok(Ticket { statement: number, depth: capture::utility_running(number) })
}

fn judge_utility(utility: &Utility<'_>, kind: &Kind) -> Result<u32, ErrorReport> {
    let (asker, ended) = Asker::find().map_err(report)?;
    let relids = build::utility_relations(kind);
    let mut relevant = false;
    for relid in &relids {
        relevant |= masking::relevant(*relid).map_err(report)?;
    }
    let bare = || build::utility(utility, kind, Fields::default());
    if let Some(error) = ended.filter(|_| !is_harmless(kind)) {
        return Err(refuse(&asker, error, bare));
    }
    let mut grants = Vec::new();
    if let Some(governed) = asker.governed() {
        grants = match judge_uses(&governed, kind, &relids) {
            Ok(grants) => grants,
            Err(error) => return Err(refuse(&asker, error, bare)),
        };
    }
    if let Err(error) = guard::check_utility(kind) {
        return Err(refuse(&asker, error, bare));
    }
    if !(asker.is_recorded() || relevant) || (capture::depth() > 0 && !settings::nested_statements()) {
        return Ok(0);
    }
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
    key.extend_from_slice(utility.text());
    key.push(0);
    for relid in &relids {
        key.extend_from_slice(&relid.to_u32().to_le_bytes());
    }
    for (mark, names) in [(1, &masked), (2, &revealed)] {
        for name in names {
            key.push(mark);
            key.extend_from_slice(name.as_bytes());
        }
    }
    let secrecy = if utility.carries_secret() { Secrecy::Withheld } else { Secrecy::Open };
    let (parameters, parameter_count) = build::parameters(&utility.parameters(), secrecy);
    let facts = Facts { at: asker.now, grants: &grants, parameters: &parameters, parameter_count, key: &key };
    let recorded = capture::start_utility(&facts, || {
        build::utility(utility, kind, Fields { masked: &masked, revealed: &revealed })
    });
    KEY.set(key);
    // Without room in the journal people must still be able to end their transactions.
    if *kind == Kind::Transaction
        && let Err(error) = &recorded
    {
        trail::warn(error);
        return Ok(0);
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
    let judge = |wanted: UtilityUse<'_>| gate::check_utility(asker, wanted, &masking::table_behind).into_result();
    let relations = |access: Access, exporting: bool| {
        let uses: Vec<RelationUse> = relids.iter().map(|relid| whole_relation(*relid, access)).collect();
        judge(UtilityUse::Relations { uses: &uses, exporting })
    };
    match kind {
        kind if is_harmless(kind) => judge(UtilityUse::Harmless),
        Kind::Wrapper | Kind::Fetch | Kind::Code | Kind::CopyOut(None) => judge(UtilityUse::Carrier),
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

fn utility_ended(ticket: Ticket, processed: u64) {
    leave(ticket.depth);
    capture::utility_ended(ticket.statement, ticket.depth, processed, Outcome::Ok, *b"00000");
}

fn utility_failed(ticket: Ticket, sqlstate: [u8; 5]) {
    leave(ticket.depth);
    capture::utility_ended(ticket.statement, ticket.depth, 0, Outcome::of_sqlstate(sqlstate), sqlstate);
}

fn object_access(access: &ObjectAccess) -> Result<(), ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(());
    }
    // The statement that does it is on record already, and ends as denied.
    guard::check_object(access).map_err(report)
}

/// A text on its way into the server log or to the client, if it holds a token: without it.
fn redacted(text: &[u8]) -> Option<Vec<u8>> {
    match redact::tokens(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(clean) => Some(clean),
    }
}

fn transaction_ended(ending: Ending) {
    capture::transaction_ended(ending);
    identity::end_of_transaction();
}
