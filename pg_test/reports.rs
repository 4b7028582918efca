//! Sessions and health as one backend sees them.

#[pgrx::pg_schema]
mod tests {
    use crate::identity::algorithm::Algorithm;
    use crate::identity::mint::Signer;
    use pgrx::JsonB;
    use pgrx::prelude::*;
    use serde_json::json;

    fn own(column: &str) -> Option<String> {
        Spi::get_one(&format!(
            "SELECT (SELECT ({column})::text FROM custodian.live_sessions() WHERE pid = pg_backend_pid())"
        ))
        .unwrap()
    }

    #[pg_test]
    fn a_session_shows_its_person_as_long_as_there_is_one() {
        let signer = Signer::new(Algorithm::Es256, Some("k1"));
        let now = crate::pg::session::unix_now();
        Spi::run_with_args(
            "SELECT custodian.trust_issuer('https://login.example.com/', $1, ARRAY['reports'])",
            &[JsonB(signer.jwks()).into()],
        )
        .unwrap();
        let claims = json!({"iss": "https://login.example.com/", "aud": "reports", "sub": "Ünal",
            "email": "u@example.com", "iat": now - 60, "exp": now + 3600});
        let token = signer.token(&claims);
        assert_eq!(own("user_id"), None);
        Spi::run_with_args("SELECT custodian.set_identity($1)", &[token.as_str().into()]).unwrap();
        assert_eq!(own("user_id").as_deref(), Some("Ünal"));
        assert_eq!(own("email").as_deref(), Some("u@example.com"));
        assert_eq!(own("token_id"), None);
        assert_eq!(own("expires_at - issued_at").as_deref(), Some("01:01:00"));
        assert_eq!(own("running_since = statement_timestamp()").as_deref(), Some("true"));
        Spi::run("SELECT custodian.clear_identity()").unwrap();
        assert_eq!(own("user_id"), None);
    }

    #[pg_test]
    fn each_check_has_one_row_and_says_what_to_do_if_it_fails() {
        let odd: Option<i64> = Spi::get_one(
            "SELECT count(*) FROM custodian.status() AS s WHERE s.detail = '' OR s.ok <> (s.hint IS NULL)",
        )
        .unwrap();
        assert_eq!(odd, Some(0));
        let names: Option<Vec<String>> =
            Spi::get_one("SELECT array_agg(\"check\") FROM custodian.status()").unwrap();
        assert_eq!(
            names.unwrap(),
            [
                "library",
                "journal",
                "journal syncs",
                "ledger writer",
                "ledger lag",
                "steward",
                "ledger guards",
                "maintenance",
                "superusers",
                "ways around",
                "protected tables",
                "enrolled roles",
                "issuers",
                "fsync"
            ]
        );
    }
}
