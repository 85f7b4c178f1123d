//! A small service that answers with the request it received, and echoes bytes after an upgrade.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use axum::body::Body;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::header::UPGRADE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::io::copy;
use tokio::io::split;
use tokio::net::TcpListener;

/// The service, for as long as the test runs.
pub struct Upstream {
    pub address: SocketAddr,
    reached: Arc<AtomicUsize>,
}

impl Upstream {
    pub async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let reached = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&reached);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let counter = Arc::clone(&counter);
                let service = service_fn(move |request| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    async move { Ok::<_, Infallible>(answer(request)) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
            }
        });
        Self { address, reached }
    }

    /// How many requests it has received.
    pub fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

fn answer(mut request: Request<Incoming>) -> Response<Body> {
    if request.headers().contains_key(UPGRADE) {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let (mut reader, mut writer) = split(TokioIo::new(upgraded));
            // Echoes everything.
            drop(copy(&mut reader, &mut writer).await);
        });
        let response = Response::builder().status(101).header(UPGRADE, "websocket").header(CONNECTION, "upgrade");
        return response.body(Body::empty()).unwrap();
    }
    let text = |value: &hyper::header::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
    // All values of a header that occurs twice.
    let headers = request.headers().keys().map(|name| {
        let values: Vec<Value> = request.headers().get_all(name).iter().map(text).collect();
        (name.to_string(), Value::from(values))
    });
    let headers: serde_json::Map<String, Value> = headers.collect();
    let seen = json!({ "method": request.method().as_str(), "path": request.uri().to_string(), "headers": headers });
    Response::new(Body::from(seen.to_string()))
}
