//! What revocations refuse, from the moment in which the stream has them.

use std::time::Duration;

use lanyard::client::verifier::Refused;
use lanyard::client::verifier::Verifier;
use lanyard::proto::RevocationEntries;
use lanyard::proto::RevocationEntry;
use lanyard::proto::RevokedTokens;
use lanyard::proto::VerificationKey;
use lanyard::proto::revoked_tokens::Tokens;
use lanyard::proto::watch_revocations_response::Response as Sent;
use serde_json::Value;
use serde_json::json;
use tokio::time::sleep;

use super::issued::CHECKOUT;
use super::issued::Issued;
use super::issued::changed;
use crate::support::door::within;
use crate::support::revocation_feed::RevocationFeed;
use crate::support::revocation_feed::entry;

/// A verifier, and the revision of what it was sent.
struct Followed {
    issued: Issued,
    feed: RevocationFeed,
    verifier: Verifier,
    revision: u64,
}

impl Followed {
    async fn start() -> Self {
        let issued = Issued::new();
        let feed = RevocationFeed::start(issued.listed()).await;
        let mut settings = feed.settings();
        settings.accept_delegated = true;
        let verifier = Verifier::follow(settings).unwrap();
        within(verifier.ready()).await;
        Self { issued, feed, verifier, revision: 5 }
    }

    /// Sends these in one transaction, and waits until they are in effect: until a key is that comes with them.
    async fn change(&mut self, revocations: Vec<RevocationEntry>, keys: Vec<VerificationKey>) {
        self.revision += 1;
        let kid = format!("k{}", self.revision);
        let header = changed(self.issued.header(), &json!({ "kid": kid }));
        let token = self.issued.sign(&header, &changed(self.issued.claims(), &json!({ "exp": self.issued.now.0 - 1 })));
        assert_eq!(self.issued.verify(&self.verifier, &token), Err(Refused::UnknownKey));
        let keys = keys.into_iter().chain([VerificationKey { kid, ..self.issued.key() }]).collect();
        self.feed.say(Sent::Changed(RevocationEntries { revision: self.revision, revocations, keys }));
        within(async {
            while self.issued.verify(&self.verifier, &token) == Err(Refused::UnknownKey) {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    fn refusal(&self, changes: &Value) -> Option<Refused> {
        self.issued.verify(&self.verifier, &self.issued.with_claims(changes)).err()
    }
}

/// A client under a name, with a SPIFFE ID in its certificate.
fn billing() -> Value {
    json!({ "client_id": "billing", "sub": "billing", "lanyard_spiffe_id": CHECKOUT })
}

#[tokio::test]
async fn what_is_revoked_is_refused_until_that_is_lifted() {
    let mut followed = Followed::start().await;
    let thumbprint = followed.issued.leaf.thumbprint().to_string();
    let usual = json!({});
    for (tokens, token, expected) in [
        (Tokens::Jti("j1".to_owned()), &usual, Refused::TokenRevoked),
        (Tokens::ClientId(CHECKOUT.to_owned()), &usual, Refused::ClientRevoked),
        (Tokens::ClientId("billing".to_owned()), &billing(), Refused::ClientRevoked),
        (Tokens::ClientId(CHECKOUT.to_owned()), &billing(), Refused::IdentityRevoked),
        (Tokens::Registration("c1".to_owned()), &usual, Refused::ClientRevoked),
        (Tokens::Certificate(thumbprint), &usual, Refused::CertificateRevoked),
        (Tokens::Identities("spiffe://prod.example/shop/*".to_owned()), &usual, Refused::IdentityRevoked),
        (Tokens::Identities("spiffe://prod.example/*".to_owned()), &billing(), Refused::IdentityRevoked),
        (Tokens::TrustDomain("prod.example".to_owned()), &usual, Refused::IdentityRevoked),
        (Tokens::TrustDomain("prod.example".to_owned()), &billing(), Refused::IdentityRevoked),
        (Tokens::All(true), &usual, Refused::TokenRevoked),
    ] {
        assert_eq!(followed.refusal(token), None, "{tokens:?}");
        followed.change(vec![entry("a", [tokens.clone()])], Vec::new()).await;
        assert_eq!(followed.refusal(token), Some(expected), "{tokens:?}");
        followed.change(vec![entry("a", [])], Vec::new()).await;
    }
    assert_eq!(followed.refusal(&usual), None);
}

#[tokio::test]
async fn what_is_not_revoked_is_accepted_beside_what_is() {
    let mut followed = Followed::start().await;
    let another = followed.issued.ca.svid(CHECKOUT).issue().thumbprint().to_string();
    let near = [
        Tokens::Jti("j2".to_owned()),
        Tokens::Jti(CHECKOUT.to_owned()),
        Tokens::ClientId("billing".to_owned()),
        Tokens::ClientId("j1".to_owned()),
        Tokens::ClientId(format!("{CHECKOUT}-2")),
        Tokens::ClientId("spiffe://prod.example/shop".to_owned()),
        Tokens::Registration("c2".to_owned()),
        Tokens::Certificate(another.clone()),
        Tokens::Identities(format!("{CHECKOUT}/*")),
        Tokens::Identities("spiffe://prod.example/sho/*".to_owned()),
        Tokens::Identities("spiffe://other.example/shop/*".to_owned()),
        Tokens::TrustDomain("example".to_owned()),
        Tokens::TrustDomain("other.example".to_owned()),
    ];
    let entries = near.into_iter().enumerate().map(|(at, tokens)| entry(&at.to_string(), [tokens]));
    followed.change(entries.collect(), Vec::new()).await;
    assert_eq!(followed.refusal(&json!({})), None);
    assert_eq!(followed.refusal(&json!({ "jti": "j2" })), Some(Refused::TokenRevoked));
    let bound = json!({ "cnf": { "x5t#S256": another } });
    assert_eq!(followed.refusal(&bound), Some(Refused::CertificateRevoked));
}

#[tokio::test]
async fn a_revocation_counts_for_what_was_issued_before_and_until_its_end() {
    let mut followed = Followed::start().await;
    let now = i64::try_from(followed.issued.now.0).unwrap();
    let of = |issued_until: Option<i64>, expires: Option<i64>| RevocationEntry {
        issued_until,
        expires,
        ..entry("a", [Tokens::ClientId(CHECKOUT.to_owned())])
    };
    for (entry, expected) in [
        (of(Some(now - 1), None), None),
        (of(Some(now), None), Some(Refused::TokenRevoked)),
        (of(Some(now), Some(now + 3600)), Some(Refused::TokenRevoked)),
        (of(Some(now), Some(now)), None),
        (of(None, Some(now + 3600)), Some(Refused::ClientRevoked)),
        (of(None, Some(now)), None),
    ] {
        followed.change(vec![entry.clone()], Vec::new()).await;
        assert_eq!(followed.refusal(&json!({})), expected, "{entry:?}");
    }
    // Of two, the one that goes on counts when the other is lifted.
    let other = RevocationEntry { id: "b".to_owned(), ..of(Some(now), None) };
    followed.change(vec![of(None, None), other], Vec::new()).await;
    assert_eq!(followed.refusal(&json!({})), Some(Refused::ClientRevoked));
    followed.change(vec![entry("a", [])], Vec::new()).await;
    assert_eq!(followed.refusal(&json!({})), Some(Refused::TokenRevoked));
    followed.change(vec![entry("b", [])], Vec::new()).await;
    assert_eq!(followed.refusal(&json!({})), None);
}

#[tokio::test]
async fn what_the_verifier_does_not_understand_is_refused() {
    let mut followed = Followed::start().await;
    let unknown = RevocationEntry { tokens: vec![RevokedTokens { tokens: None }], ..entry("a", []) };
    let odd = entry("a", [Tokens::Identities("spiffe://other.example/x".to_owned())]);
    for entries in [unknown, odd] {
        assert_eq!(followed.refusal(&json!({})), None);
        followed.change(vec![entries.clone()], Vec::new()).await;
        assert_eq!(followed.refusal(&json!({})), Some(Refused::TokenRevoked), "{entries:?}");
        followed.change(vec![entry("a", [])], Vec::new()).await;
    }
    let kid = || "k1".to_owned();
    for jwk in ["{}", "[]", r#"{"kty":"oct","k":"AAAA"}"#, r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#] {
        let bad = VerificationKey { kid: kid(), jwk: Some(jwk.to_owned()) };
        followed.change(Vec::new(), vec![bad]).await;
        assert_eq!(followed.refusal(&json!({})), Some(Refused::UnknownKey), "{jwk}");
        followed.change(Vec::new(), vec![followed.issued.key()]).await;
        assert_eq!(followed.refusal(&json!({})), None);
    }
}

#[tokio::test]
async fn a_revoked_key_and_a_new_one_count_at_once() {
    let mut followed = Followed::start().await;
    let next = Issued::new();
    let next_token = next.sign(&changed(next.header(), &json!({ "kid": "next" })), &followed.issued.claims());
    let verify = |followed: &Followed| followed.issued.verify(&followed.verifier, &next_token).err();
    assert_eq!(verify(&followed), Some(Refused::UnknownKey));
    let gone = VerificationKey { kid: "k1".to_owned(), jwk: None };
    followed.change(Vec::new(), vec![gone, VerificationKey { kid: "next".to_owned(), ..next.key() }]).await;
    assert_eq!(followed.refusal(&json!({})), Some(Refused::UnknownKey));
    assert_eq!(verify(&followed), None);
}

#[tokio::test]
async fn what_ends_a_token_ends_those_that_come_from_it() {
    let mut followed = Followed::start().await;
    let x5t = "B".repeat(43);
    let web = "spiffe://prod.example/web";
    let from =
        json!([{ "jti": "j0", "iat": followed.issued.now.0 - 9, "client_id": web, "creation": "c0", "x5t": x5t }]);
    let delegated = json!({ "sub": web, "act": { "sub": CHECKOUT }, "lanyard_from": from });
    let before = i64::try_from(followed.issued.now.0).unwrap() - 9;
    for tokens in [
        Tokens::Jti("j0".to_owned()),
        Tokens::ClientId(web.to_owned()),
        Tokens::Registration("c0".to_owned()),
        Tokens::Certificate(x5t),
        Tokens::Identities("spiffe://prod.example/web/*".to_owned()),
    ] {
        assert_eq!(followed.refusal(&delegated), None);
        let below = matches!(&tokens, Tokens::Identities(_));
        followed.change(vec![entry("a", [tokens.clone()])], Vec::new()).await;
        let expected = (!below).then_some(Refused::DelegationBroken);
        assert_eq!(followed.refusal(&delegated), expected, "{tokens:?}");
        assert_eq!(followed.refusal(&json!({})), None, "{tokens:?}");
        followed.change(vec![entry("a", [])], Vec::new()).await;
    }
    let issued = RevocationEntry { issued_until: Some(before), ..entry("a", [Tokens::All(true)]) };
    followed.change(vec![issued], Vec::new()).await;
    assert_eq!(followed.refusal(&delegated), Some(Refused::DelegationBroken));
    assert_eq!(followed.refusal(&json!({})), None);
}
