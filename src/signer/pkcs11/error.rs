//! Why a token cannot be used, in words for operators. No PIN is in them.

use std::path::PathBuf;

use cryptoki::error::Error;
use cryptoki::error::RvError;

use crate::authority::keys::SigningFailed;
use crate::signer::pkcs11::config::TokenName;

/// Why a token cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HsmError {
    /// The library cannot be loaded.
    #[error("keys.pkcs11.module: {} cannot be loaded: {error}", path.display())]
    Module {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The module does not work at all, or its sessions do not.
    #[error("keys.pkcs11: the module failed: {0}")]
    Failed(String),
    /// There is no such token.
    #[error("keys.pkcs11: the module has no token with the {wanted}; it has {}", listed(present))]
    Missing {
        /// What was looked for.
        wanted: TokenName,
        /// The labels and the serial numbers of those that are there.
        present: Vec<(String, String)>,
    },
    /// There are several.
    #[error("keys.pkcs11: the module has {count} tokens with the {wanted}: name one by its token_serial")]
    Ambiguous {
        /// What was looked for.
        wanted: TokenName,
        /// How many there are.
        count: usize,
    },
    /// The token has no PIN yet.
    #[error("keys.pkcs11: the token has no PIN for its normal user yet")]
    WithoutPin,
    /// The token refuses the PIN.
    #[error("keys.pkcs11: the token refuses the PIN ({0}); it was tried once and is not tried again")]
    PinRefused(String),
    /// The token's PIN is locked.
    #[error("keys.pkcs11: the PIN of the token is locked: its security officer must set another")]
    PinLocked,
    /// The login failed for another reason than that the token is away. Some tokens count such a failure as a wrong PIN.
    #[error(
        "keys.pkcs11: the login failed ({0}), which may count as a wrong PIN; it was tried once and is not tried again"
    )]
    LoginFailed(String),
    /// A wrong PIN was tried, and others could lock the token.
    #[error(
        "keys.pkcs11: a wrong PIN was tried since the last login, and more of them lock the token, so that the PIN is not \
         tried: log in elsewhere"
    )]
    PinCountLow,
    /// One more wrong PIN would lock the token.
    #[error(
        "keys.pkcs11: the token would be locked by one more wrong PIN, so that the PIN is not tried: log in elsewhere"
    )]
    PinFinalTry,
    /// The token cannot make keys of the algorithm.
    #[error("keys.algorithm: the token has no {mechanism}, which {algorithm} needs")]
    Mechanism {
        /// The name of the algorithm.
        algorithm: &'static str,
        /// The name of the mechanism in PKCS#11.
        mechanism: &'static str,
    },
}

impl HsmError {
    /// Whether the token may come back by itself.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Missing { .. })
    }

    /// Whether the PIN was not tried, so that it may be later.
    pub(super) fn is_before_pin(&self) -> bool {
        self.is_passing() || matches!(self, Self::PinCountLow | Self::PinFinalTry)
    }

    /// Why a login failed.
    pub(super) fn of_login(error: &Error) -> Self {
        let text = words(error);
        let Error::Pkcs11(value, _) = error else { return Self::LoginFailed(text) };
        // The PIN did not reach the token.
        let is_away = matches!(
            value,
            RvError::CryptokiNotInitialized
                | RvError::DeviceError
                | RvError::DeviceRemoved
                | RvError::HostMemory
                | RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::SlotIdInvalid
                | RvError::TokenNotPresent
        );
        if is_away {
            return Self::Failed(text);
        }
        let is_refused =
            matches!(value, RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinExpired);
        if *value == RvError::PinLocked {
            Self::PinLocked
        } else if *value == RvError::UserPinNotInitialized {
            Self::WithoutPin
        } else if is_refused {
            Self::PinRefused(text)
        } else {
            Self::LoginFailed(text)
        }
    }
}

fn listed(present: &[(String, String)]) -> String {
    if present.is_empty() {
        return "none".to_owned();
    }
    let each = present.iter().map(|(label, serial)| format!("{label:?} (serial number {serial:?})"));
    each.collect::<Vec<_>>().join(", ")
}

/// Why a call of a session came to nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CallError {
    /// The session, the token or the module is gone, perhaps not for long.
    Lost(String),
    /// The token answers and does not do this.
    Refused(String),
    /// The token has no such key.
    NotHeld,
    /// The token has another key in its place.
    OtherKey,
}

impl CallError {
    /// What the caller of a signature learns.
    pub(super) fn outcome(&self) -> SigningFailed {
        match self {
            Self::Lost(_) => SigningFailed::Unavailable,
            Self::Refused(_) => SigningFailed::Failed,
            Self::NotHeld => SigningFailed::NotHeld,
            Self::OtherKey => SigningFailed::OtherKey,
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        let text = words(&error);
        // Whatever is not known to be an answer of a token that works means that sessions are opened again.
        let is_answer = matches!(
            error,
            Error::Pkcs11(
                RvError::ActionProhibited
                    | RvError::AttributeReadOnly
                    | RvError::AttributeSensitive
                    | RvError::AttributeTypeInvalid
                    | RvError::AttributeValueInvalid
                    | RvError::CurveNotSupported
                    | RvError::DataInvalid
                    | RvError::DataLenRange
                    | RvError::DeviceMemory
                    | RvError::DomainParamsInvalid
                    | RvError::FunctionNotSupported
                    | RvError::FunctionRejected
                    | RvError::KeyFunctionNotPermitted
                    | RvError::KeySizeRange
                    | RvError::KeyTypeInconsistent
                    | RvError::MechanismInvalid
                    | RvError::MechanismParamInvalid
                    | RvError::SessionReadOnly
                    | RvError::TemplateIncomplete
                    | RvError::TemplateInconsistent
                    | RvError::TokenWriteProtected,
                _
            ) | Error::NullFunctionPointer
                | Error::NotSupported
        );
        if is_answer { Self::Refused(text) } else { Self::Lost(text) }
    }
}

/// The error in few words: those of the library are whole paragraphs of the standard.
pub(super) fn words(error: &Error) -> String {
    if let Error::Pkcs11(value, function) = error { format!("C_{function:?}: {value:?}") } else { error.to_string() }
}
