//! What was read before: proxies show the same certificates again and again. What is read of a text depends on the text
//! alone, so that it is remembered for the process. Whether a certificate is valid is looked at on each use.

use std::sync::Arc;
use std::sync::LazyLock;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::authority::evidence::forwarded_certificate::ForwardedElement;
use crate::authority::evidence::forwarded_certificate::InvalidForwardedCertificate;
use crate::authority::evidence::forwarded_certificate::parse_forwarded_client_cert;
use crate::authority::evidence::forwarded_certificate::parse_url_encoded_certificate;
use crate::authority::identity::Certificate;
use crate::authority::identity::InvalidCertificate;

/// How many texts of one kind are remembered, about.
const TEXTS: usize = 10_000;

/// What they may take altogether, in bytes.
const BYTES: u64 = 16 * 1024 * 1024;

/// What was read of texts of one kind. A text is found by a keyed hash, and is compared as a whole.
struct Known<T>(Cache<Box<[u8]>, Arc<T>, Size>);

#[derive(Clone)]
struct Size;

/// What was read has the parts of the text, some of them twice.
impl<T> Weighter<Box<[u8]>, Arc<T>> for Size {
    fn weight(&self, text: &Box<[u8]>, _: &Arc<T>) -> u64 {
        u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_mul(3).saturating_add(512)
    }
}

static CERTIFICATES: LazyLock<Known<Certificate>> = LazyLock::new(Known::default);
static URL_ENCODED: LazyLock<Known<Certificate>> = LazyLock::new(Known::default);
static HEADERS: LazyLock<Known<Vec<ForwardedElement>>> = LazyLock::new(Known::default);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Cache::with_weighter(TEXTS, BYTES, Size))
    }
}

impl<T> Known<T> {
    fn read<E>(&self, text: &[u8], read: impl FnOnce(&[u8]) -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some(known) = self.0.get(text) {
            return Ok(known);
        }
        let new = Arc::new(read(text)?);
        self.0.insert(text.into(), Arc::clone(&new));
        Ok(new)
    }
}

/// Reads a certificate from its DER.
pub(super) fn certificate(der: &[u8]) -> Result<Arc<Certificate>, InvalidCertificate> {
    CERTIFICATES.read(der, Certificate::parse)
}

/// Reads a certificate from percent-encoded PEM.
pub(super) fn url_encoded_certificate<E>(text: &str) -> Result<Arc<Certificate>, E>
where
    E: From<InvalidForwardedCertificate> + From<InvalidCertificate>,
{
    URL_ENCODED.read(text.as_bytes(), |text| Ok(Certificate::parse(&parse_url_encoded_certificate(text)?)?))
}

/// Reads the value of `x-forwarded-client-cert`.
pub(super) fn forwarded_client_cert(header: &str) -> Result<Arc<Vec<ForwardedElement>>, InvalidForwardedCertificate> {
    HEADERS.read(header.as_bytes(), parse_forwarded_client_cert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_remembered_for_the_same_text_alone_and_errors_are_not() {
        let known = Known::<usize>::default();
        let read = |text: &str, value| known.read(text.as_bytes(), |_| value).map(|read| *read);
        assert_eq!(read("a", Err("refused")), Err("refused"));
        assert_eq!(read("a", Ok::<_, &str>(1)), Ok(1));
        assert_eq!(read("a", Err("refused")), Ok(1));
        assert_eq!(read("A", Err("refused")), Err("refused"));
        assert_eq!(read("a ", Ok::<_, &str>(2)), Ok(2));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let known = Known::<usize>::default();
        for number in 0..40_000_usize {
            let text = format!("{number:01000}");
            assert_eq!(known.read(text.as_bytes(), |_| Ok::<_, ()>(number)).map(|read| *read), Ok(number));
        }
        assert!(known.0.weight() <= BYTES && known.0.len() > 1000, "{}", known.0.len());
    }
}
