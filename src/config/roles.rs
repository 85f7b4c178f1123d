//! The section `roles`: who has the roles Admin, Proxy, Auditor, Revoker and Edge.

use serde::Deserialize;
use spiffe::TrustDomain;

use crate::authority::access::DecisionsGrant;
use crate::authority::access::EdgeGrant;
use crate::authority::access::Fronted;
use crate::authority::access::RoleGrants;
use crate::authority::access::RoleHolder;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::scope::is_resource_indicator;
use crate::config::error::ConfigError;
use crate::config::error::value;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Roles {
    admins: Vec<Holder>,
    proxies: Vec<Proxy>,
    auditors: Vec<Holder>,
    revokers: Vec<Holder>,
    edges: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holder {
    spiffe_id: Option<String>,
    certificate_thumbprint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proxy {
    spiffe_id: Option<String>,
    certificate_thumbprint: Option<String>,
    resources: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    spiffe_id: Option<String>,
    certificate_thumbprint: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    trust_domains: Vec<String>,
    #[serde(default)]
    revocations_only: bool,
}

impl Roles {
    pub(super) fn has_no_admins(&self) -> bool {
        self.admins.is_empty()
    }

    pub(super) fn resolve(self, own: Option<&TrustDomain>) -> Result<RoleGrants, ConfigError> {
        let proxies = self.proxies.into_iter().map(|proxy| {
            let holder = holder_of("roles.proxies", proxy.spiffe_id, proxy.certificate_thumbprint)?;
            Ok((fronted(PROXIES, Some(&holder), &proxy.resources, own)?, holder))
                .map(|(fronted, holder)| (holder, fronted))
        });
        let edges = self.edges.into_iter().map(|edge| edge.resolve(own));
        let roles = RoleGrants {
            admins: operators("roles.admins", "an admin", self.admins)?,
            proxies: proxies.collect::<Result<_, _>>()?,
            auditors: operators("roles.auditors", "an auditor", self.auditors)?,
            revokers: operators("roles.revokers", "a revoker", self.revokers)?,
            edges: edges.collect::<Result<_, _>>()?,
            local_proxies: Vec::new(),
        };
        let contradictory = |key, holder| {
            let problem = format!(
                "two entries for '{holder}' list different resources: leave one of them out, or put both lists into it"
            );
            Err(value(key, &problem))
        };
        match (roles.contradictory_proxy(), roles.contradictory_edge()) {
            (Some(holder), _) => contradictory("roles.proxies", holder),
            (None, Some(holder)) => contradictory("roles.edges", holder),
            (None, None) => Ok(roles),
        }
    }
}

impl Edge {
    fn resolve(self, own: Option<&TrustDomain>) -> Result<(RoleHolder, EdgeGrant), ConfigError> {
        const KEY: &str = "roles.edges";
        let holder = holder_of(KEY, self.spiffe_id, self.certificate_thumbprint)?;
        if self.revocations_only {
            return if self.resources.is_empty() && self.trust_domains.is_empty() {
                Ok((holder, EdgeGrant::Revocations))
            } else {
                Err(value(KEY, "with revocations_only an edge is told of no resources and no trust domains"))
            };
        }
        let resources = fronted(EDGES, Some(&holder), &self.resources, own)?;
        let trust_domains = self.trust_domains.iter().map(|name| {
            // The library also takes SPIFFE IDs.
            TrustDomain::new(name).ok().filter(|trust_domain| trust_domain.as_str() == name).ok_or_else(|| {
                value(
                    "roles.edges.trust_domains",
                    &format!("'{}' is not the name of a trust domain", name.escape_default()),
                )
            })
        });
        let trust_domains = trust_domains.collect::<Result<_, _>>()?;
        Ok((holder, EdgeGrant::Decisions(DecisionsGrant { resources, trust_domains })))
    }
}

/// The holders of a role that is not given by patterns.
fn operators(key: &'static str, one: &str, holders: Vec<Holder>) -> Result<Vec<RoleHolder>, ConfigError> {
    let exact = |holder: Holder| match holder_of(key, holder.spiffe_id, holder.certificate_thumbprint)? {
        RoleHolder::Spiffe(SpiffeIdPattern::Below(_)) => {
            Err(value(key, &format!("{one} is named by its exact SPIFFE ID, not by a pattern")))
        }
        holder @ (RoleHolder::Spiffe(SpiffeIdPattern::Exact(_)) | RoleHolder::Thumbprint(_)) => Ok(holder),
    };
    holders.into_iter().map(exact).collect()
}

pub(super) fn holder_of(
    key: &'static str,
    spiffe_id: Option<String>,
    thumbprint: Option<String>,
) -> Result<RoleHolder, ConfigError> {
    match (spiffe_id, thumbprint) {
        (Some(text), None) => SpiffeIdPattern::parse(&text)
            .map(RoleHolder::Spiffe)
            .ok_or_else(|| value(key, &format!("'{}' is not a SPIFFE ID with a path", text.escape_default()))),
        (None, Some(text)) => CertificateThumbprint::parse(&text).map(RoleHolder::Thumbprint).ok_or_else(|| {
            value(key, "certificate_thumbprint must be the 43 characters of an x5t#S256, as `openssl x509 -outform der | openssl dgst -sha256 -binary | basenc --base64url | tr -d =` prints it")
        }),
        (Some(_), Some(_)) | (None, None) => Err(value(key, "each entry has either spiffe_id or certificate_thumbprint")),
    }
}

const PROXIES: &str = "roles.proxies.resources";
const EDGES: &str = "roles.edges.resources";

/// The resources that a proxy fronts, or that an edge decides about. All resources must be written explicitly as `*`, which is
/// not allowed for those of other trust domains.
pub(super) fn fronted(
    key: &'static str,
    holder: Option<&RoleHolder>,
    resources: &[String],
    own: Option<&TrustDomain>,
) -> Result<Fronted, ConfigError> {
    if resources.is_empty() {
        return Err(value(key, "name the audiences that it is there for, or \"*\" for all"));
    }
    if resources.iter().any(|resource| resource == "*") {
        let foreign = match holder {
            Some(RoleHolder::Spiffe(SpiffeIdPattern::Exact(id))) => own.is_none_or(|own| !id.is_member_of(own)),
            Some(RoleHolder::Spiffe(SpiffeIdPattern::Below(prefix))) => {
                own.is_none_or(|own| !prefix.starts_with(&format!("{}/", own.id_string())))
            }
            Some(RoleHolder::Thumbprint(_)) | None => false,
        };
        return if foreign {
            Err(value(key, "\"*\" is only for those of the server's own trust domain, trust.trust_domain"))
        } else {
            Ok(Fronted::Every)
        };
    }
    match resources.iter().find(|resource| !is_resource_indicator(resource)) {
        Some(bad) => Err(value(key, &format!("'{}' is not an absolute URI without a fragment", bad.escape_default()))),
        None => Ok(Fronted::Audiences(resources.into())),
    }
}
