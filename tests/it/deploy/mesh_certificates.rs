//! Certificates as Consul, Linkerd and Kuma make them: the first two get tokens by the registrations in `deploy/`, and those of
//! Kuma's own CA are refused for what they lack.

use std::fs;

use lanyard::proto::Client;
use lanyard::proto::IssueTokenRequest;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyUsagePurpose;

use crate::deploy::examples::file;
use crate::deploy::examples::protected_from;
use crate::support::ca::TestCa;
use crate::support::check::Asked;
use crate::support::check::hex;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;
use crate::support::leaf::LeafBuilder;
use crate::support::server::TestServer;
use crate::support::yaml;

/// The trust domain in deploy/consul.
const CONSUL: &str = "11111111-2222-3333-4444-555555555555.consul";

/// The identity in deploy/linkerd.
const LINKERD: &str = "checkout.shop.serviceaccount.identity.linkerd.cluster.local";

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// What all of these meshes put into a certificate: four key usages, and both extended ones.
fn leaf(ca: &TestCa) -> LeafBuilder<'_> {
    let key = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
        KeyUsagePurpose::KeyAgreement,
    ];
    ca.client_certificate().usages(key, vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth])
}

/// A service's certificate in Consul's mesh.
fn consul(server: &TestServer, service: &str) -> Leaf {
    let id = format!("spiffe://prod.example/ns/default/dc/dc1/svc/{service}");
    leaf(&server.setup.ca).common_name(&format!("{service}.svc.default.11111111.consul")).uri(&id).issue()
}

/// The client of a folder, as the registry takes it.
fn client(name: &str, text: &str) -> Client {
    let [client] = yaml::documents::<lanyard::authority::registration::ClientMetadata>(text)
        .try_into()
        .unwrap_or_else(|clients: Vec<_>| panic!("{name} has {} clients", clients.len()));
    client.into()
}

#[tokio::test]
async fn a_consul_service_gets_a_token_and_the_sidecar_in_front_of_another_has_it_checked() {
    let moved = |name: &str| read(&format!("consul/{name}")).replace(CONSUL, "prod.example");
    let roles = yaml::value(&moved("lanyard.yaml"))["roles"]["proxies"].to_string();
    let server = TestServer::started(|setup| {
        setup.roles = format!("{{admins: [{{spiffe_id: spiffe://prod.example/admin}}], proxies: {roles}}}");
    })
    .await;
    server.protect(protected_from(&moved("resources.yaml")).remove(0)).await.unwrap();
    server.register(client("consul", &moved("clients.yaml"))).await.unwrap();
    let (checkout, another, orders) =
        (consul(&server, "checkout"), consul(&server, "checkout"), consul(&server, "orders"));
    let token = server.token(&checkout).await;
    let orders_id = "spiffe://prod.example/ns/default/dc/dc1/svc/orders";
    // Another certificate of the same service could be its next one.
    for (seen, reason) in [(&checkout, ""), (&another, "CERTIFICATE_RENEWED")] {
        // As Consul's listener writes it: Subject, Cert, Chain, DNS and URI.
        let certificate = url_encoded(seen);
        let id = "spiffe://prod.example/ns/default/dc/dc1/svc/checkout";
        let header = format!(
            "By={orders_id};Hash={};Cert=\"{certificate}\";Chain=\"{certificate}\";\
             Subject=\"CN=checkout.svc.default.11111111.consul\";URI={id}",
            hex(seen)
        );
        let mut asked = Asked::anonymous().unnamed().header("authorization", &format!("Bearer {token}"));
        orders_id.clone_into(&mut asked.attributes.destination.as_mut().unwrap().principal);
        let asked = asked.header("x-forwarded-client-cert", &header).principal(id).to("GET", "/orders/1");
        assert_eq!(server.check_as(&orders, asked).await.reason(), reason);
    }
}

#[tokio::test]
async fn a_linkerd_workload_gets_a_token_by_its_dns_name_and_another_name_does_not() {
    let server = TestServer::start().await;
    let text = read("linkerd/clients.yaml").replace("client_ca: linkerd", "client_ca: corp");
    server.register(client("linkerd", &text)).await.unwrap();
    let request = || IssueTokenRequest { client_id: "checkout".to_owned(), ..IssueTokenRequest::default() };
    let named = |name: &str| leaf(&server.setup.corp).dns(name).issue();
    let issued = server.tokens(&named(LINKERD)).issue_token(request()).await;
    assert!(!issued.unwrap().into_inner().access_token.is_empty());
    for other in ["payments.shop.serviceaccount.identity.linkerd.cluster.local", "linkerd.cluster.local"] {
        let refused = server.tokens(&named(other)).issue_token(request()).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied, "{other}");
    }
    // The same name by another CA.
    let foreign = leaf(&server.setup.partner).dns(LINKERD).issue();
    assert!(server.tokens(&foreign).issue_token(request()).await.is_err());
}

#[tokio::test]
async fn a_certificate_of_kumas_own_ca_is_refused_for_its_many_names_and_one_of_a_mesh_identity_is_not() {
    let server = TestServer::start().await;
    let id = "spiffe://prod.example/ns/shop/sa/checkout";
    server.register(crate::support::server::spiffe_client(id)).await.unwrap();
    let own = leaf(&server.setup.ca).uri(id).uri("kuma://kuma.io/version/v1").issue();
    assert!(server.tokens(&own).issue_token(IssueTokenRequest::default()).await.is_err());
    let identity = leaf(&server.setup.ca).uri(id).issue();
    assert!(!server.token(&identity).await.is_empty());
}
