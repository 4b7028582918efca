//! The part of identity that needs no server, compiled once more for the bench: linking the library
//! itself into a program would want a PostgreSQL around it.
#![allow(dead_code, reason = "the bench calls what verifies, not what registers")]

#[path = "../../src/identity/algorithm.rs"]
pub mod algorithm;
#[path = "../../src/identity/claims.rs"]
pub mod claims;
#[path = "../../src/identity/instant.rs"]
pub mod instant;
#[path = "../../src/identity/issuer.rs"]
pub mod issuer;
#[path = "../../src/identity/json.rs"]
pub mod json;
#[path = "../../src/identity/jwks.rs"]
pub mod jwks;
#[path = "../../src/identity/key.rs"]
pub mod key;
#[path = "../../src/identity/person.rs"]
pub mod person;
#[path = "../../src/identity/refusal.rs"]
pub mod refusal;
#[path = "../../src/identity/token.rs"]
pub mod token;
