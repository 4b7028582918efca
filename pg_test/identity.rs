//! Identity inside the server: functions, tables, rights.

#[pgrx::pg_schema]
mod tests {
    use crate::error::Report;
    use crate::identity::algorithm::Algorithm;
    use crate::identity::enrolled::{self, Mode};
    use crate::identity::mint::{Signer, b64};
    use crate::identity::revocation::{self, Ended};
    use crate::identity::{IdentityError, session};
    use pgrx::JsonB;
    use pgrx::prelude::*;
    use serde_json::{Value, json};

    const ISSUER: &str = "https://login.example.com/";
    const AUDIENCE: &str = "payments-db";

    fn now() -> i64 {
        crate::pg::session::unix_now()
    }

    fn claims() -> Value {
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "u-17", "email": "ada@example.com", "name": "Ada Okafor",
        "groups": ["support", "oncall"], "jti": "t-1", "iat": now() - 60, "exp": now() + 3600})
    }

    fn claims_with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    /// A fresh key, registered.
    fn trusted() -> Signer {
        let signer = Signer::new(Algorithm::Es256, Some("k1"));
        trust(&signer.jwks());
        signer
    }

    fn trust(jwks: &Value) {
        Spi::run_with_args(
            "SELECT custodian.trust_issuer($1, $2, $3)",
            &[ISSUER.into(), JsonB(jwks.clone()).into(), vec![AUDIENCE.to_owned()].into()],
        )
        .unwrap();
    }

    fn identify(token: &str) {
        Spi::run_with_args("SELECT custodian.set_identity($1)", &[token.into()]).unwrap();
    }

    /// Runs `statement`, which may use the text `$1`, and gives what it raised: SQLSTATE, message, hint.
    fn raised(statement: &str, argument: &str) -> Option<[String; 3]> {
        Spi::run(
        "CREATE OR REPLACE FUNCTION pg_temp.raised(statement text, argument text) RETURNS text[] LANGUAGE plpgsql AS $f$
         DECLARE state text; message text; hint text;
         BEGIN
             EXECUTE statement USING argument;
             RETURN NULL;
         EXCEPTION WHEN OTHERS THEN
             GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
             RETURN ARRAY[state, message, hint];
         END $f$",
    )
    .unwrap();
        let raised: Option<Vec<String>> =
            Spi::get_one_with_args("SELECT pg_temp.raised($1, $2)", &[statement.into(), argument.into()])
                .unwrap();
        raised.map(|parts| parts.try_into().unwrap())
    }

    fn refused(token: &str) -> [String; 3] {
        raised("SELECT custodian.set_identity($1)", token).expect("the token was accepted")
    }

    fn user_id() -> Option<String> {
        Spi::get_one("SELECT custodian.user_id()").unwrap()
    }

    #[pg_test]
    fn a_verified_token_names_the_person() {
        let signer = trusted();
        let token = signer.token(&claims());
        let shown: Option<JsonB> =
            Spi::get_one_with_args("SELECT to_jsonb(custodian.set_identity($1))", &[token.as_str().into()])
                .unwrap();
        let shown = shown.unwrap().0;
        assert_eq!(shown["issuer"], json!(ISSUER));
        assert_eq!(shown["user_id"], json!("u-17"));
        assert_eq!(shown["email"], json!("ada@example.com"));
        assert_eq!(shown["groups"], json!(["support", "oncall"]));
        assert_eq!(shown["token_id"], json!("t-1"));
        let same: Option<bool> = Spi::get_one(
        "SELECT (w.p).user_id = custodian.user_id() AND (w.p).email = custodian.email()
            AND (w.p).groups = custodian.groups() AND custodian.claims() ->> 'name' = (w.p).name
            AND extract(epoch FROM (w.p).expires_at) = (custodian.claims() ->> 'exp')::numeric
            AND custodian.has_group('oncall') AND NOT custodian.has_group('dba') AND NOT custodian.has_group(NULL)
         FROM (SELECT custodian.whoami() AS p) AS w",
    )
    .unwrap();
        assert_eq!(same, Some(true));
    }

    #[pg_test]
    fn without_a_person_there_is_nothing_to_show() {
        let nobody: Option<bool> = Spi::get_one(
            "SELECT custodian.whoami() IS NULL AND custodian.user_id() IS NULL AND custodian.email() IS NULL
            AND custodian.groups() = '{}' AND custodian.claims() IS NULL AND NOT custodian.has_group('dba')",
        )
        .unwrap();
        assert_eq!(nobody, Some(true));
        Spi::run("SELECT custodian.clear_identity()").unwrap();
    }

    #[pg_test]
    fn bad_tokens_are_refused_with_28000_and_a_hint() {
        let signer = trusted();
        let stranger = Signer::new(Algorithm::Es256, Some("k1"));
        let good = signer.token(&claims());
        let unsigned = format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64(claims().to_string()));
        let cases = [
            ("malformed", "not a token".to_owned()),
            ("empty", String::new()),
            ("truncated", good[..good.len() - 5].to_owned()),
            ("unsigned", unsigned),
            ("wrongly signed", stranger.token(&claims())),
            ("expired", signer.token(&claims_with("exp", json!(now() - 1)))),
            ("not yet valid", signer.token(&claims_with("nbf", json!(now() + 600)))),
            ("foreign audience", signer.token(&claims_with("aud", json!("other-db")))),
            ("foreign issuer", signer.token(&claims_with("iss", json!("https://evil.example/")))),
            ("oversized", signer.token(&claims_with("pad", json!("x".repeat(20_000))))),
            ("too long-lived", signer.token(&claims_with("exp", json!(now() + 86_400)))),
        ];
        for (what, token) in cases {
            let [state, message, hint] = refused(&token);
            assert_eq!(state, "28000", "{what}: {message}");
            assert!(!hint.is_empty(), "{what}: {message}");
            let shown = format!("{message} {hint}");
            assert!(token.len() < 20 || !shown.contains(&token[..20]), "{what}: {shown}");
            assert_eq!(user_id(), None, "{what}");
        }
        identify(&good);
        assert_eq!(user_id().as_deref(), Some("u-17"));
    }

    #[pg_test]
    fn no_token_is_an_argument_error() {
        let [state, message, hint] = raised("SELECT custodian.set_identity(NULL)", "").unwrap();
        assert_eq!((state.as_str(), message.as_str()), ("22004", "argument \"token\" must not be null"));
        assert!(hint.contains("custodian.set_identity(token)"));
    }

    #[pg_test]
    fn a_failed_attempt_ends_the_identity_that_was() {
        let signer = trusted();
        identify(&signer.token(&claims()));
        refused(&signer.token(&claims_with("exp", json!(1))));
        assert_eq!(user_id(), None);
    }

    #[pg_test]
    fn a_rollback_brings_nobody_back() {
        let signer = trusted();
        identify(&signer.token(&claims()));
        Spi::run(
            "DO $$ BEGIN
             PERFORM custodian.clear_identity();
             RAISE EXCEPTION 'undo';
         EXCEPTION WHEN raise_exception THEN NULL;
         END $$",
        )
        .unwrap();
        assert_eq!(user_id(), None);
    }

    #[pg_test]
    fn an_identity_for_a_transaction_ends_with_it() {
        let signer = trusted();
        let token = signer.token(&claims());
        Spi::run_with_args(
            "SELECT custodian.set_identity($1, for_transaction => true)",
            &[token.as_str().into()],
        )
        .unwrap();
        assert_eq!(user_id().as_deref(), Some("u-17"));
        session::end_of_transaction(true);
        assert_eq!(user_id(), None);
        identify(&token);
        session::end_of_transaction(true);
        assert_eq!(user_id().as_deref(), Some("u-17"));
    }

    #[pg_test]
    fn an_identity_ends_at_the_exp_of_its_token() {
        let signer = trusted();
        identify(&signer.token(&claims_with("exp", json!(now() + 3600))));
        let person = session::current().unwrap();
        assert!(session::check(person.expires_at - 1).unwrap().is_some());
        let before = session::serial();
        let error = session::check(person.expires_at).unwrap_err();
        assert!(error.to_string().starts_with("identity of \"u-17\" expired at 20"));
        assert_eq!(&error.sqlstate(), b"28000");
        assert!(error.hint().unwrap().contains("custodian.set_identity(token)"));
        assert!(session::current().is_none() && session::serial() != before);
        assert!(session::check(person.expires_at).unwrap().is_none());
    }

    #[pg_test]
    fn distrusting_an_issuer_ends_its_identities() {
        let signer = trusted();
        let token = signer.token(&claims());
        identify(&token);
        let moment = crate::pg::session::now();
        assert!(session::check(moment).unwrap().is_some());
        Spi::run_with_args("SELECT custodian.distrust_issuer($1)", &[ISSUER.into()]).unwrap();
        assert!(matches!(session::check(moment), Err(IdentityError::Distrusted { .. })));
        assert_eq!(user_id(), None);
        assert_eq!(refused(&token)[1], "token comes from an issuer that is not trusted");
        assert_eq!(raised("SELECT custodian.distrust_issuer($1)", ISSUER).unwrap()[0], "42704");
    }

    #[pg_test]
    fn an_identity_of_an_issuer_whose_registration_is_rolled_back_ends() {
        let signer = Signer::new(Algorithm::EdDsa, Some("k1"));
        let token = signer.token(&claims());
        let attempt = "DO $d$ BEGIN
             PERFORM custodian.trust_issuer(current_setting('t.issuer'), current_setting('t.jwks')::jsonb, ARRAY['payments-db']);
             PERFORM custodian.set_identity(current_setting('t.token'));
             RAISE EXCEPTION 'undo';
         EXCEPTION WHEN raise_exception THEN NULL;
         END $d$";
        for (name, value) in
            [("t.issuer", ISSUER), ("t.jwks", &signer.jwks().to_string()), ("t.token", &token)]
        {
            Spi::run_with_args("SELECT set_config($1, $2, true)", &[name.into(), value.into()]).unwrap();
        }
        Spi::run(attempt).unwrap();
        assert!(matches!(session::check(crate::pg::session::now()), Err(IdentityError::Distrusted { .. })));
    }

    fn revoked(issuer: &str, user_id: &str) -> Option<Ended> {
        revocation::standing(issuer, user_id, Some("t-1"), Some(crate::pg::session::now())).unwrap()
    }

    #[pg_test]
    fn revoking_a_person_ends_the_identity_and_refuses_new_ones() {
        let signer = trusted();
        let token = signer.token(&claims());
        identify(&token);
        let moment = crate::pg::session::now();
        Spi::run("SELECT custodian.revoke_person('u-18', 'somebody else')").unwrap();
        assert!(session::check(moment).unwrap().is_some());
        Spi::run("SELECT custodian.revoke_person('u-17', 'left the company')").unwrap();
        let error = session::check(moment).unwrap_err();
        assert_eq!(error.to_string(), "person \"u-17\" has been revoked");
        assert_eq!(&error.sqlstate(), b"28000");
        assert!(error.hint().unwrap().contains("custodian_admin"));
        assert!(session::check(moment).unwrap().is_none());
        assert_eq!(refused(&token)[1], "person \"u-17\" has been revoked");
        let fresh = signer.token(&claims_with("iat", json!(now() + 20)));
        assert_eq!(refused(&fresh)[..2], ["28000", "person \"u-17\" has been revoked"]);
    }

    #[pg_test]
    fn a_revocation_is_for_one_issuer_or_for_all_of_them() {
        const OTHER: &str = "https://other.example/";
        let signer = trusted();
        let trust_other = || {
            Spi::run_with_args(
                "SELECT custodian.trust_issuer($1, $2, ARRAY['payments-db'])",
                &[OTHER.into(), JsonB(signer.jwks()).into()],
            )
            .unwrap();
        };
        let run = |statement: &str| Spi::run_with_args(statement, &[ISSUER.into()]).unwrap();
        run("SELECT custodian.revoke_person('u-17', 'mistaken identity', issuer => $1)");
        assert_eq!(revoked(OTHER, "u-17"), Some(Ended::Distrusted));
        trust_other();
        assert_eq!((revoked(ISSUER, "u-17"), revoked(OTHER, "u-17")), (Some(Ended::PersonRevoked), None));
        run("SELECT custodian.reinstate_person('u-17', 'sorry', issuer => $1)");
        assert_eq!(revoked(ISSUER, "u-17"), Some(Ended::IssuedBefore));
        // for all, those included that come later
        run("SELECT custodian.distrust_issuer('https://other.example/') WHERE $1 <> ''");
        Spi::run("SELECT custodian.revoke_person('u-17', 'left')").unwrap();
        trust_other();
        assert_eq!(revoked(ISSUER, "u-17"), Some(Ended::PersonRevoked));
        assert_eq!(revoked(OTHER, "u-17"), Some(Ended::PersonRevoked));
        // for one issuer alone it cannot be ended
        let [state, message, hint] =
            raised("SELECT custodian.reinstate_person('u-17', 'back', $1)", OTHER).unwrap();
        assert_eq!(
            (state.as_str(), message.as_str()),
            ("55000", "person \"u-17\" is revoked for all issuers")
        );
        assert!(hint.contains("Leave the issuer out"));
        Spi::run("SELECT custodian.reinstate_person('u-17', 'back')").unwrap();
        assert_eq!(revoked(OTHER, "u-17"), Some(Ended::IssuedBefore));
        let later = Some(crate::pg::session::now() + 120_000_000);
        assert_eq!(revocation::standing(OTHER, "u-17", None, later).unwrap(), None);
        assert_eq!(revocation::standing(OTHER, "u-17", None, None).unwrap(), Some(Ended::IssuedBefore));
        let shown: Option<JsonB> = Spi::get_one(
            "SELECT jsonb_agg(jsonb_build_array(issuer, user_id, token_id, in_force, reason, reinstated_for)
                              ORDER BY issuer NULLS LAST) FROM custodian.revocations",
        )
        .unwrap();
        let expected = json!([
            [ISSUER, "u-17", null, false, "mistaken identity", "sorry"],
            [null, "u-17", null, false, "left", "back"]
        ]);
        assert_eq!(shown.unwrap().0, expected);
    }

    #[pg_test]
    fn revoking_again_moves_the_moment_and_never_back() {
        trusted();
        Spi::run("SELECT custodian.revoke_person('u-17', 'first')").unwrap();
        Spi::run("UPDATE custodian.revocation SET revoked_at = '2020-01-01', reinstated_at = '2020-01-02'")
            .unwrap();
        assert_eq!(revoked(ISSUER, "u-17"), None);
        Spi::run("SELECT custodian.revoke_person('u-17', 'second')").unwrap();
        assert_eq!(revoked(ISSUER, "u-17"), Some(Ended::PersonRevoked));
        Spi::run("UPDATE custodian.revocation SET revoked_at = 'infinity'").unwrap();
        Spi::run("SELECT custodian.revoke_person('u-17', 'third')").unwrap();
        Spi::run("SELECT custodian.reinstate_person('u-17', 'back')").unwrap();
        let later = Some(crate::pg::session::now() + 1_000_000_000_000);
        assert_eq!(revocation::standing(ISSUER, "u-17", None, later).unwrap(), Some(Ended::IssuedBefore));
        let rows: Option<i64> = Spi::get_one("SELECT count(*) FROM custodian.revocation").unwrap();
        assert_eq!(rows, Some(1));
    }

    #[pg_test]
    fn a_revoked_token_is_refused_and_others_of_the_person_are_not() {
        let signer = trusted();
        identify(&signer.token(&claims()));
        Spi::run_with_args("SELECT custodian.revoke_token($1, 't-1', 'lost')", &[ISSUER.into()]).unwrap();
        let error = session::check(crate::pg::session::now()).unwrap_err();
        assert_eq!(error.to_string(), "token of \"u-17\" has been revoked");
        // once more says nothing new
        Spi::run_with_args("SELECT custodian.revoke_token($1, 't-1')", &[ISSUER.into()]).unwrap();
        assert_eq!(refused(&signer.token(&claims()))[1], "token of \"u-17\" has been revoked");
        identify(&signer.token(&claims_with("jti", json!("t-2"))));
        assert!(session::check(crate::pg::session::now()).unwrap().is_some());
        let mut without_id = claims();
        without_id.as_object_mut().unwrap().remove("jti");
        identify(&signer.token(&without_id));
        let kept: Option<String> = Spi::get_one("SELECT reason FROM custodian.revocations").unwrap();
        assert_eq!(kept.as_deref(), Some("lost"));
    }

    #[pg_test]
    fn what_cannot_be_revoked_is_refused() {
        trusted();
        for (state, statement) in [
            ("22004", "SELECT custodian.revoke_person(NULL, 'why')"),
            ("22004", "SELECT custodian.revoke_person('u-17', NULL)"),
            ("22023", "SELECT custodian.revoke_person(' ', 'why')"),
            ("22023", "SELECT custodian.revoke_person('u-17', ' ')"),
            ("22023", "SELECT custodian.revoke_person('u-17', 'why', '')"),
            ("42704", "SELECT custodian.revoke_person('u-17', 'why', 'https://evil.example/')"),
            ("42704", "SELECT custodian.reinstate_person('u-17', 'why')"),
            ("42704", "SELECT custodian.reinstate_person('u-17', 'why', 'https://evil.example/')"),
            ("22004", "SELECT custodian.reinstate_person('u-17', NULL)"),
            ("22004", "SELECT custodian.revoke_token(NULL, 't-1')"),
            ("22004", "SELECT custodian.revoke_token('https://login.example.com/', NULL)"),
            ("22023", "SELECT custodian.revoke_token('https://login.example.com/', '')"),
            ("42704", "SELECT custodian.revoke_token('https://evil.example/', 't-1')"),
        ] {
            let [found, message, hint] = raised(statement, "").expect(statement);
            assert_eq!(found, state, "{statement}: {message}");
            assert!(state != "42704" || !hint.is_empty(), "{statement}: no hint");
        }
        let hint =
            raised("SELECT custodian.revoke_person('u-17', 'why', $1)", "https://evil.example/").unwrap();
        assert!(hint[2].contains("Without an issuer"), "{hint:?}");
        let rows: Option<i64> = Spi::get_one("SELECT count(*) FROM custodian.revocations").unwrap();
        assert_eq!(rows, Some(0));
    }

    #[pg_test]
    fn a_row_of_a_revocation_that_makes_no_sense_cannot_be_written() {
        for row in [
            "(user_id) VALUES ('u-17')",
            "(reason) VALUES ('why')",
            "(user_id, token_id, reason) VALUES ('u-17', 't-1', 'why')",
            "(token_id) VALUES ('t-1')",
            "(issuer, token_id, reinstated_at) VALUES ('i', 't-1', now())",
            "(user_id, reason, revoked_at) VALUES ('u-17', 'why', NULL)",
        ] {
            let raised = raised(&format!("INSERT INTO custodian.revocation {row}"), "");
            assert!(raised.is_some_and(|[state, ..]| state == "23514" || state == "23502"), "{row}");
        }
    }

    #[pg_test]
    fn a_single_use_issuer_can_be_trusted_and_its_tokens_identify_once() {
        let signer = Signer::new(Algorithm::Es256, Some("k1"));
        Spi::run_with_args(
            "SELECT custodian.trust_issuer($1, $2, ARRAY['payments-db'], single_use => true)",
            &[ISSUER.into(), JsonB(signer.jwks()).into()],
        )
        .unwrap();
        let jti = format!("{}-{}", crate::pg::session::pid(), crate::pg::session::now());
        let claims = claims_with("jti", json!(jti));
        let token = signer.token(&claims);
        identify(&token);
        assert_eq!(user_id().as_deref(), Some("u-17"));
        let [state, message, hint] = refused(&token);
        assert_eq!((state.as_str(), message.as_str()), ("28000", "token of \"u-17\" has been used already"));
        assert!(hint.contains("identify once"));
        assert_eq!(user_id(), None);
        // signed once more: the same words are the same token
        assert_eq!(refused(&signer.token(&claims))[1], message);
    }

    #[pg_test]
    fn after_a_rotation_only_the_new_keys_verify() {
        let old = trusted();
        let new = Signer::new(Algorithm::EdDsa, Some("k2"));
        let rotate = |jwks: Value| {
            Spi::run_with_args("SELECT custodian.rotate_keys($1, $2)", &[ISSUER.into(), JsonB(jwks).into()])
                .unwrap();
        };
        rotate(json!({"keys": [old.jwk(), new.jwk()]}));
        identify(&old.token(&claims()));
        identify(&new.token(&claims()));
        rotate(new.jwks());
        assert_eq!(refused(&old.token(&claims()))[0], "28000");
        identify(&new.token(&claims()));
        let unknown = raised(
            "SELECT custodian.rotate_keys('https://nobody.example/', $1::jsonb)",
            &new.jwks().to_string(),
        );
        assert_eq!(unknown.unwrap()[0], "42704");
    }

    #[pg_test]
    fn a_bad_key_set_is_refused_and_nothing_is_changed() {
        let signer = trusted();
        let token = signer.token(&claims());
        let mut private = signer.jwk();
        private["d"] = json!("AQAB");
        let weak = json!({"kty": "RSA", "kid": "weak", "e": "AQAB", "n": b64([0xff; 128])});
        for jwks in [
            json!({}),
            json!([]),
            json!({"keys": []}),
            json!({"keys": [{"kty": "RSA"}]}),
            json!({"keys": [private]}),
            json!({"keys": [weak]}),
            json!({"keys": [{"kty": "oct", "k": b64([7; 32])}]}),
            json!({"keys": [signer.jwk(), signer.jwk()]}),
        ] {
            for call in [
                "SELECT custodian.trust_issuer('https://login.example.com/', $1::jsonb, '{payments-db}')",
                "SELECT custodian.rotate_keys('https://login.example.com/', $1::jsonb)",
            ] {
                let [state, message, hint] =
                    raised(call, &jwks.to_string()).expect("the key set was accepted");
                assert_eq!(state, "22023", "{jwks}: {message}");
                assert!(!hint.is_empty());
            }
        }
        identify(&token);
    }

    #[pg_test]
    fn bad_terms_for_an_issuer_are_refused() {
        let jwks = Signer::new(Algorithm::Es256, Some("k1")).jwks().to_string();
        for (state, arguments) in [
            ("22004", "NULL, $1::jsonb, '{a}'"),
            ("22004", "'i', NULL::jsonb, '{a}'"),
            ("22004", "'i', $1::jsonb, NULL"),
            ("22004", "'i', $1::jsonb, '{a,NULL}'"),
            ("22023", "'', $1::jsonb, '{a}'"),
            ("22023", "'i', $1::jsonb, '{}'"),
            ("22023", "'i', $1::jsonb, '{a}', algorithms => '{none}'"),
            ("22023", "'i', $1::jsonb, '{a}', algorithms => '{}'"),
            ("22023", "'i', $1::jsonb, '{a}', algorithms => '{RS256}'"),
            ("22023", "'i', $1::jsonb, '{a}', user_claim => ''"),
            ("22023", "'i', $1::jsonb, '{a}', leeway => '-1 second'"),
            ("22023", "'i', $1::jsonb, '{a}', leeway => '61 seconds'"),
            ("22023", "'i', $1::jsonb, '{a}', max_lifetime => '-1 hour'"),
        ] {
            let raised = raised(&format!("SELECT custodian.trust_issuer({arguments})"), &jwks);
            assert_eq!(raised.expect(arguments)[0], state, "{arguments}");
        }
        let left: Option<i64> = Spi::get_one("SELECT count(*) FROM custodian.issuer").unwrap();
        assert_eq!(left, Some(0));
    }

    #[pg_test]
    fn registering_an_issuer_again_replaces_its_terms() {
        let signer = trusted();
        Spi::run_with_args(
        "SELECT custodian.trust_issuer($1, $2, '{other-db}', max_lifetime => '90 minutes', leeway => '1.5 seconds')",
        &[ISSUER.into(), JsonB(signer.jwks()).into()],
    )
    .unwrap();
        assert_eq!(refused(&signer.token(&claims()))[1], "token is meant for another audience");
        identify(&signer.token(&claims_with("aud", json!("other-db"))));
        let kept: Option<bool> = Spi::get_one(
            "SELECT max_lifetime = '90 minutes' AND leeway = '1.5 seconds' AND cardinality(algorithms) = 9
         FROM custodian.issuers WHERE issuer = 'https://login.example.com/'",
        )
        .unwrap();
        assert_eq!(kept, Some(true));
    }

    #[pg_test]
    fn a_shared_secret_is_not_shown() {
        let signer = Signer::new(Algorithm::Hs256, Some("s1"));
        Spi::run_with_args(
            "SELECT custodian.trust_issuer('legacy', $1, '{payments-db}', algorithms => '{HS256}')",
            &[JsonB(signer.jwks()).into()],
        )
        .unwrap();
        identify(&signer.token(&claims_with("iss", json!("legacy"))));
        let shown: Option<String> =
            Spi::get_one("SELECT to_jsonb(i)::text FROM custodian.issuers AS i").unwrap();
        let shown = shown.unwrap();
        assert!(shown.contains("s1") && !shown.contains(signer.jwk()["k"].as_str().unwrap()), "{shown}");
        // Nor what it could be guessed by.
        assert!(shown.contains("\"jwks_sha256\": null"), "{shown}");
    }

    #[pg_test]
    fn enrolling_sets_the_mode_and_unenrolling_ends_it() {
        Spi::run("CREATE ROLE shared_readers").unwrap();
        let role: Option<pg_sys::Oid> = Spi::get_one("SELECT 'shared_readers'::regrole::oid").unwrap();
        let role = role.unwrap();
        assert_eq!(enrolled::mode_of(role).unwrap(), None);
        for mode in Mode::ALL {
            Spi::run_with_args("SELECT custodian.enroll('shared_readers', $1)", &[mode.name().into()])
                .unwrap();
            assert_eq!(enrolled::mode_of(role).unwrap(), Some(mode));
        }
        let shown: Option<String> = Spi::get_one(
            "SELECT mode FROM custodian.enrolled_roles WHERE role = 'shared_readers' AND NOT dropped",
        )
        .unwrap();
        assert_eq!(shown.as_deref(), Some("govern"));
        Spi::run("SELECT custodian.unenroll('shared_readers')").unwrap();
        assert_eq!(enrolled::mode_of(role).unwrap(), None);
        assert_eq!(raised("SELECT custodian.unenroll($1::regrole)", "shared_readers").unwrap()[0], "42704");
    }

    #[pg_test]
    fn a_dropped_role_is_shown_and_can_be_let_go() {
        Spi::run("CREATE ROLE short_lived").unwrap();
        Spi::run("SELECT custodian.enroll('short_lived', 'identify')").unwrap();
        Spi::run("DROP ROLE short_lived").unwrap();
        let dropped: Option<pg_sys::Oid> =
            Spi::get_one("SELECT role_oid FROM custodian.enrolled_roles WHERE dropped AND role IS NULL")
                .unwrap();
        Spi::run_with_args("SELECT custodian.unenroll($1::regrole)", &[dropped.unwrap().into()]).unwrap();
        let left: Option<i64> = Spi::get_one("SELECT count(*) FROM custodian.enrolled_roles").unwrap();
        assert_eq!(left, Some(0));
    }

    #[pg_test]
    fn what_cannot_be_enrolled_is_refused() {
        Spi::run("CREATE ROLE shared_readers").unwrap();
        Spi::run("CREATE ROLE almighty SUPERUSER").unwrap();
        for (state, arguments) in [
            ("42704", "'no_such_role', 'observe'"),
            ("42704", "4294000000::oid::regrole, 'observe'"),
            ("22023", "'shared_readers', 'strict'"),
            ("22023", "'shared_readers', 'Govern'"),
            ("22023", "'almighty', 'observe'"),
            ("22004", "NULL, 'observe'"),
            ("22004", "'shared_readers', NULL"),
            ("22023", "'shared_readers', 'govern', row_limit => 0"),
            ("22023", "'shared_readers', 'govern', rows_per_hour => -1"),
            ("22004", "'shared_readers', 'govern', ad_hoc => NULL"),
        ] {
            let raised = raised(&format!("SELECT custodian.enroll({arguments})"), "");
            assert_eq!(raised.expect(arguments)[0], state, "{arguments}");
        }
        let hint = raised("SELECT custodian.enroll('shared_readers', 'strict')", "").unwrap()[2].clone();
        assert_eq!(hint, "Modes are observe, identify, govern.");
    }

    #[pg_test]
    fn a_row_written_by_hand_acts_like_one_written_by_the_functions() {
        Spi::run("CREATE ROLE shared_readers").unwrap();
        let role: Option<pg_sys::Oid> = Spi::get_one("SELECT 'shared_readers'::regrole::oid").unwrap();
        assert_eq!(enrolled::mode_of(role.unwrap()).unwrap(), None);
        Spi::run("INSERT INTO custodian.enrolled_role (role, mode) VALUES ('shared_readers', 'identify')")
            .unwrap();
        assert_eq!(enrolled::mode_of(role.unwrap()).unwrap(), Some(Mode::Identify));
        Spi::run("TRUNCATE custodian.enrolled_role").unwrap();
        assert_eq!(enrolled::mode_of(role.unwrap()).unwrap(), None);
    }

    #[pg_test]
    fn everybody_can_identify_and_nobody_else_can_administer() {
        trusted();
        Spi::run("CREATE ROLE nobody_special").unwrap();
        let open: Option<Vec<String>> = Spi::get_one(
        "SELECT array_agg(p.proname::text ORDER BY p.proname) FROM pg_proc AS p
         WHERE p.pronamespace = 'custodian'::regnamespace
           AND p.proname = ANY (ARRAY['set_identity', 'clear_identity', 'whoami', 'user_id', 'email', 'groups',
                'has_group', 'claims', 'trust_issuer', 'rotate_keys', 'distrust_issuer', 'enroll', 'unenroll',
                'revoke_person', 'reinstate_person', 'revoke_token', 'announce_change'])
           AND has_function_privilege('nobody_special', p.oid, 'EXECUTE')",
    )
    .unwrap();
        let expected =
            ["claims", "clear_identity", "email", "groups", "has_group", "set_identity", "user_id", "whoami"];
        assert_eq!(open.unwrap(), expected);
        Spi::run("SET LOCAL ROLE nobody_special").unwrap();
        assert_eq!(raised("SELECT custodian.user_id()", ""), None);
        for relation in ["issuer", "issuers", "enrolled_role", "enrolled_roles", "revocation", "revocations"]
        {
            let raised = raised(&format!("SELECT FROM custodian.{relation}"), "");
            assert_eq!(raised.expect(relation)[0], "42501", "{relation}");
        }
        Spi::run("RESET ROLE").unwrap();
        Spi::run("CREATE ROLE some_admin IN ROLE custodian_admin; DROP FUNCTION pg_temp.raised").unwrap();
        Spi::run("SET LOCAL ROLE some_admin").unwrap();
        for statement in [
            "SELECT custodian.revoke_person('u-17', 'left')",
            "SELECT custodian.reinstate_person('u-17', 'back')",
            "SELECT custodian.revoke_token($1, 't-1')",
            "SELECT FROM custodian.revocations",
        ] {
            assert_eq!(raised(statement, ISSUER), None, "{statement}");
        }
        assert_eq!(raised("SELECT FROM custodian.revocation", "").unwrap()[0], "42501");
        Spi::run("RESET ROLE").unwrap();
    }

    #[pg_test]
    fn everything_of_identity_has_a_comment() {
        let silent: Option<Vec<String>> = Spi::get_one(
        "SELECT array_agg(o.what) FROM (
             SELECT p.oid::regprocedure::text AS what, obj_description(p.oid, 'pg_proc') AS said
             FROM pg_proc AS p WHERE p.pronamespace = 'custodian'::regnamespace
             UNION ALL
             SELECT c.oid::regclass || '.' || a.attname, col_description(c.oid, a.attnum)
             FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE c.oid IN ('custodian.issuer'::regclass, 'custodian.enrolled_role'::regclass,
                 'custodian.revocation'::regclass, 'custodian.person'::regclass)
             UNION ALL
             SELECT c.oid::regclass::text, obj_description(c.oid, 'pg_class')
             FROM pg_class AS c WHERE c.relnamespace = 'custodian'::regnamespace AND c.relkind IN ('r', 'v')
         ) AS o WHERE o.said IS NULL",
    )
    .unwrap();
        assert_eq!(silent, None);
    }
}
