//! Patterns of URIs and of authorities, which bound what a team registers.

use crate::authority::scope::is_resource_indicator;

/// A URI, or all URIs below one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum UriPattern {
    Exact(String),
    /// Every URI that begins with this text. It has a whole authority and ends in `/`, so that only whole segments match.
    Below(String),
}

impl UriPattern {
    /// Parses a URI, or one followed by `/*`. A star in any other position is refused.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (parent, is_below) = text.strip_suffix("/*").map_or((text, false), |parent| (parent, true));
        if parent.contains('*') || !is_resource_indicator(parent) {
            return None;
        }
        if !is_below {
            return Some(Self::Exact(text.to_owned()));
        }
        // What follows a query is no segment.
        let (_, rest) = parent.split_once("://")?;
        let has_authority = rest.split('/').next().is_some_and(|authority| !authority.is_empty());
        (has_authority && !parent.contains('?') && !parent.ends_with('/')).then(|| Self::Below(format!("{parent}/")))
    }

    /// Whether the pattern matches a URI. Segments that a reader may resolve lead out of it, and do not match.
    pub(super) fn matches(&self, uri: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == uri,
            Self::Below(prefix) => uri.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                let path = rest.split('?').next().unwrap_or_default();
                !rest.is_empty() && !path.contains('%') && !path.split('/').any(|segment| matches!(segment, "." | ".."))
            }),
        }
    }
}

/// A host with or without a port, or all hosts below a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum AuthorityPattern {
    /// This host, at this port; `None` for every port.
    Host(String, Option<String>),
    /// Every host that ends in this text, which begins with a dot, at every port.
    Below(String),
}

impl AuthorityPattern {
    /// Parses `orders.shop.internal`, `orders.shop.internal:8443` or `*.shop.internal`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(domain) = text.strip_prefix("*.") {
            return is_host(domain).then(|| Self::Below(format!(".{domain}")));
        }
        let (host, port) = split_port(text);
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
        let is_written = is_host(host) && port.is_none_or(is_port);
        is_written.then(|| Self::Host(host.to_owned(), port.map(ToOwned::to_owned)))
    }

    /// Whether the pattern matches an authority. One without a port is at every port.
    pub(super) fn matches(&self, authority: &str) -> bool {
        let (host, port) = split_port(authority);
        match self {
            Self::Host(granted, None) => granted == host,
            Self::Host(granted, Some(at)) => granted == host && port == Some(at.as_str()),
            Self::Below(suffix) => host.strip_suffix(suffix.as_str()).is_some_and(|rest| !rest.is_empty()),
        }
    }
}

/// Splits an authority into its host and its port, if it has one.
pub(in crate::authority) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // A colon within brackets is part of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Whether a text is a host as resources name them: in lower case.
fn is_host(text: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':')
    };
    !text.is_empty() && text.len() <= 253 && text.bytes().all(is_plain) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::AuthorityPattern;
    use super::UriPattern;

    #[test]
    fn a_pattern_of_uris_matches_whole_segments_below_a_whole_authority() {
        let pattern = UriPattern::parse("https://shop.internal/orders/*").unwrap();
        for uri in ["https://shop.internal/orders/a", "https://shop.internal/orders/a/b?x=/../"] {
            assert!(pattern.matches(uri), "{uri}");
        }
        for uri in [
            "https://shop.internal/orders",
            "https://shop.internal/orders/",
            "https://shop.internal/ordersx/a",
            "https://shop.internal/orders/../billing",
            "https://shop.internal/orders/./a",
            "https://shop.internal/orders/%2e%2e/billing",
            "https://shop.internal.evil/orders/a",
            "HTTPS://shop.internal/orders/a",
        ] {
            assert!(!pattern.matches(uri), "{uri}");
        }
        let host = UriPattern::parse("https://shop.internal/*").unwrap();
        assert!(host.matches("https://shop.internal/a") && !host.matches("https://shop.internal:8443/a"));
        let exact = UriPattern::parse("urn:shop:orders").unwrap();
        assert!(exact.matches("urn:shop:orders") && !exact.matches("urn:shop:orders/a"));
        for text in
            ["https://*/orders", "https://*.shop.internal/*", "https:///*", "https://a?b/*", "https://a//*", "*"]
        {
            assert_eq!(UriPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_of_authorities_matches_hosts_and_ports() {
        let matches = |pattern: &str, authority: &str| AuthorityPattern::parse(pattern).unwrap().matches(authority);
        for (pattern, authority) in [
            ("shop.internal", "shop.internal"),
            ("shop.internal", "shop.internal:8443"),
            ("shop.internal:8443", "shop.internal:8443"),
            ("*.shop.internal", "a.b.shop.internal:1"),
            ("[::1]", "[::1]:80"),
        ] {
            assert!(matches(pattern, authority), "{pattern} {authority}");
        }
        for (pattern, authority) in [
            ("shop.internal", "a.shop.internal"),
            ("shop.internal:8443", "shop.internal"),
            ("shop.internal:8443", "shop.internal:8444"),
            ("*.shop.internal", "shop.internal"),
            ("*.shop.internal", "eshop.internal"),
            ("[::1]:80", "[::1]"),
        ] {
            assert!(!matches(pattern, authority), "{pattern} {authority}");
        }
        for text in ["", "*", "*.", "a.*.b", "A.internal", "a.internal:http", "a.internal:080", ".internal"] {
            assert_eq!(AuthorityPattern::parse(text), None, "{text}");
        }
    }
}
