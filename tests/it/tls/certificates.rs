//! Which certificates get through the handshake, in both versions of TLS, and as whom.

use std::sync::Arc;

use lanyard::authority::identity::CertificateThumbprint;
use lanyard::proto::Client;
use lanyard::proto::Decision;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::token_service_client::TokenServiceClient;
use rustls::AlertDescription;
use rustls::ClientConfig;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::sign::Signer;
use rustls::sign::SigningKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::door::Outcome;
use crate::support::door::assert_serves;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::leaf::LeafBuilder;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::channel;
use crate::support::server::spiffe_client;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Any private key of the library's, behind any chain: nothing looks whether they belong together.
fn present(
    server: &TestServer,
    version: &'static SupportedProtocolVersion,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> ClientConfig {
    let certified = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    server.setup.tls_builder(&[version]).with_client_cert_resolver(Arc::new(certified))
}

fn signing_key(leaf: &Leaf) -> Arc<dyn SigningKey> {
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&leaf.private_key()).unwrap()
}

async fn outcomes(server: &TestServer, leaf: &Leaf) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for version in VERSIONS {
        let config = present(server, version, leaf.chain.clone(), signing_key(leaf));
        outcomes.push(knock(server.addresses.mtls, config).await);
    }
    outcomes
}

async fn assert_let_in(server: &TestServer, leaf: &Leaf, what: &str) {
    let outcomes = outcomes(server, leaf).await;
    assert!(outcomes.iter().all(Outcome::is_jwks), "{what}: {outcomes:?}");
}

async fn assert_refused(server: &TestServer, leaf: &Leaf, alert: AlertDescription, what: &str) {
    let outcomes = outcomes(server, leaf).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Alert(alert)), "{what}: {outcomes:?}");
    assert_serves(server, what).await;
}

#[tokio::test]
async fn an_svid_that_keeps_every_rule_gets_in_and_one_that_breaks_one_does_not() {
    let server = TestServer::start().await;
    let Setup { ca, other_ca, corp, .. } = &server.setup;
    let svid = || ca.svid("spiffe://prod.example/checkout");
    assert_let_in(&server, &svid().issue(), "the SVID").await;
    assert_let_in(&server, &other_ca.svid("spiffe://other.example/checkout").issue(), "another trust domain's").await;
    assert_let_in(&server, &svid().without_eku().issue(), "without extendedKeyUsage").await;
    let deep = ca.intermediate("a").intermediate("b");
    assert_let_in(&server, &deep.svid("spiffe://prod.example/checkout").issue(), "two intermediates").await;

    let table: [(&str, LeafBuilder<'_>, AlertDescription); 20] = [
        ("two SPIFFE IDs", svid().two_uris(), AlertDescription::CertificateUnknown),
        ("an https URI too", svid().uri("https://prod.example/"), AlertDescription::CertificateUnknown),
        ("a CA as a leaf", svid().ca_leaf(), AlertDescription::CertificateUnknown),
        ("keyCertSign", svid().with_key_cert_sign(), AlertDescription::CertificateUnknown),
        ("cRLSign", svid().with_crl_sign(), AlertDescription::CertificateUnknown),
        ("no digitalSignature", svid().without_digital_signature(), AlertDescription::UnsupportedCertificate),
        ("no keyUsage", svid().without_key_usage(), AlertDescription::UnsupportedCertificate),
        ("keyUsage not critical", svid().with_key_usage_not_critical(), AlertDescription::UnsupportedCertificate),
        ("serverAuth only", svid().eku_server_only(), AlertDescription::UnsupportedCertificate),
        ("clientAuth only", svid().eku_client_only(), AlertDescription::UnsupportedCertificate),
        ("expired", svid().expired(), AlertDescription::CertificateExpired),
        ("not yet valid", svid().not_yet_valid(), AlertDescription::CertificateExpired),
        ("no path in the ID", ca.svid("spiffe://prod.example"), AlertDescription::CertificateUnknown),
        ("the root path", ca.svid("spiffe://prod.example/"), AlertDescription::CertificateUnknown),
        ("upper case", ca.svid("SPIFFE://prod.example/checkout"), AlertDescription::CertificateUnknown),
        ("another's trust domain", ca.svid("spiffe://other.example/checkout"), AlertDescription::UnknownCA),
        ("one's own by another CA", other_ca.svid("spiffe://prod.example/checkout"), AlertDescription::UnknownCA),
        ("an unknown trust domain", ca.svid("spiffe://nowhere.example/checkout"), AlertDescription::UnknownCA),
        ("an SVID by a client CA", corp.svid("spiffe://prod.example/checkout"), AlertDescription::UnknownCA),
        // Also a CA, which is looked at first.
        ("an SVID by itself", self_signed("x").uri("spiffe://prod.example/x"), AlertDescription::CertificateUnknown),
    ];
    for (what, leaf, alert) in table {
        assert_refused(&server, &leaf.issue(), alert, what).await;
    }
}

#[tokio::test]
async fn a_certificate_of_a_client_ca_gets_in_and_one_of_an_unknown_ca_does_not() {
    let server = TestServer::start().await;
    let client = || server.setup.corp.client_certificate().common_name("billing").dns("billing.corp.example");
    assert_let_in(&server, &client().issue(), "a certificate of corp").await;
    assert_let_in(&server, &server.setup.partner.client_certificate().common_name("x").issue(), "of partner").await;
    let stranger = TestCa::new("corp");
    let table = [
        (
            "another CA of the same name",
            stranger.client_certificate().common_name("billing"),
            AlertDescription::UnknownCA,
        ),
        (
            "the CA of a trust domain",
            server.setup.ca.client_certificate().common_name("x"),
            AlertDescription::UnknownCA,
        ),
        ("no digitalSignature", client().without_digital_signature(), AlertDescription::UnsupportedCertificate),
        ("a CA as a leaf", client().ca_leaf(), AlertDescription::CertificateUnknown),
        ("serverAuth only", client().eku_server_only(), AlertDescription::UnsupportedCertificate),
        ("expired", client().expired(), AlertDescription::CertificateExpired),
        ("not yet valid", client().not_yet_valid(), AlertDescription::CertificateExpired),
    ];
    for (what, leaf, alert) in table {
        assert_refused(&server, &leaf.issue(), alert, what).await;
    }
    // What let it in is not yet a role: without a registration there is no token for it.
    let unregistered = server.tokens(&client().issue()).issue_token(IssueTokenRequest::default()).await.unwrap_err();
    assert_eq!(unregistered.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_self_signed_certificate_gets_in_only_while_it_is_registered_itself() {
    let server = TestServer::start().await;
    let plain = self_signed("legacy").issue();
    let rsa = self_signed("legacy-rsa").rsa_4096().issue();
    for (client_id, leaf) in [("legacy", &plain), ("legacy-rsa", &rsa)] {
        assert_refused(&server, leaf, AlertDescription::UnknownCA, "an unregistered certificate").await;
        server.register(self_signed_client(client_id, leaf)).await.unwrap();
        assert_let_in(&server, leaf, client_id).await;
    }
    let same_key = self_signed("legacy").key(&plain.key).issue();
    assert_refused(&server, &same_key, AlertDescription::UnknownCA, "another certificate for the registered key").await;
    let below =
        Leaf { chain: vec![self_signed("legacy").issue().chain[0].clone(), plain.chain[0].clone()], ..same_key };
    assert_refused(&server, &below, AlertDescription::UnknownCA, "a registered certificate appended").await;
}

#[tokio::test]
async fn a_self_signed_certificate_with_a_role_gets_in_but_no_other_of_the_same_key() {
    let admin = self_signed("admin").issue();
    let roles = format!(
        "{{admins: [{{certificate_thumbprint: {}}}, {{spiffe_id: spiffe://prod.example/admin}}]}}",
        admin.thumbprint()
    );
    let setup = Setup { roles, ..Setup::default() };
    setup.write();
    let server = setup.start().await.unwrap();
    assert_let_in(&server, &admin, "the admin").await;
    let another = self_signed("admin").key(&admin.key).issue();
    assert_refused(&server, &another, AlertDescription::UnknownCA, "another certificate for the admin's key").await;
}

#[tokio::test]
async fn what_is_appended_to_ones_own_certificate_changes_nothing() {
    let server = TestServer::start().await;
    let own = server.workload("/own").await;
    let victim = server.workload("/victim").await;
    let legacy = self_signed("legacy").issue();
    server.register(self_signed_client("legacy", &legacy)).await.unwrap();
    let admin = server.svid("/admin");
    let forged = TestCa::new("forged").svid("spiffe://prod.example/victim").issue();
    let others =
        [victim.certificate(), legacy.certificate(), admin.certificate(), forged.certificate(), server.setup.ca.der()];
    for turn in 0..others.len() {
        let mut appended: Vec<_> = others.iter().map(|one| (*one).clone()).collect();
        appended.rotate_left(turn);
        for appended in [appended.clone(), appended.into_iter().rev().collect()] {
            let chain = [vec![own.certificate().clone()], appended].concat();
            let channel = channel(server.addresses.mtls, server.tls_with(chain, &own));
            let mut tokens = TokenServiceClient::new(channel);
            let issued = tokens.issue_token(IssueTokenRequest::default()).await.unwrap().into_inner();
            let verdict = server.validate(&issued.access_token, certificate_of(&own)).await.unwrap();
            assert_eq!(verdict.decision(), Decision::Allow);
            assert!(format!("{:?}", verdict.claims).contains("\"spiffe://prod.example/own\""));
            for client_id in ["legacy", "spiffe://prod.example/victim"] {
                let request = IssueTokenRequest { client_id: client_id.to_owned(), ..IssueTokenRequest::default() };
                assert_eq!(tokens.issue_token(request).await.unwrap_err().code(), tonic::Code::Unauthenticated);
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_without_its_private_key_proves_nothing() {
    let server = TestServer::start().await;
    let (own, victim) = (server.workload("/own").await, server.workload("/victim").await);
    let legacy = self_signed("legacy").issue();
    server.register(self_signed_client("legacy", &legacy)).await.unwrap();
    for version in VERSIONS {
        for stolen in [&victim, &legacy] {
            let chain = vec![stolen.certificate().clone(), own.certificate().clone()];
            let outcome = knock(server.addresses.mtls, present(&server, version, chain, signing_key(&own))).await;
            assert_eq!(outcome, Outcome::Alert(AlertDescription::DecryptError));
        }
        let broken: Arc<dyn SigningKey> = Arc::new(Corrupting(signing_key(&own)));
        let outcome = knock(server.addresses.mtls, present(&server, version, own.chain.clone(), broken)).await;
        assert_eq!(outcome, Outcome::Alert(AlertDescription::DecryptError));
    }
    assert_let_in(&server, &own, "the same certificate with its key").await;
}

/// Signs, and then turns over the last bit.
#[derive(Debug)]
struct Corrupting(Arc<dyn SigningKey>);

#[derive(Debug)]
struct CorruptingSigner(Box<dyn Signer>);

impl SigningKey for Corrupting {
    fn choose_scheme(&self, offered: &[rustls::SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(CorruptingSigner(self.0.choose_scheme(offered)?)))
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl Signer for CorruptingSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut signature = self.0.sign(message)?;
        *signature.last_mut().unwrap() ^= 1;
        Ok(signature)
    }

    fn scheme(&self) -> rustls::SignatureScheme {
        self.0.scheme()
    }
}

#[tokio::test]
async fn an_x509_v1_certificate_is_refused_in_the_handshake_even_where_it_has_a_role() {
    let v1 = self_signed("old").version_1().issue();
    let roles = format!("{{admins: [{{certificate_thumbprint: {}}}]}}", CertificateThumbprint::of(v1.certificate()));
    let setup = Setup { roles, ..Setup::default() };
    setup.write();
    let server = setup.start().await.unwrap();
    assert_refused(&server, &v1, AlertDescription::CertificateUnknown, "a v1 certificate").await;
}

#[tokio::test]
async fn ten_certificates_are_looked_at_and_eleven_are_not() {
    let server = TestServer::start().await;
    let leaf = server.svid("/checkout");
    let chain = |length: usize| {
        let more = (1..length).map(|number| TestCa::new(&format!("unrelated {number}")).der().clone());
        Leaf { chain: std::iter::once(leaf.certificate().clone()).chain(more).collect(), ..leaf.clone() }
    };
    assert_let_in(&server, &chain(10), "ten certificates").await;
    assert_refused(&server, &chain(11), AlertDescription::BadCertificate, "eleven certificates").await;
}

#[tokio::test]
async fn a_certificate_of_fifteen_kib_is_looked_at_and_one_of_seventeen_is_not() {
    let server = TestServer::start().await;
    let svid = |kib: usize| {
        let builder = server.setup.ca.svid("spiffe://prod.example/checkout");
        // An octet string under an arc for examples.
        let content = crate::support::der::element(4, &vec![0; kib * 1024]);
        builder.extension(&[1, 3, 6, 1, 4, 1, 32473, 1], false, content).issue()
    };
    assert_let_in(&server, &svid(15), "15 KiB").await;
    assert_refused(&server, &svid(17), AlertDescription::BadCertificate, "17 KiB").await;
}

fn self_signed_client(client_id: &str, leaf: &Leaf) -> Client {
    Client {
        client_id: client_id.to_owned(),
        token_endpoint_auth_method: "self_signed_tls_client_auth".to_owned(),
        certificate_pem: leaf.pem(),
        audience: vec![ORDERS.to_owned()],
        ..spiffe_client("")
    }
}
