//! Counters by reason, indexed by the reason's ordinal.

use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use strum::VariantArray as _;

use crate::authority::access::NotAdmitted;
use crate::authority::access::NotAdmittedCode;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::CheckRefusalCode;
use crate::authority::decision::ExchangeError;
use crate::authority::decision::ExchangeErrorCode;
use crate::authority::decision::GrantErrorCode;
use crate::authority::deny_reason::DenyReason;
use crate::authority::observe::handshake_error::HandshakeError;
use crate::authority::observe::handshake_error::HandshakeErrorCode;
use crate::authority::observe::quota::Quota;
use crate::authority::observe::receipt_outcome::ReceiptOutcome;
use crate::authority::trust::UnprovenCode;

/// An event that has one of a fixed set of reasons.
pub(super) trait Reason: Copy {
    /// The codes of all reasons, in the order of their ordinals.
    fn codes() -> impl Iterator<Item = &'static str>;

    /// The index of this reason's code.
    fn ordinal(self) -> usize;
}

impl Reason for DenyReason {
    fn codes() -> impl Iterator<Item = &'static str> {
        Self::VARIANTS.iter().map(|reason| reason.code())
    }

    fn ordinal(self) -> usize {
        self as usize
    }
}

impl Reason for CheckRefusal {
    fn codes() -> impl Iterator<Item = &'static str> {
        let others = CheckRefusalCode::VARIANTS.iter().filter(|code| **code != CheckRefusalCode::Denied);
        DenyReason::codes().chain(others.map(Into::into))
    }

    fn ordinal(self) -> usize {
        if let Self::Denied(reason) = self {
            return reason.ordinal();
        }
        let own = without(CheckRefusalCode::from(self) as usize, CheckRefusalCode::Denied as usize);
        DenyReason::VARIANTS.len() + own
    }
}

/// The code of a denied use or a refused check as this version has it; that of a later version is another one.
pub fn known_reason(code: &str) -> &'static str {
    CheckRefusal::codes().find(|known| *known == code).unwrap_or("OTHER")
}

impl Reason for GrantErrorCode {
    fn codes() -> impl Iterator<Item = &'static str> {
        Self::VARIANTS.iter().map(|code| code.as_str())
    }

    fn ordinal(self) -> usize {
        self as usize
    }
}

impl Reason for ExchangeError {
    fn codes() -> impl Iterator<Item = &'static str> {
        ExchangeErrorCode::VARIANTS.iter().map(Into::into)
    }

    fn ordinal(self) -> usize {
        ExchangeErrorCode::from(self) as usize
    }
}

impl Reason for NotAdmitted {
    fn codes() -> impl Iterator<Item = &'static str> {
        NotAdmittedCode::VARIANTS.iter().map(Into::into)
    }

    fn ordinal(self) -> usize {
        NotAdmittedCode::from(self) as usize
    }
}

impl Reason for Quota {
    fn codes() -> impl Iterator<Item = &'static str> {
        Self::VARIANTS.iter().map(Into::into)
    }

    fn ordinal(self) -> usize {
        self as usize
    }
}

impl Reason for ReceiptOutcome {
    fn codes() -> impl Iterator<Item = &'static str> {
        Self::VARIANTS.iter().map(Into::into)
    }

    fn ordinal(self) -> usize {
        self as usize
    }
}

impl Reason for HandshakeError {
    fn codes() -> impl Iterator<Item = &'static str> {
        let others = HandshakeErrorCode::VARIANTS.iter().filter(|code| **code != HandshakeErrorCode::Unproven);
        unproven_codes().chain(others.map(Into::into))
    }

    fn ordinal(self) -> usize {
        if let Self::Unproven(unproven) = self {
            return UnprovenCode::from(unproven) as usize;
        }
        let own = without(HandshakeErrorCode::from(self) as usize, HandshakeErrorCode::Unproven as usize);
        UnprovenCode::VARIANTS.len() + own
    }
}

fn unproven_codes() -> impl Iterator<Item = &'static str> {
    UnprovenCode::VARIANTS.iter().map(Into::into)
}

/// The ordinal among the variants without the one at `left_out`, which holds reasons of its own.
fn without(ordinal: usize, left_out: usize) -> usize {
    ordinal - usize::from(ordinal > left_out)
}

/// The number of events by reason.
#[derive(Debug)]
pub(super) struct Counts<R> {
    counts: Box<[AtomicU64]>,
    reasons: PhantomData<R>,
}

impl<R: Reason> Default for Counts<R> {
    fn default() -> Self {
        Self { counts: R::codes().map(|_| AtomicU64::default()).collect(), reasons: PhantomData }
    }
}

impl<R: Reason> Counts<R> {
    pub(super) fn add(&self, reason: R) {
        // Every ordinal has a counter: see the test.
        if let Some(count) = self.counts.get(reason.ordinal()) {
            increment(count);
        }
    }

    pub(super) fn of(&self, reason: R) -> u64 {
        self.counts.get(reason.ordinal()).map_or(0, read)
    }

    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        R::codes().zip(self.counts.iter().map(read))
    }
}

pub(super) fn increment(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::access::Limit;
    use crate::authority::evidence::InvalidEvidence;
    use crate::authority::evidence::NotForwarded;
    use crate::authority::identity::InvalidCertificate;
    use crate::authority::trust::ExtensionOid;
    use crate::authority::trust::Unproven;

    /// Each of these reasons is counted under its own code, and there are no other codes.
    #[track_caller]
    fn each_is_counted_under_its_code<R: Reason>(reasons: impl IntoIterator<Item = (R, &'static str)>) {
        let counts = Counts::<R>::default();
        let mut expected = Vec::new();
        for (count, (reason, code)) in (1..).zip(reasons) {
            for _ in 0..count {
                counts.add(reason);
            }
            assert_eq!(counts.of(reason), count, "{code}");
            expected.push((code, count));
        }
        assert_eq!(counts.read().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        each_is_counted_under_its_code(ReceiptOutcome::VARIANTS.iter().map(|outcome| (*outcome, outcome.into())));
        each_is_counted_under_its_code(DenyReason::VARIANTS.iter().map(|reason| (*reason, reason.code())));
        each_is_counted_under_its_code(GrantErrorCode::VARIANTS.iter().map(|code| (*code, code.as_str())));

        let checks = CheckRefusalCode::VARIANTS.iter().flat_map(|code| match code {
            CheckRefusalCode::Denied => DenyReason::VARIANTS.iter().copied().map(CheckRefusal::Denied).collect(),
            CheckRefusalCode::TokenMissing => vec![CheckRefusal::TokenMissing],
            CheckRefusalCode::AuthorizationMalformed => vec![CheckRefusal::AuthorizationMalformed],
            CheckRefusalCode::EvidenceMalformed => vec![CheckRefusal::EvidenceMalformed(InvalidEvidence::Thumbprint)],
            CheckRefusalCode::ResourceUnknown => vec![CheckRefusal::ResourceUnknown],
            CheckRefusalCode::RouteUnknown => vec![CheckRefusal::RouteUnknown],
            CheckRefusalCode::PathNotCanonical => vec![CheckRefusal::PathNotCanonical],
            CheckRefusalCode::TxnTokenMissing => vec![CheckRefusal::TxnTokenMissing],
            CheckRefusalCode::TxnTokenMalformed => vec![CheckRefusal::TxnTokenMalformed],
            CheckRefusalCode::TxnTokenInvalid => vec![CheckRefusal::TxnTokenInvalid],
            CheckRefusalCode::TxnTokenForeign => vec![CheckRefusal::TxnTokenForeign],
            CheckRefusalCode::TxnTokenExpired => vec![CheckRefusal::TxnTokenExpired],
            CheckRefusalCode::TxnTokenRevoked => vec![CheckRefusal::TxnTokenRevoked],
            CheckRefusalCode::TxnScopeMissing => vec![CheckRefusal::TxnScopeMissing],
            CheckRefusalCode::TxnTokenSeen => vec![CheckRefusal::TxnTokenSeen],
            CheckRefusalCode::TxnContextRefused => vec![CheckRefusal::TxnContextRefused],
            CheckRefusalCode::TxnTokenNotMinted => vec![CheckRefusal::TxnTokenNotMinted],
            CheckRefusalCode::RequestMalformed => vec![CheckRefusal::RequestMalformed],
            CheckRefusalCode::NotAProxy => vec![CheckRefusal::NotAProxy],
            CheckRefusalCode::Overloaded => vec![CheckRefusal::Overloaded],
            CheckRefusalCode::Unable => vec![CheckRefusal::Unable],
        });
        each_is_counted_under_its_code(checks.map(|refusal| (refusal, refusal.code())));

        let calls = NotAdmittedCode::VARIANTS.iter().map(|code| match code {
            NotAdmittedCode::NoSuchMethod => NotAdmitted::NoSuchMethod,
            NotAdmittedCode::NoCertificate => NotAdmitted::NoCertificate,
            NotAdmittedCode::Unproven => NotAdmitted::Unproven(Unproven::Expired),
            NotAdmittedCode::NotForwarded => NotAdmitted::NotForwarded(NotForwarded::Missing),
            NotAdmittedCode::WrongRole => NotAdmitted::WrongRole,
            NotAdmittedCode::ShareExceeded => NotAdmitted::ShareExceeded(Limit::Requests.into()),
            NotAdmittedCode::Overloaded => NotAdmitted::Overloaded,
            NotAdmittedCode::NotAtAnEdge => NotAdmitted::NotAtAnEdge,
        });
        each_is_counted_under_its_code(calls.map(|error| (error, error.code())));

        let unproven = UnprovenCode::VARIANTS.iter().map(|code| match code {
            UnprovenCode::ChainSize => Unproven::ChainSize,
            UnprovenCode::Invalid => Unproven::Invalid(InvalidCertificate::TooLarge),
            UnprovenCode::Expired => Unproven::Expired,
            UnprovenCode::NotYetValid => Unproven::NotYetValid,
            UnprovenCode::SeveralUris => Unproven::SeveralUris,
            UnprovenCode::InvalidSpiffeId => Unproven::InvalidSpiffeId,
            UnprovenCode::SigningCertificate => Unproven::SigningCertificate,
            UnprovenCode::KeyUsage => Unproven::KeyUsage,
            UnprovenCode::NamesNotCritical => Unproven::NamesNotCritical,
            UnprovenCode::UnknownTrustDomain => Unproven::UnknownTrustDomain,
            UnprovenCode::StaleBundle => Unproven::StaleBundle,
            UnprovenCode::NoPath => Unproven::NoPath,
            UnprovenCode::ExtendedKeyUsage => Unproven::ExtendedKeyUsage,
            UnprovenCode::UnsupportedVersion => Unproven::UnsupportedVersion,
            UnprovenCode::UnsupportedKey => Unproven::UnsupportedKey,
            UnprovenCode::UnsupportedSignature => Unproven::UnsupportedSignature,
            UnprovenCode::CriticalExtension => Unproven::CriticalExtension(ExtensionOid::from_der_content(&[])),
            UnprovenCode::IssuerNotCa => Unproven::IssuerNotCa,
            UnprovenCode::IssuerKeyUsage => Unproven::IssuerKeyUsage,
            UnprovenCode::IssuerExtendedKeyUsage => Unproven::IssuerExtendedKeyUsage,
            UnprovenCode::IssuerSpiffeId => Unproven::IssuerSpiffeId,
            UnprovenCode::IssuerExpired => Unproven::IssuerExpired,
            UnprovenCode::IssuerNotYetValid => Unproven::IssuerNotYetValid,
            UnprovenCode::PathLength => Unproven::PathLength,
            UnprovenCode::NameConstraints => Unproven::NameConstraints,
            UnprovenCode::UnsupportedNameConstraints => Unproven::UnsupportedNameConstraints,
            UnprovenCode::PolicyRequired => Unproven::PolicyRequired,
            UnprovenCode::PathTooComplex => Unproven::PathTooComplex,
            UnprovenCode::Revoked => Unproven::Revoked,
            UnprovenCode::IdentityRevoked => Unproven::IdentityRevoked,
            UnprovenCode::Unknown => Unproven::Unknown,
        });
        let unproven = unproven.map(HandshakeError::Unproven);
        let handshakes = unproven.chain([
            HandshakeError::HandshakeFailed,
            HandshakeError::TooSlow,
            HandshakeError::Displaced,
            HandshakeError::ProxyHeader,
            HandshakeError::UserUnknown,
        ]);
        each_is_counted_under_its_code(handshakes.map(|error| (error, error.code())));
    }
}
