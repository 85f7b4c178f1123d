//! A resource whose presentations leave receipts, and its callers.

use std::sync::Arc;
use std::time::Duration;

use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::Evaluation;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::identity::PeerIdentity;
use lanyard::authority::observe::Samples;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ReceiptsMetadata;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;
use lanyard::authority::tokens::ReceiptError;
use lanyard::authority::tokens::VerifiedReceipt;
use lanyard::store::memory::MemoryStore;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::ORDERS;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::authority::spiffe_client;
use crate::support::check::url_encoded;
use crate::support::leaf::Leaf;

pub const FRONTEND: &str = "spiffe://prod.example/ns/web/sa/frontend";
pub const CHECKOUT: &str = "spiffe://prod.example/ns/shop/sa/checkout";

pub struct Shop {
    pub fixture: TestAuthority,
    pub frontend: Leaf,
    pub token: String,
}

/// What the orders resource says of receipts.
pub fn receipts(exchangers: &[&str]) -> ReceiptsMetadata {
    let exchangers = exchangers.iter().map(|&text| text.to_owned()).collect();
    ReceiptsMetadata { exchangers, ttl: Some(Duration::from_secs(30)), once: None }
}

/// The orders resource, with a public route beside the other.
pub fn orders(receipts: Option<ReceiptsMetadata>) -> ResourceMetadata {
    let route = |path: &str, public| RouteMetadata { path: path.to_owned(), public, ..RouteMetadata::default() };
    ResourceMetadata {
        audience: ORDERS.to_owned(),
        scope: "orders.read".to_owned(),
        routes: vec![route("/orders/{id}", false), route("/healthz", true)],
        receipts,
        ..ResourceMetadata::default()
    }
}

/// An authority with token exchange on this store.
pub fn exchanging(store: Arc<MemoryStore>) -> TestAuthority {
    TestAuthority::on(store, |policy| policy.exchange.enabled = true, TestAuthority::keys())
}

/// Enables the feature, as an admin does.
pub fn enable(fixture: &TestAuthority) {
    let caller = fixture.authority.as_caller(&fixture.svid(ADMIN));
    ready(fixture.authority.enable_feature(&caller, "exchange")).unwrap();
}

impl Shop {
    pub fn new(resource: ResourceMetadata) -> Self {
        Self::of(exchanging(Arc::new(MemoryStore::new())), resource)
    }

    pub fn of(fixture: TestAuthority, resource: ResourceMetadata) -> Self {
        enable(&fixture);
        ready(fixture.authority.open_receipt_keys()).unwrap();
        fixture.protect(resource);
        fixture.register(spiffe_client(FRONTEND));
        let frontend = fixture.prod.svid(FRONTEND).issue();
        let token = fixture.token(&fixture.peer(&frontend));
        Self { fixture, frontend, token }
    }

    /// The receipt of a check by this proxy; `None` for an allowance without one.
    pub fn check_by(&self, proxy: &PeerIdentity, destination: &str, path: &str) -> Option<String> {
        match self.asked_by(proxy, destination, path, &self.frontend) {
            CheckAnswer::Allow(allowance) => allowance.asserted?.receipt.map(|receipt| receipt.as_str().to_owned()),
            CheckAnswer::Deny(denial) => panic!("{denial:?}"),
        }
    }

    pub fn asked_by(&self, proxy: &PeerIdentity, destination: &str, path: &str, leaf: &Leaf) -> CheckAnswer {
        let (authorization, certificate) = (format!("Bearer {}", self.token), url_encoded(leaf));
        let request = CheckRequest {
            destination: Destination { named: Some(ORDERS), principal: destination, authority: "" },
            method: "GET",
            path,
            headers: vec![("authorization", authorization.as_bytes())],
            certificate: &certificate,
            principal: "",
            address: "",
        };
        self.fixture.authority.check(&self.fixture.authority.as_asker(proxy), &request).unwrap()
    }

    /// The receipt of an ordinary check.
    pub fn receipt(&self) -> String {
        self.check_by(self.fixture.proxy(), "", "/orders/1").unwrap()
    }

    /// A `ValidateBinding` that asks for a receipt.
    pub fn validated_by(&self, caller: &PeerIdentity, evidence: PresentedEvidence) -> Evaluation {
        let request = ValidateRequest {
            access_token: &self.token,
            evidence,
            audience: Some(ORDERS),
            scope: "orders.read",
            receipt: true,
        };
        self.fixture.authority.validate_binding(&self.fixture.authority.as_asker(caller), request).unwrap()
    }

    pub fn certificate(leaf: &Leaf) -> PresentedEvidence {
        PresentedEvidence::Of(Some(Evidence::from_der(leaf.certificate()).unwrap()))
    }

    /// How many receipts came to this.
    pub fn count(&self, outcome: &str) -> u64 {
        let families = self.fixture.authority.metric_families();
        let family = families.into_iter().find(|family| family.name == "lanyard_receipts").unwrap();
        let Samples::Counters(samples) = family.samples else { panic!("no counters") };
        samples.into_iter().find(|sample| sample.labels.iter().any(|(_, value)| value == outcome)).unwrap().value
    }

    /// What a receipt says; the code of the error where it is not accepted.
    pub fn read(&self, text: &str) -> Result<VerifiedReceipt, &'static str> {
        let view = self.fixture.authority.view();
        self.fixture.authority.verified_receipt(&view, text).map_err(ReceiptError::code)
    }
}
