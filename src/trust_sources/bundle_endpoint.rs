//! SPIFFE bundle endpoints (SPIFFE Federation section 5): where other trust domains publish what vouches for their
//! workloads. Each is configured out of band; none is ever taken from what a client says.

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

/// How often a document is fetched that has no refresh hint (SPIFFE Federation section 4.1).
const DEFAULT_INTERVAL: Duration = Duration::from_mins(5);

/// The bounds of what a publisher may ask for.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_hours(1);

/// How many fetches there are within the time that a bundle counts, whatever its publisher asks for: a few may fail.
const FETCHES_IN_MAX_AGE: u32 = 4;

/// How long a fetch may take, the lookup of the name included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One trust domain and where its bundle is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose workloads the bundle vouches for, and nobody else's.
    pub trust_domain: TrustDomain,
    /// Where it is: an https URL under the rules of a `jwks_uri`, so without userinfo.
    pub url: JwksUri,
    /// How the endpoint proves that it is the right one.
    pub profile: Profile,
    /// How long the last good document counts.
    pub max_age: Duration,
}

/// How an endpoint proves that it is the right one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Profile {
    /// As a web server does, to CAs of the web (section 5.2.1).
    HttpsWeb {
        /// The CAs, PEM; `None`: the machine's.
        ca: Option<PathBuf>,
    },
    /// By an X509-SVID of its own trust domain (section 5.2.2), under the roots that were fetched last. Once these are empty
    /// nobody can prove to be the endpoint, and the trust domain stays shut out until a restart with a new file.
    HttpsSpiffe {
        /// The one SPIFFE ID that it must bear.
        endpoint_spiffe_id: SpiffeId,
        /// The bundle that the first fetch is verified against: PEM, or a bundle document. It admits nobody else.
        bundle: PathBuf,
    },
}

/// An endpoint, and the last good document from there.
#[derive(Debug)]
pub struct BundleEndpoint {
    trust_domain: TrustDomain,
    url: JwksUri,
    max_age: Duration,
    tls: Arc<ClientConfig>,
    clock: Arc<dyn Clock>,
    /// The roots that were fetched last, for the verifier in `tls`, where that goes by them.
    latest: Arc<ArcSwap<Anchors>>,
    held: Mutex<Option<BundleDocument>>,
    turn: tokio::sync::Mutex<()>,
}

/// Why a fetch brought nothing. The last good document stays.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// There is no document.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What was fetched is no bundle document.
    #[error(transparent)]
    Invalid(#[from] InvalidBundleDocument),
    /// Its sequence is lower than that of the document that is held.
    #[error("the document has the sequence {fetched}, and the one that is held has {held}")]
    Older {
        /// What was fetched.
        fetched: u64,
        /// What is held.
        held: u64,
    },
}

impl BundleEndpoint {
    /// An endpoint from which nothing was fetched yet. `tls` says which server is the right one. Each bundle's roots are left
    /// in `latest`, which is what a verifier for [`Profile::HttpsSpiffe`] must go by.
    pub fn new(config: &Config, tls: Arc<ClientConfig>, clock: Arc<dyn Clock>, latest: Arc<ArcSwap<Anchors>>) -> Self {
        let Config { trust_domain, url, max_age, .. } = config.clone();
        Self {
            trust_domain,
            url,
            max_age,
            tls,
            clock,
            latest,
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whose bundle is there.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The bundle of the last good document; `None` before there was one.
    pub fn bundle(&self) -> Option<Bundle> {
        self.held().as_ref().map(|document| document.bundle.clone())
    }

    /// How long to wait after one fetch, whether it went well or not, before the next (sections 4.1 and 6.2).
    pub fn interval(&self) -> Duration {
        let hint = self.held().as_ref().and_then(|document| document.refresh_hint).filter(|hint| !hint.is_zero());
        let longest = (self.max_age / FETCHES_IN_MAX_AGE).clamp(MIN_INTERVAL, MAX_INTERVAL);
        hint.unwrap_or(DEFAULT_INTERVAL).clamp(MIN_INTERVAL, longest)
    }

    /// Fetches the document. Says whether it vouches for something else than the last one did.
    ///
    /// A document with a lower sequence than the one that is held is refused for as long as that counts, unless both vouch
    /// for the same: publishers behind one name may number the same bundle differently.
    pub async fn refresh(&self) -> Result<bool, RefreshError> {
        // One at a time: else a fetch that was slow would undo a later one.
        let _turn = self.turn.lock().await;
        // From when it was asked for, so that it never counts for longer than it should.
        let asked_at = self.clock.now();
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch()).await.map_err(|_| FetchError::Slow)??;
        let mut document = BundleDocument::parse(&fetched)?;
        document.bundle.confirmed = Some(asked_at);
        document.bundle.good_until = Some(asked_at.after(self.max_age));
        let mut held = self.held();
        let changed = held.as_ref().is_none_or(|held| !held.bundle.vouches_like(&document.bundle));
        if let Some(held) = held.as_ref().filter(|held| !held.bundle.is_stale(asked_at))
            && let (Some(fetched), Some(sequence)) = (document.sequence, held.sequence)
            && fetched < sequence
        {
            if changed {
                return Err(RefreshError::Older { fetched, held: sequence });
            }
            document.sequence = Some(sequence);
        }
        self.latest.store(Arc::new(document.bundle.x509.clone()));
        *held = Some(document);
        Ok(changed)
    }

    /// Redirects are refused: whoever configured the URL can name the place itself.
    async fn fetch(&self) -> Result<Bytes, FetchError> {
        let stream = TcpStream::connect((self.url.host(), self.url.port())).await?;
        match exchange(stream, &self.tls, &self.url, MAX_BUNDLE_DOCUMENT_BYTES).await? {
            Answer::Document(document) => Ok(document),
            Answer::Elsewhere(_) => Err(FetchError::Redirect),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<BundleDocument>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
