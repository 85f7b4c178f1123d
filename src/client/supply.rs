//! Where our certificate comes from, and the next one after it.

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

/// How often files are read again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long the Workload API may take to connect, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to trust, and who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// PEM files. They are read again when they change.
    Files(ConnectionFiles),
    /// The default X509-SVID of the SPIFFE Workload API, as it is streamed.
    WorkloadApi {
        /// Where the Workload API is.
        endpoint: Endpoint,
        /// PEM file with the CA certificates that may vouch for the server. Left out: the bundle of our own trust domain.
        ca: Option<PathBuf>,
    },
}

/// A certificate with its intermediates, and a TLS client that shows it.
pub(in crate::client) struct Identity {
    pub(in crate::client) chain: Vec<CertificateDer<'static>>,
    pub(in crate::client) tls: Arc<ClientConfig>,
}

/// Each certificate after the one before, and why there is none for now. It never ends, and loses nothing when it is not
/// awaited to the end.
pub(in crate::client) type Supply = Pin<Box<dyn Stream<Item = Result<Identity, TokenError>> + Send>>;

impl Credentials {
    /// Begins. Files are read at once, so that what is wrong with them is told at the start.
    pub(in crate::client) fn supply(self) -> Result<(Option<Identity>, Supply), FileError> {
        match self {
            Self::Files(files) => {
                let contents = files.read()?;
                let first = identity(&files, &contents)?;
                Ok((
                    Some(first),
                    Box::pin(unfold(Looking { files, contents, complaint: Complaint::None }, Looking::next)),
                ))
            }
            Self::WorkloadApi { endpoint, ca } => {
                let following = Following { endpoint, ca, messages: None, failures: 0 };
                Ok((None, Box::pin(unfold(following, Following::next))))
            }
        }
    }

    /// What is there now.
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

struct Looking {
    files: ConnectionFiles,
    contents: Contents,
    complaint: Complaint,
}

/// Files that are being replaced one after the other do not fit for a moment, so the first sight of a fault says nothing.
#[derive(Eq, PartialEq)]
enum Complaint {
    None,
    Seen(String),
    Said(String),
}

impl Looking {
    async fn next(mut self) -> Option<(Result<Identity, TokenError>, Self)> {
        loop {
            sleep(LOOK_EVERY).await;
            let files = self.files.clone();
            let Ok(read) = spawn_blocking(move || files.read()).await else { continue };
            let changed = match read {
                Ok(contents) if contents == self.contents => {
                    self.complaint = Complaint::None;
                    continue;
                }
                Ok(contents) => identity(&self.files, &contents).map(|identity| (contents, identity)),
                Err(error) => Err(error),
            };
            match changed {
                Ok((contents, identity)) => {
                    (self.contents, self.complaint) = (contents, Complaint::None);
                    return Some((Ok(identity), self));
                }
                Err(error) if self.is_news(&error) => return Some((Err(error.into()), self)),
                Err(_) => {}
            }
        }
    }

    fn is_news(&mut self, error: &FileError) -> bool {
        let text = error.to_string();
        let lasts = self.complaint == Complaint::Seen(text.clone());
        if lasts {
            self.complaint = Complaint::Said(text);
        } else if self.complaint != Complaint::Said(text.clone()) {
            self.complaint = Complaint::Seen(text);
        }
        lasts
    }
}

struct Following {
    endpoint: Endpoint,
    ca: Option<PathBuf>,
    messages: Option<Messages>,
    failures: u32,
}

type Messages = Pin<Box<dyn Stream<Item = Result<X509Context, spiffe::WorkloadApiError>> + Send>>;

impl Following {
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
            let first = timeout(PATIENCE, async {
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
        let tls = files::client_tls(roots, chain.clone(), key.into());
        let tls = tls.map_err(|error| TokenError::WorkloadApi(format!("what it gave cannot be used: {error}")))?;
        Ok(Identity { chain, tls: Arc::new(tls) })
    }
}
