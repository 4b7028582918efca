//! How requests, approvals and break-glass say no.

use super::machine::{Refusal, State};
use super::rule::{Pattern, Sensitivity};
use crate::access::error::AccessError;
use crate::error::{Report, ServerError};
use crate::identity::IdentityError;
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("this needs an identified person")]
    NoPerson,
    #[error("token has no claim \"{0}\", which tells people apart")]
    NoSubject(String),
    // rules
    #[error("cannot set a rule about \"{0}\"")]
    NotAPattern(String),
    #[error("unrecognized decision \"{0}\"")]
    UnknownDecision(String),
    #[error("unrecognized sensitivity \"{0}\"")]
    UnknownSensitivity(String),
    #[error("time zone \"{0}\" does not exist")]
    UnknownTimeZone(String),
    #[error("{0} is not a day of the week")]
    NotADay(i32),
    #[error("a rule needs at least one day")]
    NoDays,
    #[error("the hours of a rule need a beginning and an end")]
    HalfHours,
    #[error("the hours of a rule must end after they begin")]
    InvertedHours,
    #[error("a rule that says \"{decision}\" needs {needed} groups of approvers, not {given}")]
    WrongGroups { decision: &'static str, needed: &'static str, given: usize },
    #[error("a request must wait for a positive time of at most 30 days")]
    OddLifetime,
    #[error("rule \"{0}\" does not exist")]
    UnknownRule(String),
    // requests
    #[error("no rule permits this request")]
    NoRule {
        /// Why not, a sentence for each of the first rules.
        why: String,
    },
    #[error("request {0} does not exist")]
    UnknownRequest(i64),
    #[error("request {id} {}", told(*.refusal))]
    Refused { id: i64, refusal: Refusal },
    #[error("request {0} cannot be approved, the rules have changed since it was made")]
    RulesChanged(i64),
    #[error("request {0} cannot be approved, what it asks for is not there any more")]
    ObjectGone(i64),
    #[error("too many requests are waiting: {0}")]
    TooMany(i64),
    // break-glass
    #[error("you may not break the glass")]
    NotForYou,
    #[error("incident \"{0}\" is not open")]
    NotOpen(String),
    #[error("incident \"{0}\" is not assigned to you")]
    NotAssigned(String),
    #[error("incident \"{0}\" was closed")]
    WasClosed(String),
    #[error("grant {0} does not come from break-glass")]
    NotBreakGlass(i64),
    #[error("grant {0} is somebody else's")]
    NotYours(i64),
    #[error("your own use of break-glass is for somebody else to review")]
    OwnReview,
    #[error("grant {0} has not ended yet")]
    NotOver(i64),
    #[error("grant {0} has been reviewed")]
    Reviewed(i64),
}

fn told(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Decided(State::Pending | State::Granted) => "is granted already",
        Refusal::Decided(State::Rejected) => "was rejected",
        Refusal::Decided(State::Cancelled) => "was cancelled",
        Refusal::Decided(State::Expired) => "has expired",
        Refusal::Own => "is your own, or that of another account of yours",
        Refusal::Again => "has your approval already",
        Refusal::NotAnApprover => "is not yours to decide",
        Refusal::NotTheAsker => "is somebody else's",
    }
}

impl From<pgrx::spi::Error> for RequestError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl Report for RequestError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::Access(error) => error.code(),
            Self::Identity(error) => error.code(),
            Self::NoPerson | Self::NoSubject(_) => {
                PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
            }
            Self::NotAPattern(_)
            | Self::UnknownDecision(_)
            | Self::UnknownSensitivity(_)
            | Self::UnknownTimeZone(_)
            | Self::NotADay(_)
            | Self::NoDays
            | Self::HalfHours
            | Self::InvertedHours
            | Self::WrongGroups { .. }
            | Self::OddLifetime => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::UnknownRule(_) | Self::UnknownRequest(_) | Self::NotBreakGlass(_) => {
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
            }
            Self::NoRule { .. }
            | Self::Refused {
                refusal: Refusal::Own | Refusal::Again | Refusal::NotAnApprover | Refusal::NotTheAsker,
                ..
            }
            | Self::NotForYou
            | Self::NotAssigned(_)
            | Self::NotYours(_)
            | Self::OwnReview => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Refused { refusal: Refusal::Decided(_), .. }
            | Self::RulesChanged(_)
            | Self::ObjectGone(_)
            | Self::NotOpen(_)
            | Self::WasClosed(_)
            | Self::NotOver(_)
            | Self::Reviewed(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::TooMany(_) => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Trail(error) => error.detail(),
            Self::Access(error) => error.detail(),
            Self::Identity(error) => error.detail(),
            Self::NoRule { why } if !why.is_empty() => Some(why.clone()),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Server(error) => return error.hint(),
            Self::Trail(error) => return error.hint(),
            Self::Access(error) => return error.hint(),
            Self::Identity(error) => return error.hint(),
            Self::NotAPattern(_) => return Some(format!("Write {}.", Pattern::FORMS)),
            Self::UnknownSensitivity(_) => {
                return Some(format!("It is one of {}.", Sensitivity::ALL.map(Sensitivity::word).join(", ")));
            }
            Self::NoPerson => "Identify first: SELECT custodian.set_identity('<token>');",
            Self::NoSubject(_) => "Get a token with the claim that pg_custodian.subject_claim names.",
            Self::UnknownDecision(_) => "It is 'automatic', 'one approver' or 'two approvers'.",
            Self::UnknownTimeZone(_) => "SELECT name FROM pg_timezone_names; lists them.",
            Self::NotADay(_) | Self::NoDays => "Pass days from 1, Monday, to 7, Sunday; or NULL for all.",
            Self::HalfHours => "Pass both from_time and until_time, or neither.",
            Self::InvertedHours => "For hours that go past midnight set two rules.",
            Self::WrongGroups { .. } => {
                "One approver is of any of the groups in approver_groups; of two, each stands for one of two groups."
            }
            Self::OddLifetime => "Pass an interval such as '24 hours'.",
            Self::UnknownRule(_) => "SELECT * FROM access.rules; shows them.",
            Self::NoRule { .. } => {
                "Ask for less or for a shorter time, or ask a member of the role custodian_admin to grant it."
            }
            Self::UnknownRequest(_) => "SELECT * FROM access.pending_approvals; shows what waits for you.",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Decided(_) => {
                    "SELECT * FROM access.my_requests; shows what became of yours; ask again if need be."
                }
                Refusal::Own => "Have somebody else approve it; access.cancel(request_id) withdraws it.",
                Refusal::Again => "Somebody else has to approve it, too.",
                Refusal::NotAnApprover => "SELECT * FROM access.pending_approvals; shows what waits for you.",
                Refusal::NotTheAsker => {
                    "Only who asked can withdraw it; access.reject(request_id, comment) turns it down."
                }
            },
            Self::RulesChanged(_) | Self::ObjectGone(_) => {
                "It has to be asked for again: access.request_access(...)."
            }
            Self::TooMany(_) => {
                "Withdraw some of them by access.cancel(request_id), or wait until they are decided."
            }
            Self::NotForYou => {
                "The groups that may are in pg_custodian.break_glass_groups; ask for access by access.request_access(...)."
            }
            Self::NotOpen(_) => "The on-call system opens it by access.open_incident(incident, assignees).",
            Self::NotAssigned(_) => "Have the on-call system assign it to you.",
            Self::WasClosed(_) => "Name an incident that is open.",
            Self::NotBreakGlass(_) => "SELECT * FROM access.break_glass_uses; shows the grants that do.",
            Self::NotYours(_) => "SELECT * FROM access.my_grants WHERE live; shows yours.",
            Self::OwnReview => "Have somebody else call access.review(grant_id, findings).",
            Self::NotOver(_) => "End it by access.revoke_access(grant_id, reason), or wait.",
            Self::Reviewed(_) => "SELECT * FROM access.break_glass_uses; has the findings.",
        };
        Some(text.to_owned())
    }
}
