//! What people and programs get wrong: each mistake is a clear error with SQLSTATE and hint, is on record
//! where it is an attempt, and leaves nothing half done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::assert_refused;
use harness::shop::{self, Shop, identify};
use harness::token::{AUDIENCE, Algorithm, ISSUER, Signer, claims, claims_but, encode, now};
use postgres::error::SqlState;
use serde_json::json;

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
const BAD_ARGUMENT: SqlState = SqlState::INVALID_PARAMETER_VALUE;

/// Refused, on record, and nobody is identified afterwards.
#[track_caller]
fn assert_token_refused(shop: &Shop, what: &str, token: &str) {
    let refusals = |shop: &Shop| -> i64 {
        let mut admin = shop.admin();
        shop::sync(&mut admin);
        admin
            .query_one(
                "select count(*) from audit.events
                 where event = 'identity' and outcome = 'denied' and sqlstate = '28000'",
                &[],
            )
            .unwrap()
            .get(0)
    };
    let before = refusals(shop);
    let mut client = shop.readonly();
    let error = assert_refused(identify(&mut client, token), &NO_PERSON);
    let told = format!("{error:?}");
    assert!(token.len() < 20 || !told.contains(token), "{what}: the error repeats the token");
    assert_refused(client.query("select now()", &[]), &NO_PERSON);
    assert_eq!(refusals(shop), before + 1, "{what}: not on record as a refused identity");

    // A person who is there already is gone afterwards: whoever comes next to a pooled connection and
    // presents a bad token must not go on as the one before.
    let mut client = shop.person("alice", &["support"]);
    assert_refused(identify(&mut client, token), &NO_PERSON);
    let row = client.query_one("select custodian.user_id()", &[]).unwrap();
    assert_eq!(row.get::<_, Option<&str>>(0), None, "{what}");
}

#[test]
fn text_that_is_no_token_is_refused() {
    let shop = shop::open("identify");
    let good = shop.issuer.person("mallory", &["support"]);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let many_dots = ".".repeat(100);
    for (what, token) in [
        ("nothing", ""),
        ("a word", "password"),
        ("dots", "..."),
        ("many dots", many_dots.as_str()),
        ("no signature", head),
        ("empty signature", &format!("{head}.")),
        ("half a signature", &format!("{head}.{}", &signature[..signature.len() / 2])),
        ("half a token", &good[..good.len() / 2]),
        ("something after the token", &format!("{good}.{signature}")),
        ("blanks around", &format!(" {good} ")),
        ("base64 of another alphabet", &format!("{head}.{}+/=", &signature[..signature.len() - 3])),
        ("not ASCII", "é.è.ê"),
    ] {
        assert_token_refused(&shop, what, token);
    }
}

#[test]
fn null_is_no_token() {
    let shop = shop::open("identify");
    let mut client = shop.readonly();
    let token: Option<&str> = None;
    // NULL may be an error or a call that does nothing: either way nobody is identified.
    let _ = client.execute("select custodian.set_identity($1)", &[&token]);
    assert_refused(client.query("select now()", &[]), &NO_PERSON);
}

#[test]
fn a_token_nobody_trusted_signed_is_refused() {
    let shop = shop::open("identify");
    let mallory = claims("mallory", &["support"]);
    let header = |algorithm: &str| json!({"alg": algorithm, "typ": "JWT", "kid": shop.issuer.kid});
    let unsigned = format!(
        "{}.{}.",
        encode(header("none").to_string().as_bytes()),
        encode(mallory.to_string().as_bytes())
    );
    let none_with_signature = shop.issuer.sign_with_header(&header("none"), &mallory);
    let confused = shop.issuer.sign_with_header(&header("HS256"), &mallory);
    let not_what_the_key_is_for = shop.issuer.sign_with_header(&header("RS512"), &mallory);
    let stranger = Signer::new(Algorithm::RS256);
    let strangers_kid = stranger.sign(&mallory);
    let our_kid = stranger.sign_with_header(&header("RS256"), &mallory);
    let brings_his_key = stranger.sign_with_header(
        &json!({"alg": "RS256", "typ": "JWT", "kid": stranger.kid, "jwk": stranger.jwk()}),
        &mallory,
    );
    let good = shop.issuer.sign(&claims("bob", &[]));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let other_claims =
        format!("{}.{}.{signature}", head.split_once('.').unwrap().0, encode(mallory.to_string().as_bytes()));
    for (what, token) in [
        ("alg none", &unsigned),
        ("alg none with a signature", &none_with_signature),
        ("HMAC with a public key", &confused),
        ("an algorithm the key is not for", &not_what_the_key_is_for),
        ("a key we do not know", &strangers_kid),
        ("our key's name on another key", &our_kid),
        ("a token that brings its key", &brings_his_key),
        ("claims exchanged under a signature", &other_claims),
    ] {
        assert_token_refused(&shop, what, token);
    }
}

#[test]
fn a_token_for_another_time_or_place_is_refused() {
    let shop = shop::open("identify");
    for (what, changes) in [
        ("expired", json!({"exp": now() - 3600})),
        ("expired just now, beyond the leeway", json!({"exp": now() - 61})),
        ("without an end", json!({"exp": null})),
        ("an end that is text", json!({"exp": "tomorrow"})),
        ("an end out of range", json!({"exp": 1e300})),
        ("a negative end", json!({"exp": -1})),
        ("not yet valid", json!({"nbf": now() + 3600})),
        ("issued in the future", json!({"iat": now() + 3600})),
        ("valid for too long", json!({"exp": now() + 10 * 365 * 86400})),
        ("another audience", json!({"aud": "billing"})),
        ("no audience", json!({"aud": null})),
        ("an empty list of audiences", json!({"aud": []})),
        ("another issuer", json!({"iss": "https://id.elsewhere.example"})),
        ("an issuer that only begins alike", json!({"iss": format!("{ISSUER}.evil.example")})),
        ("no issuer", json!({"iss": null})),
        ("nobody", json!({"sub": null})),
        ("an empty name", json!({"sub": ""})),
        ("a name that is a list", json!({"sub": ["alice"]})),
        ("groups that are a number", json!({"groups": 7})),
    ] {
        assert_token_refused(&shop, what, &shop.issuer.sign(&claims_but("mallory", &["support"], changes)));
    }
}

#[test]
fn a_token_with_odd_contents_is_refused() {
    let shop = shop::open("identify");
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": shop.issuer.kid}).to_string();
    let good = claims("mallory", &["support"]).to_string();
    let critical = json!({"alg": "RS256", "kid": shop.issuer.kid, "crit": ["exp2"], "exp2": 1}).to_string();
    let twice = format!("{},\"sub\":\"alice\"}}", good.strip_suffix('}').unwrap());
    let header_twice = format!("{},\"alg\":\"none\"}}", header.strip_suffix('}').unwrap());
    let large = claims_but("mallory", &[], json!({"padding": "x".repeat(17 * 1024)})).to_string();
    let deep =
        format!("{},\"deep\":{}{}}}", good.strip_suffix('}').unwrap(), "[".repeat(3000), "]".repeat(3000));
    for (what, header, claims) in [
        ("a critical header we do not know", critical.as_str(), good.as_str()),
        ("a claim given twice", &header, &twice),
        ("a header given twice", &header_twice, &good),
        ("more than 16 KiB", &header, &large),
        ("nested deeply", &header, &deep),
        ("claims that are no JSON", &header, "{\"sub\": "),
        ("claims that are a list", &header, "[]"),
        ("a header that is no JSON", "RS256", &good),
        ("something after the claims", &header, &format!("{good}{good}")),
    ] {
        assert_token_refused(&shop, what, &shop.issuer.sign_text(header, claims));
    }
}

/// Statements of an administrator, and what each is refused with.
const BY_AN_ADMINISTRATOR: &[(&str, &str)] = &[
    ("select custodian.enroll('readonly', 'watch')", "22023"),
    ("select custodian.enroll('readonly', '')", "22023"),
    ("select custodian.enroll('readonly', 'OBSERVE ')", "22023"),
    ("select mask.protect('public.customers', 'no_such_column', 'null_value')", "42703"),
    ("select mask.protect('public.customers', 'ctid', 'null_value')", "42P10"),
    ("select mask.protect('public.customers', 'iban', 'no_such_masking')", "22023"),
    ("select mask.protect('public.customers', 'iban', '')", "22023"),
    ("select mask.protect('public.customers', 'iban', 'partial(')", "22023"),
    ("select mask.protect('public.customers', 'iban', 'partial(-1, ''*'', 4)')", "22023"),
    ("select mask.protect('public.customers', 'iban', 'partial(4, ''*'')')", "22023"),
    ("select mask.protect('public.customers', 'iban', 'null_value; drop table public.orders')", "22023"),
    ("select mask.protect('public.customers', 'iban', 'pg_read_file(''/etc/passwd'')')", "22023"),
    ("select mask.protect('public.customers', 'date_of_birth', 'email')", "42804"),
    ("select mask.unprotect('public.orders', 'amount')", "42704"),
    ("select mask.generate_view('public.orders_index')", "42809"),
    ("select access.grant_access('bob', array['select'], 'TABLE public.orders', '-1 hour', 'x')", "22023"),
    ("select access.grant_access('bob', array['select'], 'TABLE public.orders', '0 s', 'x')", "22023"),
    ("select access.grant_access('bob', array['look'], 'TABLE public.orders', '1 hour', 'x')", "22023"),
    ("select access.grant_access('bob', array[]::text[], 'TABLE public.orders', '1 hour', 'x')", "22023"),
    ("select access.grant_access('bob', array['select'], 'TABLE public.nothing', '1 hour', 'x')", "42P01"),
    ("select access.grant_access('bob', array['select'], 'TABLE', '1 hour', 'x')", "22023"),
    ("select access.grant_access('bob', array['select'], 'public.orders', '1 hour', 'x')", "22023"),
    ("select access.grant_access('bob', array['select'], 'CUPBOARD public.orders', '1 hour', 'x')", "22023"),
    ("select access.grant_access('bob', array['select'], 'SCHEMA nowhere', '1 hour', 'x')", "3F000"),
    ("select access.grant_access('bob', array['select'], 'TABLE public.orders', '1 hour', '')", "22023"),
    ("select access.grant_access('', array['select'], 'TABLE public.orders', '1 hour', 'x')", "22023"),
    ("select access.revoke_access(4711, 'x')", "42704"),
    ("select custodian.trust_issuer('{issuer}', '{\"keys\": []}', array['a'])", "22023"),
    ("select custodian.trust_issuer('{issuer}', '{}', array['a'])", "22023"),
    ("select custodian.trust_issuer('{issuer}', '[]', array['a'])", "22023"),
    ("select custodian.trust_issuer('{issuer}', '{\"keys\": [{\"kty\": \"RSA\"}]}', array['a'])", "22023"),
    (
        "select custodian.trust_issuer('{issuer}', '{\"keys\": [{\"kty\": \"RSA\", \"n\": \"!\", \"e\": \"AQAB\"}]}', array['a'])",
        "22023",
    ),
    ("select custodian.trust_issuer('', '{jwks}', array['a'])", "22023"),
    ("select custodian.trust_issuer('{issuer}', '{jwks}', array[]::text[])", "22023"),
    ("select custodian.trust_issuer('{issuer}', '{jwks}', array['a'], algorithms => array['none'])", "22023"),
    ("select custodian.trust_issuer('{issuer}', '{jwks}', array['a'], leeway => '2 hours')", "22023"),
    ("select custodian.trust_issuer('{issuer}', '{jwks}', array['a'], leeway => '-1 s')", "22023"),
    ("select custodian.trust_issuer('{issuer}', '{jwks}', array['a'], max_lifetime => '-1 s')", "22023"),
];

/// What PostgreSQL itself does not find or take: its own error, which has no hint. (From 17 on an interval
/// may be infinite; then the error is ours.)
const UNKNOWN_TO_POSTGRESQL: &[(&str, &str)] = &[
    ("select access.grant_access('bob', array['select'], 'TABLE public.orders', 'infinity', 'x')", "22"),
    ("select custodian.enroll('no_such_role', 'observe')", "42704"),
    ("select custodian.unenroll('no_such_role')", "42704"),
    ("select mask.protect('public.nothing', 'iban', 'null_value')", "42P01"),
    ("select mask.generate_view('public.nothing')", "42P01"),
];

#[test]
fn mistakes_of_administrators_are_refused_and_change_nothing() {
    let shop = shop::open("identify");
    shop.admin().batch_execute("create index orders_index on public.orders (amount)").unwrap();
    let state = |shop: &Shop| -> String {
        shop.admin()
            .query_one(
                "select jsonb_build_array(
                     (select jsonb_agg(to_jsonb(r) order by r::text) from custodian.enrolled_roles r),
                     (select jsonb_agg(to_jsonb(i) order by i::text) from custodian.issuers i),
                     (select jsonb_agg(to_jsonb(p) order by p::text) from mask.policies p),
                     (select jsonb_agg(to_jsonb(g) order by g::text) from access.grants g),
                     (select jsonb_agg(relname order by relname) from pg_class
                      where relnamespace = 'masked'::regnamespace))::text",
                &[],
            )
            .unwrap()
            .get(0)
    };
    let before = state(&shop);
    let jwks = Signer::new(Algorithm::ES256).jwks().to_string();
    let mut wrong = Vec::new();
    let all = BY_AN_ADMINISTRATOR.iter().map(|(statement, code)| (statement, code, true));
    let all = all.chain(UNKNOWN_TO_POSTGRESQL.iter().map(|(statement, code)| (statement, code, false)));
    for (statement, code, hinted) in all {
        let statement = statement.replace("{jwks}", &jwks).replace("{issuer}", "https://new.example");
        match shop.admin().simple_query(&statement) {
            Ok(_) => wrong.push(format!("went through: {statement}")),
            Err(error) => {
                let error = error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error:?}"));
                if !error.code().code().starts_with(code) {
                    let (was, message) = (error.code().code(), error.message());
                    wrong.push(format!("{was} instead of {code}: {statement}: {message}"));
                } else if hinted && error.hint().is_none() {
                    wrong.push(format!("no hint: {statement}: {}", error.message()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(state(&shop), before);
}

#[test]
fn administration_is_not_for_the_shared_role() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    let mut wrong = Vec::new();
    for statement in [
        "select custodian.enroll('readonly', 'observe')",
        "select custodian.unenroll('readonly')",
        "select custodian.distrust_issuer('https://id.shop.example')",
        "select mask.protect('public.orders', 'amount', 'null_value')",
        "select mask.unprotect('public.customers', 'iban')",
        "select mask.generate_view('public.orders')",
        "select access.grant_access('alice', array['select'], 'DATABASE', '1 hour', 'x')",
        "select access.revoke_access(1, 'x')",
        "select * from audit.ledger",
        "select * from audit.statements",
        "select audit.verify()",
        "select audit.sync()",
        "set pg_custodian.maintenance = on",
        "set pg_custodian.audit_roles = 'default'",
        "set pg_custodian.nested_statements = off",
    ] {
        match alice.simple_query(statement) {
            Ok(_) => wrong.push(format!("went through: {statement}")),
            Err(error) => {
                let code = error.code().unwrap_or_else(|| panic!("{statement}: {error:?}")).code();
                if !["42501", "55P02"].contains(&code) {
                    wrong.push(format!("{code}: {statement}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refused_issuer_does_not_replace_the_one_before() {
    let shop = shop::open("identify");
    let error = shop.admin().execute(
        "select custodian.trust_issuer($1, $2, array[$3])",
        &[&ISSUER, &json!({"keys": [{"kty": "RSA", "n": 1, "e": "AQAB"}]}), &AUDIENCE],
    );
    assert_refused(error, &BAD_ARGUMENT);
    identify(&mut shop.readonly(), &shop.issuer.person("alice", &[])).unwrap();
}

/// Nesting up to what PostgreSQL permits, for those who are only looked at: nobody, and a person.
#[test]
fn a_statement_that_is_nested_too_deeply_is_an_error_and_ends_no_server() {
    let shop = shop::open("identify");
    // A backend that crashes takes all others along.
    let mut witness = shop.admin();
    let mut nobody = shop.readonly();
    let mut alice = shop.person("alice", &["support"]);
    let mut too_deep = 0;
    for depth in [100, 1000, 2000, 3000, 4000, 6000, 8000, 12_000, 16_000, 32_000] {
        let sum = format!("select {}1", "1 + ".repeat(depth));
        let calls = format!("select {}'x'{}", "upper(".repeat(depth), ")".repeat(depth));
        for text in [sum, calls] {
            for client in [&mut nobody, &mut alice] {
                if let Err(error) = client.simple_query(&text) {
                    let code = harness::refusal::<()>(Err(error)).code().clone();
                    too_deep += usize::from(code == SqlState::STATEMENT_TOO_COMPLEX);
                    // The grammar has a limit of its own.
                    let expected = [SqlState::STATEMENT_TOO_COMPLEX, SqlState::SYNTAX_ERROR, NO_PERSON];
                    assert!(expected.contains(&code), "{depth}: {code:?}");
                }
            }
        }
    }
    assert!(too_deep > 4, "nothing here was too deep");
    witness.simple_query("select 1").unwrap();
}
