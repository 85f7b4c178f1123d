//! Signing keys that rotate and are revoked while three replicas issue and validate.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::decode;
use jsonwebtoken::jwk::JwkSet;
use lanyard::proto::Decision;
use lanyard::proto::DenyReason;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListSigningKeysRequest;
use lanyard::proto::RevokeSigningKeyRequest;
use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::SigningKey;
use lanyard::proto::SigningKeyState;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::support::door::within;
use crate::support::etcd::Options;
use crate::support::leaf::Leaf;
use crate::support::mint::kid_of;

/// Keys are published for a second before they sign, and as long as a replica may not know of them.
const KEYS: &str = ", verifier_cache_time: 1s";

/// How long a verifier elsewhere may keep the JWK Set then.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// A verifier elsewhere, which fetches the JWK Set from one replica as often as it must.
struct Elsewhere {
    keys: KeyServiceClient<Channel>,
    jwks: JwkSet,
    asked: Instant,
}

impl Elsewhere {
    async fn new(mut keys: KeyServiceClient<Channel>) -> Self {
        let (asked, jwks) = (Instant::now(), fetched(&mut keys).await);
        Self { keys, jwks, asked }
    }

    /// Asserts that the set that it has by now verifies the token's signature.
    async fn verify(&mut self, token: &str) {
        if self.asked.elapsed() > CACHE_TIME {
            (self.asked, self.jwks) = (Instant::now(), fetched(&mut self.keys).await);
        }
        let (kid, age) = (kid_of(token), self.asked.elapsed());
        let key = self.jwks.find(&kid).unwrap_or_else(|| panic!("{kid} is not in a set of {age:?} ago"));
        let mut accepted = Validation::new(Algorithm::ES256);
        accepted.validate_aud = false;
        decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &accepted).unwrap();
    }
}

async fn fetched(keys: &mut KeyServiceClient<Channel>) -> JwkSet {
    serde_json::from_str(&keys.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().jwks).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_refused_while_keys_rotate_and_those_of_a_revoked_key_are_denied_everywhere() {
    rotate(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn long_no_token_is_refused_in_twenty_rotations() {
    rotate(20).await;
}

async fn rotate(times: usize) {
    let keys = |setup: &mut crate::support::server::Setup| {
        setup.keys = format!("{}{KEYS}}}", setup.keys.strip_suffix('}').unwrap());
    };
    let Some(fleet) = Fleet::start_with(Options::default(), keys).await else { return };
    let holder = fleet.workload(0, "/checkout").await;
    for index in 0..COUNT {
        fleet.token(index, &holder).await;
    }
    let (ends, checked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for index in 0..COUNT {
        let (issuer, verifier) = (index, (index + 1) % COUNT);
        let tokens = TokenServiceClient::new(fleet.channel(issuer, &holder));
        let validator = fleet.at(verifier);
        let (holder, ends, checked) = (holder.clone(), Arc::clone(&ends), Arc::clone(&checked));
        let elsewhere = Elsewhere::new(KeyServiceClient::new(fleet.channel(verifier, &holder))).await;
        clients.spawn(use_tokens(tokens, validator, elsewhere, holder, ends, checked));
    }
    for round in 0..times {
        let mut admin = KeyServiceClient::new(fleet.channel(round % COUNT, &fleet.svid("/admin")));
        let next = admin.rotate_signing_key(RotateSigningKeyRequest {}).await.unwrap().into_inner().key.unwrap();
        // Each replica has it sign at last.
        for index in 0..COUNT {
            until_active(&fleet, index, &next.kid).await;
        }
    }
    ends.store(true, Ordering::Release);
    within(async { while clients.join_next().await.is_some_and(|ended| ended.map(|()| true).unwrap()) {} }).await;
    println!("{} tokens checked in {times} rotations, none refused here or elsewhere", checked.load(Ordering::Acquire));

    // Its tokens die everywhere, and another key signs at once.
    let token = fleet.token(0, &holder).await;
    let mut validators: Vec<_> = (0..COUNT).map(|index| fleet.at(index)).collect();
    for validator in &mut validators {
        validator.until_allowed(&token, &holder).await;
    }
    let mut admin = KeyServiceClient::new(fleet.channel(1, &fleet.svid("/admin")));
    let revoke = RevokeSigningKeyRequest { kid: kid_of(&token), reason: "leaked".to_owned() };
    let revoked = admin.revoke_signing_key(revoke).await.unwrap().into_inner();
    assert!(revoked.replaced_by.is_some(), "{revoked:?}");
    let acknowledged = Instant::now();
    for validator in &mut validators {
        validator.until_denied(&token, &holder, DenyReason::UnknownKey).await;
    }
    println!("a revoked key: denied by all replicas {:?} after the acknowledgement", acknowledged.elapsed());
    for index in 0..COUNT {
        let fresh = fleet.token(index, &holder).await;
        assert_ne!(kid_of(&fresh), kid_of(&token));
        for validator in &mut validators {
            validator.until_allowed(&fresh, &holder).await;
        }
    }
}

/// Gets tokens at one replica and uses them at another and elsewhere, now and once more later.
async fn use_tokens(
    mut issuer: TokenServiceClient<Channel>,
    mut validator: crate::replicas::fleet::Replica,
    mut elsewhere: Elsewhere,
    holder: Leaf,
    ends: Arc<AtomicBool>,
    checked: Arc<AtomicUsize>,
) {
    let mut kept: Vec<String> = Vec::new();
    while !ends.load(Ordering::Acquire) {
        let answer = issuer.issue_token(IssueTokenRequest::default()).await.unwrap().into_inner();
        kept.push(answer.access_token);
        let oldest = kept.first().cloned().unwrap();
        for token in [kept.last().cloned().unwrap(), oldest] {
            let answer = validator.validate(&token, &holder).await.unwrap();
            assert_eq!(answer.decision(), Decision::Allow, "{answer:?} of a token by {}", kid_of(&token));
            elsewhere.verify(&token).await;
            checked.fetch_add(1, Ordering::AcqRel);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_active(fleet: &Fleet, index: usize, kid: &str) {
    let mut admin = KeyServiceClient::new(fleet.channel(index, &fleet.svid("/admin")));
    within(async {
        loop {
            let listed = admin.list_signing_keys(ListSigningKeysRequest {}).await.unwrap().into_inner().keys;
            let active = |key: &&SigningKey| key.kid == kid && key.state() == SigningKeyState::Active;
            if listed.iter().any(|key| active(&key)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
