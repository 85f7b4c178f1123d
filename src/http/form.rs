//! `application/x-www-form-urlencoded` request bodies, by the rules of RFC 6749 section 3.2: a parameter without a
//! value is treated as absent, and no parameter may be repeated.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use percent_encoding::percent_decode_str;

use crate::http::error::OAuthError;

const FORM: &str = "application/x-www-form-urlencoded";

/// The maximum number of parameters.
const MAX_PARAMETERS: usize = 256;

/// The parameters of a request, in order.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a body. Bytes that are not UTF-8 are an error; they are not replaced.
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(FORM) {
            return Err(OAuthError::invalid_request("the content type must be application/x-www-form-urlencoded"));
        }
        let malformed = || OAuthError::invalid_request("the body is not a form in UTF-8");
        let text = str::from_utf8(body).map_err(|_| malformed())?;
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        let parameters: Vec<_> = decoded.take(MAX_PARAMETERS + 1).collect::<Option<_>>().ok_or_else(malformed)?;
        if parameters.len() > MAX_PARAMETERS {
            return Err(OAuthError::invalid_request("the body has too many parameters"));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter that may appear at most once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, OAuthError> {
        let mut values = self.0.iter().filter(|(named, _)| named == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(OAuthError::invalid_request("a parameter appears more than once"));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// The values of a parameter that may be repeated (RFC 8707 section 2).
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(named, value)| named == name && !value.is_empty());
        values.map(|(_, value)| value.clone()).collect()
    }
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<Form, OAuthError> {
        Form::parse(&HeaderMap::from_iter([(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap())]), body)
    }

    #[test]
    fn a_parameter_without_a_value_counts_as_left_out() {
        let form = parse(b"scope=&client_id=a+b%2Bc").unwrap();
        assert_eq!(form.one("scope").unwrap(), None);
        assert_eq!(form.one("client_id").unwrap(), Some("a b+c"));
        assert_eq!(form.one("grant_type").unwrap(), None);
    }

    #[test]
    fn a_repeated_parameter_is_refused_unless_it_may_be_repeated() {
        let form = parse(b"client_id=a&client_id=a&resource=https://a&resource=https://b").unwrap();
        assert!(form.one("client_id").is_err());
        assert_eq!(form.all("resource"), ["https://a", "https://b"]);
    }

    #[test]
    fn what_is_not_utf_8_is_refused_and_not_replaced() {
        assert!(parse(b"client_id=%ff").is_err());
        assert!(parse(b"client_id=\xff").is_err());
        assert!(parse("client_id=é".as_bytes()).is_ok());
    }
}
