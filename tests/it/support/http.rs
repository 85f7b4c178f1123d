//! A client of the OAuth endpoints, over a real listener.

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::Request;
use axum::http::Response;
use axum::http::header::ALLOW;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::HOST;
use axum::http::header::PRAGMA;
use http_body_util::BodyExt as _;
use http_body_util::Collected;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::connect;

pub const FORM: &str = "application/x-www-form-urlencoded";

/// A connection that stays open.
pub enum Http {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// The server's response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Http {
    /// Uses HTTP/1.1.
    pub async fn one(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    /// Uses HTTP/2.
    pub async fn two(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::Two(sender)
    }

    pub async fn send(&mut self, request: Request<Body>) -> Reply {
        self.try_send(request).await.unwrap()
    }

    /// The same where there may be no answer.
    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Reply> {
        let (head, body) = self.exchange(request).await?.into_parts();
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// The answer with its bytes and trailers.
    pub async fn exchange(&mut self, mut request: Request<Body>) -> hyper::Result<Response<Collected<Bytes>>> {
        let response = within(async {
            match self {
                Self::One(sender) => {
                    request.headers_mut().insert(HOST, "localhost".parse().unwrap());
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Self::Two(sender) => {
                    *request.uri_mut() = format!("https://localhost{}", request.uri()).parse().unwrap();
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        })
        .await?;
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, within(body.collect()).await?))
    }
}

impl Reply {
    /// The one value of a header; empty where the header is missing.
    pub fn header(&self, name: impl axum::http::header::AsHeaderName) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() < 2, "{self:?}");
        values.first().map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header(CONTENT_TYPE), "application/json", "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that caches may not store the response (RFC 6749 section 5.1).
    pub fn assert_no_store(&self) {
        assert_eq!((self.header(CACHE_CONTROL), self.header(PRAGMA)), ("no-store", "no-cache"), "{self:?}");
    }

    /// The JSON of a successful response.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.assert_no_store();
        self.json()
    }

    /// Status and code of an error response, which must have the form of RFC 6749 section 5.2.
    pub fn error(&self) -> (u16, String) {
        self.assert_no_store();
        let body = self.json();
        let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        // A path that is not there, or a method of a document, is no refusal that is recorded.
        let is_recorded = !matches!(self.status, 404 | 405) || self.headers.contains_key("x-lanyard-reference");
        if is_recorded {
            assert_eq!(members, ["error", "error_description", "reference"], "{self:?}");
            assert_eq!(self.headers["x-lanyard-reference"], body["reference"].as_str().unwrap());
        } else {
            assert_eq!(members, ["error", "error_description"], "{self:?}");
        }
        let allowed = |text: &str| text.chars().all(|one| matches!(one, ' '..='~') && !matches!(one, '"' | '\\'));
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        assert!(allowed(&text("error")) && allowed(&text("error_description")), "{self:?}");
        (self.status, text("error"))
    }

    /// The methods in the `allow` header.
    pub fn allowed(&self) -> Vec<String> {
        let mut methods: Vec<_> = self.header(ALLOW).split(',').map(|method| method.trim().to_owned()).collect();
        methods.sort();
        methods
    }
}

impl TestServer {
    /// An HTTP/1.1 connection as the holder of a certificate.
    pub async fn http(&self, leaf: &Leaf) -> Http {
        Http::one(connect(self.addresses.mtls, http1_only(self.tls(leaf))).await.unwrap()).await
    }

    /// Sends one request as the holder of a certificate.
    pub async fn send(&self, leaf: &Leaf, request: Request<Body>) -> Reply {
        self.http(leaf).await.send(request).await
    }

    /// Posts a form as the holder of a certificate.
    pub async fn post(&self, leaf: &Leaf, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send(leaf, post(path, form)).await
    }
}

pub fn http1_only(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// A form.
pub fn post(path: &str, form: &[(&str, &str)]) -> Request<Body> {
    raw(Method::POST, path, FORM, encoded(form))
}

/// Any method with any body.
pub fn raw(method: Method, path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(path).header(CONTENT_TYPE, content_type).body(body.into()).unwrap()
}

/// The body of a form.
pub fn encoded(form: &[(&str, &str)]) -> String {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs: Vec<String> = form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}
