//! What the signatures alone cost, on the client's core.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::UnparsedPublicKey;

use crate::support::Failure;

/// The length of a token's signed part.
const SIGNED: [u8; 700] = [b'a'; 700];

const TIMES: u32 = 2_000;

/// The median time of an ES256 signature, in microseconds.
pub(crate) fn sign_es256() -> Result<f64, Failure> {
    let (pair, random) = (EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?, SystemRandom::new());
    median(|| pair.sign(&random, &SIGNED).map(drop))
}

/// The median time of an ES256 verification, in microseconds.
pub(crate) fn verify_es256() -> Result<f64, Failure> {
    let (pair, random) = (EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?, SystemRandom::new());
    let signature = pair.sign(&random, &SIGNED)?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref().to_vec());
    median(|| key.verify(&SIGNED, signature.as_ref()))
}

fn median<E: Into<Failure>>(once: impl Fn() -> Result<(), E>) -> Result<f64, Failure> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begin = tokio::time::Instant::now();
        once().map_err(Into::into)?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).ok_or("no times")?.as_secs_f64() * 1e6)
}
