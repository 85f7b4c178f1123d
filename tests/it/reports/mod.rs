//! What is asked at a protected resource, and what a change of it would mean: the memory of decisions, the report, the simulation, and
//! the way to `mode: enforce`.

mod memory;
mod simulation;
mod situations;
mod windows;

use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::TestAuthority;

/// A request as a proxy describes it.
#[derive(Clone, Debug)]
struct Request {
    audience: String,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    certificate: String,
    principal: String,
}

impl Request {
    /// Without a token.
    fn of(audience: &str, principal: &str, method: &'static str, path: &str) -> Self {
        Self {
            audience: audience.to_owned(),
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            certificate: String::new(),
            principal: principal.to_owned(),
        }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What came of a request: the outcome and its reason, as reports name them.
fn asked(fixture: &TestAuthority, request: &Request) -> (&'static str, &'static str) {
    let Request { audience, method, path, headers, certificate, principal } = request;
    let request = CheckRequest {
        destination: Destination { named: Some(audience), principal: "", authority: "" },
        method,
        path,
        headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect(),
        certificate,
        principal,
        address: "",
    };
    match fixture.authority.check(&fixture.authority.as_asker(fixture.proxy()), &request).unwrap() {
        CheckAnswer::Allow(allowance) => match allowance.let_through {
            None => ("allowed", ""),
            Some((refusal, _)) => ("let_through", refusal.code()),
        },
        CheckAnswer::Deny(denial) => ("denied", denial.refusal.code()),
    }
}

/// A route that needs these scopes; without any text it is public.
fn route(methods: &[&str], path: &str, scope: Option<&str>) -> RouteMetadata {
    RouteMetadata {
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        path: path.to_owned(),
        scope: scope.unwrap_or_default().to_owned(),
        public: scope.is_none(),
        ..RouteMetadata::default()
    }
}

/// A resource in this mode, one route of which needs a token.
fn resource(audience: &str, mode: &str) -> ResourceMetadata {
    ResourceMetadata {
        audience: audience.to_owned(),
        scope: "orders.read orders.write".to_owned(),
        routes: vec![route(&["GET"], "/orders/{id}", Some("orders.read")), route(&[], "/healthz", None)],
        mode: Some(mode.to_owned()),
        ..ResourceMetadata::default()
    }
}
