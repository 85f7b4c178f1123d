//! A certificate's thumbprint as an argument of a command.

use crate::authority::identity::CertificateThumbprint;

/// Parses 43 characters of base64url (x5t#S256) or 64 of hex (XFCC's `Hash=`).
pub(in crate::cli) fn parse(text: &str) -> Result<CertificateThumbprint, &'static str> {
    const SHAPE: &str = "must be 43 characters of base64url without padding, or 64 of hex";
    if text.len() != 64 {
        return CertificateThumbprint::parse(text).ok_or(SHAPE);
    }
    hex::decode(text).ok().and_then(|digest| CertificateThumbprint::from_digest(&digest)).ok_or(SHAPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
    const HEX: &str = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd";

    #[test]
    fn a_thumbprint_is_read_in_both_forms_and_in_no_other() {
        assert_eq!(parse(DIGEST), parse(HEX));
        assert_eq!(parse(HEX), parse(&HEX.to_uppercase()));
        for bad in ["", &HEX[1..], &format!("{DIGEST}="), &HEX.replace('0', "g"), &HEX.replace("03", "+3")] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
