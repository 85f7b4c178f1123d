//! The module, the token, and the pool of sessions, which are opened again after the token was lost.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::TryLockError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11 as Module;
use cryptoki::error::Error;
use cryptoki::error::RvError;
use cryptoki::mechanism::MechanismType;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::session::UserType;
use cryptoki::slot::Slot;

use crate::authority::clock::Clock;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
use crate::signer::pkcs11::config::Config;
use crate::signer::pkcs11::config::TokenName;
use crate::signer::pkcs11::error::CallError;
use crate::signer::pkcs11::error::HsmError;
use crate::signer::pkcs11::error::words;

/// The longest pause between two attempts to open sessions again.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A module that is loaded once, and the connection to one of its tokens.
pub(super) struct Connection {
    config: Config,
    algorithm: SigningAlgorithm,
    clock: Arc<dyn Clock>,
    module: Module,
    /// Calls are made under a read lock, so that the module is not ended under them. Nobody waits for the lock.
    sessions: RwLock<Option<Sessions>>,
    retry: Mutex<Retry>,
    is_available: AtomicBool,
    failures: AtomicU64,
}

/// The sessions of a user who is logged in.
pub(super) struct Sessions {
    slot: Slot,
    /// The one that logged in. It is not used otherwise: with its last session a user is logged out.
    _login: Mutex<Session>,
    idle: Mutex<Vec<Session>>,
    /// The handles of private keys, by their `CKA_ID`.
    pub(super) handles: Mutex<HashMap<Vec<u8>, ObjectHandle>>,
    is_lost: AtomicBool,
}

/// When sessions may be opened again.
#[derive(Debug, Default)]
struct Retry {
    not_before: Duration,
    pause: Duration,
    /// The token refused the PIN. Trying it again could lock the token.
    is_over: bool,
}

impl Connection {
    pub(super) fn load(config: Config, algorithm: SigningAlgorithm, clock: Arc<dyn Clock>) -> Result<Self, HsmError> {
        let module = Module::new(&config.module).map_err(|error| {
            let error = if let Error::LibraryLoading(error) = &error { error.to_string() } else { words(&error) };
            HsmError::Module { path: config.module.clone(), error }
        })?;
        let (sessions, retry) = (RwLock::default(), Mutex::default());
        let (is_available, failures) = (AtomicBool::new(true), AtomicU64::new(0));
        let loaded = Self { config, algorithm, clock, module, sessions, retry, is_available, failures };
        loaded.initialize()?;
        match loaded.find_token() {
            Err(error) if error.is_passing() && loaded.config.start_without_token => loaded.report_lost(&error),
            Err(error) => return Err(error),
            Ok(slot) => loaded.check_mechanisms(slot)?,
        }
        Ok(loaded)
    }

    /// Opens the first session.
    pub(super) fn open(&self) -> Result<(), HsmError> {
        match self.log_in() {
            Ok(sessions) => {
                *self.sessions.write().unwrap_or_else(PoisonError::into_inner) = Some(sessions);
                Ok(())
            }
            Err(error) if error.is_passing() && self.config.start_without_token => {
                self.report_lost(&error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn is_available(&self) -> bool {
        self.is_available.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Asks the token whether it is there.
    pub(super) fn check(&self) -> Result<(), SigningFailed> {
        self.run(|sessions, session| {
            self.module.get_token_info(sessions.slot)?;
            session.get_session_info()?;
            Ok(())
        })
    }

    /// Makes calls in a session that nobody else uses. Where the token was lost they are made once more after it came back.
    pub(super) fn run<T>(
        &self,
        calls: impl Fn(&Sessions, &Session) -> Result<T, CallError>,
    ) -> Result<T, SigningFailed> {
        let mut is_second = false;
        loop {
            self.reopen_if_lost()?;
            match self.attempt(&calls) {
                Ok(done) => {
                    self.retry.lock().unwrap_or_else(PoisonError::into_inner).pause = Duration::ZERO;
                    if !self.is_available.swap(true, Ordering::Relaxed) {
                        tracing::info!("the PKCS#11 token is back: tokens are issued again");
                    }
                    return Ok(done);
                }
                Err(CallError::Lost(why)) if !is_second => {
                    tracing::warn!(error = why, "the PKCS#11 token is asked again in a new session");
                    is_second = true;
                }
                Err(error @ CallError::Lost(_)) => {
                    self.report_lost(&format!("{error:?}"));
                    return Err(error.outcome());
                }
                Err(error) => {
                    tracing::error!(?error, "the PKCS#11 token did not do what it was asked for");
                    return Err(error.outcome());
                }
            }
        }
    }

    fn attempt<T>(&self, calls: &impl Fn(&Sessions, &Session) -> Result<T, CallError>) -> Result<T, CallError> {
        // It is only locked against this while sessions are opened again.
        let guard = self.sessions.try_read().map_err(|_| CallError::Lost("it is being opened".to_owned()))?;
        let Some(sessions) = &*guard else { return Err(CallError::Lost("it is closed".to_owned())) };
        let done = sessions.idle().pop().map_or_else(|| Ok(self.module.open_rw_session(sessions.slot)?), Ok);
        let done = done.and_then(|session| Ok((calls(sessions, &session)?, session)));
        match done {
            Ok((done, session)) => {
                sessions.idle().push(session);
                Ok(done)
            }
            // Its session is not used again: it may be in the middle of an operation.
            Err(error) => {
                if matches!(error, CallError::Lost(_)) {
                    sessions.is_lost.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// Opens sessions again, unless that was tried a moment ago.
    fn reopen_if_lost(&self) -> Result<(), SigningFailed> {
        let is_open = match self.sessions.try_read() {
            Ok(guard) => guard.as_ref().is_some_and(|sessions| !sessions.is_lost.load(Ordering::Relaxed)),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return Err(SigningFailed::Unavailable),
        };
        if is_open {
            return Ok(());
        }
        // While calls hang in the module it cannot be opened again.
        let Ok(mut guard) = self.sessions.try_write() else { return Err(self.still_lost()) };
        if guard.as_ref().is_some_and(|sessions| !sessions.is_lost.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        if retry.is_over || self.clock.elapsed() < retry.not_before {
            return Err(self.still_lost());
        }
        retry.pause = (retry.pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
        retry.not_before = self.clock.elapsed().saturating_add(retry.pause);
        // Sessions are closed by being dropped, before the module ends.
        *guard = None;
        match self.initialize().and_then(|()| self.log_in()) {
            Ok(sessions) => {
                *guard = Some(sessions);
                Ok(())
            }
            Err(error) => {
                retry.is_over = !error.is_before_pin();
                if retry.is_over {
                    tracing::error!(%error, "the PKCS#11 token is not tried again before a restart");
                }
                self.report_lost(&error);
                Err(SigningFailed::Unavailable)
            }
        }
    }

    /// The answer while the token is lost and not looked for.
    fn still_lost(&self) -> SigningFailed {
        if self.is_available() {
            self.report_lost(&"it was lost again, or calls are still in it");
        }
        SigningFailed::Unavailable
    }

    pub(super) fn report_lost(&self, error: &dyn fmt::Display) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if self.is_available.swap(false, Ordering::Relaxed) {
            tracing::error!(%error, "the PKCS#11 token is gone: no tokens are issued until it is back");
        }
    }

    /// Starts the module anew, so that it looks for its tokens again.
    fn initialize(&self) -> Result<(), HsmError> {
        // The first time it has not been started.
        let _ended = self.module.clone().finalize().is_ok();
        match self.module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            Err(error) => Err(HsmError::Failed(words(&error))),
        }
    }

    fn find_token(&self) -> Result<Slot, HsmError> {
        let failed = |error| HsmError::Failed(words(&error));
        let (mut found, mut present) = (Vec::new(), Vec::new());
        for slot in self.module.get_slots_with_initialized_token().map_err(failed)? {
            let info = self.module.get_token_info(slot).map_err(failed)?;
            let is_wanted = match &self.config.token {
                TokenName::Label(label) => info.label() == label,
                TokenName::Serial(serial) => info.serial_number() == serial,
            };
            if is_wanted {
                found.push(slot);
            }
            present.push((info.label().to_owned(), info.serial_number().to_owned()));
        }
        let wanted = || self.config.token.clone();
        match (found.first(), found.len()) {
            (Some(slot), 1) => Ok(*slot),
            (None, _) => Err(HsmError::Missing { wanted: wanted(), present }),
            (Some(_), count) => Err(HsmError::Ambiguous { wanted: wanted(), count }),
        }
    }

    fn check_mechanisms(&self, slot: Slot) -> Result<(), HsmError> {
        let needed = match self.algorithm {
            _ if !self.config.new_keys => return Ok(()),
            SigningAlgorithm::Es256 => {
                [(MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"), (MechanismType::ECDSA, "CKM_ECDSA")]
            }
            SigningAlgorithm::Rs256 => [
                (MechanismType::RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN"),
                (MechanismType::SHA256_RSA_PKCS, "CKM_SHA256_RSA_PKCS"),
            ],
            SigningAlgorithm::EdDsa => {
                return Err(HsmError::Mechanism { algorithm: "EdDSA", mechanism: "mechanism that this version uses" });
            }
        };
        let has = self.module.get_mechanism_list(slot).map_err(|error| HsmError::Failed(words(&error)))?;
        match needed.into_iter().find(|(mechanism, _)| !has.contains(mechanism)) {
            Some((_, mechanism)) => Err(HsmError::Mechanism { algorithm: self.algorithm.name(), mechanism }),
            None => Ok(()),
        }
    }

    /// Finds the token and logs in. The PIN is tried once, and not where one before it was wrong, since that could lock the
    /// token.
    fn log_in(&self) -> Result<Sessions, HsmError> {
        let failed = |error| HsmError::Failed(words(&error));
        let slot = self.find_token()?;
        let info = self.module.get_token_info(slot).map_err(failed)?;
        if !info.user_pin_initialized() {
            return Err(HsmError::WithoutPin);
        }
        if info.user_pin_locked() {
            return Err(HsmError::PinLocked);
        }
        if info.user_pin_final_try() {
            return Err(HsmError::PinFinalTry);
        }
        if info.user_pin_count_low() {
            return Err(HsmError::PinCountLow);
        }
        let session = self.module.open_rw_session(slot).map_err(failed)?;
        match session.login(UserType::User, Some(&self.config.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(HsmError::of_login(&error)),
        }
        let (idle, handles) = (Mutex::default(), Mutex::default());
        Ok(Sessions { slot, _login: Mutex::new(session), idle, handles, is_lost: AtomicBool::new(false) })
    }
}

impl Sessions {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The sessions first.
        *self.sessions.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        let _ended = self.module.clone().finalize().is_ok();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("token", &self.config.token).finish_non_exhaustive()
    }
}
