//! Revocations in the store: how long they are kept, and what is said when the store fails.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::RETRY_AFTER;
use lanyard::authority::Authority;
use lanyard::authority::access::Requester;
use lanyard::authority::clock::SystemEntropy;
use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeError;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::registration::ClientId;
use lanyard::authority::state::REVOCATIONS;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Watch;
use lanyard::authority::trust::TrustBundles;
use lanyard::http;
use lanyard::store::memory::MemoryStore;
use spiffe::TrustDomain;
use tower::ServiceExt as _;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::http::post;
use crate::support::stores::reads_of_the_store;
use crate::support::unreferenced::Unreferenced as _;

fn requester(authority: &Authority, peer: &PeerIdentity) -> Requester {
    authority.requester(&authority.as_caller(peer), None, &ClientAssertion::default()).unwrap()
}

fn revoke(authority: &Authority, peer: &PeerIdentity, request: RevokeRequest) -> Result<(), RevokeError> {
    let (caller, requester) = (authority.as_caller(peer), requester(authority, peer));
    ready(authority.revoke(&caller, &requester, request, LastAdmin::Stays)).unreferenced().map(drop)
}

/// The keys of all stored revocations.
fn stored(fixture: &TestAuthority) -> Vec<String> {
    ready(fixture.store.list(REVOCATIONS)).unwrap().entries.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_revocation_is_stored_until_it_has_no_effect_and_one_without_an_end_for_good() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let (admin, checkout) = (fixture.svid(ADMIN), fixture.svid(CHECKOUT));
    let (client, other) = (ClientId::parse(CHECKOUT).unwrap(), ClientId::parse("other").unwrap());
    let until = Some(fixture.authority.clock().now().after(Duration::from_mins(10)));
    let token = fixture.token(&checkout);
    revoke(&fixture.authority, &checkout, RevokeRequest::Token(token)).unwrap();
    revoke(&fixture.authority, &admin, RevokeRequest::TokenId("named".to_owned())).unwrap();
    revoke(&fixture.authority, &admin, RevokeRequest::IssuedTo(client.clone())).unwrap();
    revoke(&fixture.authority, &admin, RevokeRequest::Certificate(checkout.thumbprint(), until)).unwrap();
    revoke(&fixture.authority, &admin, RevokeRequest::Client(client, None)).unwrap();
    revoke(&fixture.authority, &admin, RevokeRequest::Client(other, until)).unwrap();
    let left_after = |span: Duration| {
        fixture.clock.advance(span);
        ready(fixture.authority.sweep_revocations()).unwrap();
        stored(&fixture).len()
    };
    // The token lives for five minutes, the certificate's revocation for ten, and no token for longer than an hour: so
    // long a client's revocation is kept for what was issued before its end.
    assert_eq!(left_after(Duration::ZERO), 6);
    assert_eq!(left_after(Duration::from_mins(5)), 6);
    assert_eq!(left_after(Duration::from_secs(1)), 5);
    assert_eq!(left_after(Duration::from_mins(5)), 4);
    assert_eq!(left_after(Duration::from_mins(50) - Duration::from_secs(1)), 4);
    assert_eq!(left_after(Duration::from_secs(1)), 2);
    assert_eq!(left_after(Duration::from_mins(10) - Duration::from_secs(1)), 2);
    assert_eq!(left_after(Duration::from_secs(1)), 1);
    assert_eq!(stored(&fixture), [format!("{REVOCATIONS}client/{CHECKOUT}")]);
    assert_eq!(left_after(Duration::from_hours(24 * 365)), 1);
}

#[test]
fn revoking_what_is_good_no_longer_stores_nothing() {
    let fixture = TestAuthority::new();
    fixture.register(spiffe_client(CHECKOUT));
    let checkout = fixture.svid(CHECKOUT);
    let token = fixture.token(&checkout);
    fixture.clock.advance(Duration::from_mins(5));
    for token in [token, "garbage".to_owned()] {
        revoke(&fixture.authority, &checkout, RevokeRequest::Token(token)).unwrap();
    }
    assert_eq!(stored(&fixture), [""; 0]);
}

/// A store that takes no write once it is broken.
#[derive(Debug, Default)]
struct Breaking {
    store: MemoryStore,
    broken: AtomicBool,
}

impl Store for Breaking {
    reads_of_the_store!();

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        if self.broken.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Unavailable("it is broken".to_owned())) });
        }
        self.store.transact(transaction)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.store.watch(prefix, from)
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }
}

// RFC 7009 section 2.2: an answer of 200 says that it is revoked, so there is none when that is not known.
#[tokio::test]
async fn a_store_that_fails_is_never_answered_with_ok() {
    let fixture = TestAuthority::new();
    let store = Arc::new(Breaking::default());
    let trust = TrustBundles {
        trust_domains: [(TrustDomain::new("prod.example").unwrap(), fixture.prod.anchors().into())].into(),
        client_cas: [].into(),
        ..TrustBundles::default()
    };
    let (policy, entropy) = (fixture.authority.policy().clone(), Arc::new(SystemEntropy::default()));
    let (clock, port) = (Arc::clone(fixture.authority.clock()), Arc::<Breaking>::clone(&store));
    let (keys, sealer) = TestAuthority::keys().open_in(&*store);
    let authority = Arc::new(Authority::new(policy, clock, entropy, port, keys, sealer, trust));
    let peer = |id| authority.prove_now(&fixture.prod.svid(id).issue().chain).unwrap();
    let (admin, checkout) = (peer(ADMIN), peer(CHECKOUT));
    ready(authority.create_client(&admin, spiffe_client(CHECKOUT), false)).unwrap();
    let token =
        ready(authority.issue_token(&authority.as_caller(&checkout), &TokenRequest::default())).unwrap().access_token;
    let revoked = RevokeRequest::Client(ClientId::parse("revoked").unwrap(), None);
    revoke(&authority, &admin, revoked.clone()).unwrap();
    store.broken.store(true, Ordering::Relaxed);
    let client = RevokeRequest::Client(ClientId::parse(CHECKOUT).unwrap(), None);
    for request in [RevokeRequest::Token(token.clone()), RevokeRequest::TokenId("a".to_owned()), client] {
        assert_eq!(revoke(&authority, &admin, request), Err(RevokeError::Unavailable));
    }
    let lifted =
        ready(authority.lift_revocation(&authority.as_caller(&admin), &requester(&authority, &admin), revoked));
    assert_eq!(lifted.unreferenced(), Err(RevokeError::Unavailable));
    let caller = authority.as_caller(&checkout);
    let asked = async || {
        let mut request: Request<Body> = post("/oauth2/revoke", &[("token", &token)]);
        request.extensions_mut().insert(caller.clone());
        http::routes(Arc::clone(&authority)).oneshot(request).await.unwrap()
    };
    let response = asked().await;
    assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &"1".parse().unwrap()));
    store.broken.store(false, Ordering::Relaxed);
    assert_eq!(asked().await.status().as_u16(), 200);
}
