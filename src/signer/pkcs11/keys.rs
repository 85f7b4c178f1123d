//! Key pairs in a token: made, found, used and deleted. A pair has the `kid` in its label, and the bytes of the thumbprint
//! as its `CKA_ID`.

use std::sync::PoisonError;

use aws_lc_rs::digest;
use aws_lc_rs::digest::SHA256;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use aws_lc_rs::signature::UnparsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;
use cryptoki::object::ObjectClass;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::authority::keys::PublicJwk;
use crate::authority::keys::SigningAlgorithm;
use crate::authority::keys::SigningFailed;
use crate::signer::pkcs11::connection::Connection;
use crate::signer::pkcs11::connection::Sessions;
use crate::signer::pkcs11::error::CallError;

/// The object identifier of P-256, in DER (RFC 5480 section 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// A `SubjectPublicKeyInfo` of P-256 up to the uncompressed point, in DER (RFC 5480 section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The tag and the length of an `OCTET STRING` with an uncompressed point of P-256.
const POINT_IN_OCTETS: [u8; 2] = [0x04, 65];

/// The size of a new RSA key, as of those in memory.
const RSA_BITS: u32 = 2048;

/// The label of a pair whose public key has not been read yet.
const UNNAMED: &str = "lanyard, unfinished";

/// A key as its record describes it.
#[derive(Debug)]
pub(super) struct KeyReference {
    pub(super) algorithm: SigningAlgorithm,
    /// The `SubjectPublicKeyInfo`, in DER.
    pub(super) public_key: Vec<u8>,
    id: Vec<u8>,
}

impl KeyReference {
    pub(super) fn new(algorithm: SigningAlgorithm, key_id: &str, public_key: &[u8]) -> Self {
        Self { algorithm, public_key: public_key.to_vec(), id: id_of(key_id) }
    }

    /// Signs, and verifies the signature with the recorded public key: neither another key in its place nor a fault of the
    /// token leaves this process.
    pub(super) fn sign(&self, connection: &Connection, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        connection.run(|sessions, session| {
            let key = sessions.private_key(session, &self.id)?;
            let (signature, form): (_, &'static dyn VerificationAlgorithm) = match self.algorithm {
                SigningAlgorithm::Es256 => {
                    // Not every token hashes for ECDSA itself. The signature is r || s, as JWS has it.
                    let digest = digest::digest(&SHA256, message);
                    (session.sign(&Mechanism::Ecdsa, key, digest.as_ref())?, &ECDSA_P256_SHA256_FIXED)
                }
                SigningAlgorithm::Rs256 => {
                    (session.sign(&Mechanism::Sha256RsaPkcs, key, message)?, &RSA_PKCS1_2048_8192_SHA256)
                }
                SigningAlgorithm::EdDsa => return Err(CallError::Refused("EdDSA is not used".to_owned())),
            };
            let verified = UnparsedPublicKey::new(form, &self.public_key).verify(message, &signature);
            verified.map(|()| signature).map_err(|_| CallError::OtherKey)
        })
    }
}

impl Sessions {
    /// The handle of a private key. It is valid in all sessions.
    fn private_key(&self, session: &Session, id: &[u8]) -> Result<ObjectHandle, CallError> {
        let known = self.handles.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        if let Some(key) = known {
            return Ok(key);
        }
        let found = session.find_objects(&named(ObjectClass::PRIVATE_KEY, id))?;
        let [key] = *found else {
            let several = || CallError::Refused("several private keys have this CKA_ID".to_owned());
            return Err(if found.is_empty() { CallError::NotHeld } else { several() });
        };
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_vec(), key);
        Ok(key)
    }
}

/// Makes a key pair, and returns its public key.
pub(super) fn generate(connection: &Connection, algorithm: SigningAlgorithm) -> Result<Vec<u8>, SigningFailed> {
    connection.run(|_, session| {
        let label = || Attribute::Label(UNNAMED.into());
        let mut public = vec![Attribute::Token(true), Attribute::Private(false), Attribute::Verify(true), label()];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label(),
        ];
        let mechanism = match algorithm {
            SigningAlgorithm::Es256 => {
                public.push(Attribute::EcParams(P256.to_vec()));
                Mechanism::EccKeyPairGen
            }
            SigningAlgorithm::Rs256 => {
                public.push(Attribute::ModulusBits(u64::from(RSA_BITS).into()));
                public.push(Attribute::PublicExponent(vec![1, 0, 1]));
                Mechanism::RsaPkcsKeyPairGen
            }
            SigningAlgorithm::EdDsa => return Err(CallError::Refused("EdDSA is not used".to_owned())),
        };
        let (public, private) = session.generate_key_pair(&mechanism, &public, &private)?;
        name_pair(session, algorithm, public, private).inspect_err(|_| {
            for object in [public, private] {
                if let Err(error) = session.destroy_object(object) {
                    tracing::warn!(%error, "an unfinished key remains in the PKCS#11 token");
                }
            }
        })
    })
}

/// Gives a new pair its name, which depends on the public key.
fn name_pair(
    session: &Session,
    algorithm: SigningAlgorithm,
    public: ObjectHandle,
    private: ObjectHandle,
) -> Result<Vec<u8>, CallError> {
    let kept = session.get_attributes(private, &[AttributeType::Sensitive, AttributeType::Extractable])?;
    if kept != [Attribute::Sensitive(true), Attribute::Extractable(false)] {
        return Err(CallError::Refused("the token made a private key that can leave it".to_owned()));
    }
    let spki = public_key(session, algorithm, public)?;
    let key_id = PublicJwk::from_spki(&spki).map(|jwk| jwk.thumbprint());
    let key_id = key_id.ok_or_else(|| CallError::Refused("the public key cannot be read".to_owned()))?;
    let name = [Attribute::Id(id_of(&key_id)), Attribute::Label(format!("lanyard {key_id}").into())];
    for object in [public, private] {
        session.update_attributes(object, &name)?;
    }
    Ok(spki)
}

/// The public key of a new pair, as a `SubjectPublicKeyInfo` in DER.
fn public_key(session: &Session, algorithm: SigningAlgorithm, public: ObjectHandle) -> Result<Vec<u8>, CallError> {
    let unreadable = || CallError::Refused("the public key cannot be read".to_owned());
    match algorithm {
        SigningAlgorithm::Es256 => {
            let attributes = session.get_attributes(public, &[AttributeType::EcPoint])?;
            let [Attribute::EcPoint(point)] = &*attributes else { return Err(unreadable()) };
            // PKCS#11 wraps the point; some tokens do not.
            let point = point.strip_prefix(&POINT_IN_OCTETS).filter(|point| point.len() == 65).unwrap_or(point);
            if point.len() != 65 {
                return Err(unreadable());
            }
            Ok([&P256_SPKI[..], point].concat())
        }
        SigningAlgorithm::Rs256 => {
            let attributes =
                session.get_attributes(public, &[AttributeType::Modulus, AttributeType::PublicExponent])?;
            let [Attribute::Modulus(n), Attribute::PublicExponent(e)] = &*attributes else { return Err(unreadable()) };
            let components = PublicKeyComponents { n: unsigned(n), e: unsigned(e) };
            Ok(components.as_der().map_err(|_| unreadable())?.as_ref().to_vec())
        }
        SigningAlgorithm::EdDsa => Err(unreadable()),
    }
}

/// Deletes a new pair that nobody waits for any more.
pub(super) fn discard(connection: &Connection, public_key: &[u8]) {
    let Some(key_id) = PublicJwk::from_spki(public_key).map(|jwk| jwk.thumbprint()) else { return };
    match delete(connection, &key_id) {
        Ok(()) => tracing::warn!(kid = key_id, "a key that was made too late is deleted in the PKCS#11 token"),
        Err(error) => tracing::warn!(kid = key_id, %error, "a key that was made too late remains in the PKCS#11 token"),
    }
}

/// Deletes both halves of a pair. Several objects of its name are all deleted.
pub(super) fn delete(connection: &Connection, key_id: &str) -> Result<(), SigningFailed> {
    let id = id_of(key_id);
    connection.run(|sessions, session| {
        sessions.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            for object in session.find_objects(&named(class, &id))? {
                session.destroy_object(object)?;
            }
        }
        Ok(())
    })
}

fn named(class: ObjectClass, id: &[u8]) -> [Attribute; 3] {
    [Attribute::Class(class), Attribute::Token(true), Attribute::Id(id.to_vec())]
}

/// The `CKA_ID` of a key: the thumbprint whose text the `kid` is.
fn id_of(key_id: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(key_id).unwrap_or_else(|_| key_id.as_bytes().to_vec())
}

/// A number without the zeros that some tokens put before it.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
