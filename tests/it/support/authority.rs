//! An authority on an in-memory store, with some trust domains and client CAs and a manual clock.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use lanyard::authority::Authority;
use lanyard::authority::access::DualControl;
use lanyard::authority::access::Fronted;
use lanyard::authority::access::RoleGrants;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::SystemEntropy;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::GrantError;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::policy::ExchangePolicy;
use lanyard::authority::policy::Policy;
use lanyard::authority::policy::Quotas;
use lanyard::authority::policy::RegistrationPolicy;
use lanyard::authority::records::RegistryError;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::JwksUriPolicy;
use lanyard::authority::registration::RegisteredClient;
use lanyard::authority::state::KeyPolicy;
use lanyard::authority::state::LineagePolicy;
use lanyard::authority::store::Store;
use lanyard::authority::tokens::IssuedToken;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::Unproven;
use lanyard::store::memory::MemoryStore;
use spiffe::TrustDomain;

use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::ca::TestCa;
use crate::support::keys::TestKeys;
use crate::support::leaf::Leaf;
use crate::support::unreferenced::Unreferenced as _;

pub const ISSUER: &str = "https://lanyard.prod.example";
pub const ORDERS: &str = "https://orders.shop.internal";
pub const STOCK: &str = "https://stock.shop.internal";
pub const CHECKOUT: &str = "spiffe://prod.example/ns/shop/sa/checkout";
pub const PROXY: &str = "spiffe://prod.example/ns/mesh/sa/proxy";
pub const ADMIN: &str = "spiffe://prod.example/ns/ops/sa/admin";

/// The authority and everything around it that one test needs.
pub struct TestAuthority {
    pub clock: Arc<ManualClock>,
    pub store: Arc<MemoryStore>,
    pub authority: Authority,
    /// The trust domain prod.example.
    pub prod: TestCa,
    /// The trust domain staging.example.
    pub staging: TestCa,
    /// The client CA `partner`.
    pub partner: TestCa,
    /// The client CA `vendor`.
    pub vendor: TestCa,
    proxy: OnceLock<PeerIdentity>,
}

impl TestAuthority {
    /// Signs with ES256, and issues bound tokens only.
    pub fn new() -> Self {
        Self::with(|_| {}, Self::keys())
    }

    /// One new ES256 key.
    pub fn keys() -> TestKeys {
        TestKeys::new(SigningAlgorithm::Es256)
    }

    pub fn with(change: impl FnOnce(&mut Policy), keys: TestKeys) -> Self {
        Self::on(Arc::new(MemoryStore::new()), change, keys)
    }

    pub fn on(store: Arc<MemoryStore>, change: impl FnOnce(&mut Policy), keys: TestKeys) -> Self {
        Self::through(Arc::<MemoryStore>::clone(&store), store, change, keys)
    }

    /// The same where the authority reaches the store through another one.
    pub fn through(
        through: Arc<dyn Store>,
        store: Arc<MemoryStore>,
        change: impl FnOnce(&mut Policy),
        keys: TestKeys,
    ) -> Self {
        let holder = |id| RoleHolder::Spiffe(SpiffeIdPattern::parse(id).unwrap());
        let (admins, proxies) = (vec![holder(ADMIN)], vec![(holder(PROXY), Fronted::Every)]);
        let roles = RoleGrants { admins, proxies, ..RoleGrants::default() };
        let verdict_ttl = Duration::from_secs(5);
        let mut policy = Policy {
            issuer: ISSUER.to_owned(),
            mtls_url: "https://mtls.prod.example".to_owned(),
            registration: RegistrationPolicy::Off,
            unbound_tokens: false,
            verdict_ttl,
            max_staleness: None,
            roles,
            jwks_uri: JwksUriPolicy::default(),
            lineage: LineagePolicy::default(),
            quotas: Quotas::default(),
            keys: KeyPolicy::default(),
            history: Duration::ZERO,
            exchange: ExchangePolicy::default(),
            txn_tokens: None,
            dual_control: DualControl::default(),
            chaining: Vec::new(),
        };
        change(&mut policy);
        let clock = Arc::new(ManualClock::new(NOW));
        let [prod, staging] = ["prod.example", "staging.example"].map(TestCa::new);
        let [partner, vendor] = ["partner", "vendor"].map(TestCa::new);
        let trust = TrustBundles {
            trust_domains: HashMap::from([
                (TrustDomain::new("prod.example").unwrap(), prod.anchors().into()),
                (TrustDomain::new("staging.example").unwrap(), staging.anchors().into()),
            ]),
            client_cas: [("partner".to_owned(), partner.anchors()), ("vendor".to_owned(), vendor.anchors())].into(),
            ..TrustBundles::default()
        };
        let (time, entropy) = (Arc::clone(&clock), Arc::new(SystemEntropy::default()));
        let (keys, sealer) = keys.open_in(&*store);
        let authority = Authority::new(policy, time, entropy, through, keys, sealer, trust);
        Self { clock, store, authority, prod, staging, partner, vendor, proxy: OnceLock::new() }
    }

    pub fn prove(&self, leaf: &Leaf) -> Result<PeerIdentity, Unproven> {
        self.authority.prove_now(&leaf.chain)
    }

    /// The peer with a certificate that the authority accepts.
    pub fn peer(&self, leaf: &Leaf) -> PeerIdentity {
        self.prove(leaf).unwrap()
    }

    /// The peer with a new SVID of the trust domain prod.example.
    pub fn svid(&self, spiffe_id: &str) -> PeerIdentity {
        self.peer(&self.prod.svid(spiffe_id).issue())
    }

    pub fn try_register(&self, metadata: ClientMetadata) -> Result<Arc<RegisteredClient>, RegistryError> {
        ready(self.authority.create_client(&self.svid(ADMIN), metadata, false))
    }

    pub fn register(&self, metadata: ClientMetadata) -> Arc<RegisteredClient> {
        self.try_register(metadata).unwrap()
    }

    /// Replaces the registration of the metadata's `client_id`, at any revision.
    pub fn update(&self, metadata: ClientMetadata) -> Arc<RegisteredClient> {
        let from = self.authority.client(&metadata.client_id).unwrap().revision;
        ready(self.authority.update_client(&self.svid(ADMIN), metadata, from, false)).unwrap()
    }

    pub fn delete(&self, client_id: &str) {
        ready(self.authority.delete_client(&self.svid(ADMIN), client_id, None)).unwrap();
    }

    /// Requests a token with all registered audiences and scopes.
    pub fn issue(&self, peer: &PeerIdentity, client_id: &str) -> Result<IssuedToken, GrantError> {
        let request = TokenRequest { client_id: Some(client_id.to_owned()), ..TokenRequest::default() };
        ready(self.authority.issue_token(&self.authority.as_caller(peer), &request)).unreferenced()
    }

    /// The decision on a proxy's request about a use of [`ORDERS`] with this certificate.
    pub fn evaluate(&self, access_token: &str, leaf: &Leaf) -> Decision {
        let evidence = Evidence::from_der(leaf.certificate()).unwrap();
        let request = ValidateRequest {
            access_token,
            evidence: PresentedEvidence::Of(Some(evidence)),
            audience: Some(ORDERS),
            scope: "orders.read",
            receipt: false,
        };
        self.authority.validate_binding(&self.authority.as_asker(self.proxy()), request).unwrap().decision
    }

    /// The proxy that asks in `evaluate`.
    pub fn proxy(&self) -> &PeerIdentity {
        self.proxy.get_or_init(|| self.svid(PROXY))
    }

    /// A token of the holder of an SVID.
    pub fn token(&self, peer: &PeerIdentity) -> String {
        ready(self.authority.issue_token(&self.authority.as_caller(peer), &TokenRequest::default()))
            .unwrap()
            .access_token
    }
}

/// A `spiffe_x509` client for the audience [`ORDERS`].
pub fn spiffe_client(client_id: &str) -> ClientMetadata {
    ClientMetadata { token_endpoint_auth_method: "spiffe_x509".to_owned(), ..client(client_id) }
}

/// A `spiffe_x509` client whose `client_id` is not its SPIFFE ID or pattern.
pub fn named_spiffe_client(client_id: &str, spiffe_id: &str) -> ClientMetadata {
    ClientMetadata { spiffe_id: Some(spiffe_id.to_owned()), ..spiffe_client(client_id) }
}

/// A `tls_client_auth` client with certificates of the client CA `partner`, whose subject field is not set yet.
pub fn pki_client(client_id: &str) -> ClientMetadata {
    let token_endpoint_auth_method = "tls_client_auth".to_owned();
    ClientMetadata { token_endpoint_auth_method, client_ca: Some("partner".to_owned()), ..client(client_id) }
}

/// A `tls_client_auth` client with this SPIFFE ID, for which no client CA vouches.
pub fn spiffe_uri_client(client_id: &str, spiffe_id: &str) -> ClientMetadata {
    let tls_client_auth_san_uri = Some(spiffe_id.to_owned());
    ClientMetadata { client_ca: None, tls_client_auth_san_uri, ..pki_client(client_id) }
}

/// A `self_signed_tls_client_auth` client with this certificate.
pub fn self_signed_client(client_id: &str, certificate_pem: &str) -> ClientMetadata {
    ClientMetadata {
        token_endpoint_auth_method: "self_signed_tls_client_auth".to_owned(),
        certificate_pem: Some(certificate_pem.to_owned()),
        ..client(client_id)
    }
}

fn client(client_id: &str) -> ClientMetadata {
    ClientMetadata {
        client_id: client_id.to_owned(),
        scope: "orders.read orders.write".to_owned(),
        audience: vec![ORDERS.to_owned()],
        ..ClientMetadata::default()
    }
}

/// The output of a future that never waits, as those of an in-memory store.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a future of the in-memory store is pending"),
    }
}
