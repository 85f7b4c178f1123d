//! The section `listeners`.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::settings::Listeners;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    mtls: Option<SocketAddr>,
    public: Option<SocketAddr>,
    ops: Option<SocketAddr>,
    proxy_protocol_from: Vec<String>,
}

impl From<&Section> for Listeners {
    fn from(written: &Section) -> Self {
        let Self { mtls, public, ops } = Self::default();
        Self {
            mtls: written.mtls.unwrap_or(mtls),
            public: written.public.unwrap_or(public),
            ops: written.ops.unwrap_or(ops),
        }
    }
}

impl Section {
    /// The networks of the load balancers.
    pub(super) fn proxies(&self) -> Result<Vec<IpNet>, ConfigError> {
        let network = |text: &String| {
            // Bits beyond the prefix are a slip: which of both is meant?
            let network = text.parse::<IpNet>().ok().filter(|network| *network == network.trunc());
            network.ok_or_else(|| {
                let problem = format!("'{}' is not a network such as 10.0.0.0/8 or fd00::/8", text.escape_default());
                value("listeners.proxy_protocol_from", &problem)
            })
        };
        self.proxy_protocol_from.iter().map(network).collect()
    }
}
