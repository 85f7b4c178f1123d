//! What came with an incoming request, to be exchanged for a token of one's own.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use tonic::metadata::MetadataMap;

use crate::proto::exchange_token_request::Subject;

/// The header with the receipt, which the proxy of a service sets on each request that it lets through.
const RECEIPT: &str = "x-lanyard-receipt";

/// What a caller presented with one request: the receipt of it, or else the caller's access token. It is a secret, and is never
/// printed.
#[derive(Clone)]
pub struct Presented(Kind);

#[derive(Clone)]
enum Kind {
    Receipt(String),
    AccessToken(String),
}

impl Presented {
    /// Takes the receipt from the headers of an incoming request. Without one it takes the access token in `authorization`, which is
    /// exchanged only where a rule does not insist on a receipt. `None` where there is neither, and where either is there twice.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        match one(headers, RECEIPT) {
            Ok(Some(receipt)) => Some(Self::receipt(receipt)),
            Ok(None) => {
                let (scheme, token) = one(headers, AUTHORIZATION.as_str()).ok()??.split_once(' ')?;
                let token = token.trim_start_matches(' ');
                (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Self::access_token(token))
            }
            Err(Unclear) => None,
        }
    }

    /// The same from the metadata of a gRPC request.
    pub fn from_metadata(metadata: &MetadataMap) -> Option<Self> {
        Self::from_headers(metadata.as_ref())
    }

    /// A receipt that came in another way, such as with the answer to `ValidateBinding`.
    pub fn receipt(text: impl Into<String>) -> Self {
        Self(Kind::Receipt(text.into()))
    }

    /// An access token without a receipt.
    pub fn access_token(text: impl Into<String>) -> Self {
        Self(Kind::AccessToken(text.into()))
    }

    /// As a field of the request.
    pub(in crate::client) fn subject(&self) -> Subject {
        match &self.0 {
            Kind::Receipt(text) => Subject::Receipt(text.clone()),
            Kind::AccessToken(text) => Subject::AccessToken(text.clone()),
        }
    }

    /// The kind and the text.
    pub(in crate::client) fn parts(&self) -> [&str; 2] {
        match &self.0 {
            Kind::Receipt(text) => ["receipt", text],
            Kind::AccessToken(text) => ["access_token", text],
        }
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, _] = self.parts();
        out.debug_tuple("Presented").field(&kind).finish()
    }
}

/// A header is there twice, or is not a text.
struct Unclear;

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Unclear> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Unclear),
        (Some(_), Some(_)) => Err(Unclear),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;
    use hyper::header::HeaderValue;

    use super::*;

    fn taken(headers: &[(&'static str, &'static str)]) -> Option<[String; 2]> {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        let metadata = MetadataMap::from_headers(map.clone());
        let taken = Presented::from_headers(&map).map(|presented| presented.parts().map(ToOwned::to_owned));
        assert_eq!(
            Presented::from_metadata(&metadata).map(|presented| presented.parts().map(ToOwned::to_owned)),
            taken
        );
        taken
    }

    #[test]
    fn the_receipt_is_taken_and_without_one_the_token_and_nothing_that_is_there_twice() {
        let receipt = ("x-lanyard-receipt", "lr1.a");
        let token = ("authorization", "Bearer eyJ.a");
        let some = |kind: &str, text: &str| Some([kind.to_owned(), text.to_owned()]);
        assert_eq!(taken(&[receipt]), some("receipt", "lr1.a"));
        assert_eq!(taken(&[token, receipt]), some("receipt", "lr1.a"));
        assert_eq!(taken(&[token]), some("access_token", "eyJ.a"));
        assert_eq!(taken(&[("authorization", "bearer  eyJ.a")]), some("access_token", "eyJ.a"));
        for nothing in [
            &[][..],
            &[receipt, receipt],
            &[receipt, token, receipt],
            &[token, token],
            &[("authorization", "Basic eyJ.a")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("x-lanyard-receipts", "lr1.a")],
        ] {
            assert_eq!(taken(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn what_was_presented_is_not_printed() {
        for presented in [Presented::receipt("secret"), Presented::access_token("secret")] {
            assert!(!format!("{presented:?}").contains("secret"));
        }
    }
}
