//! What is tried against verifiers of tokens (RFC 8725 section 2), one test each.

use super::super::algorithm::Algorithm;
use super::super::json::JsonFault;
use super::super::jwks::KeySet;
use super::super::mint::{Signer, b64, hmac_sha256};
use super::super::refusal::{Refusal, Segment};
use super::super::secret::Secret;
use super::super::token::{MAX_BYTES, Token};
use super::{ISSUER, claims, issuer_of, terms, verify};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

fn with_header(signer: &Signer, header: &str) -> Result<(), Refusal> {
    verify(&signer.token_of(header, &claims().to_string()), &issuer_of(signer)).map(|_| ())
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let rsa = Signer::new(Algorithm::Rs256, Some("k1"));
    let issuer = issuer_of(&rsa);
    let public_jwk = rsa.jwk().to_string();
    // as files of such keys have it
    let lines: Vec<_> =
        STANDARD.encode(rsa.public_bytes()).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
    let pem = [
        b"-----BEGIN RSA PUBLIC KEY-----".to_vec(),
        lines.join(&b'\n'),
        b"-----END RSA PUBLIC KEY-----\n".to_vec(),
    ]
    .join(&b'\n');
    for secret in [
        rsa.public_bytes(),
        pem,
        public_jwk.into_bytes(),
        rsa.jwk()["n"].as_str().unwrap().as_bytes().to_vec(),
        Vec::new(),
    ] {
        let signed = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"k1"}"#), b64(claims().to_string()));
        let forged = format!("{signed}.{}", b64(hmac_sha256(&secret, signed.as_bytes())));
        assert_eq!(verify(&forged, &issuer), Err(Refusal::AlgorithmNotAllowed(Algorithm::Hs256)));
        // and the key itself refuses, should somebody allow HS256 to such an issuer
        let token = Token::parse(&forged).unwrap();
        assert_eq!(token.verify(&issuer.keys, &Algorithm::ALL), Err(Refusal::KeyUnfit(Algorithm::Hs256)));
    }
}

#[test]
fn none_is_refused_in_every_spelling_and_with_any_signature() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    let issuer = issuer_of(&signer);
    // every spelling of four letters in upper or lower case
    let spellings = (0..16_u8).map(|upper| {
        let letter =
            |(place, c): (usize, char)| if upper >> place & 1 == 1 { c.to_ascii_uppercase() } else { c };
        "none".chars().enumerate().map(letter).collect::<String>()
    });
    for name in spellings {
        let header = format!(r#"{{"alg":"{name}","kid":"k1"}}"#);
        assert_eq!(with_header(&signer, &header), Err(Refusal::Unsigned));
        let unsigned = format!("{}.{}.", b64(&header), b64(claims().to_string()));
        assert_eq!(verify(&unsigned, &issuer), Err(Refusal::Unsigned));
    }
    for name in ["none ", " none", "non", "nonee", "no\u{0337}ne", "null", "NaN"] {
        let header = json!({"alg": name, "kid": "k1"}).to_string();
        assert_eq!(with_header(&signer, &header), Err(Refusal::AlgorithmUnknown), "{name}");
    }
    let cut = signer.token(&claims());
    let cut = &cut[..=cut.rfind('.').unwrap()];
    assert_eq!(verify(cut, &issuer), Err(Refusal::Signature));
}

#[test]
fn an_algorithm_other_than_the_one_signed_with_is_refused() {
    for (real, claimed) in [
        (Algorithm::Rs256, Algorithm::Ps256),
        (Algorithm::Ps256, Algorithm::Rs256),
        (Algorithm::Rs256, Algorithm::Rs512),
        (Algorithm::Es256, Algorithm::Es384),
        (Algorithm::Es256, Algorithm::EdDsa),
        (Algorithm::EdDsa, Algorithm::Rs256),
    ] {
        let header = format!(r#"{{"alg":"{claimed}","kid":"k1"}}"#);
        assert!(with_header(&Signer::new(real, Some("k1")), &header).is_err(), "{real} as {claimed}");
    }
}

#[test]
fn an_algorithm_the_issuer_is_not_registered_for_is_refused() {
    let signer = Signer::new(Algorithm::Rs256, Some("k1")).with_algorithm(Algorithm::Rs384);
    let mut terms = terms();
    terms.algorithms = vec![Algorithm::Rs256, Algorithm::Es256];
    let issuer = terms.with_keys(&signer.jwks()).unwrap();
    assert_eq!(
        verify(&signer.token(&claims()), &issuer),
        Err(Refusal::AlgorithmNotAllowed(Algorithm::Rs384))
    );
}

#[test]
fn a_key_for_one_algorithm_verifies_no_other() {
    let signer = Signer::new(Algorithm::Rs256, Some("k1"));
    let mut jwk = signer.jwk();
    jwk["alg"] = json!("RS256");
    let issuer = terms().with_keys(&json!({"keys": [jwk]})).unwrap();
    assert!(verify(&signer.token(&claims()), &issuer).is_ok());
    let other = signer.with_algorithm(Algorithm::Rs384);
    assert_eq!(verify(&other.token(&claims()), &issuer), Err(Refusal::KeyUnfit(Algorithm::Rs384)));
}

#[test]
fn an_unknown_algorithm_is_refused() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    for name in ["ES512", "HS384", "HS512", "es256", "RS1", "ES256K", "", " ES256"] {
        let header = json!({"alg": name, "kid": "k1"}).to_string();
        assert_eq!(with_header(&signer, &header), Err(Refusal::AlgorithmUnknown), "{name}");
    }
    assert_eq!(with_header(&signer, r#"{"kid":"k1"}"#), Err(Refusal::AlgorithmMissing));
    assert_eq!(with_header(&signer, r#"{"alg":["ES256"],"kid":"k1"}"#), Err(Refusal::HeaderType("alg")));
    assert_eq!(with_header(&signer, r#"{"alg":null,"kid":"k1"}"#), Err(Refusal::HeaderType("alg")));
}

#[test]
fn the_key_is_the_one_the_token_names() {
    let (one, two) = (Signer::new(Algorithm::Es256, Some("k1")), Signer::new(Algorithm::Es256, Some("k2")));
    let issuer = terms().with_keys(&json!({"keys": [one.jwk(), two.jwk()]})).unwrap();
    assert!(verify(&one.token(&claims()), &issuer).is_ok());
    assert!(verify(&two.token(&claims()), &issuer).is_ok());
    let payload = claims().to_string();
    assert_eq!(
        verify(&one.token_of(r#"{"alg":"ES256","kid":"k2"}"#, &payload), &issuer),
        Err(Refusal::Signature)
    );
    for kid in ["k3", "", "K1", "../k1", "k1' OR '1'='1"] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        assert_eq!(verify(&one.token_of(&header, &payload), &issuer), Err(Refusal::UnknownKey), "{kid}");
    }
    assert_eq!(
        verify(&one.token_of(r#"{"alg":"ES256"}"#, &payload), &issuer),
        Err(Refusal::Ambiguous { algorithm: Algorithm::Es256, count: 2 })
    );
    assert_eq!(with_header(&one, r#"{"alg":"ES256","kid":1}"#), Err(Refusal::HeaderType("kid")));
}

#[test]
fn without_a_key_name_the_only_fitting_key_is_used() {
    let (ec, ed) = (Signer::new(Algorithm::Es256, None), Signer::new(Algorithm::EdDsa, Some("ed")));
    let keys = json!({"keys": [ec.jwk(), ed.jwk()]});
    let issuer = terms().with_keys(&keys).unwrap();
    assert!(verify(&ec.token(&claims()), &issuer).is_ok());
    assert!(verify(&ed.token_of(r#"{"alg":"EdDSA"}"#, &claims().to_string()), &issuer).is_ok());
    let rsa = Signer::new(Algorithm::Rs256, None);
    assert_eq!(verify(&rsa.token(&claims()), &issuer), Err(Refusal::NoKey(Algorithm::Rs256)));
}

#[test]
fn a_key_brought_along_in_the_header_is_not_used() {
    let (ours, theirs) =
        (Signer::new(Algorithm::Es256, Some("k1")), Signer::new(Algorithm::Es256, Some("k1")));
    let header = json!({"alg": "ES256", "kid": "k1", "jwk": theirs.jwk(), "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/x5u", "x5c": [b64(theirs.public_bytes())]});
    let token = theirs.token_of(&header.to_string(), &claims().to_string());
    assert_eq!(verify(&token, &issuer_of(&ours)), Err(Refusal::Signature));
}

#[test]
fn a_critical_extension_is_refused() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    for crit in [r#"["b64"]"#, r#"["exp"]"#, "[]", r#""b64""#, "null"] {
        let header = format!(r#"{{"alg":"ES256","kid":"k1","b64":false,"crit":{crit}}}"#);
        assert_eq!(with_header(&signer, &header), Err(Refusal::Critical), "{crit}");
    }
}

#[test]
fn a_token_made_for_something_else_is_refused() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    let of = |typ: &str| json!({"alg": "ES256", "kid": "k1", "typ": typ}).to_string();
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "Application/at+jwt", "JOSE"] {
        assert_eq!(with_header(&signer, &of(typ)), Ok(()), "{typ}");
    }
    assert_eq!(with_header(&signer, r#"{"alg":"ES256","kid":"k1"}"#), Ok(()));
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "application/logout+jwt",
        "text/jwt",
        "",
        " JWT",
        "éééééééJWT",
    ] {
        assert_eq!(with_header(&signer, &of(typ)), Err(Refusal::Type), "{typ}");
    }
    assert_eq!(
        with_header(&signer, r#"{"alg":"ES256","kid":"k1","typ":7}"#),
        Err(Refusal::HeaderType("typ"))
    );
}

#[test]
fn a_member_that_occurs_twice_is_refused_at_every_depth() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    assert_eq!(
        with_header(&signer, r#"{"alg":"none","alg":"ES256","kid":"k1"}"#),
        Err(Refusal::Json(Segment::Header, JsonFault::DuplicateMember))
    );
    let issuer = issuer_of(&signer);
    let header = r#"{"alg":"ES256","kid":"k1"}"#;
    for payload in [
        r#"{"iss":"a","iss":"b"}"#,
        r#"{"iss":"a","is\u0073":"b"}"#,
        r#"{"realm_access":{"roles":["a"],"roles":["b"]}}"#,
        r#"{"list":[{"a":1,"a":1}]}"#,
    ] {
        let refused = verify(&signer.token_of(header, payload), &issuer);
        assert_eq!(refused, Err(Refusal::Json(Segment::Payload, JsonFault::DuplicateMember)), "{payload}");
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    let issuer = issuer_of(&signer);
    let header = r#"{"alg":"ES256","kid":"k1"}"#;
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    for (payload, fault) in [
        ("", JsonFault::Malformed),
        ("{", JsonFault::Malformed),
        ("{} {}", JsonFault::Malformed),
        ("{'iss':1}", JsonFault::Malformed),
        ("{\"exp\":1e999}", JsonFault::Malformed),
        ("{\"exp\":NaN}", JsonFault::Malformed),
        (deep.as_str(), JsonFault::Malformed),
        ("[]", JsonFault::NotAnObject),
        ("null", JsonFault::NotAnObject),
        ("\"text\"", JsonFault::NotAnObject),
        ("{\"sub\":\"a\\u0000b\"}", JsonFault::Nul),
        ("{\"a\\u0000\":1}", JsonFault::Nul),
    ] {
        let refused = verify(&signer.token_of(header, payload), &issuer);
        assert_eq!(refused, Err(Refusal::Json(Segment::Payload, fault)), "{payload}");
    }
    let broken_utf8 = format!("{}.{}.AAAA", b64(header), b64([b'{', b'"', 0xff, b'"', b':', b'1', b'}']));
    assert_eq!(verify(&broken_utf8, &issuer), Err(Refusal::Json(Segment::Payload, JsonFault::Malformed)));
}

#[test]
fn a_token_over_the_limit_is_refused_before_parsing() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    let issuer = issuer_of(&signer);
    let long = "x".repeat(MAX_BYTES + 1);
    assert_eq!(verify(&long, &issuer), Err(Refusal::TooLong { bytes: MAX_BYTES + 1 }));
    let padded = signer.token(&super::claims_with("pad", "x".repeat(MAX_BYTES).into()));
    assert_eq!(verify(&padded, &issuer), Err(Refusal::TooLong { bytes: padded.len() }));
    let fits = signer.token(&super::claims_with("pad", "x".repeat(MAX_BYTES / 2).into()));
    assert!(verify(&fits, &issuer).is_ok());
}

#[test]
fn what_has_not_three_parts_is_refused() {
    let issuer = issuer_of(&Signer::new(Algorithm::Es256, Some("k1")));
    assert_eq!(verify("", &issuer), Err(Refusal::Empty));
    for text in ["abc", "a.b", "a.b.c.d", "a.b.c.d.e.f", "....."] {
        assert_eq!(verify(text, &issuer), Err(Refusal::Shape), "{text}");
    }
    assert_eq!(verify("a.b.c.d.e", &issuer), Err(Refusal::Encrypted));
    for text in ["e30=.e30.AAAA", "e30 .e30.AAAA", "e3+.e30.AAAA", "e31.e30.AAAA", "é.e30.AAAA"] {
        assert_eq!(verify(text, &issuer), Err(Refusal::Base64(Segment::Header)), "{text}");
    }
}

#[test]
fn another_issuers_token_is_refused() {
    let (ours, theirs) =
        (Signer::new(Algorithm::Es256, Some("k1")), Signer::new(Algorithm::Es256, Some("k1")));
    assert_eq!(verify(&theirs.token(&claims()), &issuer_of(&ours)), Err(Refusal::Signature));
    // the same key under another name is another issuer
    for name in ["https://login.example.com", "https://LOGIN.example.com/", "https://login.example.com//"] {
        let token = ours.token(&super::claims_with("iss", name.into()));
        assert_eq!(verify(&token, &issuer_of(&ours)), Err(Refusal::Issuer), "{name}");
        assert_ne!(name, ISSUER);
    }
}

/// The keys are looked up by `iss`: another issuer's `kid` opens nothing, nor does a key of his under our `kid`.
#[test]
fn the_key_of_another_trusted_issuer_is_not_found() {
    let (ours, theirs) =
        (Signer::new(Algorithm::Es256, Some("ours")), Signer::new(Algorithm::Es256, Some("theirs")));
    let mut other = terms();
    other.issuer = "https://other.example/".into();
    let (us, them) = (issuer_of(&ours), other.with_keys(&theirs.jwks()).unwrap());
    let foreign = super::claims_with("iss", "https://other.example/".into());
    assert!(verify(&theirs.token(&foreign), &them).is_ok());
    // he names us, and signs with what is his
    assert_eq!(verify(&theirs.token(&claims()), &us), Err(Refusal::UnknownKey));
    let our_kid = r#"{"alg":"ES256","kid":"ours"}"#;
    assert_eq!(verify(&theirs.token_of(our_kid, &claims().to_string()), &us), Err(Refusal::Signature));
    assert_eq!(verify(&theirs.token_of(our_kid, &foreign.to_string()), &them), Err(Refusal::UnknownKey));
}

#[test]
fn an_rsa_key_of_another_issuer_does_not_verify() {
    let ours = Signer::new(Algorithm::Ps256, Some("k1"));
    let theirs = Signer::another_rsa(Algorithm::Ps256, Some("k1"));
    assert_eq!(verify(&theirs.token(&claims()), &issuer_of(&ours)), Err(Refusal::Signature));
}

#[test]
fn no_message_carries_text_of_the_token() {
    let signer = Signer::new(Algorithm::Es256, Some("kid-canary"));
    let issuer = terms().with_keys(&Signer::new(Algorithm::Es256, Some("k1")).jwks()).unwrap();
    let token = signer.token(&super::claims_with("sub", "canary".into()));
    let refusal = verify(&token, &issuer).unwrap_err();
    let shown = format!("{refusal} {refusal:?} {}", refusal.hint());
    assert!(!shown.contains("canary") && !shown.contains(&token[..20]), "{shown}");
    let secret = Secret::new(token);
    assert_eq!(format!("{secret}{secret:?}"), "");
    let shared = Signer::new(Algorithm::Hs256, Some("s"));
    let keys = KeySet::parse(&shared.jwks(), &[Algorithm::Hs256]).unwrap();
    assert!(!format!("{keys:?}").contains(shared.jwk()["k"].as_str().unwrap()));
}
