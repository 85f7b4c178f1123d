//! Bundles and single roots that the Workload API withdraws, while their workloads are connected.

use std::collections::HashMap;

use lanyard::proto::GetJwksRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::binding_stream::BindingStream;
use crate::support::binding_stream::StreamOutcome;
use crate::support::ca::TestCa;
use crate::support::calls::use_of;
use crate::support::door::knock;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::reason_of;
use crate::support::workload_api::LANYARD;
use crate::support::workload_api::context;
use crate::support::workload_api::first_response;
use crate::support::workload_api::mesh;
use crate::support::workload_api::server_svid;

/// An open connection.
struct Held(KeyServiceClient<Channel>);

impl Held {
    async fn open(server: &TestServer, leaf: &Leaf) -> Self {
        let mut held = Self(KeyServiceClient::new(server.channel(leaf)));
        assert_eq!(held.call().await, Ok(()));
        held
    }

    async fn call(&mut self) -> Result<(), (Code, String)> {
        let answer = self.0.get_jwks(GetJwksRequest {}).await;
        answer.map(drop).map_err(|status| (status.code(), reason_of(&status)))
    }
}

fn unproven() -> Result<(), (Code, String)> {
    Err((Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN".to_owned()))
}

async fn enters(server: &TestServer, leaf: &Leaf) -> bool {
    knock(server.addresses.mtls, server.tls(leaf)).await.is_jwks()
}

#[tokio::test]
async fn a_withdrawn_federated_bundle_admits_nobody_on_open_connections_or_streams() {
    let (agent, server) = mesh().await;
    let (checkout, proxy) = (server.workload("/checkout").await, server.svid("/proxy"));
    let question =
        ValidateBindingRequest { evidence: certificate_of(&checkout), ..use_of(&server.token(&checkout).await) };
    let foreign = server.setup.other_ca.svid("spiffe://other.example/proxy").issue();
    let mut foreign_call = Held::open(&server, &foreign).await;
    let mut foreign_stream = BindingStream::open(server.bindings(&foreign)).await;
    let mut own_call = Held::open(&server, &proxy).await;
    let mut own_stream = BindingStream::open(server.bindings(&proxy)).await;
    assert_eq!(foreign_stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    assert_eq!(own_stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);

    // A message that does not name it, with nothing else changed.
    let mut without = first_response(&server.setup);
    let federated = std::mem::take(&mut without.federated_bundles);
    server.apply_update(|| agent.say(&without)).await;
    assert_eq!(foreign_call.call().await, unproven());
    let ended = foreign_stream.ask(&question).await.unwrap_err();
    assert_eq!((ended.code(), reason_of(&ended).as_str()), (Code::Unauthenticated, "CERTIFICATE_NOT_PROVEN"));
    assert!(!enters(&server, &foreign).await);
    assert_eq!(own_call.call().await, Ok(()));
    assert_eq!(own_stream.ask(&question).await.unwrap(), StreamOutcome::Allowed);
    assert!(enters(&server, &proxy).await);

    // It comes back: the connection was never closed.
    without.federated_bundles = federated;
    server.apply_update(|| agent.say(&without)).await;
    assert_eq!(foreign_call.call().await, Ok(()));
    assert!(enters(&server, &foreign).await);
}

#[tokio::test]
async fn a_single_root_that_is_withdrawn_ends_its_workloads_and_no_others() {
    let (agent, server) = mesh().await;
    let (old, new) = (&server.setup.ca, TestCa::new("prod.example"));
    let svid = server_svid(old);
    let other = ("other.example", &[&server.setup.other_ca][..]);
    server.apply_update(|| agent.say(&context(&svid, LANYARD, &[old, &new], &[other]))).await;
    let of = |ca: &TestCa| ca.svid("spiffe://prod.example/checkout").issue();
    let mut before = Held::open(&server, &of(old)).await;
    let mut after = Held::open(&server, &of(&new)).await;
    server.apply_update(|| agent.say(&context(&svid, LANYARD, &[&new], &[other]))).await;
    assert_eq!(before.call().await, unproven());
    assert_eq!(after.call().await, Ok(()));
    assert!(!enters(&server, &of(old)).await);
    assert!(enters(&server, &of(&new)).await);
}

#[tokio::test]
async fn an_empty_bundle_and_one_that_holds_no_ca_vouch_for_nobody_and_hold_up_no_other() {
    let (agent, server) = mesh().await;
    let foreign = server.setup.other_ca.svid("spiffe://other.example/checkout").issue();
    let (mut foreign_call, mut own_call) =
        (Held::open(&server, &foreign).await, Held::open(&server, &server.svid("/checkout")).await);
    let with_other = |bundle: Vec<u8>| {
        let bundles = HashMap::from([("spiffe://other.example".to_owned(), bundle)]);
        crate::support::workload_api::X509Response { federated_bundles: bundles, ..first_response(&server.setup) }
    };
    let root = server.setup.other_ca.der().to_vec();
    let leaf = foreign.certificate().to_vec();
    for useless in [Vec::new(), leaf.clone()] {
        server.apply_update(|| agent.say(&with_other(useless.clone()))).await;
        assert_eq!(foreign_call.call().await, unproven());
        assert_eq!(own_call.call().await, Ok(()));
        server.apply_update(|| agent.say(&with_other(root.clone()))).await;
        assert_eq!(foreign_call.call().await, Ok(()));
    }
    // A leaf among the roots is left out, and the root counts.
    server.apply_update(|| agent.say(&with_other([leaf, root].concat()))).await;
    assert_eq!(foreign_call.call().await, Ok(()));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_changes_nothing_and_the_next_one_is_taken() {
    let (agent, server) = mesh().await;
    let foreign = server.setup.other_ca.svid("spiffe://other.example/checkout").issue();
    let mut held = [Held::open(&server, &foreign).await, Held::open(&server, &server.svid("/checkout")).await];
    let good = first_response(&server.setup);
    let mut broken = vec![good.clone(); 5];
    broken[0].svids.clear();
    broken[1].svids[0].bundle = b"garbage".to_vec();
    broken[2].svids[0].x509_svid = b"garbage".to_vec();
    broken[3].federated_bundles.insert("spiffe://other.example".to_owned(), b"garbage".to_vec());
    broken[4].federated_bundles.insert("https://other.example".to_owned(), Vec::new());
    let times = *server.server.trust_updates().borrow();
    for (before, broken) in broken.iter().enumerate() {
        agent.send(broken).await;
        // What follows on the same stream shows that the broken message has been read.
        server.apply_update(|| agent.say(&good)).await;
        for held in &mut held {
            assert_eq!(held.call().await, Ok(()), "{before}");
        }
    }
    assert_eq!(*server.server.trust_updates().borrow(), times + 5);
    assert_eq!(agent.requests().len(), 2, "the streams go on");
}
