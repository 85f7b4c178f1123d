//! The source of the workload's certificate, and of each certificate after it.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::unfold;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivatePkcs8KeyDer;
use spiffe::WorkloadApiClient;
use spiffe::X509Context;
use spiffe::transport::Endpoint;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use crate::client::files;
use crate::client::files::ConnectionFiles;
use crate::client::files::Contents;
use crate::client::files::FileError;
use crate::client::pace;
use crate::client::token::TokenError;

/// The interval at which files are read again.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The timeout for the Workload API to connect and to send its first message.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The trusted CAs, and the workload's certificate and key.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// PEM files. They are read again when they change.
    Files(ConnectionFiles),
    /// The default X509-SVID of the SPIFFE Workload API, as it is streamed.
    WorkloadApi {
        /// The address of the Workload API.
        endpoint: Endpoint,
        /// PEM file with the CA certificates that are trusted for the server. Left out: the bundle of the workload's
        /// own trust domain.
        ca: Option<PathBuf>,
    },
}

/// A certificate with its intermediates, and a TLS client that presents it.
pub(in crate::client) struct Identity {
    pub(in crate::client) chain: Vec<CertificateDer<'static>>,
    pub(in crate::client) tls: Arc<ClientConfig>,
}

/// Yields each new certificate, or why there is none at present. It never ends, and dropping a pending `next` loses
/// nothing.
pub(in crate::client) type Supply = Pin<Box<dyn Stream<Item = Result<Identity, TokenError>> + Send>>;

impl Credentials {
    /// Starts the supply. Files are read at once, so that errors in them are reported at the start.
    pub(in crate::client) fn supply(self) -> Result<(Option<Identity>, Supply), FileError> {
        match self {
            Self::Files(files) => {
                let contents = files.read()?;
                let first = identity(&files, &contents)?;
                Ok((
                    Some(first),
                    Box::pin(unfold(FilePolling { files, contents, reported: Reported::None }, FilePolling::next)),
                ))
            }
            Self::WorkloadApi { endpoint, ca } => {
                let stream = WorkloadApiStream { endpoint, ca, messages: None, failures: 0 };
                Ok((None, Box::pin(unfold(stream, WorkloadApiStream::next))))
            }
        }
    }

    /// The present TLS client configuration; waits for the first from the Workload API.
    #[cfg(feature = "server")]
    pub(crate) async fn now(self) -> Result<Arc<ClientConfig>, TokenError> {
        let (first, mut supply) = self.supply()?;
        match first {
            Some(first) => Ok(first.tls),
            None => supply.next().await.unwrap_or(Err(TokenError::NoToken)).map(|identity| identity.tls),
        }
    }
}

fn identity(files: &ConnectionFiles, contents: &Contents) -> Result<Identity, FileError> {
    Ok(Identity { tls: Arc::new(files.tls(contents)?), chain: files.chain(contents)? })
}

struct FilePolling {
    files: ConnectionFiles,
    contents: Contents,
    reported: Reported,
}

/// Files that are replaced one after the other may not match for a moment. A fault is therefore reported only when it
/// is seen a second time.
#[derive(Eq, PartialEq)]
enum Reported {
    None,
    Seen(String),
    Sent(String),
}

impl FilePolling {
    async fn next(mut self) -> Option<(Result<Identity, TokenError>, Self)> {
        loop {
            sleep(POLL_INTERVAL).await;
            let files = self.files.clone();
            let Ok(read) = spawn_blocking(move || files.read()).await else { continue };
            let changed = match read {
                Ok(contents) if contents == self.contents => {
                    self.reported = Reported::None;
                    continue;
                }
                Ok(contents) => identity(&self.files, &contents).map(|identity| (contents, identity)),
                Err(error) => Err(error),
            };
            match changed {
                Ok((contents, identity)) => {
                    (self.contents, self.reported) = (contents, Reported::None);
                    return Some((Ok(identity), self));
                }
                Err(error) if self.is_due(&error) => return Some((Err(error.into()), self)),
                Err(_) => {}
            }
        }
    }

    fn is_due(&mut self, error: &FileError) -> bool {
        let text = error.to_string();
        let persists = self.reported == Reported::Seen(text.clone());
        if persists {
            self.reported = Reported::Sent(text);
        } else if self.reported != Reported::Sent(text.clone()) {
            self.reported = Reported::Seen(text);
        }
        persists
    }
}

struct WorkloadApiStream {
    endpoint: Endpoint,
    ca: Option<PathBuf>,
    messages: Option<Messages>,
    failures: u32,
}

type Messages = Pin<Box<dyn Stream<Item = Result<X509Context, spiffe::WorkloadApiError>> + Send>>;

impl WorkloadApiStream {
    async fn next(mut self) -> Option<(Result<Identity, TokenError>, Self)> {
        if self.messages.is_none() && self.failures > 0 {
            sleep(pace::backoff(self.failures)).await;
        }
        let result = self.message().await;
        if result.is_ok() {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.messages = None;
        }
        Some((result, self))
    }

    async fn message(&mut self) -> Result<Identity, TokenError> {
        let failed = |error: spiffe::WorkloadApiError| TokenError::WorkloadApi(error.to_string());
        let context = if let Some(messages) = &mut self.messages {
            messages.next().await
        } else {
            let first = timeout(TIMEOUT, async {
                let client = WorkloadApiClient::connect(self.endpoint.clone()).await?;
                let mut messages: Messages = Box::pin(client.stream_x509_contexts().await?);
                let first = messages.next().await;
                self.messages = Some(messages);
                Ok(first)
            });
            let first = first.await.map_err(|_| TokenError::WorkloadApi("no answer came in time".to_owned()))?;
            first.map_err(failed)?
        };
        let context = context.ok_or_else(|| TokenError::WorkloadApi("the stream ended".to_owned()))?;
        self.identity(&context.map_err(failed)?)
    }

    fn identity(&self, context: &X509Context) -> Result<Identity, TokenError> {
        let nothing = |what: &str| TokenError::WorkloadApi(format!("it has {what} for this workload"));
        let svid = context.default_svid().ok_or_else(|| nothing("no X509-SVID"))?;
        let roots = if let Some(ca) = &self.ca {
            files::certificates(ca)?
        } else {
            let bundle = context.bundle_set().get(svid.spiffe_id().trust_domain());
            let bundle = bundle.ok_or_else(|| nothing("no bundle of its trust domain"))?;
            bundle.authorities().iter().map(|root| CertificateDer::from(root.as_bytes().to_vec())).collect()
        };
        let chain: Vec<_> = svid.cert_chain().iter().map(|one| CertificateDer::from(one.as_bytes().to_vec())).collect();
        let key = PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec());
        let tls = files::client_tls(roots, chain.clone(), &key.into());
        let tls = tls.map_err(|error| TokenError::WorkloadApi(format!("what it gave cannot be used: {error}")))?;
        Ok(Identity { chain, tls: Arc::new(tls) })
    }
}
