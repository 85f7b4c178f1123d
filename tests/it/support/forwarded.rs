//! What proxies write into headers about the certificates of their clients.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hex::FromHex as _;
use lanyard::authority::evidence::ForwardedElement;
use lanyard::authority::evidence::InvalidForwardedCertificate;
use lanyard::authority::evidence::parse_forwarded_client_cert;
use rcgen::CertificateParams;
use rcgen::KeyPair;
use sha2::Digest as _;
use sha2::Sha256;

use crate::support::leaf::pem;

/// Two hashes of nothing.
pub const H: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";
pub const OTHER: &str = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd";

/// Text is put together as a proxy would, with `{H}`, `{OTHER}`, and of two certificates `{CERT}`, `{CERT_HASH}`, `{CA}`
/// filled in.
pub struct Forwarded {
    pub der: Vec<u8>,
    pub above: Vec<u8>,
}

impl Forwarded {
    pub fn new() -> Self {
        let certificate = |name| {
            let params = CertificateParams::new(vec![String::from(name)]).unwrap();
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        Self { der: certificate("checkout.example"), above: certificate("ca.example") }
    }

    pub fn header(&self, template: &str) -> String {
        template
            .replace("{CERT}", &url_encoded(&pem(&self.der)))
            .replace("{CA}", &url_encoded(&pem(&self.above)))
            .replace("{CERT_HASH}", &hex::encode(self.hash()))
            .replace("{H}", H)
            .replace("{OTHER}", OTHER)
    }

    pub fn read(&self, template: &str) -> Result<Vec<ForwardedElement>, InvalidForwardedCertificate> {
        parse_forwarded_client_cert(self.header(template).as_bytes())
    }

    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.der)
    }
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// As Envoy does it.
pub fn url_encoded(pem: &str) -> String {
    pem.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// An RFC 9440 byte sequence.
pub fn byte_sequence(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

pub fn octets(hex: &str) -> [u8; 32] {
    <[u8; 32]>::from_hex(hex).unwrap()
}
