//! The one form of a host with or without a port. Resources are registered in it, and the hosts of requests are
//! normalized to it, so that no other spelling of a name finds another resource or none.

use std::net::Ipv6Addr;

use crate::authority::access::split_port;

/// A host, and a port if there is one: in lower case (RFC 9110 section 4.2.3), without the dot that ends an absolute
/// name (RFC 1034 section 3.1), an IPv6 address as RFC 5952 writes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct HostAndPort {
    text: String,
    /// The length of the host within the text.
    host: usize,
}

impl HostAndPort {
    /// Parses the host of a request. A colon without a port is allowed (RFC 3986 section 3.2.3).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text);
        let mut text = canonical_host(host)?;
        let host = text.len();
        if let Some(digits) = port.filter(|digits| !digits.is_empty()) {
            let number: u16 = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            text.push(':');
            text.push_str(&number.to_string());
        }
        Some(Self { text, host })
    }

    /// Parses an authority that is registered: its port, if it has one, is written as a number is.
    pub(super) fn registered(text: &str) -> Option<Self> {
        let parsed = Self::parse(text)?;
        (split_port(text).1 == split_port(&parsed.text).1).then_some(parsed)
    }

    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// What a resource can be registered under to be found here: the host with this port, then the host for all ports.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let (host, _) = self.text.split_at_checked(self.host).unwrap_or((&self.text, ""));
        let with_port = (self.host < self.text.len()).then_some(self.text.as_str());
        with_port.into_iter().chain(std::iter::once(host))
    }
}

fn canonical_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    // Of several dots at the end none is removed: that is no name, and no spelling of one.
    let name = host.strip_suffix('.').filter(|name| !name.is_empty() && !name.ends_with('.')).unwrap_or(host);
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!name.is_empty() && name.bytes().all(valid)).then(|| name.to_ascii_lowercase())
}
