//! pg_custodian: access to production PostgreSQL, accountable to a person, from inside the database.
//!
//! Modules in tier order: each uses lower tiers only (`tests/layering.rs`).

// 0: words that all share
mod error;
mod event;
mod settings;
// 1: the server, and bytes on disk
mod journal;
mod pg;
// 2: the entrance to the audit trail
mod trail;
// 3 and 4: who, and what they were granted
mod access;
mod identity;
// 5: what is made of it
mod capture;
mod gate;
mod ledger;
mod masking;
// 6: what is read out of it
mod reports;
// 7: what holds it together
mod install;
mod pipeline;
mod workers;

pgrx::pg_module_magic!(name, version);

/// Called when the library is loaded: by the postmaster through shared_preload_libraries, or by a
/// backend that calls one of our functions without it; then there is nothing but settings, and
/// the functions say what is missing. So it is under pg_upgrade, which makes the extension's objects one by one,
/// and lets nobody else in.
#[pgrx::pg_guard]
#[allow(non_snake_case)]
pub extern "C-unwind" fn _PG_init() {
    settings::define(pg::session::is_preloading());
    pg::start_option::define();
    pg::remote::define();
    pg::text_setting::define(&capture::choice::SETTINGS);
    pg::version::reserve_settings();
    if pg::session::is_preloading() && !pg::session::is_upgrading() {
        pg::hooks::install(pipeline::handlers());
        workers::register();
    }
}

/// Tests inside the server.
#[cfg(any(test, feature = "pg_test"))]
#[path = "../pg_test/mod.rs"]
pub mod pg_test;
