//! An authority on an empty store in memory, with one client, one resource with many routes, and a proxy that asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use lanyard::authority::Authority;
use lanyard::authority::access::ConnectionInfo;
use lanyard::authority::access::DualControl;
use lanyard::authority::access::Fronted;
use lanyard::authority::access::RoleGrants;
use lanyard::authority::access::RoleHolder;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::clock::SystemEntropy;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::identity::SpiffeIdPattern;
use lanyard::authority::keys::KeyEncryptionKey;
use lanyard::authority::keys::KeySealer;
use lanyard::authority::keys::SigningAlgorithm;
use lanyard::authority::keys::SigningKeys;
use lanyard::authority::policy::ExchangePolicy;
use lanyard::authority::policy::Policy;
use lanyard::authority::policy::Quotas;
use lanyard::authority::policy::RegistrationPolicy;
use lanyard::authority::records::Record;
use lanyard::authority::records::Registered;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientRegistration;
use lanyard::authority::registration::Directory;
use lanyard::authority::registration::JwksUriPolicy;
use lanyard::authority::resources::ProtectedResource;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::state::Caller;
use lanyard::authority::state::KeyPolicy;
use lanyard::authority::state::LineagePolicy;
use lanyard::authority::store::Revision;
use lanyard::authority::tokens::AccessTokenClaims;
use lanyard::authority::trust::Anchors;
use lanyard::authority::trust::TrustBundles;
use lanyard::signer::local::LocalSigner;
use lanyard::store::memory::MemoryStore;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::SanType;
use rustls::pki_types::CertificateDer;
use spiffe::TrustDomain;

use crate::support::Failure;
use crate::support::requests;
use crate::support::requests::AUDIENCE;
use crate::support::requests::PROXY;

/// The workload that uses its token.
pub(crate) const WORKLOAD: &str = "spiffe://dev.internal/workload";
const ADMIN: &str = "spiffe://dev.internal/admin";

/// How many routes the resource has besides that of its orders.
const ROUTES: usize = 200;

/// All that the steps need.
pub(crate) struct Fixture {
    pub(crate) authority: Arc<Authority>,
    /// The proxy, as the caller of a request.
    pub(crate) proxy: Caller,
    pub(crate) resource: ProtectedResource,
    /// The workload's token, and what it says.
    pub(crate) token: String,
    pub(crate) claims: AccessTokenClaims,
    /// The workload's certificate.
    pub(crate) certificate: Vec<u8>,
    /// The headers of a request with both.
    pub(crate) bearer: String,
    pub(crate) forwarded: String,
}

impl Fixture {
    pub(crate) fn new() -> Result<Self, Failure> {
        let ca = Ca::new()?;
        let authority = Arc::new(authority(&ca)?);
        let admin = caller(&authority, &ca.svid(ADMIN)?)?;
        let client = ClientMetadata {
            client_id: WORKLOAD.to_owned(),
            token_endpoint_auth_method: "spiffe_x509".to_owned(),
            scope: "orders.read orders.write".to_owned(),
            audience: vec![AUDIENCE.to_owned()],
            access_token_ttl: Some(Duration::from_hours(1)),
            ..ClientMetadata::default()
        };
        at_once(authority.create_client(&admin.identity, client, false))??;
        let resource = at_once(authority.create_resource(&admin.identity, resource(), false))??;
        let certificate = ca.svid(WORKLOAD)?;
        let workload = caller(&authority, &certificate)?;
        let issued =
            at_once(authority.issue_token(&workload, &TokenRequest::default()))?.map_err(|refused| refused.error)?;
        let payload = issued.access_token.split('.').nth(1).ok_or("no payload")?;
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
        Ok(Self {
            proxy: caller(&authority, &ca.svid(PROXY)?)?,
            authority,
            resource: resource.registration.clone(),
            bearer: format!("Bearer {}", issued.access_token),
            forwarded: requests::forwarded(PROXY, &certificate),
            token: issued.access_token,
            claims,
            certificate,
        })
    }
}

/// Proxies, which may ask about every resource, and an admin.
fn authority(ca: &Ca) -> Result<Authority, Failure> {
    let holder = |id| SpiffeIdPattern::parse(id).map(RoleHolder::Spiffe).ok_or("no SPIFFE ID");
    let roles = RoleGrants {
        admins: vec![holder(ADMIN)?],
        proxies: vec![(holder(PROXY)?, Fronted::Every)],
        ..RoleGrants::default()
    };
    let policy = Policy {
        issuer: "https://lanyard.dev.internal".to_owned(),
        mtls_url: "https://lanyard.dev.internal".to_owned(),
        registration: RegistrationPolicy::Off,
        unbound_tokens: false,
        verdict_ttl: Duration::from_secs(5),
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
    let trust = TrustBundles {
        trust_domains: HashMap::from([(TrustDomain::new("dev.internal")?, ca.anchors()?.into())]),
        ..TrustBundles::default()
    };
    let sealer = KeySealer::new(KeyEncryptionKey::parse(&STANDARD.encode([7; 32]))?, LocalSigner::FACTORY);
    let algorithm = SigningAlgorithm::Es256;
    let (_, record) = sealer.seal(algorithm, SystemClock.now(), &LocalSigner::generate(algorithm)?)?;
    let value = record.to_bytes()?;
    let mut keys = SigningKeys::new(algorithm).with_new_keys_at(sealer.location());
    keys.insert(sealer.open(&record.store_key(), &value)?, Revision(1));
    let (clock, entropy, store) =
        (Arc::new(SystemClock), Arc::new(SystemEntropy::default()), Arc::new(MemoryStore::new()));
    Ok(Authority::new(policy, clock, entropy, store, keys, sealer, trust))
}

/// The peer with this certificate, as the caller of a request.
fn caller(authority: &Authority, certificate: &[u8]) -> Result<Caller, Failure> {
    let view = authority.view();
    let identity = Arc::new(authority.prove(&view, &[CertificateDer::from(certificate)])?);
    let (roles, grants) = (view.roles_of(&identity), view.grants_of(&identity));
    Ok(Caller { identity, roles, grants, view, connection: ConnectionInfo::default() })
}

/// The path below which a pattern of this number is.
pub(crate) fn below(number: usize) -> String {
    format!("spiffe://dev.internal/ns/team-{:04}/jobs/{number:07}", number / 250)
}

/// So many registrations of patterns.
pub(crate) fn many_patterns(count: usize) -> Result<Directory, Failure> {
    let mut directory = Directory::default();
    for number in 0..count {
        let registration = ClientRegistration::parse(ClientMetadata {
            client_id: format!("jobs-{number}"),
            spiffe_id: Some(below(number) + "/*"),
            token_endpoint_auth_method: "spiffe_x509".to_owned(),
            ..ClientMetadata::default()
        })?;
        let record = Record::new("creation".into(), SystemClock.now(), ADMIN);
        directory.insert(Registered::new(registration, record, Revision(1)));
    }
    Ok(directory)
}

/// The output of a future that waits for nothing, as those of a store in memory.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(future.now_or_never().ok_or("it waits")?)
}

fn resource() -> ResourceMetadata {
    let route = |path: String| RouteMetadata {
        methods: vec!["GET".to_owned()],
        path,
        scope: "orders.read".to_owned(),
        ..RouteMetadata::default()
    };
    let teams = (0..ROUTES).map(|team| route(format!("/team-{team:03}/orders/{{id}}")));
    ResourceMetadata {
        audience: AUDIENCE.to_owned(),
        scope: "orders.read orders.write".to_owned(),
        routes: teams.chain([route("/orders/{id}".to_owned())]).collect(),
        ..ResourceMetadata::default()
    }
}

/// The CA of a trust domain.
struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Result<Self, Failure> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = parameters.self_signed(&key)?.der().clone();
        Ok(Self { der, issuer: Issuer::new(parameters, key) })
    }

    fn anchors(&self) -> Result<Anchors, Failure> {
        Ok(Anchors::new(std::slice::from_ref(&self.der))?)
    }

    /// A new X.509-SVID, as DER.
    fn svid(&self, id: &str) -> Result<Vec<u8>, Failure> {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![SanType::URI(id.try_into()?)];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(parameters.signed_by(&KeyPair::generate()?, &self.issuer)?.der().to_vec())
    }
}
