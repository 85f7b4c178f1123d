//! A verifier beside a real server: both give one answer, after each kind of revocation too.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::keys::SigningAlgorithm;
use lanyard::client::files::ConnectionFiles;
use lanyard::client::supply::Credentials;
use lanyard::client::verifier::Refused;
use lanyard::client::verifier::Verifier;
use lanyard::client::verifier::VerifierSettings;
use lanyard::proto::AssignedRole;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::RevokeSigningKeyRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::revoke_token_request::Target;
use lanyard::signer::local::LocalSigner;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use super::issued::SigningKeyOf;
use super::issued::changed;
use crate::support::ca::TestCa;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::keys::TestKeys;
use crate::support::keys::new_record;
use crate::support::keys::sealer;
use crate::support::leaf::Leaf;
use crate::support::mint::part;
use crate::support::revocation;
use crate::support::server::ISSUER;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

/// What to revoke, for a workload with this certificate.
type TargetOf<'a> = &'a dyn Fn(&Leaf) -> Target;

/// A server with a signing key that the test has, and a verifier that follows it.
struct Beside {
    server: TestServer,
    signer: SigningKeyOf,
    verifier: Verifier,
    /// Whom the configuration gives a role.
    auditor: Leaf,
    _files: TempDir,
}

/// Settings that follow a server with this certificate, and the folder with the files.
fn following(server: &TestServer, leaf: &Leaf) -> (TempDir, VerifierSettings) {
    let files = TempDir::new().unwrap();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| files.path().join(name));
    for (file, text) in [(&ca, server.setup.ca.pem()), (&cert, leaf.chain_pem()), (&key, leaf.key_pem())] {
        fs::write(file, text).unwrap();
    }
    let url = format!("https://localhost:{}", server.addresses.mtls.port());
    let credentials = Credentials::Files(ConnectionFiles { ca, cert, key });
    (files, VerifierSettings::new(vec![url.parse().unwrap()], credentials, ISSUER))
}

impl Beside {
    async fn start() -> Self {
        let setup = real_time();
        let now = lanyard::authority::clock::Clock::now(&*setup.clock);
        let setup = Setup { other_ca: TestCa::at("other.example", now), ..setup };
        setup.write();
        // The key-encryption key of the set-up.
        let (record, pkcs8) = new_record(&sealer(7), SigningAlgorithm::Es256, now);
        let store = Arc::new(MemoryStore::default());
        TestKeys::of(SigningAlgorithm::Es256, [record]).sealed_by(|| sealer(7)).open_in(&*store);
        let server = setup.start_on(store).await.unwrap();
        let signer = SigningKeyOf(LocalSigner::from_pkcs8(SigningAlgorithm::Es256, &pkcs8).unwrap());
        let (files, settings) = following(&server, &server.svid("/verifier"));
        let verifier = Verifier::follow(settings).unwrap();
        within(verifier.ready()).await;
        let auditor = server.svid("/auditor");
        Self { server, signer, verifier, auditor, _files: files }
    }

    /// The code for which the server denies a use, if it does.
    async fn decided(&self, token: &str, leaf: &Leaf, audience: &str, scope: &str) -> Option<String> {
        let request = ValidateBindingRequest {
            access_token: token.to_owned(),
            evidence: certificate_of(leaf),
            audience: audience.to_owned(),
            scope: scope.to_owned(),
            receipt: false,
        };
        let answer = self.server.bindings(&self.server.svid("/proxy")).validate_binding(request).await;
        let answer = answer.unwrap().into_inner();
        let code = answer.reason().as_str_name().trim_start_matches("DENY_REASON_").to_owned();
        (answer.decision() != Decision::Allow).then_some(code)
    }

    fn verified(&self, token: &str, leaf: &Leaf) -> Option<Refused> {
        self.verifier.verify(token, leaf.certificate(), ORDERS, "").err()
    }

    /// Waits until the verifier gives the same answer as the server, or for the holders of a role the one for clients.
    async fn agree(&self, token: &str, leaf: &Leaf, expected: Option<&str>) {
        let decided = self.decided(token, leaf, ORDERS, "").await;
        assert_eq!(decided.as_deref(), expected);
        let of_role = expected == Some("IDENTITY_REVOKED") && leaf.thumbprint() == self.auditor.thumbprint();
        let expected = if of_role { Some("CLIENT_REVOKED") } else { expected };
        let mut verified = self.verified(token, leaf);
        for _ in 0..1000 {
            if verified.map(Refused::code) == expected {
                return;
            }
            sleep(Duration::from_millis(10)).await;
            verified = self.verified(token, leaf);
        }
        panic!("{verified:?} instead of {expected:?}");
    }
}

#[tokio::test]
async fn it_agrees_with_the_server_on_each_token() {
    let beside = Beside::start().await;
    let leaf = beside.server.workload("/checkout").await;
    let token = beside.server.token(&leaf).await;
    let (header, claims) = (Value::Object(part(&token, 0)), Value::Object(part(&token, 1)));
    let now = claims["iat"].as_u64().unwrap();
    let ca = &beside.server.setup.ca;
    let other = ca.svid("spiffe://prod.example/other").issue();
    let renewed = ca.svid("spiffe://prod.example/checkout").issue();
    let old = ca.svid("spiffe://prod.example/checkout").expired().issue();
    let none = json!({});
    let claim = |changes: Value| beside.signer.sign(&header, &changed(claims.clone(), &changes));
    let head = |changes: Value| beside.signer.sign(&changed(header.clone(), &changes), &claims);
    let bound = json!({ "x5t#S256": old.thumbprint().to_string() });
    let cases = [
        (claim(none.clone()), &leaf, ORDERS, "orders.read", None),
        (claim(none.clone()), &leaf, ORDERS, "orders.read orders.admin", Some("INSUFFICIENT_SCOPE")),
        (claim(none.clone()), &leaf, "https://b.example", "", Some("WRONG_AUDIENCE")),
        (claim(none.clone()), &other, ORDERS, "", Some("CERTIFICATE_MISMATCH")),
        (claim(none.clone()), &renewed, ORDERS, "", Some("CERTIFICATE_RENEWED")),
        (claim(json!({ "cnf": bound })), &old, ORDERS, "", Some("CERTIFICATE_EXPIRED")),
        (claim(json!({ "cnf": null })), &leaf, ORDERS, "", Some("NOT_BOUND")),
        (claim(json!({ "cnf": {} })), &leaf, ORDERS, "", Some("NOT_BOUND")),
        (claim(json!({ "cnf": [] })), &leaf, ORDERS, "", Some("TOKEN_MALFORMED")),
        (claim(json!({ "iss": "https://b.example" })), &leaf, ORDERS, "", Some("WRONG_ISSUER")),
        (claim(json!({ "exp": now })), &leaf, ORDERS, "", Some("TOKEN_EXPIRED")),
        (claim(json!({ "exp": "1" })), &leaf, ORDERS, "", Some("TOKEN_MALFORMED")),
        (claim(json!({ "nbf": now + 300, "exp": now + 600 })), &leaf, ORDERS, "", Some("TOKEN_NOT_YET_VALID")),
        (claim(json!({ "act": { "sub": "b" } })), &leaf, ORDERS, "", Some("TOKEN_MALFORMED")),
        (claim(json!({ "lanyard_creation": null })), &leaf, ORDERS, "", Some("TOKEN_MALFORMED")),
        (head(json!({ "typ": "JWT" })), &leaf, ORDERS, "", Some("TOKEN_TYPE")),
        (head(json!({ "alg": "none" })), &leaf, ORDERS, "", Some("UNKNOWN_KEY")),
        (head(json!({ "alg": "HS256" })), &leaf, ORDERS, "", Some("UNKNOWN_KEY")),
        (head(json!({ "kid": "other" })), &leaf, ORDERS, "", Some("UNKNOWN_KEY")),
        (head(json!({ "crit": null, "b64": false })), &leaf, ORDERS, "", None),
        (format!("{token}="), &leaf, ORDERS, "", Some("TOKEN_MALFORMED")),
        (format!("{}{}", &token[..token.len() - 4], "AAAA"), &leaf, ORDERS, "", Some("BAD_SIGNATURE")),
    ];
    for (token, leaf, audience, scope, expected) in cases {
        let decided = beside.decided(&token, leaf, audience, scope).await;
        assert_eq!(decided.as_deref(), expected, "{token}");
        let refused = beside.verifier.verify(&token, leaf.certificate(), audience, scope).err();
        assert_eq!(refused.map(Refused::code), expected, "{token}");
    }
    // Where it is stricter.
    let thumbprint = leaf.thumbprint().to_string();
    let more = claim(json!({ "cnf": { "x5t#S256": thumbprint, "jkt": thumbprint } }));
    assert_eq!(beside.decided(&more, &leaf, ORDERS, "").await, None);
    assert_eq!(beside.verified(&more, &leaf), Some(Refused::UnknownConfirmation));
}

#[tokio::test]
async fn it_learns_of_each_kind_of_revocation_and_of_its_end() {
    let beside = Beside::start().await;
    let named = Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/shop/*".to_owned(),
        ..spiffe_client("shop")
    };
    beside.server.register(named).await.unwrap();
    let partner = "spiffe://other.example/partner";
    beside.server.register(spiffe_client(partner)).await.unwrap();
    beside.server.register(spiffe_client("spiffe://prod.example/auditor")).await.unwrap();
    let at = |path: &str| format!("spiffe://prod.example{path}");
    let cases: [(&str, TargetOf<'_>, &str, Option<&str>); 6] = [
        ("/a", &|_| revocation::client(&at("/a")), "CLIENT_REVOKED", Some("TOKEN_REVOKED")),
        ("/shop/b", &|_| revocation::client("shop"), "CLIENT_REVOKED", Some("TOKEN_REVOKED")),
        ("/c", &|leaf| revocation::certificate(leaf), "CERTIFICATE_REVOKED", None),
        ("/d/e", &|_| revocation::identities(&at("/d/*")), "IDENTITY_REVOKED", Some("TOKEN_REVOKED")),
        ("/auditor", &|_| Target::Role(AssignedRole::Auditor.into()), "IDENTITY_REVOKED", Some("TOKEN_REVOKED")),
        ("", &|_| revocation::trust_domain("other.example"), "IDENTITY_REVOKED", Some("TOKEN_REVOKED")),
    ];
    let neighbour = beside.server.workload("/shop-2").await;
    let unharmed = beside.server.token(&neighbour).await;
    let mut held = Vec::new();
    for (path, target, revoked, lifted) in cases {
        let leaf = match path {
            "" => beside.server.setup.other_ca.svid(partner).issue(),
            "/shop/b" => beside.server.svid(path),
            "/auditor" => beside.auditor.clone(),
            other => beside.server.workload(other).await,
        };
        let token = beside.server.token(&leaf).await;
        beside.agree(&token, &leaf, None).await;
        beside.server.revoke(target(&leaf)).await;
        beside.agree(&token, &leaf, Some(revoked)).await;
        beside.agree(&unharmed, &neighbour, None).await;
        held.push((leaf, token, target, lifted));
    }
    // What was issued in the second of the end is accepted.
    beside.server.advance(Duration::from_secs(1));
    for (leaf, token, target, lifted) in held {
        beside.server.lift(target(&leaf)).await;
        beside.agree(&token, &leaf, lifted).await;
        let next = beside.server.token(&leaf).await;
        beside.agree(&next, &leaf, None).await;
    }
    beside.server.revoke(Target::Token(unharmed.clone())).await;
    beside.agree(&unharmed, &neighbour, Some("TOKEN_REVOKED")).await;
    let next = beside.server.token(&neighbour).await;
    beside.agree(&next, &neighbour, None).await;
    beside.server.revoke(Target::IssuedToClientId(at("/shop-2"))).await;
    beside.agree(&next, &neighbour, Some("TOKEN_REVOKED")).await;
    // The key, last: nothing that it signed counts.
    let leaf = beside.server.workload("/z").await;
    let token = beside.server.token(&leaf).await;
    beside.agree(&token, &leaf, None).await;
    let kid = part(&token, 0)["kid"].as_str().unwrap().to_owned();
    let mut keys = KeyServiceClient::new(beside.server.channel(&beside.server.svid("/admin")));
    keys.revoke_signing_key(RevokeSigningKeyRequest { kid, reason: "it leaked".to_owned() }).await.unwrap();
    beside.agree(&token, &leaf, Some("UNKNOWN_KEY")).await;
    let next = beside.server.token(&leaf).await;
    beside.agree(&next, &leaf, None).await;
}

#[tokio::test]
async fn who_may_not_follow_learns_nothing() {
    let beside = Beside::start().await;
    let leaf = beside.server.workload("/checkout").await;
    let (_files, settings) = following(&beside.server, &leaf);
    let verifier = Verifier::follow(settings).unwrap();
    within(async {
        while verifier.problem().is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(verifier.problem().unwrap().to_string().contains("WRONG_ROLE"), "{:?}", verifier.problem());
    let token = beside.server.token(&leaf).await;
    assert_eq!(verifier.verify(&token, leaf.certificate(), ORDERS, ""), Err(Refused::Stale { age: None }));
}
