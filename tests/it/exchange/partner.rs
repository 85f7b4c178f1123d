//! A partner whose authorization server makes grants for this one, and a client that uses them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::access::Requester;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::ExchangeRefusal;
use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::deny_reason::DenyReason;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientPattern;
use lanyard::authority::registration::JWT_BEARER_GRANT;
use lanyard::authority::registration::ScopeGrant;
use lanyard::authority::resources::DelegatedMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::scope::Scope;
use lanyard::authority::tokens::IssuedToken;
use lanyard::authority::trust::GrantTerms;
use lanyard::authority::trust::IssuerKeys;
use lanyard::authority::trust::JwtAuthorities;
use lanyard::authority::trust::Proves;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::TrustedIssuer;
use lanyard::store::memory::MemoryStore;
use serde_json::Value;
use serde_json::json;
use spiffe::TrustDomain;

use crate::exchange::support::at;
use crate::exchange::support::refused_exchanges;
use crate::exchange::support::resource;
use crate::issuer_jwt::cluster::jwk;
use crate::support::NOW;
use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ISSUER;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::jwt_svid::JwtKey;
use crate::support::leaf::Leaf;
use crate::support::unreferenced::Unreferenced as _;

pub const PARTNER: &str = "https://lanyard.staging.example";
pub const CHECKOUT: &str = "spiffe://staging.example/checkout";
pub const FRONTEND: &str = "spiffe://staging.example/web/frontend";
pub const TOKEN_ENDPOINT: &str = "https://mtls.prod.example/oauth2/token";

/// A change of the claims of a grant.
pub type Change = fn(&mut Value);

fn patterns(texts: &[&str]) -> Vec<ClientPattern> {
    texts.iter().map(|text| ClientPattern::parse(text).unwrap()).collect()
}

pub fn terms() -> GrantTerms {
    let grant = |needs: &str, gives: &str| ScopeGrant {
        needs: Scope::parse(needs).unwrap(),
        gives: Scope::parse(gives).unwrap(),
    };
    GrantTerms {
        token_endpoint: TOKEN_ENDPOINT.to_owned(),
        typ: "authorization-grant+jwt".to_owned(),
        trust_domain: Some(TrustDomain::new("staging.example").unwrap()),
        subjects: patterns(&["spiffe://staging.example/*", "https://lanyard.staging.example#alice"]),
        clients: patterns(&[CHECKOUT, "spiffe://staging.example/other"]),
        grants: vec![grant("partner.order", "orders.write orders.read"), grant("partner.look", "orders.read")],
        audience: vec![at("orders")],
        ttl: Duration::from_mins(1),
        once_strict: false,
    }
}

/// A server that takes grants of a partner, whose trust domain it is federated with.
pub struct Partnered {
    pub fixture: TestAuthority,
    pub key: JwtKey,
    pub checkout: Leaf,
}

impl Partnered {
    pub fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()), terms(), JwtKey::new("partner-1"))
    }

    pub fn on(store: Arc<MemoryStore>, terms: GrantTerms, key: JwtKey) -> Self {
        let fixture = TestAuthority::on(store, |policy| policy.exchange.enabled = true, TestAuthority::keys());
        let checkout = fixture.staging.svid(CHECKOUT).issue();
        let partnered = Self { fixture, key, checkout };
        partnered.trust(terms);
        partnered
    }

    pub fn registered(self) -> Self {
        let admin = self.fixture.authority.as_caller(&self.fixture.svid(ADMIN));
        ready(self.fixture.authority.enable_feature(&admin, "exchange")).unwrap();
        let delegated = DelegatedMetadata {
            actors: vec!["spiffe://staging.example/*".to_owned()],
            max_actors: Some(8),
            mode: None,
        };
        self.fixture.protect(ResourceMetadata { delegated: Some(delegated), ..resource("orders") });
        for name in [CHECKOUT, "spiffe://staging.example/other", "spiffe://staging.example/third"] {
            self.fixture.register(using(name));
        }
        self
    }

    fn trust(&self, terms: GrantTerms) {
        let trusted = TrustedIssuer {
            name: "partner".to_owned(),
            issuer: PARTNER.to_owned(),
            audience: ISSUER.to_owned(),
            max_age: Duration::from_mins(1),
            proves: Proves::Grants(Box::new(terms)),
        };
        let keys = JwtAuthorities::new(&[jwk(&self.key)]);
        let keys = IssuerKeys { trusted: trusted.into(), keys, confirmed: None, good_until: None };
        self.replace_issuers(BTreeMap::from([(PARTNER.to_owned(), keys)]));
    }

    pub fn replace_issuers(&self, issuers: BTreeMap<String, IssuerKeys>) {
        let before = self.fixture.authority.trust().as_ref().clone();
        self.fixture.authority.replace_trust(TrustBundles { issuers, ..before });
    }

    pub fn claims(&self) -> Value {
        json!({
            "iss": PARTNER, "aud": ISSUER, "sub": FRONTEND, "client_id": CHECKOUT, "jti": "grant-1", "iat": NOW.0,
            "exp": NOW.0 + 60, "scope": "partner.order", "act": { "sub": CHECKOUT },
            "cnf": { "x5t#S256": self.checkout.thumbprint().to_string() },
        })
    }

    fn signed(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": "partner-1", "typ": "authorization-grant+jwt" });
        self.key.sign(&header.to_string(), &claims.to_string())
    }

    pub fn grant_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.signed(&claims)
    }

    pub fn grant_claims(&self, jti: &str) -> Value {
        let mut claims = self.claims();
        claims["jti"] = json!(jti);
        claims
    }

    pub fn use_by(&self, leaf: &Leaf, request: &ExchangeRequest) -> Result<IssuedToken, ExchangeRefusal> {
        let authority = &self.fixture.authority;
        ready(authority.redeem_jwt_grant(&authority.as_caller(&self.fixture.peer(leaf)), request)).unreferenced()
    }

    /// The exact reason, by the metrics; empty where it is not refused.
    pub fn reason(&self, leaf: &Leaf, request: &ExchangeRequest) -> String {
        let before = refused_exchanges(&self.fixture.authority);
        drop(self.use_by(leaf, request));
        let after = refused_exchanges(&self.fixture.authority);
        let grown = after.iter().find(|(reason, count)| before[*reason] < **count);
        grown.map(|(reason, _)| reason.clone()).unwrap_or_default()
    }

    /// Why the checkout gets nothing for a grant with changed claims.
    pub fn refused(&self, change: impl FnOnce(&mut Value)) -> String {
        self.reason(&self.checkout, &using_grant(&self.grant_with(change)))
    }

    pub fn denied(&self, token: &str) -> Option<DenyReason> {
        match self.fixture.evaluate(token, &self.checkout) {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        }
    }

    pub fn revoke(&self, target: RevokeRequest) {
        let authority = &self.fixture.authority;
        let admin = authority.as_caller(&self.fixture.svid(ADMIN));
        let requester = Requester { client_id: None, roles: admin.roles.clone(), sender: admin.sender() };
        ready(authority.revoke(&admin, &requester, target, LastAdmin::Stays)).unwrap();
    }
}

/// A client of the partner that uses grants here.
pub fn using(name: &str) -> ClientMetadata {
    ClientMetadata {
        grant_types: ["client_credentials", JWT_BEARER_GRANT].map(ToOwned::to_owned).to_vec(),
        audience: vec![at("orders")],
        scope: "orders.read".to_owned(),
        ..spiffe_client(name)
    }
}

pub fn using_grant(grant: &str) -> ExchangeRequest {
    ExchangeRequest { jwt: Some(grant.to_owned()), ..ExchangeRequest::default() }
}
