//! What is no token of this server's: altered, cut, foreign, or no token at all. None is allowed, and none is an error.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::binding_service_client::BindingServiceClient;
use serde_json::Value;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::calls::opened;
use crate::support::calls::use_of;
use crate::support::leaf::Leaf;
use crate::support::server::ISSUER;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;

struct Asked {
    server: TestServer,
    checkout: Leaf,
    token: String,
    proxy: BindingServiceClient<Channel>,
}

impl Asked {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let checkout = server.workload("/checkout").await;
        let token = server.token(&checkout).await;
        let proxy = server.bindings(&server.svid("/proxy"));
        Self { server, checkout, token, proxy }
    }

    /// Asks about a token that comes with the right certificate.
    async fn about(&mut self, token: &str) -> ValidateBindingResponse {
        let evidence = certificate_of(&self.checkout);
        let request = ValidateBindingRequest { evidence, ..use_of(token) };
        self.proxy.validate_binding(request).await.unwrap().into_inner()
    }

    async fn assert_denied(&mut self, token: &str, reason: DenyReason, why: &str) {
        let answer = self.about(token).await;
        assert_eq!((answer.decision(), answer.reason()), (Decision::Deny, reason), "{why}");
        assert_eq!(answer.claims, None, "{why}");
    }

    /// The token with another header.
    fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let (mut header, _) = opened(&self.token);
        change(&mut header);
        let (_, rest) = self.token.split_once('.').unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    }
}

#[tokio::test]
async fn what_is_no_jws_is_denied_as_malformed() {
    let mut asked = Asked::new().await;
    let token = asked.token.clone();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    for (malformed, why) in [
        (" ".to_owned(), "white space"),
        ("token".to_owned(), "a word"),
        (".".to_owned(), "one dot"),
        ("..".to_owned(), "two dots"),
        ("...".to_owned(), "three dots"),
        (format!("{header}.{claims}"), "no signature"),
        (format!("{token}."), "a part more"),
        (format!("{token}.{signature}"), "a signature more"),
        (format!("{header}.{claims}.{signature}.{signature}.{signature}"), "five parts, as a JWE has"),
        (format!(".{claims}.{signature}"), "no header"),
        (format!(" {token}"), "space before"),
        (format!("{token} "), "space after"),
        (format!("{token}\n"), "a line feed after"),
        (format!("Bearer {token}"), "the scheme"),
        (format!("\"{token}\""), "quotation marks"),
        (format!("{token}="), "padding"),
        (format!("{token}AAA"), "no whole byte more"),
        (format!("{token},{token}"), "two tokens"),
        (format!("{header}.{claims}.{signature}\0"), "a NUL"),
        (token.replace('.', ". "), "space between"),
        (json!({ "payload": claims, "protected": header, "signature": signature }).to_string(), "JSON form"),
        (format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode("[]")), "an array for a header"),
        (format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode("{")), "broken JSON"),
        (format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode(b"\xff")), "no UTF-8"),
        ("ü".to_owned(), "not ASCII"),
    ] {
        asked.assert_denied(&malformed, DenyReason::TokenMalformed, why).await;
    }
}

#[tokio::test]
async fn a_header_that_says_something_else_is_not_believed() {
    let mut asked = Asked::new().await;
    let jwk = json!({ "kty": "oct", "k": "AAAA" });
    let cases: Vec<(String, DenyReason, &str)> = vec![
        (asked.with_header(|header| header["alg"] = json!("none")), DenyReason::UnknownKey, "none"),
        (asked.with_header(|header| header["alg"] = json!("nOnE")), DenyReason::UnknownKey, "nOnE"),
        (asked.with_header(|header| header["alg"] = json!("HS256")), DenyReason::UnknownKey, "the key as a secret"),
        (asked.with_header(|header| header["alg"] = json!("es256")), DenyReason::UnknownKey, "alg has case"),
        (asked.with_header(|header| header["alg"] = json!(7)), DenyReason::TokenMalformed, "a number for alg"),
        (asked.with_header(|header| drop(remove(header, "alg"))), DenyReason::TokenMalformed, "no alg"),
        (asked.with_header(|header| drop(remove(header, "kid"))), DenyReason::UnknownKey, "no kid"),
        (asked.with_header(|header| header["kid"] = json!("")), DenyReason::UnknownKey, "an empty kid"),
        (asked.with_header(|header| header["kid"] = json!("../keys/1")), DenyReason::UnknownKey, "a path"),
        (asked.with_header(|header| header["kid"] = json!("' OR 1=1 --")), DenyReason::UnknownKey, "a query"),
        (asked.with_header(|header| drop(remove(header, "typ"))), DenyReason::TokenType, "no typ"),
        (asked.with_header(|header| header["typ"] = json!("JWT")), DenyReason::TokenType, "another kind of JWT"),
        (asked.with_header(|header| header["typ"] = json!("wit+jwt")), DenyReason::TokenType, "a WIT"),
        (asked.with_header(|header| header["typ"] = json!("at+jwt ")), DenyReason::TokenType, "nearly the type"),
        (asked.with_header(|header| header["crit"] = json!(["exp"])), DenyReason::TokenMalformed, "crit"),
        (asked.with_header(|header| header["jwk"] = jwk), DenyReason::BadSignature, "a key of its own"),
        (asked.with_header(|header| header["typ"] = json!("AT+JWT")), DenyReason::BadSignature, "signed as at+jwt"),
    ];
    for (token, reason, why) in cases {
        asked.assert_denied(&token, reason, why).await;
    }
    let (header, _) = opened(&asked.token);
    let twice = header.to_string().replacen('{', "{\"alg\":\"none\",", 1);
    let (_, rest) = asked.token.split_once('.').unwrap();
    let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(twice));
    asked.assert_denied(&token, DenyReason::TokenMalformed, "a member twice").await;
}

fn remove(header: &mut Value, member: &str) -> Option<Value> {
    header.as_object_mut().unwrap().remove(member)
}

#[tokio::test]
async fn claims_that_were_changed_are_not_believed() {
    let mut asked = Asked::new().await;
    let (header, claims) = opened(&asked.token);
    let signature = asked.token.rsplit_once('.').unwrap().1.to_owned();
    for (member, value) in [
        ("exp", json!(4_000_000_000_u64)),
        ("scope", json!("orders.read orders.write orders.admin")),
        ("cnf", Value::Null),
        ("sub", json!("spiffe://prod.example/admin")),
    ] {
        let mut changed = claims.clone();
        changed[member] = value;
        let parts = [header.to_string(), changed.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let token = format!("{}.{}.{signature}", parts[0], parts[1]);
        asked.assert_denied(&token, DenyReason::BadSignature, member).await;
    }
}

#[tokio::test]
async fn a_token_that_was_cut_anywhere_or_changed_in_any_character_is_denied() {
    let mut asked = Asked::new().await;
    let token = asked.token.clone();
    assert_eq!(asked.about(&token).await.decision(), Decision::Allow);
    for at in 1..token.len() {
        assert_eq!(asked.about(&token[..at]).await.decision(), Decision::Deny, "cut at {at}");
    }
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(asked.about(&changed).await.decision(), Decision::Deny, "changed at {at}");
    }
    assert_eq!(asked.about(&token).await.decision(), Decision::Allow);
}

#[tokio::test]
async fn a_signature_has_one_spelling() {
    let mut asked = Asked::new().await;
    let token = asked.token.clone();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // 64 bytes leave four spare bits in the last character: the same bytes with one of them set.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(signature.chars().last().unwrap()).unwrap();
    let spare = format!("{message}.{}{}", &signature[..signature.len() - 1], &alphabet[last + 1..last + 2]);
    asked.assert_denied(&spare, DenyReason::TokenMalformed, "spare bits").await;
    let standard = base64::engine::general_purpose::STANDARD.encode(&bytes);
    asked.assert_denied(&format!("{message}.{standard}"), DenyReason::TokenMalformed, "the other alphabet").await;
    for (wrong, why) in [(vec![0; 64], "r = s = 0"), (bytes[..63].to_vec(), "short"), (vec![], "empty")] {
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(wrong));
        asked.assert_denied(&token, DenyReason::BadSignature, why).await;
    }
}

#[tokio::test]
async fn a_token_of_another_server_is_denied() {
    let mut asked = Asked::new().await;
    let other = TestServer::start().await;
    let foreign = other.token(&other.workload("/checkout").await).await;
    asked.assert_denied(&foreign, DenyReason::UnknownKey, "other keys").await;
}

#[tokio::test]
async fn a_token_of_an_issuer_that_the_server_no_longer_is_is_denied() {
    let setup = Setup { store: "{sled: {path: data}}".to_owned(), ..Setup::default() };
    setup.write();
    let server = setup.start().await.unwrap();
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    let yaml = std::fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
    let renamed = yaml.replace(ISSUER, "https://elsewhere.prod.example");
    assert_ne!(renamed, yaml);
    std::fs::write(setup.path("lanyard.yaml"), renamed).unwrap();
    let server = setup.start().await.unwrap();
    let answer = server.validate(&token, certificate_of(&checkout)).await.unwrap();
    assert_eq!(answer.reason(), DenyReason::WrongIssuer);
}

#[tokio::test]
async fn a_token_larger_than_any_is_denied_and_a_message_larger_than_any_is_an_error() {
    let mut asked = Asked::new().await;
    for size in [16 * 1024 + 1, 200 * 1024] {
        asked.assert_denied(&"a".repeat(size), DenyReason::TokenMalformed, "too large").await;
        let padded = format!("{}{}", asked.token, "A".repeat(size));
        asked.assert_denied(&padded, DenyReason::TokenMalformed, "too large").await;
    }
    for size in [256 * 1024, 1024 * 1024] {
        let request = ValidateBindingRequest { evidence: certificate_of(&asked.checkout), ..use_of(&"a".repeat(size)) };
        let error = asked.proxy.validate_binding(request).await.unwrap_err();
        assert_eq!(error.code(), Code::OutOfRange, "{error}");
    }
    let token = asked.token.clone();
    assert_eq!(asked.about(&token).await.decision(), Decision::Allow, "and the connection goes on");
    assert_eq!(asked.server.validate(&token, None).await.unwrap().reason(), DenyReason::EvidenceMissing);
}
