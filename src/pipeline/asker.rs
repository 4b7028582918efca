//! Who asks for a statement to run, and how he is told that it does not.

use crate::access::{credential, incident};
use crate::capture::choice;
use crate::capture::failure;
use crate::capture::statement::{self as capture, Facts};
use crate::error::{Report, ServerError, report};
use crate::event::{Class, Origin, Shape};
use crate::gate;
use crate::identity::enrolled::{self, Mode, Terms};
use crate::identity::{IdentityError, Person, arrival, session as identity};
use crate::pg::query::RelationUse;
use crate::pg::session;
use crate::pg::sessions::{self, Standing};
use crate::settings::{self, AuditRoles};
use crate::trail;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use std::rc::Rc;

/// The enrolled role that the session acts for, and the stricter mode of the two it may have.
pub(super) fn enrolled() -> Result<Option<(Oid, Mode)>, ServerError> {
    Ok(enrolled::of_session()?.map(|(role, terms)| (role, terms.mode)))
}

/// Verifies the token that came with the connection, if that is still to be done. Whoever needs no
/// person is only told that it was not accepted; the others are refused, and told then.
pub(super) fn arrive() -> Result<(), ServerError> {
    if !arrival::is_due() || !session::in_transaction() {
        return Ok(());
    }
    arrival::arrive();
    let asker = Asker::find()?.0;
    // A credential's session has its person, whatever came with it.
    if (!asker.needs_person() || asker.person.is_some())
        && let Some(error) = arrival::failure()
    {
        pgrx::warning!("the token given at the start of the session was not accepted: {error}");
    }
    Ok(())
}

fn is_recorded(has_person: bool, is_enrolled: bool) -> bool {
    has_person
        || is_enrolled
        || session::is_superuser(session::session_user())
        // SET SESSION AUTHORIZATION makes no superuser unseen.
        || session::is_superuser(session::login_user())
        || settings::audit_roles() == AuditRoles::All
}

/// Whether the session is one whose statements are recorded whatever they touch. Ends no identity, and
/// goes by what was known last where nothing can be looked up.
pub(super) fn leaves_trace() -> bool {
    match enrolled() {
        Ok(enrolled) => is_recorded(identity::current().is_some(), enrolled.is_some()),
        // It could not be read: rather a record too many.
        Err(_) => true,
    }
}

/// Who asks: the enrolled role, if any, and the person, if any.
pub(super) struct Asker {
    pub(super) enrolled: Option<(Oid, Terms)>,
    pub(super) person: Option<Rc<Person>>,
    pub(super) serial: u64,
    pub(super) now: i64,
}

impl Asker {
    /// Finds out who asks. On roles that need a person, an identity that has ended is an error;
    /// elsewhere it is just gone.
    pub(super) fn find() -> Result<(Self, Option<IdentityError>), ServerError> {
        let now = session::now();
        let enrolled = enrolled::of_session()?;
        let found = match credential::ended(now)? {
            Some(error) => {
                identity::end();
                Err(error)
            }
            None => identity::check(now),
        };
        let (person, ended) = match found {
            Ok(person) => (person, None),
            Err(error) => (None, Some(error)),
        };
        let asker = Self { enrolled, person, serial: identity::serial(), now };
        let ended = ended.filter(|_| asker.needs_person());
        // What runs without a person where one is needed was judged to be harmless: the steward lets it.
        if capture::depth() == 0 {
            let excused = asker.needs_person() && asker.person.is_none();
            sessions::judged(if excused { Standing::Excused } else { Standing::Bound });
        }
        Ok((asker, ended))
    }

    fn mode(&self) -> Option<Mode> {
        self.enrolled.map(|(_, terms)| terms.mode)
    }

    pub(super) fn needs_person(&self) -> bool {
        self.mode() >= Some(Mode::Identify)
    }

    /// Whether a person needs grants.
    pub(super) fn is_governed(&self) -> bool {
        self.mode() == Some(Mode::Govern)
    }

    /// The role on whose account a person is needed and not there.
    pub(super) fn lacks_person(&self) -> Option<Oid> {
        let (role, terms) = self.enrolled?;
        (terms.mode >= Mode::Identify && self.person.is_none()).then_some(role)
    }

    /// Whether the number of rows is limited.
    pub(super) fn is_limited(&self) -> bool {
        self.enrolled.is_some_and(|(_, terms)| terms.limits_rows())
    }

    pub(super) fn governed(&self) -> Option<gate::Asker<'_>> {
        let (role, Terms { mode, ad_hoc, .. }) = self.enrolled?;
        Some(gate::Asker { role, mode, person: self.person.as_deref(), ad_hoc, now: self.now })
    }

    /// Whether a statement that starts now is recorded; `relevant` if it touches what is protected.
    pub(super) fn leaves_record<'a>(
        &self,
        relevant: bool,
        class: Class,
        origin: impl FnOnce() -> Origin,
        text: impl Fn() -> &'a [u8],
        uses: impl Fn() -> Vec<RelationUse>,
    ) -> bool {
        if capture::is_nested() && !settings::nested_statements() && !self.is_in_emergency() {
            return false;
        }
        if relevant || self.is_accountable() {
            return true;
        }
        let (is_recorded, is_chosen) = (self.is_recorded(), choice::is_made());
        // The application's statements, which come here by the thousands, are asked nothing else.
        if !is_recorded && !is_chosen {
            return false;
        }
        if origin() == Origin::Trigger && !settings::trigger_statements() {
            return false;
        }
        if !is_chosen {
            return is_recorded;
        }
        let statement = choice::Statement { class, text: text(), sent: capture::depth() == 0 };
        let relations = || uses().iter().map(|used| used.relid).collect();
        is_recorded && !choice::leaves_out(&statement, relations) || choice::takes_in(uses)
    }

    /// Whether statements are recorded whatever they touch.
    fn is_recorded(&self) -> bool {
        is_recorded(self.person.is_some(), self.enrolled.is_some())
    }

    /// Whether the person acts under break-glass: then nothing is left out. Rather a record too many.
    fn is_in_emergency(&self) -> bool {
        let live = |person: &Rc<Person>| incident::in_emergency(person, self.now).unwrap_or(true);
        self.person.as_ref().is_some_and(live)
    }

    /// Whether an unrecorded statement of theirs must not run.
    pub(super) fn is_accountable(&self) -> bool {
        self.person.is_some() || self.enrolled.is_some()
    }

    /// Sees that the record of a statement is as safe as it must be, and decides what becomes of the
    /// statement if it is not. Returns its number, 0 if it is not recorded.
    pub(super) fn judge(&self, recorded: Result<u32, trail::TrailError>) -> Result<u32, ErrorReport> {
        let number = match recorded {
            Ok(number) => number,
            Err(error) if self.is_accountable() => return Err(report(error)),
            Err(error) => {
                trail::warn(&error);
                return Ok(0);
            }
        };
        match trail::secure() {
            Ok(()) => Ok(number),
            Err(error) if self.is_accountable() => {
                capture::withdrawn(number, error.sqlstate());
                failure::recorded_ahead();
                Err(report(error))
            }
            Err(error) => {
                trail::warn(&error);
                Ok(number)
            }
        }
    }
}

/// Records the refusal of a statement and turns it into the error to raise.
/// `text` is the statement's, as `build::text` keeps it.
#[cold]
pub(super) fn refuse(
    asker: &Asker,
    error: impl Report,
    text: &[u8],
    shape: impl FnOnce() -> Shape,
) -> ErrorReport {
    // Whoever came with a token is told what was wrong with it, rather than that he came without.
    let not_accepted = match asker.person {
        None => arrival::failure(),
        Some(_) => None,
    };
    match not_accepted {
        Some(failure) => record_refusal(asker, failure, text, shape),
        None => record_refusal(asker, error, text, shape),
    }
}

fn record_refusal(
    asker: &Asker,
    error: impl Report,
    text: &[u8],
    shape: impl FnOnce() -> Shape,
) -> ErrorReport {
    let sqlstate = error.sqlstate();
    // A refusal's shape is built anew each time: no key that another statement could have.
    let key = [b"refused".as_slice(), &asker.now.to_le_bytes()].concat();
    let facts = Facts { at: asker.now, text, grants: &[], parameters: &[], parameter_count: 0, key: &key };
    failure::recorded_ahead();
    if let Err(lost) = capture::stopped(&facts, sqlstate, shape) {
        trail::warn(&lost);
    }
    report(error)
}
