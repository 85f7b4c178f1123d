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
use crate::authority::clock::Timestamp;
use crate::authority::registration::AllowedHosts;
use crate::authority::registration::JwksUri;
use crate::authority::trust::Anchors;
use crate::authority::trust::Bundle;
use crate::authority::trust::BundleDocument;
use crate::authority::trust::InvalidBundleDocument;
use crate::authority::trust::MAX_BUNDLE_DOCUMENT_BYTES;
use crate::trust_sources::https::Answer;
use crate::trust_sources::https::FetchError;
use crate::trust_sources::https::MAX_REDIRECTS;
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
    /// The hosts to which it may redirect, besides its own.
    pub redirect_hosts: AllowedHosts,
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
    /// By an X509-SVID (section 5.2.2).
    HttpsSpiffe {
        /// The SPIFFE ID that the endpoint must have.
        endpoint_spiffe_id: SpiffeId,
        /// The roots that the SVID is verified against.
        roots: EndpointRoots,
    },
}

/// The roots that the SVID of an endpoint is verified against.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EndpointRoots {
    /// The endpoint is in the trust domain whose bundle it serves: the roots that were fetched last. This file, PEM or a
    /// bundle document, is for the first fetch alone. Once a fetched bundle has no roots, the endpoint cannot be
    /// authenticated any more. The trust domain then has no bundle until a restart with a new file.
    Fetched(PathBuf),
    /// The endpoint is in another trust domain, whose roots are those of this file.
    File(PathBuf),
    /// The endpoint is in another trust domain, whose current bundle this server has.
    BundleOf(TrustDomain),
}

/// An endpoint, and the last valid document from it.
#[derive(Debug)]
pub struct BundleEndpoint {
    config: Config,
    tls: Arc<ClientConfig>,
    clock: Arc<dyn Clock>,
    /// The roots that the verifier in `tls` reads under [`Profile::HttpsSpiffe`].
    roots: Arc<ArcSwap<Anchors>>,
    current: Mutex<Option<BundleDocument>>,
    turn: tokio::sync::Mutex<()>,
}

/// What a fetch brought.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// Whether the bundle differs from the previous one.
    pub changed: bool,
    /// Whether it is in effect: not where another replica's of a later request already was.
    pub taken: bool,
    /// The document, parsed.
    pub document: BundleDocument,
    /// Its text.
    pub text: Bytes,
    /// When it was requested.
    pub requested_at: Timestamp,
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
    /// An endpoint without a document yet. `tls` authenticates the server; for [`Profile::HttpsSpiffe`] its verifier must
    /// read `roots`.
    pub fn new(config: &Config, tls: Arc<ClientConfig>, clock: Arc<dyn Clock>, roots: Arc<ArcSwap<Anchors>>) -> Self {
        let (current, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { config: config.clone(), tls, clock, roots, current, turn }
    }

    /// The URL of the endpoint.
    pub fn url(&self) -> &str {
        self.config.url.as_str()
    }

    /// How long the last valid document stays in effect.
    pub fn max_age(&self) -> Duration {
        self.config.max_age
    }

    /// The trust domain of the bundle.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.config.trust_domain
    }

    /// The other trust domain whose current bundle authenticates the endpoint, if there is one.
    pub fn authenticated_by(&self) -> Option<&TrustDomain> {
        match &self.config.profile {
            Profile::HttpsSpiffe { roots: EndpointRoots::BundleOf(trust_domain), .. } => Some(trust_domain),
            Profile::HttpsSpiffe { roots: EndpointRoots::Fetched(_) | EndpointRoots::File(_), .. }
            | Profile::HttpsWeb { .. } => None,
        }
    }

    /// Sets the roots that authenticate the endpoint from now on.
    pub fn authenticate_with(&self, roots: Anchors) {
        self.roots.store(Arc::new(roots));
    }

    /// The bundle of the last valid document; `None` before the first.
    pub fn bundle(&self) -> Option<Bundle> {
        self.current().as_ref().map(|document| document.bundle.clone())
    }

    /// How long to wait after a fetch, successful or not, before the next (sections 4.1 and 6.2).
    pub fn interval(&self) -> Duration {
        let hint = self.current().as_ref().and_then(|document| document.refresh_hint).filter(|hint| !hint.is_zero());
        let longest = (self.config.max_age / FETCHES_IN_MAX_AGE).clamp(MIN_INTERVAL, MAX_INTERVAL);
        hint.unwrap_or(DEFAULT_INTERVAL).clamp(MIN_INTERVAL, longest)
    }

    /// Fetches the document.
    ///
    /// While the present document is in effect, one with a lower sequence is refused, unless both bundles are equal:
    /// publishers behind one name may number the same bundle differently.
    pub async fn refresh(&self) -> Result<Refreshed, RefreshError> {
        // One fetch at a time, so that a slow fetch cannot replace the result of a later one.
        let _turn = self.turn.lock().await;
        // The age is counted from before the request, so that a document is never in effect for longer than `max_age`.
        let requested_at = self.clock.now();
        let text = tokio::time::timeout(TIMEOUT, self.fetch()).await.map_err(|_| FetchError::Slow)??;
        // The clock may have been set back in the meantime.
        let requested_at = requested_at.min(self.clock.now());
        let document = BundleDocument::parse(&text)?;
        let taken = self.take(document.clone(), requested_at)?;
        Ok(Refreshed { changed: taken.unwrap_or(false), taken: taken.is_some(), document, text, requested_at })
    }

    /// Takes a document that was fetched by another replica, or before a restart, unless it is older than the present one,
    /// no longer valid, or has a lower sequence. A clock that is ahead does not lengthen its validity. Returns whether it was
    /// taken.
    ///
    /// That holds also after the present one has ended: who can write to the store alone could end it, and then bring an
    /// earlier one back. Only what is fetched here may have a lower sequence.
    pub fn adopt(&self, document: &BundleDocument, fetched_at: Timestamp) -> bool {
        let now = self.clock.now();
        let confirmed = fetched_at.min(now);
        let is_newer = self.current().as_ref().is_none_or(|current| {
            let is_lower =
                document.sequence.zip(current.sequence).is_some_and(|(sequence, present)| sequence < present);
            let is_same = current.bundle.vouches_like(&document.bundle);
            current.bundle.confirmed < Some(confirmed) && (!is_lower || is_same)
        });
        is_newer
            && now <= confirmed.after(self.config.max_age)
            && matches!(self.take(document.clone(), confirmed), Ok(Some(_)))
    }

    /// Ends the validity of the present document now. It is replaced only by a later one.
    pub fn expire(&self) {
        if let Some(current) = self.current().as_mut() {
            current.bundle.good_until = Some(Timestamp(0));
        }
    }

    /// When the present document was requested, if it is valid.
    pub fn in_effect_since(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        self.current().as_ref().filter(|current| !current.bundle.is_stale(now))?.bundle.confirmed
    }

    /// Takes it that the present document was requested now, where that is yet to come: a clock that was ahead has been set
    /// back. Its validity is not longer for that, and what is fetched from now on replaces it. Returns whether it was so.
    pub fn follow_clock(&self) -> bool {
        let now = self.clock.now();
        let mut current = self.current();
        let Some(current) = current.as_mut().filter(|current| current.bundle.confirmed > Some(now)) else {
            return false;
        };
        current.bundle.confirmed = Some(now);
        current.bundle.good_until = current.bundle.good_until.min(Some(now.after(self.config.max_age)));
        true
    }

    /// Replaces the document, unless the present one was requested later. Returns whether the bundle differs from the
    /// previous one, if it was replaced.
    fn take(&self, mut document: BundleDocument, requested_at: Timestamp) -> Result<Option<bool>, RefreshError> {
        document.bundle.confirmed = Some(requested_at);
        document.bundle.good_until = Some(requested_at.after(self.config.max_age));
        let mut current = self.current();
        if current.as_ref().is_some_and(|current| current.bundle.confirmed > document.bundle.confirmed) {
            // Another replica fetched it later.
            return Ok(None);
        }
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
            let (trust_domain, skipped, keys) = (self.trust_domain(), document.skipped.0.len(), &document.skipped);
            tracing::warn!(
                %trust_domain, roots, jwt_keys, skipped, %keys,
                "keys in the bundle of a federated trust domain are skipped"
            );
        }
        if let Profile::HttpsSpiffe { roots: EndpointRoots::Fetched(_), .. } = &self.config.profile {
            self.authenticate_with(document.bundle.x509.clone());
        }
        *current = Some(document);
        Ok(Some(changed))
    }

    /// Follows redirects to the allowed hosts, each of which is authenticated like the endpoint (section 5.2). The next
    /// fetch begins at the configured URL again.
    async fn fetch(&self) -> Result<Bytes, FetchError> {
        let Config { url: first, redirect_hosts, .. } = &self.config;
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let stream = TcpStream::connect((url.host(), url.port())).await?;
            match exchange(stream, &self.tls, &url, MAX_BUNDLE_DOCUMENT_BYTES).await? {
                Answer::Document(document) => return Ok(document),
                Answer::Redirect(location) => url = url.redirected(&location).ok_or(FetchError::Redirect)?,
            }
            if url.authority() != first.authority() && !redirect_hosts.allows(&url) {
                return Err(FetchError::Redirect);
            }
        }
        Err(FetchError::Redirect)
    }

    fn current(&self) -> MutexGuard<'_, Option<BundleDocument>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
