//! A gateway to which users of another issuer come, and the services behind it.

use std::collections::BTreeMap;

use lanyard::authority::decision::ExchangeRequest;
use lanyard::authority::registration::ExchangeRuleMetadata;
use lanyard::authority::registration::ScopeGrantMetadata;
use lanyard::authority::registration::TOKEN_EXCHANGE;
use lanyard::authority::tokens::IssuedToken;
use lanyard::authority::trust::IssuerKeys;
use lanyard::authority::trust::JwtAuthorities;
use lanyard::authority::trust::MAX_ASSERTION_AGE;
use lanyard::authority::trust::Proves;
use lanyard::authority::trust::SubjectKind;
use lanyard::authority::trust::SubjectTerms;
use lanyard::authority::trust::TrustBundles;
use lanyard::authority::trust::TrustedIssuer;
use serde_json::Value;
use serde_json::json;

use crate::exchange::support::Shop;
use crate::exchange::support::at;
use crate::exchange::support::client;
use crate::exchange::support::resource;
use crate::issuer_jwt::cluster::jwk;
use crate::support::NOW;
use crate::support::authority::ISSUER;
use crate::support::authority::TestAuthority;
use crate::support::jwt_svid::JwtKey;

pub const IDP: &str = "https://idp.example";
pub const ALICE: &str = "https://idp.example#alice";

/// How the tokens of the issuer are read.
pub fn terms() -> SubjectTerms {
    SubjectTerms {
        kinds: vec![SubjectKind::AccessToken, SubjectKind::Jwt],
        typ: None,
        scope_claim: Some("/scope".to_owned()),
    }
}

/// A rule for tokens of the issuer itself.
pub fn foreign_rule(subjects: &[&str], target: &str) -> ExchangeRuleMetadata {
    let grant = |needs: &str, gives: &str| ScopeGrantMetadata {
        needs: needs.to_owned(),
        gives: gives.split(' ').map(|scope| format!("{target}.{scope}")).collect::<Vec<_>>().join(" "),
    };
    ExchangeRuleMetadata {
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        issuer: Some(IDP.to_owned()),
        audience: at(target),
        grants: vec![grant("shop.buy", "read write"), grant("shop.view", "read")],
        ..ExchangeRuleMetadata::default()
    }
}

/// A shop with a gateway before the orders.
pub struct Gateway {
    pub shop: Shop,
    pub key: JwtKey,
}

impl Gateway {
    pub fn new() -> Self {
        Self::with(vec![foreign_rule(&["*"], "orders")])
    }

    pub fn with(rules: Vec<ExchangeRuleMetadata>) -> Self {
        let mut shop = Shop::empty(|_| {}, TestAuthority::keys());
        for name in ["orders", "stock"] {
            shop.protect(resource(name));
        }
        shop.register(client("gateway", "orders", rules));
        let gateway = Self { shop, key: JwtKey::new("idp-1") };
        gateway.trust(terms());
        gateway
    }

    /// Trusts the issuer's tokens as they are read by these terms.
    pub fn trust(&self, terms: SubjectTerms) {
        self.trust_for(Proves::Subjects(terms));
    }

    pub fn trust_for(&self, proves: Proves) {
        let trusted = TrustedIssuer {
            name: "idp".to_owned(),
            issuer: IDP.to_owned(),
            audience: ISSUER.to_owned(),
            max_age: MAX_ASSERTION_AGE,
            proves,
        };
        let keys = JwtAuthorities::new(&[jwk(&self.key)]);
        let keys = IssuerKeys { trusted: trusted.into(), keys, confirmed: None, good_until: None };
        self.replace_issuers(BTreeMap::from([(IDP.to_owned(), keys)]));
    }

    pub fn replace_issuers(&self, issuers: BTreeMap<String, IssuerKeys>) {
        let authority = &self.shop.fixture.authority;
        let before = authority.trust().as_ref().clone();
        authority.replace_trust(TrustBundles { issuers, ..before });
    }

    #[expect(clippy::unused_self, reason = "called as claims and tokens of the gateway are")]
    pub fn header(&self) -> Value {
        json!({ "alg": "ES256", "kid": "idp-1", "typ": "at+jwt" })
    }

    pub fn claims() -> Value {
        json!({
            "iss": IDP, "sub": "alice", "aud": ISSUER, "iat": NOW.0, "exp": NOW.0 + 600, "jti": "idp-token-1",
            "scope": "openid shop.buy",
        })
    }

    pub fn token(&self) -> String {
        self.token_with(|_| {})
    }

    pub fn token_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = Self::claims();
        change(&mut claims);
        self.key.sign(&self.header().to_string(), &claims.to_string())
    }

    /// What the gateway asks for, for a token.
    pub fn request(token: &str) -> ExchangeRequest {
        ExchangeRequest {
            access_token: Some(token.to_owned()),
            audience: vec![at("orders")],
            ..ExchangeRequest::default()
        }
    }

    /// The same where the token is said to be a JWT.
    pub fn jwt_request(token: &str) -> ExchangeRequest {
        ExchangeRequest { access_token: None, jwt: Some(token.to_owned()), ..Self::request("") }
    }

    pub fn exchange(&self, token: &str) -> IssuedToken {
        self.shop.ask(&self.shop.peer("gateway"), &Self::request(token)).unwrap()
    }

    pub fn why_not(&self, request: &ExchangeRequest) -> String {
        self.shop.reason(&self.shop.peer("gateway"), request)
    }

    /// Why the gateway gets nothing for a token with changed claims; empty where it gets something.
    pub fn refused(&self, change: impl FnOnce(&mut Value)) -> String {
        self.why_not(&Self::request(&self.token_with(change)))
    }
}

/// Those of a client that exchanges tokens.
pub fn grant_types() -> Vec<String> {
    ["client_credentials", TOKEN_EXCHANGE].map(ToOwned::to_owned).to_vec()
}
