//! The `Host` field of a request (RFC 9112 section 3.2).

use std::net::Ipv6Addr;

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Version;
use axum::http::header::HOST;

/// Whether the version allows a request with these fields: HTTP/1.1 requires exactly one valid `Host`. HTTP/1.0 does not
/// know the field, and HTTP/2 has `:authority`, which its parser checks.
pub(in crate::server) fn is_allowed(version: Version, headers: &HeaderMap) -> bool {
    if version != Version::HTTP_11 {
        return true;
    }
    let mut hosts = headers.get_all(HOST).iter();
    hosts.next().is_some_and(is_host) && hosts.next().is_none()
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2). The host is not empty, as http and https URLs require (section 4.2).
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let (host, port) = if let Some(literal) = text.strip_prefix('[') {
        let Some((address, rest)) = literal.split_once(']') else { return false };
        if address.parse::<Ipv6Addr>().is_err() {
            return false;
        }
        (None, rest)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (text.get(..end), text.get(end..).unwrap_or_default())
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.is_empty() || is_number(digits) && digits.parse::<u16>().is_ok());
    is_port && host.is_none_or(is_registered_name)
}

fn is_number(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// `reg-name` (RFC 3986 section 3.2.2), which covers IPv4 addresses.
fn is_registered_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => {
                let digits = (bytes.next(), bytes.next());
                matches!(digits, (Some(high), Some(low)) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
            }
            other => other.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&other),
        };
        if !valid {
            return false;
        }
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(hosts: &[&str]) -> HeaderMap {
        hosts.iter().map(|host| (HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn one_valid_host_is_allowed_with_or_without_a_port() {
        for host in ["localhost", "LOCALHOST:8443", "a.example:", "10.0.0.1:1", "[::1]", "[fd00::1]:443", "a_b", "%41"]
        {
            assert!(is_allowed(Version::HTTP_11, &with(&[host])), "{host}");
        }
    }

    #[test]
    fn no_host_two_of_them_or_an_invalid_one_are_not_allowed_in_http_1_1() {
        for host in [
            "", ":80", "a b", "a/b", "user@a", "a:b", "a:65536", "a:+1", "[::1", "::1", "[a]", "[::1]a", "%4", "%zz",
            "é",
        ] {
            assert!(!is_allowed(Version::HTTP_11, &with(&[host])), "{host}");
        }
        assert!(!is_allowed(Version::HTTP_11, &with(&[])));
        assert!(!is_allowed(Version::HTTP_11, &with(&["a", "a"])));
        for other in [Version::HTTP_10, Version::HTTP_2] {
            assert!(is_allowed(other, &with(&[])), "{other:?}");
        }
    }
}
