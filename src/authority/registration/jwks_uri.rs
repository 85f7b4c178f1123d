//! `jwks_uri` (RFC 7591 section 2): the URL at which a client publishes its certificates, and the hosts that are
//! allowed.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::time::Duration;

use fluent_uri::Uri;
use fluent_uri::UriRef;

const HTTPS_PORT: u16 = 443;
const MAX_BYTES: usize = 2048;

/// An https URL without userinfo and fragment, whose host is in its canonical spelling.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct JwksUri {
    text: String,
    host: String,
    port: u16,
}

/// The configuration of `jwks_uri`.
#[derive(Clone, Debug, Default)]
pub struct JwksUriPolicy {
    /// The hosts from which documents may be fetched. If it is empty, which is the default, no client may have a
    /// `jwks_uri`.
    pub allowed_hosts: AllowedHosts,
    /// How long the last valid document stays in effect when no newer one can be fetched.
    pub keep: Duration,
    /// Whether an unknown certificate is accepted to request a token, so that the documents of its client can be
    /// fetched on demand.
    pub on_demand: bool,
}

/// Hosts, each with one port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AllowedHosts(Vec<(String, u16)>);

/// The text is not `HOST` or `HOST:PORT`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be HOST or HOST:PORT")]
pub struct NotAHost;

impl AllowedHosts {
    /// Parses `HOST`, which means port 443, or `HOST:PORT`.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a String>) -> Result<Self, NotAHost> {
        let entry = |entry: &String| {
            let uri = JwksUri::parse(&format!("https://{entry}")).filter(|uri| uri.path_and_query() == "/");
            uri.filter(|_| !entry.ends_with('/')).map(|uri| (uri.host, uri.port)).ok_or(NotAHost)
        };
        entries.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a document may be fetched from this URL.
    pub fn allows(&self, uri: &JwksUri) -> bool {
        self.0.iter().any(|(host, port)| *host == uri.host && *port == uri.port)
    }

    /// The host and port of each entry.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, u16)> {
        self.0.iter().map(|(host, port)| (host.as_str(), *port))
    }

    /// Whether no host is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl JwksUri {
    /// Parses a URL. `None` if it is not https, has userinfo or a fragment, or has an ambiguous host.
    pub fn parse(text: &str) -> Option<Self> {
        let uri = Uri::parse(text).ok().filter(|uri| uri.scheme().as_str() == "https" && !uri.has_fragment())?;
        let authority = uri.authority().filter(|authority| !authority.has_userinfo())?;
        let host = host(authority.host())?;
        if uri.path().is_empty() && uri.has_query() {
            return None;
        }
        let port = authority.port_to_u16().ok()?.unwrap_or(HTTPS_PORT);
        (text.len() <= MAX_BYTES && port != 0).then(|| Self { text: text.to_owned(), host, port })
    }

    /// Resolves a redirect location. The target is subject to the same rules.
    pub fn redirected(&self, location: &str) -> Option<Self> {
        let base = Uri::parse(self.text.as_str()).ok()?;
        let target = UriRef::parse(location).ok()?.resolve_against(&base).ok()?;
        Self::parse(target.as_str())
    }

    /// The URL as it was registered.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host: a name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 if the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The request target: path and query (RFC 9112 section 3.2.1).
    pub fn path_and_query(&self) -> &str {
        let rest = self.text.get("https://".len()..).unwrap_or_default();
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
    }

    /// The value of the `Host` field: host and port.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == HTTPS_PORT { host } else { format!("{host}:{}", self.port) }
    }
}

/// Parses a host name of letters, digits and hyphens, or an address in canonical spelling. Resolvers also accept
/// `127.1`, `0x7f.0.0.1` and `2130706433` as addresses, so a name whose last label begins with a digit is refused.
fn host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().ok().map(|address| address.to_string());
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.to_string());
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let named = text.split('.').all(is_label);
    let numeric = text.rsplit('.').next().is_none_or(|last| last.starts_with(|first: char| first.is_ascii_digit()));
    (named && !numeric).then(|| text.to_ascii_lowercase())
}
