//! The section `local`: a Unix socket for the proxies on the same machine.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use spiffe::TrustDomain;

use crate::authority::access::LocalProxy;
use crate::authority::access::RoleHolder;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::identity::parse_spiffe_id;
use crate::config::error::ConfigError;
use crate::config::error::value;
use crate::config::roles::fronted;

const KEY: &str = "local.proxies";

/// As whom the kernel shows the processes of other user namespaces, whoever they are: `/proc/sys/kernel/overflowuid`.
const OVERFLOW_UID: u32 = 65_534;

/// What `chown` takes for no user.
const NO_UID: u32 = u32::MAX;

/// Where proxies on this machine ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Local {
    /// The path of the Unix socket.
    pub path: PathBuf,
    /// The group that may connect, by its ID; that of the server's process where it is `None`.
    pub group: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    unix: PathBuf,
    #[serde(default)]
    group: Option<u32>,
    proxies: Vec<Proxy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proxy {
    uid: u32,
    #[serde(default)]
    spiffe_id: Option<String>,
    resources: Vec<String>,
}

impl Section {
    /// The socket, and who asks there.
    pub(super) fn resolve(
        self,
        folder: &Path,
        own: Option<&TrustDomain>,
    ) -> Result<(Local, Vec<Arc<LocalProxy>>), ConfigError> {
        let Self { unix, group, proxies } = self;
        if proxies.is_empty() {
            return Err(value(KEY, "name the user of at least one proxy: nobody else may connect"));
        }
        let proxies: Vec<_> =
            proxies.into_iter().map(|proxy| proxy.resolve(own).map(Arc::new)).collect::<Result<_, _>>()?;
        let is_repeated = |(place, proxy): (usize, &Arc<LocalProxy>)| {
            proxies.iter().take(place).any(|earlier| earlier.user == proxy.user).then_some(proxy.user)
        };
        if let Some(user) = proxies.iter().enumerate().find_map(is_repeated) {
            return Err(value(KEY, &format!("two entries are for uid {user}: put all its resources into one")));
        }
        Ok((Local { path: folder.join(unix), group }, proxies))
    }
}

impl Proxy {
    fn resolve(self, own: Option<&TrustDomain>) -> Result<LocalProxy, ConfigError> {
        let Self { uid, spiffe_id, resources } = self;
        if uid == OVERFLOW_UID || uid == NO_UID {
            let problem = format!("uid {uid} is no user: every process of another user namespace looks like it");
            return Err(value(KEY, &problem));
        }
        let parse = |text: &String| parse_spiffe_id(text).filter(|id| !id.path().is_empty());
        let spiffe_id = match &spiffe_id {
            None => None,
            Some(text) => Some(parse(text).ok_or_else(|| value(KEY, "spiffe_id is not the SPIFFE ID of a workload"))?),
        };
        // The rule for proxies of other trust domains.
        let holder = spiffe_id.clone().map(SpiffeIdPattern::Exact).map(RoleHolder::Spiffe);
        let fronted = fronted("local.proxies.resources", holder.as_ref(), &resources, own)?;
        Ok(LocalProxy { user: uid, fronted, spiffe_id })
    }
}
