//! What those get who verify tokens themselves: revocations by what tokens are recognized by, and public keys.

use std::collections::BTreeMap;
use std::time::Duration;

use lanyard::proto::AssignedRole;
use lanyard::proto::Client;
use lanyard::proto::RevocationEntry;
use lanyard::proto::RevokeTokenRequest;
use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::WatchBeat;
use lanyard::proto::WatchRevocationsRequest;
use lanyard::proto::WatchRevocationsResponse;
use lanyard::proto::WatchStart;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::revoked_tokens::Tokens;
use lanyard::proto::snapshot_service_client::SnapshotServiceClient;
use lanyard::proto::watch_revocations_request::Request;
use lanyard::proto::watch_revocations_response::Response;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Status;
use tonic::Streaming;

use crate::support::NOW;
use crate::support::calls::refusal;
use crate::support::door::within;
use crate::support::revocation::certificate;
use crate::support::revocation::client;
use crate::support::revocation::identities;
use crate::support::revocation::of;
use crate::support::revocation::trust_domain;
use crate::support::server::TestServer;
use crate::support::server::spiffe_client;

/// A stream, as a verifier follows it.
struct Verifier {
    requests: mpsc::Sender<WatchRevocationsRequest>,
    responses: Streaming<WatchRevocationsResponse>,
    entries: BTreeMap<String, RevocationEntry>,
    keys: BTreeMap<String, Option<String>>,
}

impl Verifier {
    async fn listed(server: &TestServer, name: &str) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(8);
        let start = Request::Start(WatchStart::default());
        requests.send(WatchRevocationsRequest { request: Some(start) }).await.unwrap();
        let mut client = SnapshotServiceClient::new(server.channel(&server.svid(name)));
        let responses = within(client.watch_revocations(ReceiverStream::new(sent))).await?.into_inner();
        let mut verifier = Self { requests, responses, entries: BTreeMap::new(), keys: BTreeMap::new() };
        verifier.until_progress().await;
        Ok(verifier)
    }

    async fn until_progress(&mut self) -> Option<u64> {
        loop {
            match within(self.responses.message()).await.unwrap().unwrap().response.unwrap() {
                Response::Started(_) => {}
                Response::Listed(entries) | Response::Changed(entries) => {
                    for entry in entries.revocations {
                        if entry.tokens.is_empty() {
                            self.entries.remove(&entry.id);
                        } else {
                            self.entries.insert(entry.id.clone(), entry);
                        }
                    }
                    self.keys.extend(entries.keys.into_iter().map(|key| (key.kid, key.jwk)));
                }
                Response::Progress(progress) => return progress.beat,
            }
        }
    }

    async fn beat(&mut self) {
        let beat = Request::Beat(WatchBeat { number: 1 });
        self.requests.send(WatchRevocationsRequest { request: Some(beat) }).await.unwrap();
        while self.until_progress().await.is_none() {}
    }

    /// What it refuses: by what, issued until, and until when.
    fn refused(&self) -> Vec<(Vec<Tokens>, Option<i64>, Option<i64>)> {
        let tokens = |entry: &RevocationEntry| entry.tokens.iter().filter_map(|one| one.tokens.clone()).collect();
        self.entries.values().map(|entry| (tokens(entry), entry.issued_until, entry.expires)).collect()
    }
}

#[tokio::test]
async fn each_kind_of_revocation_says_which_tokens_it_refuses_and_until_when() {
    let now = i64::try_from(NOW.0).unwrap();
    let thief = || TestServer::start();
    let leaf = thief().await.svid("/thief");
    let thumbprint = leaf.thumbprint().to_string();
    let cases: Vec<(RevokeTokenRequest, Vec<Tokens>, Option<i64>)> = vec![
        (of(Target::Jti("one".to_owned())), vec![Tokens::Jti("one".to_owned())], None),
        (of(client("nobody")), vec![Tokens::ClientId("nobody".to_owned())], None),
        (of(certificate(&leaf)), vec![Tokens::Certificate(thumbprint)], None),
        (
            of(identities("spiffe://prod.example/ns/*")),
            vec![Tokens::Identities("spiffe://prod.example/ns/*".to_owned())],
            None,
        ),
        (of(trust_domain("other.example")), vec![Tokens::TrustDomain("other.example".to_owned())], None),
        (
            of(Target::Role(AssignedRole::Revoker.into())),
            vec![Tokens::ClientId("spiffe://prod.example/revoker".to_owned())],
            None,
        ),
    ];
    for (request, tokens, issued_until) in cases {
        let server = TestServer::start().await;
        let mut verifier = Verifier::listed(&server, "/verifier").await.unwrap();
        assert!(verifier.refused().is_empty());
        server.revoke_as(&server.svid("/admin"), request.clone()).await.unwrap();
        verifier.beat().await;
        let [(found, until, expires)] = &*verifier.refused() else { panic!("{request:?}: {:?}", verifier.entries) };
        assert_eq!((found, *until), (&tokens, issued_until), "{request:?}");
        // That of a token ends with the longest lifetime of one.
        assert!(expires.is_none_or(|expires| expires > now), "{request:?}: {expires:?}");
        assert_eq!(Verifier::listed(&server, "/verifier").await.unwrap().refused(), verifier.refused(), "{request:?}");
    }
}

#[tokio::test]
async fn a_lifted_revocation_refuses_what_was_issued_before_and_a_registered_client_is_known_by_its_creation() {
    let server = TestServer::start().await;
    let shop = Client {
        client_id: "shop".to_owned(),
        spiffe_id: "spiffe://prod.example/ns/shop/*".to_owned(),
        ..spiffe_client("")
    };
    server.register(shop.clone()).await.unwrap();
    let mut verifier = Verifier::listed(&server, "/verifier").await.unwrap();
    server.revoke(client("shop")).await;
    verifier.beat().await;
    let refused = verifier.refused();
    let [(tokens, None, None)] = &*refused else { panic!("{refused:?}") };
    let [Tokens::ClientId(name), Tokens::Registration(creation)] = &**tokens else { panic!("{tokens:?}") };
    assert_eq!(name, "shop");

    // Registered anew it is another one, of which tokens are refused too.
    server.delete("shop").await;
    server.register(shop).await.unwrap();
    verifier.beat().await;
    let refused = verifier.refused();
    assert!(matches!(&*refused[0].0, [_, Tokens::Registration(other)] if other != creation), "{refused:?}");

    server.advance(Duration::from_mins(1));
    server.lift(client("shop")).await;
    verifier.beat().await;
    let now = i64::try_from(NOW.0).unwrap();
    let refused = verifier.refused();
    let [(_, Some(issued_until), Some(expires))] = &*refused else { panic!("{refused:?}") };
    assert_eq!((*issued_until, *expires), (now + 59, now + 59 + 3600 + 1));
    assert_eq!(Verifier::listed(&server, "/verifier").await.unwrap().refused(), refused);
}

#[tokio::test]
async fn keys_come_with_their_public_halves_and_no_registration_does() {
    let server = TestServer::start().await;
    server.workload("/checkout").await;
    let mut verifier = Verifier::listed(&server, "/proxy").await.unwrap();
    let known: Vec<_> = verifier.keys.keys().cloned().collect();
    assert_eq!(known.len(), 1);
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/admin")));
    keys.rotate_signing_key(RotateSigningKeyRequest::default()).await.unwrap();
    verifier.beat().await;
    assert!(verifier.keys.len() > 1);
    for (kid, jwk) in &verifier.keys {
        let jwk: serde_json::Value = serde_json::from_str(jwk.as_ref().unwrap()).unwrap();
        assert_eq!((jwk["kid"].as_str(), jwk.get("d")), (Some(&**kid), None));
    }
    for name in ["/checkout", "/admin"] {
        let refused = Verifier::listed(&server, name).await.map(drop);
        assert_eq!(refusal(refused), (Code::PermissionDenied, "WRONG_ROLE".to_owned()), "{name}");
    }
}
