//! Access tokens, verified without asking a server about each (RFC 9068 section 4, RFC 8705 section 3).
//!
//! A [`Verifier`] follows the keys and the revocations of the servers by `SnapshotService.WatchRevocations`, for which its
//! certificate needs the role Edge or Proxy. A revocation reaches it in the moment in which a server learns of it. Where nothing
//! confirms that it has all of them, for longer than a minute, it refuses everything.
//!
//! ```no_run
//! use lanyard::client::files::ConnectionFiles;
//! use lanyard::client::supply::Credentials;
//! use lanyard::client::verifier::Verifier;
//! use lanyard::client::verifier::VerifierSettings;
//! use rustls_pki_types::CertificateDer;
//! use tonic::transport::Uri;
//!
//! # async fn example(token: &str, presented: CertificateDer<'_>) -> Result<(), Box<dyn std::error::Error>> {
//! let file = |name| std::path::Path::new("/var/run/svid").join(name);
//! let files = ConnectionFiles { ca: file("ca.pem"), cert: file("svid.pem"), key: file("svid-key.pem") };
//! let servers = vec![Uri::from_static("https://lanyard.prod.example:8443")];
//! let settings = VerifierSettings::new(servers, Credentials::Files(files), "https://auth.prod.example");
//! let verifier = Verifier::follow(settings)?;
//! verifier.ready().await;
//! let verified = verifier.verify(token, &presented, "https://orders.prod.example", "orders.read")?;
//! println!("{}", verified.client_id);
//! # Ok(())
//! # }
//! ```
//!
//! It decides by the token, the certificate, the keys and the revocations. It does not know the registrations: that a client was
//! disabled, deleted or changed since, that its rotation accepts another certificate, or what the resource demands. A server
//! knows these, by `ValidateBinding`.

mod certificate;
mod claims;
mod copy;
mod follow;
mod follow_error;
mod jws;
mod refused;
mod revocations;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tokio::task::JoinHandle;
use tonic::transport::Uri;

use crate::client::files::FileError;
use crate::client::supply::Credentials;
use crate::client::verifier::certificate::Presented;
use crate::client::verifier::certificate::spiffe_id;
use crate::client::verifier::claims::Ancestor;
use crate::client::verifier::claims::Claims;
use crate::client::verifier::copy::Moment;
use crate::client::verifier::follow::Follower;
pub use crate::client::verifier::follow_error::FollowError;
pub use crate::client::verifier::refused::Refused;
use crate::client::verifier::revocations::Held;
use crate::client::verifier::shared::Shared;

/// How old the revocations may be, unless it is said otherwise.
const MAX_AGE: Duration = Duration::from_mins(1);

/// What to follow, and what to accept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifierSettings {
    /// The mTLS listeners of one or several replicas, such as `https://lanyard.prod.example:8443`. One is followed at a time; another
    /// one where it fails, or where its own snapshot is older than half the bound.
    pub servers: Vec<Uri>,
    /// The CAs that are trusted for the servers, and a certificate that has the role Edge or Proxy there.
    pub credentials: Credentials,
    /// The issuer identifier of the tokens.
    pub issuer: String,
    /// For how long uses are decided by revocations that nothing confirms. A minute; they are confirmed each second.
    pub max_age: Duration,
    /// Decide by older ones too. What was revoked since is then not known, and [`Verified::is_stale`] says so.
    pub accept_stale: bool,
    /// Accept delegated tokens: the holder acts for a subject. Whether it may is not known here: compare [`Verified::actors`].
    pub accept_delegated: bool,
}

impl VerifierSettings {
    /// Settings that accept nothing that is optional.
    pub fn new(servers: Vec<Uri>, credentials: Credentials, issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        Self { servers, credentials, issuer, max_age: MAX_AGE, accept_stale: false, accept_delegated: false }
    }
}

/// Verifies tokens by keys and revocations that it follows in the background. Clones share them. The background task ends when the
/// last clone is dropped.
#[derive(Clone)]
pub struct Verifier {
    issuer: Arc<str>,
    accept_stale: bool,
    accept_delegated: bool,
    shared: Arc<Shared>,
    _work: Arc<Work>,
}

struct Work(JoinHandle<()>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A token that may be used as it was presented.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Verified {
    /// The holder, who presented the token.
    pub client_id: String,
    /// Whom the token speaks for: the holder itself, but of a delegated token.
    pub subject: String,
    /// Who acts for the subject, the newest first. Empty, but of a delegated token.
    pub actors: Vec<String>,
    /// All scopes of the token.
    pub scope: Vec<String>,
    /// The identifier of the token.
    pub jti: String,
    /// The first moment in which the token is not valid any more.
    pub expires: SystemTime,
    /// How old the revocations could be by which this was decided.
    pub age: Duration,
    /// Whether that is more than the bound.
    pub is_stale: bool,
}

impl Verifier {
    /// Reads the files, if any, at once, and starts a task on the current tokio runtime.
    pub fn follow(settings: VerifierSettings) -> Result<Self, FileError> {
        let VerifierSettings { servers, credentials, issuer, max_age, accept_stale, accept_delegated } = settings;
        let (first, supply) = credentials.supply()?;
        let shared = Arc::new(Shared::new(max_age));
        let follower = Follower { servers, issuer: issuer.clone(), shared: Arc::clone(&shared) };
        let work = tokio::spawn(follow::run(follower, first.map(|identity| identity.tls), supply));
        Ok(Self { issuer: issuer.into(), accept_stale, accept_delegated, shared, _work: Arc::new(Work(work)) })
    }

    /// Waits until the keys and the revocations are there, and no older than the bound.
    pub async fn ready(&self) {
        let mut reports = self.shared.reports();
        while self.shared.is_stale() {
            if reports.changed().await.is_err() {
                return;
            }
        }
    }

    /// How old the revocations may be; `None` before they are there.
    pub fn age(&self) -> Option<Duration> {
        self.shared.read().age()
    }

    /// Why they are not confirmed at present, if so. Beyond the bound, this is why everything is refused.
    pub fn problem(&self) -> Option<Arc<FollowError>> {
        self.shared.reports().borrow().clone()
    }

    /// Verifies the use of a token over a connection whose peer proved that it has the key of a certificate, for this audience and
    /// these scopes, which are separated by spaces; empty, none are needed. Verify each request: the next one may be refused.
    ///
    /// # Errors
    /// For each reason not to accept the token, and where the revocations are too old.
    pub fn verify(
        &self,
        token: &str,
        presented: &CertificateDer<'_>,
        audience: &str,
        scope: &str,
    ) -> Result<Verified, Refused> {
        let present = self.shared.read();
        let age = present.age().ok_or(Refused::Stale { age: None })?;
        let is_stale = age > self.shared.max_age;
        if is_stale && !self.accept_stale {
            return Err(Refused::Stale { age: Some(age) });
        }
        let now = Moment::now().seconds();
        let claims = Claims::parse(&jws::payload(token, |kid| present.copy.key(kid))?)?;
        if claims.iss != *self.issuer {
            return Err(Refused::WrongIssuer);
        }
        claims.valid_at(now)?;
        let presented = Presented::parse(presented)?;
        if let Some(refusal) = present.copy.revocations.refusal(&held(&claims, &presented)?, now) {
            return Err(refusal);
        }
        for ancestor in &claims.lanyard_from {
            if present.copy.revocations.refusal(&held_before(ancestor)?, now).is_some() {
                return Err(Refused::DelegationBroken);
            }
        }
        self.suits(&claims, &presented, audience, scope, now)?;
        let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp));
        Ok(Verified {
            actors: claims.actors(),
            scope: claims.scopes().map(ToOwned::to_owned).collect(),
            client_id: claims.client_id,
            subject: claims.sub,
            jti: claims.jti,
            expires: expires.ok_or(Refused::TokenMalformed)?,
            age,
            is_stale,
        })
    }

    /// Whether a token of this server, which is valid by itself, may be used like this.
    fn suits(
        &self,
        claims: &Claims,
        presented: &Presented,
        audience: &str,
        scope: &str,
        now: u64,
    ) -> Result<(), Refused> {
        if !claims.is_for(audience) {
            return Err(Refused::WrongAudience);
        }
        if claims.is_delegated() && !self.accept_delegated {
            return Err(Refused::DelegationNotAccepted);
        }
        let bound_to = claims.bound_to().ok_or(Refused::NotBound)?;
        if claims.has_unknown_confirmation() {
            return Err(Refused::UnknownConfirmation);
        }
        presented.valid_at(now)?;
        if presented.thumbprint != bound_to {
            let renewed = presented.is_of(claims.bound_spiffe_id());
            return Err(if renewed { Refused::CertificateRenewed } else { Refused::CertificateMismatch });
        }
        if claims.covers(scope) { Ok(()) } else { Err(Refused::InsufficientScope) }
    }
}

/// What revocations may concern of a token with the certificate that it is presented with.
fn held<'a>(claims: &'a Claims, presented: &'a Presented) -> Result<Held<'a>, Refused> {
    let holder = holder_id(&claims.client_id)?;
    let spiffe_ids = holder.into_iter().chain(presented.spiffe_ids.iter().cloned()).collect();
    let certificates = claims.bound_to().into_iter().chain([presented.thumbprint.as_str()]).collect();
    let Claims { jti, iat, client_id, lanyard_creation, .. } = claims;
    Ok(Held { jti, issued: *iat, client_id, registration: lanyard_creation, spiffe_ids, certificates })
}

/// The same of a token that another one comes from.
fn held_before(ancestor: &Ancestor) -> Result<Held<'_>, Refused> {
    let Ancestor { jti, iat, client_id, creation, x5t, .. } = ancestor;
    let spiffe_ids = holder_id(client_id)?.into_iter().collect();
    Ok(Held { jti, issued: *iat, client_id, registration: creation, spiffe_ids, certificates: vec![x5t] })
}

/// The SPIFFE ID of a `client_id`, where it is one.
fn holder_id(client_id: &str) -> Result<Option<spiffe::SpiffeId>, Refused> {
    if !client_id.starts_with("spiffe:") {
        return Ok(None);
    }
    spiffe_id(client_id).map(Some).ok_or(Refused::TokenMalformed)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, accept_stale, accept_delegated, .. } = self;
        let mut out = out.debug_struct("Verifier");
        out.field("issuer", issuer).field("accept_stale", accept_stale).field("accept_delegated", accept_delegated);
        out.field("age", &self.age()).finish_non_exhaustive()
    }
}
