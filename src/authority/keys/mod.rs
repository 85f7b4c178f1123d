//! Signing keys, the interface to private keys, sealing of stored keys, and JWKs.

mod jwk;
mod jws;
mod sealer;
mod sealing;
mod signing_keys;
mod skipped;
mod x5c;

pub use crate::authority::keys::jwk::PublicJwk;
pub(in crate::authority) use crate::authority::keys::jwk::is_private;
pub(in crate::authority) use crate::authority::keys::jwk::may_verify;
pub(in crate::authority) use crate::authority::keys::jwk::public_key;
pub(in crate::authority) use crate::authority::keys::jws::Algorithm;
pub(in crate::authority) use crate::authority::keys::jws::CompactJws;
pub(in crate::authority) use crate::authority::keys::jws::MAX_BYTES as MAX_JWS_BYTES;
pub(in crate::authority) use crate::authority::keys::jws::VerifyingKey;
pub use crate::authority::keys::sealer::InvalidPrivateKey;
pub use crate::authority::keys::sealer::KeyRecordError;
pub use crate::authority::keys::sealer::KeySealer;
pub use crate::authority::keys::sealer::SignerFactory;
pub use crate::authority::keys::sealing::InvalidKeyEncryptionKey;
pub use crate::authority::keys::sealing::KEYS;
pub use crate::authority::keys::sealing::KeyEncryptionKey;
pub use crate::authority::keys::sealing::KeyRecord;
pub use crate::authority::keys::sealing::SealError;
pub use crate::authority::keys::signing_keys::KeyId;
pub use crate::authority::keys::signing_keys::Signer;
pub use crate::authority::keys::signing_keys::Signing;
pub use crate::authority::keys::signing_keys::SigningAlgorithm;
pub use crate::authority::keys::signing_keys::SigningFailed;
pub use crate::authority::keys::signing_keys::SigningKey;
pub use crate::authority::keys::signing_keys::SigningKeys;
pub use crate::authority::keys::signing_keys::UnusableKey;
pub use crate::authority::keys::skipped::SkippedKey;
pub use crate::authority::keys::skipped::SkippedKeys;
pub use crate::authority::keys::x5c::InvalidX5c;
pub(in crate::authority) use crate::authority::keys::x5c::certificate_in;
