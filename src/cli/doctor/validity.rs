//! Where the present moment lies in a certificate's validity.

use std::time::Duration;
use std::time::SystemTime;

use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;

/// Where it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli::doctor) enum Validity {
    /// Inside.
    Valid,
    /// Inside, and the end is near.
    ExpiresSoon,
    /// After the end.
    Expired,
    /// Before the beginning.
    NotYetValid,
}

impl Validity {
    /// The end is near from `notice` before it on; of what lives shortly, in the last fifth of its life.
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

/// A moment as RFC 3339 has it.
pub(in crate::cli::doctor) fn moment(at: Timestamp) -> String {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(at.0))
        .map_or_else(|| at.0.to_string(), |at| humantime::format_rfc3339_seconds(at).to_string())
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
    fn both_ends_of_a_validity_belong_to_it_and_the_end_is_announced() {
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
    fn what_lives_shortly_is_not_always_near_its_end() {
        let certificate = certificate(10);
        let at = |days| {
            let now = certificate.not_before().after(days * DAY);
            Validity::of(&certificate, now, 14 * DAY)
        };
        assert_eq!((at(7), at(8), at(9)), (Validity::Valid, Validity::Valid, Validity::ExpiresSoon));
    }
}
