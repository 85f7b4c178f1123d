//! The state of a certificate's validity period.

use std::time::Duration;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;

/// The state at the present time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli::doctor) enum Validity {
    /// Within the period.
    Valid,
    /// Within the period, near its end.
    ExpiresSoon,
    /// After `notAfter`.
    Expired,
    /// Before `notBefore`.
    NotYetValid,
}

impl Validity {
    /// The end is near within `notice` before it; for a short period, within its last fifth.
    pub(in crate::cli::doctor) fn of(certificate: &Certificate, now: Timestamp, notice: Duration) -> Self {
        let (start, end) = (certificate.not_before(), certificate.not_after());
        if now < start {
            Self::NotYetValid
        } else if now > end {
            Self::Expired
        } else if now.until(end) < notice.min(start.until(end) / 5) {
            Self::ExpiresSoon
        } else {
            Self::Valid
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;
    use rcgen::KeyPair;
    use rcgen::date_time_ymd;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn certificate(days: u32) -> Certificate {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(1970, 1, 1) + 365 * DAY;
        params.not_after = params.not_before + days * DAY;
        let issued = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::parse(issued.der()).unwrap()
    }

    #[test]
    fn a_validity_period_includes_both_ends_and_its_end_is_announced() {
        let certificate = certificate(100);
        let (start, end) = (certificate.not_before(), certificate.not_after());
        let of = |now| Validity::of(&certificate, now, 14 * DAY);
        let before_end = |span: Duration| Timestamp(end.0 - span.as_secs());
        assert_eq!(of(Timestamp(start.0 - 1)), Validity::NotYetValid);
        assert_eq!(of(start), Validity::Valid);
        assert_eq!(of(before_end(14 * DAY)), Validity::Valid);
        assert_eq!(of(Timestamp(before_end(14 * DAY).0 + 1)), Validity::ExpiresSoon);
        assert_eq!(of(end), Validity::ExpiresSoon);
        assert_eq!(of(Timestamp(end.0 + 1)), Validity::Expired);
    }

    #[test]
    fn a_short_period_is_near_its_end_only_in_its_last_fifth() {
        let certificate = certificate(10);
        let at = |days| {
            let now = certificate.not_before().after(days * DAY);
            Validity::of(&certificate, now, 14 * DAY)
        };
        assert_eq!((at(7), at(8), at(9)), (Validity::Valid, Validity::Valid, Validity::ExpiresSoon));
    }
}
