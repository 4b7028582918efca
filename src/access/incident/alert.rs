//! Alerts: to the ledger, to the server log, and by NOTIFY.

use crate::access::request::{RequestError, tell};
use crate::event::{Note, Outcome};
use crate::settings::{self, AlertLevel};
use crate::trail;
use serde_json::{Value, json};

/// Raises an alert. `line` is for the server log, `detail` for the ledger; listeners get what of it names
/// nothing but people and numbers.
pub fn raise(kind: &'static str, line: &str, detail: &Value) -> Result<(), RequestError> {
    let told = Some(detail.to_string());
    trail::note(&Note {
        event: "alert",
        outcome: Outcome::Ok,
        sqlstate: None,
        object: Some(kind.to_owned()),
        detail: told,
    })?;
    tell(&json!({
        "event": kind, "grant": detail["grant"], "incident": detail["incident"], "user_id": detail["user_id"],
        "object": detail["object"],
    }));
    match settings::alert_level() {
        AlertLevel::Notice => pgrx::notice!("pg_custodian alert: {line}"),
        AlertLevel::Warning => pgrx::warning!("pg_custodian alert: {line}"),
        AlertLevel::Log => pgrx::log!("pg_custodian alert: {line}"),
    }
    Ok(())
}
