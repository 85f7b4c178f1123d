//! Replicas that share a store, and what becomes of their keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::clock::Timestamp;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::KeyChangeError;
use lanyard::authority::decision::KeyRevoked;
use lanyard::authority::decision::Rotated;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::keys::KEYS;
use lanyard::authority::keys::KeyState;
use lanyard::authority::policy::Policy;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::state::Caller;
use lanyard::authority::store::Store;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::keys::TestKeys;
use crate::support::leaf::Leaf;
use crate::support::unreferenced::Unreferenced as _;

/// How long a key is published before it signs, by default.
pub const PUBLICATION: Duration = Duration::from_mins(10);

/// How long a key is published after it has signed.
pub const RETENTION: Duration = Duration::from_mins(65);

pub const SECOND: Duration = Duration::from_secs(1);

/// One replica, with a client whose certificate is valid for long.
pub struct Replica {
    pub fixture: TestAuthority,
    leaf: Leaf,
}

impl Replica {
    /// A replica on an empty store, which has made its first key.
    pub fn first(change: impl Fn(&mut Policy)) -> Self {
        let replica = Self::on(Arc::default(), change);
        replica.tend();
        replica.registered()
    }

    /// The same with its client, a second later.
    pub fn registered(self) -> Self {
        self.advance(SECOND);
        let ttl = Some(Duration::from_hours(1));
        self.fixture.register(ClientMetadata { access_token_ttl: ttl, ..spiffe_client(CHECKOUT) });
        self
    }

    /// A replica on this store, which has loaded it, as at a start.
    pub fn on(store: Arc<MemoryStore>, change: impl Fn(&mut Policy)) -> Self {
        Self::with(store, change, TestKeys::none())
    }

    pub fn with(store: Arc<MemoryStore>, change: impl Fn(&mut Policy), keys: TestKeys) -> Self {
        Self::through(Arc::<MemoryStore>::clone(&store), store, change, keys)
    }

    /// The same where the replica reaches the store through another one.
    pub fn through(
        through: Arc<dyn Store>,
        store: Arc<MemoryStore>,
        change: impl Fn(&mut Policy),
        keys: TestKeys,
    ) -> Self {
        let fixture = TestAuthority::through(through, store, |policy| change(policy), keys);
        ready(fixture.authority.load()).unwrap();
        // While its certificate is valid.
        fixture.proxy();
        let from = Timestamp(0);
        let leaf = fixture.prod.svid(CHECKOUT).between(from, Timestamp(u64::from(u32::MAX))).issue();
        Self { fixture, leaf }
    }

    /// Another process on the same store at the same time.
    pub fn another(&self, change: impl Fn(&mut Policy)) -> Self {
        let other = Self::on(Arc::clone(&self.fixture.store), change);
        other.fixture.clock.set(self.now());
        other
    }

    pub fn now(&self) -> Timestamp {
        self.fixture.authority.view().now
    }

    pub fn advance(&self, span: Duration) {
        self.fixture.clock.advance(span);
    }

    /// Advances by all of a span but this.
    pub fn advance_but(&self, span: Duration, left: Duration) {
        self.advance(span.checked_sub(left).unwrap());
    }

    /// Does what is due.
    pub fn tend(&self) {
        ready(self.fixture.authority.tend_signing_keys()).unwrap();
    }

    /// Learns what other replicas have written.
    pub fn follow(&self) {
        ready(self.fixture.authority.load()).unwrap();
    }

    pub fn admin(&self) -> Caller {
        let admin = self.fixture.prod.svid(ADMIN).between(Timestamp(0), Timestamp(u64::from(u32::MAX))).issue();
        self.fixture.authority.as_caller(&self.fixture.peer(&admin))
    }

    /// Rotates a second later, so that the keys have an order by age.
    pub fn rotate(&self) -> Rotated {
        self.advance(SECOND);
        ready(self.fixture.authority.rotate_signing_key(&self.admin())).unwrap()
    }

    pub fn try_revoke(&self, kid: &str, reason: &str) -> Result<KeyRevoked, KeyChangeError> {
        ready(self.fixture.authority.revoke_signing_key(&self.admin(), kid, reason)).unreferenced()
    }

    /// Revokes a key a second later.
    pub fn revoke(&self, kid: &str) -> KeyRevoked {
        self.advance(SECOND);
        self.try_revoke(kid, "it leaked").unwrap()
    }

    /// Rotates, and lets the new key sign.
    pub fn rotate_through(&self) -> String {
        let next = self.rotate().next.key_id().to_string();
        self.advance(PUBLICATION);
        self.tend();
        assert_eq!(self.signs(), next);
        next
    }

    /// The key that signs.
    pub fn signs(&self) -> String {
        self.fixture.authority.keys().active().unwrap().key_id().to_string()
    }

    /// The keys by their states, the oldest first.
    pub fn keys(&self) -> Vec<(String, KeyState)> {
        let keys = self.fixture.authority.keys();
        keys.all().map(|(key, _)| (key.key_id().to_string(), keys.state_of(key))).collect()
    }

    pub fn states(&self) -> Vec<KeyState> {
        self.keys().into_iter().map(|(_, state)| state).collect()
    }

    /// The `kid`s of the JWK Set.
    pub fn published(&self) -> Vec<String> {
        let jwks: Value = serde_json::from_str(&self.fixture.authority.keys().jwks()).unwrap();
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// A new token.
    pub fn token(&self) -> String {
        self.fixture.token(&self.fixture.peer(&self.leaf))
    }

    /// Whether a token of this or another replica is accepted as far as its signature goes.
    pub fn verifies(&self, token: &str) -> Result<(), DenyReason> {
        match self.fixture.evaluate(token, &self.leaf) {
            // The token of another replica is bound to a certificate of another CA.
            Decision::Allow(_) | Decision::Deny(DenyReason::CertificateRenewed) => Ok(()),
            Decision::Deny(reason) => Err(reason),
        }
    }

    /// The records in the store.
    pub fn records(&self) -> BTreeMap<String, Value> {
        let entries = ready(self.fixture.store.list(KEYS)).unwrap().entries;
        let record = |value: &[u8]| serde_json::from_slice(value).unwrap();
        entries.iter().map(|(key, stored)| (key[KEYS.len()..].to_owned(), record(&stored.value))).collect()
    }
}
