//! The bundle document of the server's own trust domain, which another server federates with.

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::trust::BundleDocument;
use lanyard::authority::trust::Unproven;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use serde_json::json;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::bundle::root;
use crate::support::ca::TestCa;
use crate::support::dev::Dev;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::connect;

const PATH: &str = "/spiffe/bundle";

/// Fetches the bundle without a client certificate.
async fn published(server: &TestServer) -> Reply {
    let tls = http1_only(server.tls_builder().with_no_client_auth());
    Http::one(connect(server.addresses.public, tls).await.unwrap()).await.send(get(PATH)).await
}

fn sequence(reply: &Reply) -> u64 {
    reply.json()["spiffe_sequence"].as_u64().unwrap()
}

// SPIFFE Federation section 5; X509-SVID section 6.1
#[tokio::test]
async fn the_own_bundle_is_published_to_anybody_with_a_sequence_that_grows_as_it_changes() {
    let server = TestServer::start().await;
    let first = published(&server).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.json()["keys"], json!([root(&server.setup.ca)]));
    assert_eq!(first.json()["spiffe_refresh_hint"], json!(300));
    assert!(BundleDocument::parse(first.body.as_bytes()).is_ok());
    assert_eq!(server.send(&server.svid("/checkout"), get(PATH)).await.body, first.body);
    // Another trust domain's file, or none that changed, is no news.
    fs::write(server.setup.path("other.pem"), TestCa::new("other.example").pem()).unwrap();
    server.server.reload();
    assert_eq!(published(&server).await.body, first.body);

    // The clock does not advance, and the sequence still grows.
    let next = TestCa::new("prod.example");
    fs::write(server.setup.path("ca.pem"), server.setup.ca.pem() + &next.pem()).unwrap();
    server.server.reload();
    let second = published(&server).await;
    assert_eq!(second.json()["keys"], json!([root(&server.setup.ca), root(&next)]));
    assert!(sequence(&second) > sequence(&first));
    // A broken file takes nothing back.
    fs::write(server.setup.path("ca.pem"), "broken").unwrap();
    server.server.reload();
    assert_eq!(published(&server).await.body, second.body);
}

#[tokio::test]
async fn where_the_own_bundle_is_not_held_none_is_published() {
    let setup = Setup::default();
    setup.write();
    let yaml = fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
    fs::write(setup.path("lanyard.yaml"), yaml.replace("    prod.example: ca.pem\n", "")).unwrap();
    let server = setup.start().await.unwrap();
    assert_eq!(published(&server).await.status, 404);
}

// SPIFFE Federation section 5
#[tokio::test]
async fn the_throwaway_trust_domain_of_lanyard_dev_is_published_too() {
    let dev = Dev::start();
    let ca = CertificateDer::from_pem_file(dev.files.dir.join("ca.pem")).unwrap();
    let line = dev.printed.iter().find(|line| line.starts_with("Lanyard serves: ")).unwrap();
    let public = line.split_whitespace().nth(4).unwrap();
    let port: u16 = public.strip_prefix("https://localhost:").unwrap().parse().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = http1_only(tls.with_root_certificates(roots).with_no_client_auth());
    let reply = Http::one(connect(([127, 0, 0, 1], port).into(), tls).await.unwrap()).await.send(get(PATH)).await;
    assert_eq!(reply.status, 200);
    let document = reply.json();
    let [key] = document["keys"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!(key["x5c"], json!([STANDARD.encode(&ca)]));
}

// SPIFFE Federation sections 4.2, 5, 5.1 and 5.2.1
#[tokio::test]
async fn two_servers_federate_and_one_follows_the_changes_of_the_other() {
    let first = TestServer::start().await;
    let port = first.addresses.public.port();
    let setup = Setup {
        roles: "{}".to_owned(),
        federation: format!(
            "[{{trust_domain: prod.example, bundle_endpoint: 'https://localhost:{port}{PATH}', \
             profile: https_web, ca: first.pem}}]"
        ),
        ..Setup::default()
    };
    setup.write();
    fs::write(setup.path("first.pem"), first.setup.ca.pem()).unwrap();
    let yaml = fs::read_to_string(setup.path("lanyard.yaml")).unwrap();
    let yaml = yaml.replace("trust_domain: prod.example\n", "trust_domain: second.example\n");
    fs::write(setup.path("lanyard.yaml"), yaml.replace("prod.example: ca.pem", "second.example: ca.pem")).unwrap();
    let second = setup.start().await.unwrap();
    second.server.refresh_federation().await;
    let prove = |ca: &TestCa, id: &str| second.server.authority().prove_now(&ca.svid(id).issue().chain).map(drop);
    assert_eq!(prove(&first.setup.ca, "spiffe://prod.example/shop"), Ok(()));
    assert_eq!(prove(&first.setup.ca, "spiffe://second.example/shop"), Err(Unproven::NoPath));
    assert_eq!(prove(&second.setup.ca, "spiffe://second.example/shop"), Ok(()));
    assert_eq!(prove(&second.setup.ca, "spiffe://prod.example/shop"), Err(Unproven::NoPath));

    let next = TestCa::new("prod.example");
    assert_eq!(prove(&next, "spiffe://prod.example/shop"), Err(Unproven::NoPath));
    fs::write(first.setup.path("ca.pem"), next.pem()).unwrap();
    first.server.reload();
    second.server.refresh_federation().await;
    assert_eq!(prove(&next, "spiffe://prod.example/shop"), Ok(()));
    assert_eq!(prove(&first.setup.ca, "spiffe://prod.example/shop"), Err(Unproven::NoPath));
    let own: Value = published(&second).await.json();
    assert_eq!(own["keys"], json!([root(&second.setup.ca)]));
}
