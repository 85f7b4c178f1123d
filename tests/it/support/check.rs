//! `ext_authz` checks as Envoy sends them, and their responses.

use std::collections::BTreeMap;
use std::collections::HashMap;

use lanyard::authority::identity::Certificate;
use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::Route;
use lanyard::proto::envoy::config::core::v3::HeaderValueOption;
use lanyard::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use lanyard::proto::envoy::service::auth::v3::AttributeContext;
use lanyard::proto::envoy::service::auth::v3::CheckRequest;
use lanyard::proto::envoy::service::auth::v3::CheckResponse;
use lanyard::proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use lanyard::proto::envoy::service::auth::v3::attribute_context::Peer;
use lanyard::proto::envoy::service::auth::v3::attribute_context::Request;
use lanyard::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use lanyard::proto::envoy::service::auth::v3::check_response::HttpResponse;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::Value;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::leaf::Leaf;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;

/// A check request. Initially it describes a `GET` of an order with a token and a certificate.
#[derive(Clone)]
pub struct Asked {
    pub attributes: AttributeContext,
}

impl Asked {
    /// With the token in its header, and the caller's whole certificate.
    pub fn with(token: &str, leaf: &Leaf) -> Self {
        Self::anonymous().header("authorization", &format!("Bearer {token}")).certificate(leaf)
    }

    /// Without token and certificate.
    pub fn anonymous() -> Self {
        let http = HttpRequest {
            method: "GET".to_owned(),
            path: "/orders/1".to_owned(),
            host: "orders.prod.example".to_owned(),
            ..HttpRequest::default()
        };
        let request = Request { http: Some(http) };
        let attributes = AttributeContext {
            source: Some(Peer::default()),
            destination: Some(Peer::default()),
            request: Some(request),
            ..AttributeContext::default()
        };
        Self { attributes }.resource(ORDERS)
    }

    pub fn http(&mut self) -> &mut HttpRequest {
        self.attributes.request.as_mut().unwrap().http.as_mut().unwrap()
    }

    pub fn source(&mut self) -> &mut Peer {
        self.attributes.source.as_mut().unwrap()
    }

    pub fn to(mut self, method: &str, path: &str) -> Self {
        (self.http().method, self.http().path) = (method.to_owned(), path.to_owned());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.http().headers.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.http().headers.remove(name);
        self
    }

    /// What `include_peer_certificate` adds, and the principal that Envoy takes from it.
    pub fn certificate(mut self, leaf: &Leaf) -> Self {
        self.source().certificate = url_encoded(leaf);
        self.principal(&principal(leaf))
    }

    pub fn principal(mut self, principal: &str) -> Self {
        principal.clone_into(&mut self.source().principal);
        self
    }

    pub fn resource(mut self, audience: &str) -> Self {
        self.attributes.context_extensions = HashMap::from([("resource".to_owned(), audience.to_owned())]);
        self
    }

    /// Without the resource's name in the proxy's configuration.
    pub fn unnamed(mut self) -> Self {
        self.attributes.context_extensions.clear();
        self
    }

    pub fn message(self) -> CheckRequest {
        CheckRequest { attributes: Some(self.attributes) }
    }
}

/// A certificate as Envoy writes it into `source.certificate` and `Cert`.
pub fn url_encoded(leaf: &Leaf) -> String {
    utf8_percent_encode(&leaf.pem(), NON_ALPHANUMERIC).to_string()
}

/// The principal that Envoy takes from a certificate with a URI name: the first.
fn principal(leaf: &Leaf) -> String {
    let certificate = Certificate::parse(leaf.certificate()).unwrap();
    certificate.names().uri.first().cloned().unwrap_or_default()
}

/// A thumbprint as Envoy writes it into `Hash`.
pub fn hex(leaf: &Leaf) -> String {
    hex::encode(leaf.thumbprint().as_bytes())
}

/// The result of a check.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// The request is allowed: request headers to set, request headers to remove, response headers to set.
    Through { set: BTreeMap<String, String>, removed: Vec<String>, response: BTreeMap<String, String> },
    /// The request is denied.
    Denied { http: i32, reason: String, challenge: Option<String> },
}

impl Answer {
    /// The code of the reason; empty for an allowed request.
    pub fn reason(&self) -> &str {
        match self {
            Self::Through { .. } => "",
            Self::Denied { reason, .. } => reason,
        }
    }

    pub fn http(&self) -> i32 {
        match self {
            Self::Through { .. } => 200,
            Self::Denied { http, .. } => *http,
        }
    }
}

/// Reads a response, in which status and response must agree. No header may be appended to an existing one.
pub fn answer(response: &CheckResponse) -> Answer {
    let status = response.status.as_ref().expect("a status").code;
    match response.http_response.as_ref().expect("a response") {
        HttpResponse::OkResponse(ok) => {
            assert_eq!(status, 0);
            Answer::Through {
                set: headers(&ok.headers),
                removed: ok.headers_to_remove.clone(),
                response: headers(&ok.response_headers_to_add),
            }
        }
        HttpResponse::DeniedResponse(denied) => {
            assert_ne!(status, 0);
            let headers = headers(&denied.headers);
            assert_eq!(headers["content-type"], "application/json");
            assert_eq!(headers["cache-control"], "no-store");
            let body: Value = serde_json::from_str(&denied.body).unwrap();
            Answer::Denied {
                http: denied.status.as_ref().expect("an HTTP status").code,
                reason: body["reason"].as_str().expect("a reason").to_owned(),
                challenge: headers.get("www-authenticate").cloned(),
            }
        }
        HttpResponse::ErrorResponse(_) => panic!("an error response is what failure_mode_allow lets through"),
    }
}

#[expect(deprecated, reason = "Envoy up to 1.36 looks at nothing else")]
fn headers(options: &[HeaderValueOption]) -> BTreeMap<String, String> {
    let read = |option: &HeaderValueOption| {
        assert_eq!(option.append, Some(false));
        assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
        let header = option.header.clone().unwrap();
        (header.key, header.value)
    };
    options.iter().map(read).collect()
}

/// A text in the dynamic metadata.
pub fn metadata(response: &CheckResponse, name: &str) -> Option<String> {
    let Struct { fields } = response.dynamic_metadata.as_ref()?;
    let kind = fields.get(name)?.kind.as_ref()?;
    let Kind::StringValue(text) = kind else { panic!("{name} is {kind:?}") };
    Some(text.clone())
}

impl TestServer {
    pub fn checks(&self, leaf: &Leaf) -> AuthorizationClient<Channel> {
        AuthorizationClient::new(self.channel(leaf))
    }

    /// Sends the check as a proxy that fronts all resources.
    pub async fn check(&self, asked: Asked) -> Answer {
        self.check_as(&self.svid("/proxy"), asked).await
    }

    pub async fn check_as(&self, proxy: &Leaf, asked: Asked) -> Answer {
        answer(&self.checks(proxy).check(asked.message()).await.unwrap().into_inner())
    }

    /// Registers a resource as the admin.
    pub async fn protect(&self, resource: ProtectedResource) -> Result<ProtectedResource, Status> {
        let request = CreateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
        let created = self.registry(&self.svid("/admin")).create_protected_resource(request).await;
        created.map(tonic::Response::into_inner)
    }
}

/// The orders resource: reading needs `orders.read`, writing `orders.write`, its health check nothing.
pub fn orders() -> ProtectedResource {
    ProtectedResource {
        audience: ORDERS.to_owned(),
        scope: "orders.read orders.write orders.admin".to_owned(),
        routes: vec![
            route(&["GET"], "/orders/{id}", "orders.read"),
            route(&["POST"], "/orders", "orders.write"),
            route(&[], "/admin/**", "orders.admin"),
            route(&["GET"], "/whoami", ""),
            Route { public: true, ..route(&["GET"], "/healthz", "") },
        ],
        ..ProtectedResource::default()
    }
}

pub fn route(methods: &[&str], path: &str, scope: &str) -> Route {
    Route {
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        path: path.to_owned(),
        scope: scope.to_owned(),
        ..Route::default()
    }
}
