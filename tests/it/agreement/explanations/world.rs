//! Clients of each kind, in each state, with tokens from before it; and resources with each demand.

use std::time::Duration;

use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::JWT_SPIFFE;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::decision::TokenRequest;
use lanyard::authority::registration::ClientId;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::state::Revoked;
use spiffe::TrustDomain;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::ISSUER;
use crate::support::authority::ORDERS;
use crate::support::authority::STOCK;
use crate::support::authority::TestAuthority;
use crate::support::authority::named_spiffe_client;
use crate::support::authority::pki_client;
use crate::support::authority::ready;
use crate::support::authority::self_signed_client;
use crate::support::authority::spiffe_client;
use crate::support::authority::spiffe_uri_client;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::jwt_svid::JwtKey;
use crate::support::jwt_svid::trust_jwks;
use crate::support::leaf::Leaf;

pub(super) const MESH: &str = "https://mesh.shop.internal";
pub(super) const MESH_WORKLOAD: &str = "spiffe://prod.example/ns/shop/sa/mesh";
/// The resource in the mode `report`.
pub(super) const REPORT: &str = "https://report.shop.internal";
pub(super) const PARTNER: &str = "partner-shop";
pub(super) const WITH_JWT: &str = "spiffe://prod.example/ns/jwt/sa/a";

/// One who makes requests.
pub(super) struct Sender {
    pub(super) leaf: Leaf,
    /// Its SPIFFE ID, if it may be asked about by that: it then has no other certificate than this.
    pub(super) id: Option<&'static str>,
    /// The client that it names.
    pub(super) client_id: Option<&'static str>,
}

/// A token, and the certificate that it was issued with.
pub(super) struct Issued {
    pub(super) text: String,
    pub(super) sender: usize,
}

pub(super) struct World {
    pub(super) fixture: TestAuthority,
    pub(super) senders: Vec<Sender>,
    pub(super) tokens: Vec<Issued>,
    jwt_key: JwtKey,
}

const CLOSED: &str = "spiffe://prod.example/ns/closed/sa/open";
const OFF: &str = "spiffe://prod.example/ns/batch/sa/off";
const DELETED: &str = "spiffe://prod.example/ns/other/sa/deleted";
const RECREATED: &str = "spiffe://prod.example/ns/other/sa/recreated";
const REVOKED: &str = "spiffe://prod.example/ns/other/sa/revoked";
const LOGGED_OUT: &str = "spiffe://prod.example/ns/other/sa/logged-out";
const CUT: &str = "spiffe://prod.example/ns/other/sa/cut";
const STOLEN: &str = "spiffe://prod.example/ns/other/sa/stolen";
const RENEWING: &str = "spiffe://prod.example/ns/other/sa/renewing";
const FOREIGN: &str = "spiffe://other.example/w";

impl World {
    pub(super) fn new() -> Self {
        let fixture = TestAuthority::with(|policy| policy.unbound_tokens = true, TestAuthority::keys());
        let other = TestCa::new("other.example");
        let mut trust = fixture.authority.trust().as_ref().clone();
        trust.trust_domains.insert(TrustDomain::new("other.example").unwrap(), other.anchors().into());
        fixture.authority.replace_trust(trust);
        let jwt_key = JwtKey::new("k");
        trust_jwks(&fixture.authority, "prod.example", &[jwt_key.jwk()]);
        let mut world = Self { fixture, senders: Vec::new(), tokens: Vec::new(), jwt_key };
        world.protect();
        world.register(&other);
        world.issue();
        world.change();
        world
    }

    fn protect(&self) {
        let route = |methods: &[&str], path: &str, scope: &str| RouteMetadata {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: path.to_owned(),
            scope: scope.to_owned(),
            ..RouteMetadata::default()
        };
        let resource = |audience: &str, authority: &str| ResourceMetadata {
            audience: audience.to_owned(),
            authorities: vec![authority.to_owned()],
            routes: vec![route(&[], "/**", "")],
            ..ResourceMetadata::default()
        };
        let orders = vec![
            route(&["GET"], "/orders/{id}", "orders.read"),
            route(&["POST"], "/orders", "orders.write"),
            route(&[], "/admin/**", "orders.admin"),
            RouteMetadata { public: true, ..route(&["GET"], "/healthz", "") },
        ];
        let scope = "orders.read orders.write orders.admin".to_owned();
        self.fixture.protect(ResourceMetadata { routes: orders, scope, ..resource(ORDERS, "orders.shop.internal") });
        self.fixture.protect(ResourceMetadata {
            least_evidence: Some("certificate".to_owned()),
            trust_domains: vec!["prod.example".to_owned()],
            ..resource(STOCK, "stock.shop.internal:8443")
        });
        self.fixture.protect(ResourceMetadata {
            least_evidence: Some("spiffe_id".to_owned()),
            authorities: Vec::new(),
            destination_principals: vec![MESH_WORKLOAD.to_owned()],
            ..resource(MESH, "")
        });
        let report = ResourceMetadata { mode: Some("report".to_owned()), ..resource(REPORT, "report.shop.internal") };
        self.fixture.protect(report);
        self.fixture.protect(resource("https://old.shop.internal", "old.shop.internal"));
    }

    /// Adds a sender, and registers its client if there is one for it.
    fn add(&mut self, leaf: Leaf, id: Option<&'static str>, client: Option<ClientMetadata>) {
        let named = client.as_ref().filter(|client| !client.token_endpoint_auth_method.starts_with("spiffe"));
        let client_id = named.map(|client| &*client.client_id.clone().leak());
        if let Some(client) = client {
            let audience = if client.audience == [STOCK] {
                client.audience
            } else {
                [ORDERS, STOCK, MESH, REPORT].map(str::to_owned).to_vec()
            };
            self.fixture.register(ClientMetadata { audience, ..client });
        }
        self.senders.push(Sender { leaf, id, client_id });
    }

    fn register(&mut self, other: &TestCa) {
        let svid = |world: &Self, id: &str| world.fixture.prod.svid(id).issue();
        let batch = named_spiffe_client("batch", "spiffe://prod.example/ns/batch/*");
        self.fixture.register(ClientMetadata { scope: "orders.read".to_owned(), ..batch });
        for pattern in ["spiffe://prod.example/ns/closed/*", "spiffe://prod.example/ns/gone/*"] {
            self.fixture.register(named_spiffe_client(pattern.rsplit('/').nth(1).unwrap(), pattern));
        }
        for id in [CHECKOUT, CLOSED, OFF, DELETED, RECREATED, REVOKED, LOGGED_OUT] {
            self.add(svid(self, id), Some(id), Some(spiffe_client(id)));
        }
        for id in [
            "spiffe://prod.example/ns/batch/sa/a",
            "spiffe://prod.example/ns/gone/sa/a",
            "spiffe://prod.example/ns/none/sa/a",
        ] {
            self.add(svid(self, id), Some(id), None);
        }
        let no_workload = "spiffe://prod.example";
        let leaf = self.fixture.prod.client_certificate().uri(no_workload).issue();
        self.add(leaf, Some(no_workload), None);
        let id = "spiffe://prod.example/ns/batch/sa/exact";
        let exact = ClientMetadata { scope: "orders.read orders.admin".to_owned(), ..spiffe_client(id) };
        self.add(svid(self, id), Some(id), Some(exact));
        let id = "spiffe://prod.example/ns/other/sa/stock";
        self.add(
            svid(self, id),
            Some(id),
            Some(ClientMetadata { audience: vec![STOCK.to_owned()], ..spiffe_client(id) }),
        );
        let id = "spiffe://prod.example/ns/other/sa/unbound";
        let unbound = ClientMetadata { tls_client_certificate_bound_access_tokens: Some(false), ..spiffe_client(id) };
        self.add(svid(self, id), Some(id), Some(unbound));
        let id = "spiffe://prod.example/ns/other/sa/short";
        let short = ClientMetadata { access_token_ttl: Some(Duration::from_secs(1)), ..spiffe_client(id) };
        self.add(svid(self, id), Some(id), Some(short));
        let id = "spiffe://prod.example/ns/uri/sa/a";
        self.add(svid(self, id), Some(id), Some(spiffe_uri_client("uri-shop", id)));
        let jwt = "spiffe_jwt".to_owned();
        let jwt = ClientMetadata { token_endpoint_auth_method: jwt, ..spiffe_client(WITH_JWT) };
        self.add(svid(self, WITH_JWT), Some(WITH_JWT), Some(jwt));
        let id = "spiffe://staging.example/w";
        self.add(self.fixture.staging.svid(id).issue(), Some(id), Some(spiffe_client(id)));
        self.add(other.svid(FOREIGN).issue(), Some(FOREIGN), Some(spiffe_client(FOREIGN)));
        // Those with several certificates are asked about by these alone.
        for (id, rotation) in [(STOLEN, "strict"), (CUT, "strict"), (RENEWING, "identity"), ("lineage", "lineage")] {
            let id = if id == rotation { "spiffe://prod.example/ns/other/sa/lineage" } else { id };
            let client = ClientMetadata { rotation: Some(rotation.to_owned()), ..spiffe_client(id) };
            self.add(svid(self, id), None, Some(client));
            self.add(svid(self, id), None, None);
        }
        self.add(self.fixture.prod.svid(CHECKOUT).expired().issue(), None, None);
        self.add(TestCa::new("prod.example").svid(CHECKOUT).issue(), None, None);
        let dns = "shop.partner.example";
        let partner = ClientMetadata { tls_client_auth_san_dns: Some(dns.to_owned()), ..pki_client(PARTNER) };
        self.add(self.fixture.partner.client_certificate().dns(dns).issue(), None, Some(partner));
        self.add(self.fixture.vendor.client_certificate().dns(dns).issue(), None, None);
        for name in ["own", "changing"] {
            let leaf = self_signed(name).issue();
            let client = self_signed_client(name, &leaf.pem());
            self.add(leaf, None, Some(client));
        }
        self.add(self_signed("unknown").issue(), None, None);
    }

    /// The request of a sender for a token, by the client that it names or another.
    pub(super) fn request(&self, sender: &Sender, client_id: Option<&str>, scope: &str) -> TokenRequest {
        let id = sender.leaf_id();
        // A client by spiffe_jwt sends an assertion of its own SPIFFE ID.
        let sends_one = client_id.or(id.as_deref()) == Some(WITH_JWT);
        let assertion = id.filter(|_| sends_one).map(|id| self.jwt_key.svid(&id, ISSUER));
        let assertion_type = assertion.as_ref().map(|_| JWT_SPIFFE.to_owned());
        TokenRequest {
            client_id: client_id.map(str::to_owned),
            assertion: ClientAssertion { assertion_type, assertion },
            scope: scope.to_owned(),
            audience: Vec::new(),
        }
    }

    /// Has tokens issued to all that get any.
    fn issue(&mut self) {
        let mut tokens = Vec::new();
        for (number, sender) in self.senders.iter().enumerate() {
            let Ok(peer) = self.fixture.prove(&sender.leaf) else { continue };
            for (scope, audience) in [("", None), ("orders.read", Some(ORDERS)), ("", Some(STOCK))] {
                let audience = audience.into_iter().map(str::to_owned).collect();
                let request = TokenRequest { audience, ..self.request(sender, sender.client_id, scope) };
                let caller = self.fixture.authority.as_caller(&peer);
                let issued = ready(self.fixture.authority.issue_token(&caller, &request));
                tokens.extend(issued.ok().map(|issued| Issued { text: issued.access_token, sender: number }));
            }
        }
        assert!(tokens.len() > 60, "{}", tokens.len());
        self.tokens = tokens;
    }

    /// What became of some since.
    fn change(&self) {
        let fixture = &self.fixture;
        let audience: Vec<String> = [ORDERS, STOCK, MESH, REPORT].map(str::to_owned).to_vec();
        let of = |id: &str| ClientMetadata { audience: audience.clone(), ..spiffe_client(id) };
        fixture.update(ClientMetadata { disabled: true, ..of(OFF) });
        let closed = named_spiffe_client("closed", "spiffe://prod.example/ns/closed/*");
        fixture.update(ClientMetadata { disabled: true, ..closed });
        fixture.update(ClientMetadata { scope: "orders.write".to_owned(), ..of(CUT) });
        fixture.delete(DELETED);
        fixture.delete(RECREATED);
        fixture.register(of(RECREATED));
        let changed = self_signed_client("changing", &self_signed("changed").issue().pem());
        fixture.update(ClientMetadata { audience: audience.clone(), ..changed });
        let client = |id: &str| ClientId::parse(id).unwrap();
        let stolen = self.senders.iter().find(|sender| sender.leaf_id().as_deref() == Some(STOLEN)).unwrap();
        let (caller, none) = (fixture.authority.as_caller(&fixture.svid(ADMIN)), ClientAssertion::default());
        let requester = fixture.authority.requester(&caller, None, &none).unwrap();
        for request in [
            RevokeRequest::Client(client(REVOKED), None),
            RevokeRequest::IssuedTo(client(LOGGED_OUT)),
            RevokeRequest::Certificate(stolen.leaf.thumbprint(), None),
            RevokeRequest::Peers(Revoked::identities("spiffe://prod.example/ns/gone/*").unwrap(), None),
        ] {
            ready(fixture.authority.revoke(&caller, &requester, request, LastAdmin::Stays)).unwrap();
        }
        ready(fixture.authority.delete_resource(&fixture.svid(ADMIN), "https://old.shop.internal", None)).unwrap();
        let mut trust = fixture.authority.trust().as_ref().clone();
        trust.trust_domains.remove(&TrustDomain::new("other.example").unwrap());
        fixture.authority.replace_trust(trust);
        fixture.clock.advance(Duration::from_secs(2));
    }
}

impl Sender {
    /// The SPIFFE ID in its certificate.
    pub(super) fn leaf_id(&self) -> Option<String> {
        let certificate = lanyard::authority::identity::Certificate::parse(self.leaf.certificate()).unwrap();
        certificate.names().uri.first().cloned()
    }
}
