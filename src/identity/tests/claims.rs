//! What the claims must say.

use super::super::algorithm::Algorithm;
use super::super::instant;
use super::super::issuer::{Issuer, Terms, TermsFault};
use super::super::mint::Signer;
use super::super::person::Person;
use super::super::refusal::Refusal;
use super::{AUDIENCE, NOW, claims, claims_with, claims_without, terms};
use serde_json::{Value, json};

fn person(claims: &Value) -> Result<Person, Refusal> {
    person_under(&terms(), claims)
}

fn person_under(terms: &Terms, claims: &Value) -> Result<Person, Refusal> {
    super::super::claims::person(claims.as_object().unwrap(), terms, NOW * 1_000_000)
}

fn wrong_type(result: Result<Person, Refusal>, name: &str) -> bool {
    matches!(result, Err(Refusal::ClaimType { claim, .. }) if claim == name)
}

#[test]
fn a_good_token_names_the_person() {
    let person = person(&claims()).unwrap();
    assert_eq!(person.user_id, "u-17");
    assert_eq!(person.email.as_deref(), Some("ada@example.com"));
    assert_eq!(person.name.as_deref(), Some("Ada Okafor"));
    assert_eq!(person.groups, ["support", "oncall"]);
    assert_eq!(person.token_id.as_deref(), Some("t-1"));
    assert_eq!(instant::from_pg(person.expires_at), (NOW + 3600) * 1_000_000);
    assert_eq!(person.issued_at.map(instant::from_pg), Some((NOW - 60) * 1_000_000));
    assert_eq!(serde_json::from_str::<Value>(&person.claims).unwrap(), claims());
}

#[test]
fn the_audience_is_required_and_matched() {
    assert_eq!(person(&claims_without("aud")), Err(Refusal::ClaimMissing("aud".into())));
    for other in
        [json!("other-db"), json!(["other-db", "third"]), json!([]), json!(""), json!("payments-db2")]
    {
        assert_eq!(person(&claims_with("aud", other.clone())), Err(Refusal::Audience), "{other}");
    }
    for ours in [json!(AUDIENCE), json!([AUDIENCE]), json!(["other", AUDIENCE])] {
        assert!(person(&claims_with("aud", ours)).is_ok());
    }
    for wrong in [json!(1), json!(null), json!({AUDIENCE: true}), json!([AUDIENCE, 1]), json!([[AUDIENCE]])] {
        assert!(wrong_type(person(&claims_with("aud", wrong.clone())), "aud"), "{wrong}");
    }
}

#[test]
fn expiry_is_required_and_gets_no_leeway() {
    assert_eq!(person(&claims_without("exp")), Err(Refusal::ClaimMissing("exp".into())));
    for past in [json!(NOW), json!(NOW - 1), json!(0), json!(NOW as f64 - 0.5)] {
        assert_eq!(person(&claims_with("exp", past.clone())), Err(Refusal::Expired), "{past}");
    }
    assert!(person(&claims_with("exp", json!(NOW + 1))).is_ok());
}

#[test]
fn dates_may_have_fractions_and_must_be_dates() {
    let half = person(&claims_with("exp", json!(NOW as f64 + 0.5))).unwrap();
    assert_eq!(instant::from_pg(half.expires_at), NOW * 1_000_000 + 500_000);
    for name in ["exp", "nbf", "iat"] {
        for wrong in [
            json!("1772445600"),
            json!(true),
            json!(null),
            json!([NOW]),
            json!(-1),
            json!(-0.5),
            json!(1e300),
            json!(u64::MAX),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(253_402_300_800_i64),
            json!(NOW * 1000),
        ] {
            assert!(wrong_type(person(&claims_with(name, wrong.clone())), name), "{name} {wrong}");
        }
    }
}

#[test]
fn a_token_from_the_future_gets_the_leeway_and_no_more() {
    for (name, refusal) in [("nbf", Refusal::NotYetValid), ("iat", Refusal::IssuedLater)] {
        assert!(person(&claims_with(name, json!(NOW + 30))).is_ok());
        assert_eq!(person(&claims_with(name, json!(NOW + 31))), Err(refusal.clone()));
        let mut strict = terms();
        strict.leeway = 0;
        assert_eq!(person_under(&strict, &claims_with(name, json!(NOW + 1))), Err(refusal));
    }
}

#[test]
fn a_token_must_not_live_longer_than_allowed() {
    let mut hour = terms();
    hour.max_lifetime = 3_600_000_000;
    assert_eq!(person_under(&hour, &claims()), Err(Refusal::Lifetime));
    assert!(person_under(&hour, &claims_with("iat", json!(NOW))).is_ok());
    // without iat its life is counted from now
    assert_eq!(person_under(&hour, &claims_without("iat")).unwrap().issued_at, None);
    let mut later = claims_without("iat");
    later["exp"] = json!(NOW + 3601);
    assert_eq!(person_under(&hour, &later), Err(Refusal::Lifetime));
    assert_eq!(person(&claims_with("exp", json!(253_402_300_799_i64))), Err(Refusal::Lifetime));
}

#[test]
fn the_person_must_have_a_name_to_be_known_by() {
    assert_eq!(person(&claims_without("sub")), Err(Refusal::ClaimMissing("sub".into())));
    for wrong in [json!(""), json!(17), json!(null), json!(["u-17"]), json!("a\nb"), json!("a\u{85}b")] {
        assert!(wrong_type(person(&claims_with("sub", wrong.clone())), "sub"), "{wrong}");
    }
}

#[test]
fn claims_are_found_by_whole_name_or_dotted_path() {
    let mut custom = terms();
    custom.user_claim = "identity.employee.id".into();
    custom.groups_claim = Some("realm_access.roles".into());
    custom.email_claim = Some("https://example.com/email".into());
    let mut claims = claims();
    claims["identity"] = json!({"employee": {"id": "E-1"}});
    claims["realm_access"] = json!({"roles": ["dba"]});
    claims["https://example.com/email"] = json!("e1@example.com");
    let found = person_under(&custom, &claims).unwrap();
    assert_eq!((found.user_id.as_str(), found.email.as_deref()), ("E-1", Some("e1@example.com")));
    assert_eq!(found.groups, ["dba"]);
    for missing in ["identity.employee.nr", "identity.employee.id.x", "groups.0", "nothing", ".", "identity."]
    {
        custom.user_claim = missing.into();
        assert_eq!(person_under(&custom, &claims), Err(Refusal::ClaimMissing(missing.into())), "{missing}");
    }
}

#[test]
fn groups_are_text_and_never_guessed() {
    assert_eq!(person(&claims_without("groups")).unwrap().groups, Vec::<String>::new());
    assert_eq!(person(&claims_with("groups", json!("dba"))).unwrap().groups, ["dba"]);
    for wrong in [
        json!(1),
        json!({"dba": true}),
        json!(["dba", 1]),
        json!(["dba", ["x"]]),
        json!([""]),
        json!(["a\u{7}"]),
    ] {
        assert!(wrong_type(person(&claims_with("groups", wrong.clone())), "groups"), "{wrong}");
    }
    let mut none = terms();
    none.groups_claim = None;
    assert!(person_under(&none, &claims()).unwrap().groups.is_empty());
}

#[test]
fn an_unverified_address_is_not_taken() {
    for unverified in [json!(false), json!("false"), json!(null), json!(0), json!(1), json!("yes"), json!([])]
    {
        let email = person(&claims_with("email_verified", unverified.clone())).unwrap().email;
        assert_eq!(email, None, "{unverified}");
    }
    for verified in [json!(true), json!("true")] {
        assert!(person(&claims_with("email_verified", verified)).unwrap().email.is_some());
    }
    assert_eq!(person(&claims_with("email", json!(""))).unwrap().email, None);
    assert!(wrong_type(person(&claims_with("email", json!(["a@b"]))), "email"));
}

#[test]
fn terms_that_make_no_sense_are_refused() {
    type Change = fn(&mut Terms);
    let cases: [(Change, TermsFault); 12] = [
        (|t| t.issuer.clear(), TermsFault::Name),
        (|t| t.issuer = " https://x".into(), TermsFault::Name),
        (|t| t.issuer = "a\nb".into(), TermsFault::Name),
        (|t| t.audience.clear(), TermsFault::Audience),
        (|t| t.audience.push(String::new()), TermsFault::Audience),
        (|t| t.algorithms.clear(), TermsFault::NoAlgorithm),
        (|t| t.user_claim.clear(), TermsFault::Claim("user_claim")),
        (|t| t.email_claim = Some(String::new()), TermsFault::Claim("email_claim")),
        (|t| t.groups_claim = Some(" ".into()), TermsFault::Claim("groups_claim")),
        (|t| t.leeway = -1, TermsFault::Leeway),
        (|t| t.leeway = 60_000_001, TermsFault::Leeway),
        (|t| t.max_lifetime = 0, TermsFault::Lifetime),
    ];
    for (change, fault) in cases {
        let mut terms = terms();
        change(&mut terms);
        assert_eq!(terms.check(), Err(fault));
    }
    assert_eq!(terms().check(), Ok(()));
}

#[test]
fn only_algorithms_on_the_list_can_be_allowed() {
    for name in ["none", "HS384", "HS512", "ES512", "rs256", ""] {
        assert_eq!(Terms::algorithms(Some(&[name.into()])), Err(TermsFault::Algorithm(name.into())));
    }
    assert_eq!(Terms::algorithms(Some(&[])), Err(TermsFault::NoAlgorithm));
    assert_eq!(Terms::algorithms(None).map(|a| a.contains(&Algorithm::Hs256)), Ok(false));
    assert_eq!(Terms::algorithms(Some(&["HS256".into(), "HS256".into()])), Ok(vec![Algorithm::Hs256]));
}

#[test]
fn times_are_shown_as_dates() {
    for (unix, shown) in [
        (0, "1970-01-01 00:00:00 UTC"),
        (951_782_399, "2000-02-28 23:59:59 UTC"),
        (951_782_400, "2000-02-29 00:00:00 UTC"),
        (1_772_442_000, "2026-03-02 09:00:00 UTC"),
        (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        (253_402_300_799, "9999-12-31 23:59:59 UTC"),
    ] {
        assert_eq!(instant::display(unix * 1_000_000), shown);
    }
}

/// The budget is 200 us in a release build; a debug build only has to be in its neighbourhood.
#[test]
fn verification_is_quick() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let signer = Signer::new(algorithm, Some("k1"));
        let issuer: Issuer = super::issuer_of(&signer);
        let token = signer.token(&claims());
        let rounds = 50;
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            super::verify(&token, &issuer).unwrap();
        }
        let each = started.elapsed() / rounds;
        eprintln!("{algorithm}: {each:?} per verification");
        assert!(each < std::time::Duration::from_millis(20), "{algorithm}: {each:?}");
    }
}
