//! Who somebody is, once a token has been verified.

/// A human or bot, known by (issuer, user_id). Made only by [`super::claims::person`] from a
/// verified token, and of a credential that was issued to that person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// `iss`, exactly as registered.
    pub issuer: String,
    /// The value of the issuer's user_claim; never empty, without control characters.
    pub user_id: String,
    pub email: Option<String>,
    pub name: Option<String>,
    pub groups: Vec<String>,
    /// `jti`.
    pub token_id: Option<String>,
    /// `iat`, as `expires_at`: what a revocation is compared with.
    pub issued_at: Option<i64>,
    /// `exp`, microseconds since 2000-01-01 UTC (PostgreSQL's TimestampTz). From this instant on
    /// the person is nobody.
    pub expires_at: i64,
    /// All claims as JSON text.
    pub claims: String,
    /// The one grant that counts, for whoever came in by a credential of it.
    pub only_grant: Option<i64>,
}

impl Person {
    /// Somebody who is not here, to ask what they would see: never the person of a session.
    pub fn absent(issuer: String, user_id: String, groups: Vec<String>) -> Self {
        Self {
            issuer,
            user_id,
            email: None,
            name: None,
            groups,
            token_id: None,
            issued_at: None,
            expires_at: i64::MAX,
            claims: String::new(),
            only_grant: None,
        }
    }

    /// Whether `other` may see what was opened for `self`: the same person in the same groups.
    pub fn same_clearance(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.user_id == other.user_id && self.groups == other.groups
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
