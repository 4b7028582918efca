//! Tests inside the server, one file per part. All stand below this module, so that the run
//! without a server can leave them out by its name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod gate;
mod identity;
mod masking;
mod masking_functions;
mod policies;
mod reports;

/// Called by the test framework once per run.
pub fn setup(_options: Vec<&str>) {}

/// What the test server's configuration needs.
#[must_use]
pub fn postgresql_conf_options() -> Vec<&'static str> {
    vec!["shared_preload_libraries = 'pg_custodian'", "pg_custodian.failure_delay = 0"]
}
