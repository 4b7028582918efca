//! Word for chat bridges and the like, by NOTIFY.

use crate::pg::worker;
use serde_json::Value;

/// Where sessions listen.
const CHANNEL: &std::ffi::CStr = c"pg_custodian_access";
/// PostgreSQL takes less than 8,000 bytes.
const LONGEST: usize = 7_900;

/// Notifies, at the commit. Everybody in the database can listen: no reasons, comments or findings go in here.
pub fn tell(notice: &Value) {
    let text = notice.to_string();
    if text.len() <= LONGEST {
        return worker::notify(CHANNEL, &text);
    }
    // Names of absurd length: who listens can look the rest up.
    let short: serde_json::Map<String, Value> = ["event", "request", "grant"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), notice.get(name)?.clone())))
        .collect();
    worker::notify(CHANNEL, &Value::Object(short).to_string());
}
