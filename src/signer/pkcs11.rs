//! Signing keys in a PKCS#11 token, such as a hardware security module. Their private halves never leave it.
//!
//! Calls of PKCS#11 block, so that they are made by a bounded number of threads beside those that serve requests. A token
//! that goes away keeps tokens from being issued, and nothing else: public keys are in the records.

mod config;
mod connection;
mod error;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::authority::clock::Clock;
use crate::authority::keys::Hsm;
use crate::authority::keys::HsmWork;
use crate::authority::keys::Signer;
use crate::authority::keys::Signing;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
pub use crate::signer::pkcs11::config::Config;
pub use crate::signer::pkcs11::config::TokenName;
use crate::signer::pkcs11::connection::Connection;
pub use crate::signer::pkcs11::error::HsmError;
use crate::signer::pkcs11::keys::KeyReference;
use crate::signer::pool::Pool;
use crate::signer::pool::WAITING;

/// How long a request waits for a thread, and then for a signature.
const SIGNATURE_LIMIT: Duration = Duration::from_secs(5);

/// How long a new key is waited for: a small token takes many seconds for an RSA key.
const GENERATION_LIMIT: Duration = Duration::from_mins(2);

/// A token, with a pool of sessions.
#[derive(Clone, Debug)]
pub struct Pkcs11(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Connection,
    pool: Pool,
    /// One pair is made at a time, so that signatures have the other sessions.
    generation: Arc<Semaphore>,
}

impl Pkcs11 {
    /// Loads the module, and finds the token, without its PIN. The token must have the mechanisms for new keys of this
    /// algorithm, if it is to make some. It blocks.
    pub fn find(config: Config, algorithm: SigningAlgorithm, clock: Arc<dyn Clock>) -> Result<Self, HsmError> {
        let pool = Pool::new(config.sessions, WAITING);
        let connection = Connection::load(config, algorithm, clock)?;
        Ok(Self(Arc::new(Shared { connection, pool, generation: Arc::new(Semaphore::new(1)) })))
    }

    /// The same, and opens the first session with the PIN, which is tried once. It blocks.
    pub fn open(config: Config, algorithm: SigningAlgorithm, clock: Arc<dyn Clock>) -> Result<Self, HsmError> {
        let opened = Self::find(config, algorithm, clock)?;
        opened.0.connection.open()?;
        Ok(opened)
    }

    /// Whether the token answered when it was last asked.
    pub fn is_available(&self) -> bool {
        self.0.connection.is_available()
    }

    /// How often the token was lost, or did not come back when it was tried.
    pub fn failures(&self) -> u64 {
        self.0.connection.failures()
    }

    /// Does work on a thread that serves no requests. Where there is no runtime, and so no other request, it is done here.
    /// The limit is that of the work: a token is not lost because others wait for it too.
    async fn work<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Connection) -> Result<T, SigningFailed> + Send + 'static,
    ) -> Result<T, SigningFailed> {
        let shared = Arc::clone(&self.0);
        if Handle::try_current().is_err() {
            return work(&shared.connection);
        }
        let turn = timeout(SIGNATURE_LIMIT, self.0.pool.turn()).await.unwrap_or_else(|_| Err(self.waited()))?;
        // What hangs in the module goes on, and keeps its thread.
        timeout(limit, turn.sign(move || work(&shared.connection))).await.unwrap_or_else(|_| {
            self.0.connection.report_lost(&"it did not answer in time");
            Err(SigningFailed::Unavailable)
        })
    }

    /// What is answered to those who waited for others too long: they wait for a token that works, or for one that does
    /// not.
    fn waited(&self) -> SigningFailed {
        if self.is_available() { SigningFailed::Busy } else { SigningFailed::Unavailable }
    }

    async fn make_pair(&self, algorithm: SigningAlgorithm) -> Result<Vec<u8>, SigningFailed> {
        let one = Arc::clone(&self.0.generation).acquire_owned();
        let one = timeout(SIGNATURE_LIMIT, one).await.map_err(|_| self.waited())?.map_err(|_| SigningFailed::Failed)?;
        let (asks, is_asked) = oneshot::channel::<()>();
        let made = self.work(GENERATION_LIMIT, move |connection| {
            let public_key = keys::generate(connection, algorithm)?;
            if asks.is_closed() {
                keys::discard(connection, &public_key);
            }
            drop(one);
            Ok(public_key)
        });
        let made = made.await;
        drop(is_asked);
        made
    }
}

impl Hsm for Pkcs11 {
    fn check(&self) -> HsmWork<'_, ()> {
        Box::pin(self.work(SIGNATURE_LIMIT, Connection::check))
    }

    fn generate(&self, algorithm: SigningAlgorithm) -> HsmWork<'_, Vec<u8>> {
        Box::pin(self.make_pair(algorithm))
    }

    fn signer(&self, algorithm: SigningAlgorithm, key_id: &str, public_key: &[u8]) -> Arc<dyn Signer> {
        let key = Arc::new(KeyReference::new(algorithm, key_id, public_key));
        Arc::new(Pkcs11Signer { token: self.clone(), key })
    }

    fn delete<'a>(&'a self, key_id: &'a str) -> HsmWork<'a, ()> {
        let key_id = key_id.to_owned();
        Box::pin(self.work(SIGNATURE_LIMIT, move |connection| keys::delete(connection, &key_id)))
    }
}

/// A private key in the token.
#[derive(Debug)]
struct Pkcs11Signer {
    token: Pkcs11,
    key: Arc<KeyReference>,
}

impl Signer for Pkcs11Signer {
    fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.key.public_key
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        let (key, message) = (Arc::clone(&self.key), message.to_vec());
        Box::pin(self.token.work(SIGNATURE_LIMIT, move |connection| key.sign(connection, &message)))
    }
}
