//! What becomes of a bound token when its workload's certificate is renewed: `strict`, `identity`, `lineage`.

use std::time::Duration;

use lanyard::authority::clock::Timestamp;
use lanyard::proto::AnnounceRotationRequest;
use lanyard::proto::AnnounceRotationResponse;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::Match;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingResponse;
use lanyard::proto::validate_binding_request::Evidence;
use tonic::Status;

use crate::support::NOW;
use crate::support::check::Asked;
use crate::support::check::orders;
use crate::support::leaf::Leaf;
use crate::support::leaf::VALID_FOR;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

/// A workload whose registration says how its tokens follow its certificates, and one token of it.
pub struct Rotating {
    pub server: TestServer,
    pub first: Leaf,
    pub token: String,
}

impl Rotating {
    pub async fn new(rotation: &str, least: &str) -> Self {
        let server = TestServer::start().await;
        server.protect(ProtectedResource { least_evidence: least.to_owned(), ..orders() }).await.unwrap();
        let client = Client { rotation: rotation.to_owned(), access_token_ttl: hour(), ..spiffe_client(CHECKOUT) };
        server.register(client).await.unwrap();
        let first = server.setup.ca.svid(CHECKOUT).issue();
        let token = server.token(&first).await;
        Self { server, first, token }
    }

    /// A certificate of the same SPIFFE ID, valid from so many seconds after the first one, which is valid for an hour more.
    pub fn another(&self, later: i64, key: Option<&Leaf>) -> Leaf {
        let builder = self.server.setup.ca.svid(CHECKOUT);
        let builder = if let Some(leaf) = key { builder.key(&leaf.key) } else { builder };
        let first = NOW.0 - 60;
        let from = Timestamp(first.checked_add_signed(later).unwrap());
        builder.between(from, NOW.after(VALID_FOR)).issue()
    }

    pub async fn evaluate(&self, evidence: Option<Evidence>) -> ValidateBindingResponse {
        self.server.validate(&self.token, evidence).await.unwrap()
    }

    /// How a certificate matches, or why it does not.
    pub async fn verdict(&self, evidence: Option<Evidence>) -> Result<(Match, u32), DenyReason> {
        let decision = self.evaluate(evidence).await;
        match decision.decision() {
            Decision::Allow => Ok((decision.r#match(), decision.generation)),
            Decision::Deny | Decision::Unspecified => Err(decision.reason()),
        }
    }

    pub async fn announce(&self, present: &Leaf, next: &Leaf) -> Result<AnnounceRotationResponse, Status> {
        let request = AnnounceRotationRequest {
            certificate: next.certificate().to_vec(),
            intermediates: next.chain[1..].iter().map(|certificate| certificate.to_vec()).collect(),
        };
        self.server.tokens(present).announce_rotation(request).await.map(tonic::Response::into_inner)
    }
}

/// A lifetime of tokens that outlasts every window here.
#[expect(clippy::unnecessary_wraps, reason = "in the shape in which requests take it")]
pub fn hour() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 3600, nanos: 0 })
}

/// The certificate's hash as evidence.
#[expect(clippy::unnecessary_wraps, reason = "in the shape in which requests take it")]
pub fn hash_of(leaf: &Leaf) -> Option<Evidence> {
    Some(Evidence::CertificateThumbprint(leaf.thumbprint().as_bytes().to_vec()))
}

#[expect(clippy::unnecessary_wraps, reason = "in the shape in which requests take it")]
fn id(text: &str) -> Option<Evidence> {
    Some(Evidence::SpiffeId(text.to_owned()))
}

const EXACT: Result<(Match, u32), DenyReason> = Ok((Match::Exact, 0));
const SAME: Result<(Match, u32), DenyReason> = Ok((Match::SameIdentity, 0));
const MISMATCH: Result<(Match, u32), DenyReason> = Err(DenyReason::CertificateMismatch);
const RENEWED: Result<(Match, u32), DenyReason> = Err(DenyReason::CertificateRenewed);
const STRICT: Result<(Match, u32), DenyReason> = Err(DenyReason::RotationStrict);
const WEAK: Result<(Match, u32), DenyReason> = Err(DenyReason::EvidenceTooWeak);

// RFC 8705 section 6.3, and what each looser rotation adds to it
#[tokio::test]
async fn each_rotation_has_its_verdict_about_each_certificate() {
    for (rotation, least, renewed, by_id) in [
        ("strict", "thumbprint", RENEWED, WEAK),
        ("strict", "spiffe_id", RENEWED, STRICT),
        ("identity", "thumbprint", SAME, WEAK),
        ("identity", "certificate", SAME, WEAK),
        ("identity", "spiffe_id", SAME, SAME),
        // Nothing was announced.
        ("lineage", "thumbprint", RENEWED, WEAK),
        ("lineage", "spiffe_id", RENEWED, STRICT),
    ] {
        let rotating = Rotating::new(rotation, least).await;
        let ca = &rotating.server.setup.ca;
        let other_domain = rotating.server.setup.other_ca.svid("spiffe://other.example/checkout").issue();
        let foreign = rotating.server.setup.other_ca.svid(CHECKOUT).issue();
        let weak = |verdict| if least == "certificate" { WEAK } else { verdict };
        for (name, evidence, expected) in [
            ("the same", certificate_of(&rotating.first), EXACT),
            ("the same by its hash", hash_of(&rotating.first), weak(EXACT)),
            ("renewed with the same key", certificate_of(&rotating.another(10, Some(&rotating.first))), renewed),
            ("older with the same key", certificate_of(&rotating.another(-10, Some(&rotating.first))), renewed),
            ("renewed with a new key", certificate_of(&rotating.another(10, None)), renewed),
            ("a sibling of the same second", certificate_of(&rotating.another(0, None)), RENEWED),
            ("an older sibling", certificate_of(&rotating.another(-10, None)), RENEWED),
            ("renewed, by its hash", hash_of(&rotating.another(10, None)), weak(MISMATCH)),
            ("of another trust domain", certificate_of(&other_domain), MISMATCH),
            ("its name signed by another trust domain", certificate_of(&foreign), MISMATCH),
            ("another workload's", certificate_of(&ca.svid("spiffe://prod.example/thief").issue()), MISMATCH),
            ("with a second name", certificate_of(&ca.svid(CHECKOUT).uri("https://x.example").issue()), MISMATCH),
            ("that may sign", certificate_of(&ca.svid(CHECKOUT).with_crl_sign().issue()), MISMATCH),
            ("the right SPIFFE ID", id(CHECKOUT), by_id),
            ("another SPIFFE ID", id("spiffe://prod.example/checkout/x"), if by_id == SAME { MISMATCH } else { by_id }),
            ("nothing", None, Err(DenyReason::EvidenceMissing)),
        ] {
            assert_eq!(rotating.verdict(evidence).await, expected, "{rotation} {least}: {name}");
        }
    }
}

#[tokio::test]
async fn by_identity_a_certificate_passes_only_while_the_bundle_vouches_for_it() {
    let rotating = Rotating::new("identity", "thumbprint").await;
    let renewed = rotating.another(10, None);
    assert_eq!(rotating.verdict(certificate_of(&renewed)).await, SAME);
    // The trust domain changes its root: the bundle no longer vouches for the renewed certificate, and the certificate
    // that the token is bound to is evaluated by itself.
    let other = crate::support::ca::TestCa::new("prod.example");
    std::fs::write(rotating.server.setup.path("ca.pem"), other.pem()).unwrap();
    rotating.server.server.reload();
    let proxy = other.svid("spiffe://prod.example/proxy").issue();
    let ask = async |leaf: &Leaf| {
        let request = lanyard::proto::ValidateBindingRequest {
            access_token: rotating.token.clone(),
            evidence: certificate_of(leaf),
            audience: crate::support::server::ORDERS.to_owned(),
            scope: String::new(),
            receipt: false,
        };
        rotating.server.bindings(&proxy).validate_binding(request).await.unwrap().into_inner().reason()
    };
    assert_eq!(ask(&renewed).await, DenyReason::CertificateMismatch);
    assert_eq!(ask(&rotating.first).await, DenyReason::Unspecified);
}

#[tokio::test]
async fn a_revoked_certificate_passes_by_no_rotation() {
    let rotating = Rotating::new("identity", "thumbprint").await;
    let renewed = rotating.another(10, None);
    assert_eq!(rotating.verdict(certificate_of(&renewed)).await, SAME);
    let target =
        lanyard::proto::revoke_token_request::Target::CertificateThumbprint(renewed.thumbprint().as_bytes().to_vec());
    let request = lanyard::proto::RevokeTokenRequest { target: Some(target), ..Default::default() };
    rotating.server.tokens(&rotating.server.svid("/admin")).revoke_token(request).await.unwrap();
    assert_eq!(rotating.verdict(certificate_of(&renewed)).await, Err(DenyReason::CertificateRevoked));
    assert_eq!(rotating.verdict(certificate_of(&rotating.first)).await, EXACT);
}

#[tokio::test]
async fn tokens_carry_what_rotation_looks_at_and_strict_ones_do_not() {
    for (rotation, carries) in [("strict", false), ("identity", true), ("lineage", true)] {
        let rotating = Rotating::new(rotation, "thumbprint").await;
        let (_, claims) = crate::support::calls::opened(&rotating.token);
        assert_eq!(claims.get("lanyard_bound").is_some(), carries, "{rotation}");
        if carries {
            let bound = &claims["lanyard_bound"];
            assert_eq!(bound["nbf"], rotating.server.now().0 - 60);
            assert_eq!(bound["spki"].as_str().unwrap().len(), 43);
        }
    }
}

// A token that was issued while the rotation was strict does not say enough to be followed
#[tokio::test]
async fn a_looser_rotation_does_not_loosen_tokens_of_before() {
    let rotating = Rotating::new("strict", "spiffe_id").await;
    let present = rotating.server.server.authority().client(CHECKOUT).unwrap();
    let changed = Client {
        rotation: "identity".to_owned(),
        access_token_ttl: hour(),
        etag: present.revision.0.to_string(),
        ..spiffe_client(CHECKOUT)
    };
    rotating.server.update(changed).await.unwrap();
    assert_eq!(rotating.verdict(certificate_of(&rotating.another(10, None))).await, RENEWED);
    assert_eq!(rotating.verdict(certificate_of(&rotating.first)).await, EXACT);
}

#[tokio::test]
async fn only_spiffe_clients_have_a_rotation() {
    let server = TestServer::start().await;
    for rotation in ["identity", "lineage"] {
        let pki = Client {
            tls_client_auth_san_dns: "shop.corp.example".to_owned(),
            rotation: rotation.to_owned(),
            ..crate::support::calls::pki_client("shop")
        };
        assert_eq!(crate::support::calls::refused_field(server.register(pki).await), "rotation");
    }
    for (rotation, fits) in [("identity", true), ("lineage", true), ("Identity", false), ("loose", false)] {
        let id = format!("spiffe://prod.example/{rotation}");
        let client = Client { rotation: rotation.to_owned(), ..spiffe_client(&id) };
        assert_eq!(server.register(client).await.is_ok(), fits, "{rotation}");
    }
}

#[tokio::test]
async fn envoy_is_told_how_a_renewed_certificate_matched() {
    let rotating = Rotating::new("identity", "thumbprint").await;
    let through = async |leaf: &Leaf| match rotating.server.check(Asked::with(&rotating.token, leaf)).await {
        crate::support::check::Answer::Through { set, .. } => set["x-lanyard-binding"].clone(),
        crate::support::check::Answer::Denied { reason, .. } => reason,
    };
    assert_eq!(through(&rotating.first).await, "exact");
    assert_eq!(through(&rotating.another(10, None)).await, "same-identity");
    assert_eq!(through(&rotating.another(0, None)).await, "CERTIFICATE_RENEWED");
    assert_eq!(through(&rotating.server.svid("/thief")).await, "CERTIFICATE_MISMATCH");
    let lineage = Rotating::new("lineage", "thumbprint").await;
    let next = lineage.another(10, None);
    lineage.announce(&lineage.first, &next).await.unwrap();
    let crate::support::check::Answer::Through { set, .. } =
        lineage.server.check(Asked::with(&lineage.token, &next)).await
    else {
        panic!("denied")
    };
    assert_eq!(set["x-lanyard-binding"], "lineage");
    lineage.server.advance(Duration::from_mins(15));
    assert_eq!(lineage.server.check(Asked::with(&lineage.token, &next)).await.reason(), "LINEAGE_OVER");
}
