//! Thumbprints of certificates (RFC 8705 section 3.1) and of keys (RFC 7638), against the published vectors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::identity::Certificate;
use lanyard::authority::identity::CertificateThumbprint;
use lanyard::authority::keys::PublicJwk;
use lanyard::authority::trust::Unproven;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::TestAuthority;
use crate::support::der;

/// RFC 8705 appendix A: an X.509 v1 certificate.
const APPENDIX_A: &str = "-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
";
const APPENDIX_A_THUMBPRINT: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";
const APPENDIX_A_HEX: &str = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd";

fn appendix_a() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(APPENDIX_A.as_bytes()).unwrap()
}

// RFC 8705 section 3.1 and Appendix A
#[test]
fn the_thumbprint_of_the_rfcs_own_certificate_is_the_published_one() {
    let thumbprint = CertificateThumbprint::of(&appendix_a());
    assert_eq!(thumbprint.to_string(), APPENDIX_A_THUMBPRINT);
    assert_eq!(CertificateThumbprint::parse(APPENDIX_A_THUMBPRINT), Some(thumbprint));
    assert_eq!(hex::decode(APPENDIX_A_HEX).unwrap(), thumbprint.as_bytes());
}

// RFC 8705 section 3.1 and Appendix A: the answers that others have given
#[test]
fn the_hash_of_the_pem_and_other_spellings_of_the_digest_are_not_the_thumbprint() {
    let thumbprint = CertificateThumbprint::of(&appendix_a());
    assert_ne!(CertificateThumbprint::of(APPENDIX_A.as_bytes()), thumbprint);
    for wrong in [
        URL_SAFE.encode(thumbprint.as_bytes()),
        STANDARD.encode(thumbprint.as_bytes()),
        URL_SAFE_NO_PAD.encode(APPENDIX_A_HEX),
        APPENDIX_A_HEX.to_owned(),
        format!("{APPENDIX_A_THUMBPRINT} "),
        format!("\n{APPENDIX_A_THUMBPRINT}"),
        format!("{APPENDIX_A_THUMBPRINT}A"),
        APPENDIX_A_THUMBPRINT[..42].to_owned(),
        String::new(),
    ] {
        assert_eq!(CertificateThumbprint::parse(&wrong), None, "{wrong:?}");
    }
    let both_alphabets_differ = CertificateThumbprint::from_digest(&[0xfb; 32]).unwrap();
    assert_eq!(CertificateThumbprint::parse(&STANDARD_NO_PAD.encode([0xfb; 32])), None);
    assert_eq!(CertificateThumbprint::parse(&URL_SAFE_NO_PAD.encode([0xfb; 32])), Some(both_alphabets_differ));
}

// RFC 8705 section 3.1
#[test]
fn the_non_canonical_thumbprint_of_rfc_8705_figures_2_and_3_is_refused() {
    assert_eq!(CertificateThumbprint::parse("bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"), None);
    assert!(CertificateThumbprint::parse("bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0").is_some());
}

#[test]
fn a_digest_of_another_length_is_no_thumbprint() {
    for length in [0, 16, 20, 31, 33, 64] {
        assert_eq!(CertificateThumbprint::from_digest(&vec![7; length]), None, "{length}");
    }
}

// RFC 8705 Appendix A
#[test]
fn the_rfcs_version_1_certificate_can_be_read_but_lets_nobody_in() {
    let certificate = Certificate::parse(&appendix_a()).unwrap();
    assert_eq!(certificate.thumbprint().to_string(), APPENDIX_A_THUMBPRINT);
    let fixture = TestAuthority::new();
    fixture.clock.set(certificate.not_after());
    assert_eq!(fixture.authority.prove_now(&[appendix_a()]).unwrap_err(), Unproven::Unknown);
}

// RFC 7638 sections 3 and 3.1
#[test]
fn the_thumbprint_of_rfc_7638s_rsa_key_is_the_published_one() {
    let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok\
         njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5\
         hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let modulus = [vec![0], URL_SAFE_NO_PAD.decode(modulus).unwrap()].concat();
    let rsa_encryption = der::element(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]);
    let key = der::sequence(&[der::element(2, &modulus), der::element(2, &[1, 0, 1])]);
    let jwk = PublicJwk::from_spki(&spki(&[rsa_encryption, der::element(5, &[])], &key)).unwrap();
    assert_eq!(jwk.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_eq!(jwk.to_json()["e"], "AQAB");
}

// RFC 8037 Appendix A.3
#[test]
fn the_thumbprint_of_rfc_8037s_ed25519_key_is_the_published_one() {
    let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let ed25519 = der::element(6, &[0x2b, 0x65, 0x70]);
    let jwk = PublicJwk::from_spki(&spki(std::slice::from_ref(&ed25519), &x)).unwrap();
    assert_eq!(jwk.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(PublicJwk::from_spki(&spki(&[ed25519], &x[..31])), None);
}

#[test]
fn a_compressed_or_cut_off_elliptic_point_has_no_jwk() {
    let algorithm = [
        der::element(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]),
        der::element(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]),
    ];
    assert!(PublicJwk::from_spki(&spki(&algorithm, &[&[4][..], &[7; 64]].concat())).is_some());
    for point in [[&[2][..], &[7; 32]].concat(), [&[4][..], &[7; 63]].concat(), [&[4][..], &[7; 65]].concat(), vec![]] {
        assert_eq!(PublicJwk::from_spki(&spki(&algorithm, &point)), None, "{point:?}");
    }
    for garbage in [&[][..], &[0x30], &[0x30, 0x00], b"-----BEGIN PUBLIC KEY-----"] {
        assert_eq!(PublicJwk::from_spki(garbage), None, "{garbage:?}");
    }
}

fn spki(algorithm: &[Vec<u8>], key: &[u8]) -> Vec<u8> {
    der::sequence(&[der::sequence(algorithm), der::element(3, &[&[0][..], key].concat())])
}
