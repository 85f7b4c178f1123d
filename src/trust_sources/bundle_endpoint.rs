//! SPIFFE bundle endpoints (SPIFFE Federation section 5): where other trust domains publish their bundles. Each is
//! configured out of band. None is taken from what a client sends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Bytes;
use rustls::ClientConfig;
use spiffe::SpiffeId;
use spiffe::TrustDomain;
use tokio::net::TcpStream;

use crate::authority::clock::Clock;
use crate::authority::registration::JwksUri;
use crate::authority::trust::Anchors;
use crate::authority::trust::Bundle;
use crate::authority::trust::BundleDocument;
use crate::authority::trust::InvalidBundleDocument;
use crate::authority::trust::MAX_BUNDLE_DOCUMENT_BYTES;
use crate::trust_sources::https::Answer;
use crate::trust_sources::https::FetchError;
use crate::trust_sources::https::exchange;

/// How often a document without a refresh hint is fetched (SPIFFE Federation section 4.1).
const DEFAULT_INTERVAL: Duration = Duration::from_mins(5);

/// The bounds of a refresh hint.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_hours(1);

/// The minimum number of fetches within the maximum age of a bundle, whatever its refresh hint says. Some of them may
/// fail.
const FETCHES_IN_MAX_AGE: u32 = 4;

/// The timeout of a fetch, the name lookup included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A trust domain and its bundle endpoint.
#[derive(Clone, Debug)]
pub struct Config {
    /// The trust domain that the bundle is for. It vouches for no other.
    pub trust_domain: TrustDomain,
    /// The https URL, under the rules of a `jwks_uri`, so without userinfo.
    pub url: JwksUri,
    /// How the endpoint is authenticated.
    pub profile: Profile,
    /// How long the last valid document stays in effect.
    pub max_age: Duration,
}

/// How an endpoint is authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Profile {
    /// By a certificate for its host name, verified as for any web server (section 5.2.1).
    HttpsWeb {
        /// The trusted CAs, PEM; `None`: the machine's.
        ca: Option<PathBuf>,
    },
    /// By an X509-SVID of its own trust domain (section 5.2.2), verified against the roots that were fetched last. Once
    /// a fetched bundle has no roots, the endpoint cannot be authenticated any more. The trust domain then has no
    /// bundle until a restart with a new file.
    HttpsSpiffe {
        /// The SPIFFE ID that the endpoint must have.
        endpoint_spiffe_id: SpiffeId,
        /// The bundle that the first fetch is verified against: PEM, or a bundle document. It is used for nothing else.
        bundle: PathBuf,
    },
}

/// An endpoint, and the last valid document from it.
#[derive(Debug)]
pub struct BundleEndpoint {
    trust_domain: TrustDomain,
    url: JwksUri,
    max_age: Duration,
    tls: Arc<ClientConfig>,
    clock: Arc<dyn Clock>,
    /// The roots that were fetched last. The verifier in `tls` reads them under [`Profile::HttpsSpiffe`].
    latest: Arc<ArcSwap<Anchors>>,
    current: Mutex<Option<BundleDocument>>,
    turn: tokio::sync::Mutex<()>,
}

/// Why a fetch failed. The last valid document stays in effect.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The document could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The document is not a valid bundle document.
    #[error(transparent)]
    Invalid(#[from] InvalidBundleDocument),
    /// Its `spiffe_sequence` is lower than that of the document in effect.
    #[error("the document has the sequence {fetched}, which is lower than {current} of the document in effect")]
    Older {
        /// The sequence of the fetched document.
        fetched: u64,
        /// The sequence of the document in effect.
        current: u64,
    },
}

impl BundleEndpoint {
    /// An endpoint without a document yet. `tls` authenticates the server. The roots of each fetched bundle are stored
    /// in `latest`; the verifier for [`Profile::HttpsSpiffe`] must read them there.
    pub fn new(config: &Config, tls: Arc<ClientConfig>, clock: Arc<dyn Clock>, latest: Arc<ArcSwap<Anchors>>) -> Self {
        let Config { trust_domain, url, max_age, .. } = config.clone();
        Self {
            trust_domain,
            url,
            max_age,
            tls,
            clock,
            latest,
            current: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The trust domain of the bundle.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The bundle of the last valid document; `None` before the first.
    pub fn bundle(&self) -> Option<Bundle> {
        self.current().as_ref().map(|document| document.bundle.clone())
    }

    /// How long to wait after a fetch, successful or not, before the next (sections 4.1 and 6.2).
    pub fn interval(&self) -> Duration {
        let hint = self.current().as_ref().and_then(|document| document.refresh_hint).filter(|hint| !hint.is_zero());
        let longest = (self.max_age / FETCHES_IN_MAX_AGE).clamp(MIN_INTERVAL, MAX_INTERVAL);
        hint.unwrap_or(DEFAULT_INTERVAL).clamp(MIN_INTERVAL, longest)
    }

    /// Fetches the document. Returns whether the bundle differs from the previous one.
    ///
    /// While the present document is in effect, one with a lower sequence is refused, unless both bundles are equal:
    /// publishers behind one name may number the same bundle differently.
    pub async fn refresh(&self) -> Result<bool, RefreshError> {
        // One fetch at a time, so that a slow fetch cannot replace the result of a later one.
        let _turn = self.turn.lock().await;
        // The age is counted from before the request, so that a document is never in effect for longer than `max_age`.
        let requested_at = self.clock.now();
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch()).await.map_err(|_| FetchError::Slow)??;
        let mut document = BundleDocument::parse(&fetched)?;
        document.bundle.confirmed = Some(requested_at);
        document.bundle.good_until = Some(requested_at.after(self.max_age));
        let mut current = self.current();
        let changed = current.as_ref().is_none_or(|current| !current.bundle.vouches_like(&document.bundle));
        if let Some(current) = current.as_ref().filter(|current| !current.bundle.is_stale(requested_at))
            && let (Some(fetched), Some(sequence)) = (document.sequence, current.sequence)
            && fetched < sequence
        {
            if changed {
                return Err(RefreshError::Older { fetched, current: sequence });
            }
            document.sequence = Some(sequence);
        }
        let last = current.as_ref().map(|current| &current.skipped);
        if !document.skipped.0.is_empty() && last != Some(&document.skipped) {
            let (roots, jwt_keys) = (document.bundle.x509.len(), document.bundle.jwt.all().count());
            let (trust_domain, skipped, keys) = (&self.trust_domain, document.skipped.0.len(), &document.skipped);
            tracing::warn!(
                %trust_domain, roots, jwt_keys, skipped, %keys,
                "keys in the bundle of a federated trust domain are skipped"
            );
        }
        self.latest.store(Arc::new(document.bundle.x509.clone()));
        *current = Some(document);
        Ok(changed)
    }

    /// Redirects are refused: the configured URL can name the final location.
    async fn fetch(&self) -> Result<Bytes, FetchError> {
        let stream = TcpStream::connect((self.url.host(), self.url.port())).await?;
        match exchange(stream, &self.tls, &self.url, MAX_BUNDLE_DOCUMENT_BYTES).await? {
            Answer::Document(document) => Ok(document),
            Answer::Redirect(_) => Err(FetchError::Redirect),
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<BundleDocument>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
