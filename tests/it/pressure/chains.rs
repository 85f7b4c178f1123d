//! Chains of certificates that are made to cost: what they cost, and that others are served.

use std::rc::Rc;
use std::time::Duration;

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::AsyncWriteExt as _;

use crate::support::door::Outcome;
use crate::support::door::assert_serves;
use crate::support::door::knock;
use crate::support::door::read_to_end;
use crate::support::made::Extension;
use crate::support::made::Made;
use crate::support::made::URI;
use crate::support::server::TestServer;
use crate::support::server::connect;

const VERIFIED: &str = "lanyard_path_signatures_verified_total";

fn key() -> Rc<KeyPair> {
    Rc::new(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap())
}

/// A stranger, and nine CAs of this name, each signed by itself.
struct Stranger {
    chain: Vec<CertificateDer<'static>>,
    key: Rc<KeyPair>,
}

impl Stranger {
    fn with_cas_named(name: &str, spiffe_id: Option<&str>) -> Self {
        let cas: Vec<Made> = (0..9).map(|_| Made::ca(name, &key())).collect();
        let own = key();
        let mut leaf = Made::leaf("stranger", &own, &[]);
        if let Some(id) = spiffe_id {
            leaf.put(Extension::names(&[(URI, id.as_bytes())]));
        }
        let leaf = leaf.signed_by(&cas[0]);
        let chain = std::iter::once(leaf).chain(cas.iter().map(|ca| ca.signed_by(ca))).collect();
        Self { chain, key: own }
    }

    async fn knocks(&self, server: &TestServer) -> Outcome {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let config = server.tls_builder().with_client_auth_cert(self.chain.clone(), key).unwrap();
        knock(server.addresses.mtls, config).await
    }
}

async fn verified(server: &TestServer) -> u64 {
    server.page().await.get(VERIFIED).unwrap()
}

#[tokio::test]
async fn chains_that_lead_to_no_known_ca_cost_no_signature_and_others_are_served() {
    // With the two client CAs `corp` and `partner`.
    let server = TestServer::start().await;
    assert_serves(&server, "nothing").await;
    let before = verified(&server).await;
    for number in 0..29 {
        let stranger = Stranger::with_cas_named(&format!("unknown {}", number % 3), None);
        assert!(matches!(stranger.knocks(&server).await, Outcome::Alert(_)));
    }
    assert_eq!(verified(&server).await, before);
    // The honest client's own path has one signature, which is verified for the first of its connections.
    assert_serves(&server, "29 chains").await;
    assert_eq!(verified(&server).await, before + 1);
}

#[tokio::test]
async fn chains_of_a_known_cas_name_cost_one_signature_for_each_certificate_and_each_anchor() {
    let server = TestServer::start().await;
    for (name, id) in [("corp CA", None), ("prod.example CA", Some("spiffe://prod.example/stolen"))] {
        for _ in 0..29 {
            let before = verified(&server).await;
            let refused = Stranger::with_cas_named(name, id).knocks(&server).await;
            assert!(matches!(refused, Outcome::Alert(_)), "{refused:?}");
            let cost = verified(&server).await - before;
            assert!((1..=11).contains(&cost), "{cost}");
        }
    }
    assert_serves(&server, "58 chains").await;
}

#[tokio::test]
async fn a_chain_that_comes_again_costs_nothing_until_the_bundles_change() {
    let server = TestServer::start().await;
    let stranger = Stranger::with_cas_named("corp CA", None);
    stranger.knocks(&server).await;
    let once = verified(&server).await;
    for _ in 0..29 {
        assert!(matches!(stranger.knocks(&server).await, Outcome::Alert(_)));
    }
    assert_eq!(verified(&server).await, once);
    let mut trust = server.server.authority().trust().as_ref().clone();
    trust.client_cas.remove("partner").unwrap();
    server.server.authority().replace_trust(trust);
    stranger.knocks(&server).await;
    let changed = verified(&server).await;
    assert!(changed > once, "the CAs may be others by now");
    // It is not remembered for long either.
    server.advance(Duration::from_secs(61));
    server.is_fresh_again().await;
    stranger.knocks(&server).await;
    assert!(verified(&server).await > changed);
}

#[tokio::test]
async fn an_unknown_certificate_that_may_be_published_is_proven_once_whatever_its_holder_asks() {
    let jwks_uri = "{discovery: on_demand, allowed_hosts: [keys.example]}";
    let server = TestServer::started(|setup| jwks_uri.clone_into(&mut setup.jwks_uri)).await;
    // By another CA of the name of one that is known: one signature, and it is not that CA's.
    let own = key();
    let leaf = Made::leaf("stranger", &own, &[]).signed_by(&Made::ca("corp CA", &key()));
    let connected = async || {
        let key = PrivatePkcs8KeyDer::from(own.serialize_der()).into();
        let mut config = server.tls_builder().with_client_auth_cert(vec![leaf.clone()], key).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        connect(server.addresses.mtls, config).await.unwrap()
    };
    let before = verified(&server).await;
    for _ in 0..3 {
        let mut stream = connected().await;
        let request = |more: &str| format!("GET /oauth2/jwks HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
        stream.write_all((request("").repeat(9) + &request("connection: close\r\n")).as_bytes()).await.unwrap();
        let answers = String::from_utf8(read_to_end(&mut stream).await).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 10, "{answers}");
        assert_eq!(verified(&server).await, before + 1);
    }
}
