//! The configuration file that changes while the server serves: what is taken, and what keeps the old one.

use std::fs;

use lanyard::authority::observe::Reloaded;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::calls::use_of;
use crate::support::door::knock;
use crate::support::server::Setup;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;

const ADMIN: &str = "spiffe://prod.example/admin";

/// Changes the file, and makes the server read it.
fn change(server: &TestServer, from: &str, to: &str) {
    let path = server.setup.path("lanyard.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
    server.server.reload();
}

fn is_failing(server: &TestServer, what: Reloaded) -> bool {
    server.server.authority().reloads().is_failing(what)
}

/// How a question that only admins may ask is answered.
async fn list(registry: &mut RegistryServiceClient<Channel>) -> Result<(), (Code, String)> {
    let answer = registry.list_clients(ListClientsRequest::default()).await;
    answer.map(drop).map_err(|status| (status.code(), reason_of(&status)))
}

fn wrong_role() -> Result<(), (Code, String)> {
    Err((Code::PermissionDenied, "WRONG_ROLE".to_owned()))
}

#[tokio::test]
async fn a_role_is_given_and_taken_without_a_restart_and_open_connections_go_on() {
    let server = TestServer::start().await;
    let [mut admin, mut chief] = ["/admin", "/chief"].map(|path| server.registry(&server.svid(path)));
    let mut stream = BindingStream::open(server.bindings(&server.svid("/proxy"))).await;
    let checkout = server.workload("/checkout").await;
    let token = server.token(&checkout).await;
    let question = ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&token) };
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (Ok(()), wrong_role()));
    change(&server, ADMIN, "spiffe://prod.example/chief");
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (wrong_role(), Ok(())));
    assert_eq!(stream.ask(&question).await.unwrap(), StreamOutcome::Allowed, "over the stream from before");
    // A role that is lost is lost to an open stream too.
    change(&server, "spiffe://prod.example/proxy", "spiffe://prod.example/other");
    assert!(matches!(stream.ask(&question).await.unwrap(), StreamOutcome::Failed(Code::PermissionDenied, _)));
    assert!(!is_failing(&server, Reloaded::Configuration));
}

#[tokio::test]
async fn a_certificate_listed_for_a_role_is_admitted_only_while_it_is_listed() {
    let server = TestServer::start().await;
    let leaf = self_signed("breakglass").issue();
    assert!(!knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());
    let listed = format!("admins: [{{certificate_thumbprint: {}}}, {{spiffe_id: ", leaf.thumbprint());
    change(&server, "admins: [{spiffe_id: ", &listed);
    assert!(knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());
    let mut registry = server.registry(&leaf);
    assert_eq!(list(&mut registry).await, Ok(()));
    change(&server, &listed, "admins: [{spiffe_id: ");
    assert_eq!(list(&mut registry).await, Err((Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned())));
    assert!(!knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());
}

#[tokio::test]
async fn another_file_may_vouch_for_a_client_ca_without_a_restart() {
    let server = TestServer::start().await;
    let ca = TestCa::new("newcomers");
    let leaf = ca.client_certificate().common_name("newcomer").issue();
    let billing = server.setup.corp.client_certificate().common_name("billing").issue();
    let mut keys = KeyServiceClient::new(server.channel(&billing));
    keys.get_jwks(GetJwksRequest {}).await.unwrap();
    // Not there yet: nothing of the file is taken, the role neither.
    let [mut admin, mut chief] = ["/admin", "/chief"].map(|path| server.registry(&server.svid(path)));
    change(&server, ADMIN, "spiffe://prod.example/chief");
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (wrong_role(), Ok(())));
    let path = server.setup.path("lanyard.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("spiffe://prod.example/chief", ADMIN)).unwrap();
    change(&server, "corp: corp.pem", "newcomers: newcomers.pem");
    assert!(is_failing(&server, Reloaded::Configuration));
    assert!(!is_failing(&server, Reloaded::Trust), "the files that count are sound");
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (wrong_role(), Ok(())));
    assert!(keys.get_jwks(GetJwksRequest {}).await.is_ok());
    assert!(!knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());

    fs::write(server.setup.path("newcomers.pem"), ca.pem()).unwrap();
    server.server.reload();
    assert!(!is_failing(&server, Reloaded::Configuration));
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (Ok(()), wrong_role()));
    assert!(knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());
    assert_eq!(keys.get_jwks(GetJwksRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    // From here on that file is the one that is looked at.
    let next = TestCa::new("newcomers");
    fs::write(server.setup.path("newcomers.pem"), next.pem()).unwrap();
    server.server.reload();
    assert!(!knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());
    let leaf = next.client_certificate().common_name("newcomer").issue();
    assert!(knock(server.addresses.mtls, server.tls(&leaf)).await.is_jwks());
}

#[tokio::test]
async fn a_configuration_from_which_no_server_would_start_keeps_the_old_one() {
    let server = TestServer::start().await;
    let [mut admin, mut chief] = ["/admin", "/chief"].map(|path| server.registry(&server.svid(path)));
    let path = server.setup.path("lanyard.yaml");
    let good = fs::read_to_string(&path).unwrap();
    let next = good.replace(ADMIN, "spiffe://prod.example/chief");
    let broken = [
        String::new(),
        "garbage".to_owned(),
        "{".to_owned(),
        next[..next.len() / 2].to_owned(),
        format!("{next}rolls: {{}}\n"),
        next.replace("/chief", "/*"),
        format!("{next}log: {{level: 'nothing=of=this'}}\n"),
        format!("{next}issuer: twice\n"),
    ];
    for text in broken {
        fs::write(&path, &text).unwrap();
        server.server.reload();
        assert!(is_failing(&server, Reloaded::Configuration), "{text}");
        assert_eq!((list(&mut admin).await, list(&mut chief).await), (Ok(()), wrong_role()), "{text}");
    }
    fs::remove_file(&path).unwrap();
    server.server.reload();
    assert!(is_failing(&server, Reloaded::Configuration));
    fs::create_dir(&path).unwrap();
    server.server.reload();
    assert!(is_failing(&server, Reloaded::Configuration));
    fs::remove_dir(&path).unwrap();
    // The old file once more, and then one that can be taken.
    fs::write(&path, good).unwrap();
    server.server.reload();
    assert!(!is_failing(&server, Reloaded::Configuration));
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (Ok(()), wrong_role()));
    fs::write(&path, next).unwrap();
    server.server.reload();
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (wrong_role(), Ok(())));
}

#[tokio::test]
async fn what_takes_a_restart_is_taken_with_all_the_rest_once_the_server_restarts() {
    let server = TestServer::start().await;
    let [mut admin, mut chief] = ["/admin", "/chief"].map(|path| server.registry(&server.svid(path)));
    change(&server, ADMIN, "spiffe://prod.example/chief");
    change(&server, "spiffe://prod.example/chief", ADMIN);
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (Ok(()), wrong_role()));
    let path = server.setup.path("lanyard.yaml");
    let next = fs::read_to_string(&path).unwrap().replace(ADMIN, "spiffe://prod.example/chief");
    fs::write(&path, next).unwrap();
    change(&server, "tokens: {}", "tokens: {unbound: true}");
    assert!(is_failing(&server, Reloaded::Configuration));
    assert!(!server.server.authority().policy().unbound_tokens);
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (Ok(()), wrong_role()));
    let TestServer { server, setup, .. } = server;
    server.stop().await;
    let server = setup.start().await.unwrap();
    assert!(!is_failing(&server, Reloaded::Configuration));
    assert!(server.server.authority().policy().unbound_tokens);
    let [mut admin, mut chief] = ["/admin", "/chief"].map(|path| server.registry(&server.svid(path)));
    assert_eq!((list(&mut admin).await, list(&mut chief).await), (wrong_role(), Ok(())));
}

#[tokio::test]
async fn what_could_not_be_taken_is_told_until_it_is_mended() {
    let server = TestServer::start().await;
    for (file, failing) in [
        ("server.pem", Reloaded::Certificate),
        ("server-key.pem", Reloaded::Certificate),
        ("corp.pem", Reloaded::Trust),
        ("lanyard.yaml", Reloaded::Configuration),
    ] {
        let path = server.setup.path(file);
        let good = fs::read(&path).unwrap();
        for (contents, broken) in [(&b"garbage"[..], true), (&good, false)] {
            fs::write(&path, contents).unwrap();
            server.server.reload();
            for what in Reloaded::ALL {
                assert_eq!(is_failing(&server, what), broken && what == failing, "{file}: {what:?}");
            }
        }
    }
}

#[test]
fn the_key_is_not_quoted_where_it_stands_in_the_place_of_its_section() {
    let setup = Setup { keys: "VERYSECRETVERYSECRET".to_owned(), ..Setup::default() };
    setup.write();
    let error = lanyard::config::load(&setup.path("lanyard.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("keys: is a section"), "{error}");
    assert!(!error.contains("SECRET"), "{error}");
}
