//! The library for workloads: a source of valid tokens, a layer that adds them to requests, and tokens to act for callers with
//! ([`exchanged`]).
//!
//! ```no_run
//! use lanyard::client::bearer::BearerLayer;
//! use lanyard::client::files::ConnectionFiles;
//! use lanyard::client::renewal::TokenSettings;
//! use lanyard::client::source::TokenSource;
//! use lanyard::client::supply::Credentials;
//! use tonic::transport::Uri;
//! use tower::Layer as _;
//!
//! # async fn example(channel: tonic::transport::Channel) -> Result<(), Box<dyn std::error::Error>> {
//! let file = |name| std::path::Path::new("/var/run/svid").join(name);
//! let files = ConnectionFiles { ca: file("ca.pem"), cert: file("svid.pem"), key: file("svid-key.pem") };
//! let credentials = Credentials::Files(files);
//! let server = Uri::from_static("https://lanyard.prod.example:8443");
//! let settings = TokenSettings { server, credentials, request: Default::default(), assertion: None };
//! let source = TokenSource::start(settings)?;
//! source.token().await?;
//! let channel = BearerLayer::new(source).layer(channel);
//! # Ok(())
//! # }
//! ```
//!
//! A workload needs this module alone: `lanyard = { default-features = false, features = ["client"] }`. With the
//! feature `opentelemetry`, calls also propagate the current span, if the program traces with tracing-opentelemetry. With the
//! feature `verifier` there is also the module `verifier`, for services that verify the tokens of their callers themselves.

pub mod assertion;
pub mod bearer;
pub mod connection;
pub mod exchanged;
pub mod files;
mod flights;
#[cfg(feature = "opentelemetry")]
mod onward;
mod pace;
pub mod pair;
pub mod presented;
pub mod renewal;
pub mod source;
pub mod supply;
pub mod token;
#[cfg(feature = "verifier")]
pub mod verifier;
