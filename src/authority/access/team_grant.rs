//! Team grants: what the admins of a team may register.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use spiffe::SpiffeId;

use crate::authority::access::text_pattern::AuthorityPattern;
use crate::authority::access::text_pattern::UriPattern;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;
use crate::authority::records::MANAGER_SHAPE;
use crate::authority::records::NotKept;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::records::is_manager;
use crate::authority::registration::MAX_TTL;
use crate::authority::scope::Scope;

/// The prefix of all keys of grants in the store. The name follows.
pub const GRANTS: &str = "/grants/";

/// The schema of the records that this version writes.
pub(in crate::authority) const GRANT_SCHEMA: u32 = 1;

/// The most entries of a list in a grant.
const MAX_ENTRIES: usize = 128;

/// The most characters of a name.
const MAX_NAME: usize = 128;

/// The longest lifetime of tokens, where the grant sets none: that of a registration that sets none.
const DEFAULT_TTL: Duration = Duration::from_mins(5);

/// The methods that a grant can be about: with the others a certificate has no identity that a pattern could bound.
const BY_SVID: [&str; 2] = ["spiffe_x509", "spiffe_jwt"];

/// A grant as admins write it. It is stored and returned in this form.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GrantMetadata {
    /// Its name.
    pub name: String,
    /// The SPIFFE IDs of the team's admins, exact or patterns that end in `/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admins: Vec<String>,
    /// The SPIFFE IDs that its clients may have: exact, or patterns that end in `/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spiffe_ids: Vec<String>,
    /// The audiences that its clients may have: URIs, or patterns that end in `/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// The audiences that it may register as resources, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The authorities that its resources may have: a host, a host with a port, or `*.` and the domain of all hosts below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<String>,
    /// The scopes that its clients may have and its resources define, space-separated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The longest lifetime that its clients' tokens may have, as text such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::authority::access::duration")]
    pub max_access_token_ttl: Option<Duration>,
    /// The methods by which its clients may authenticate: `spiffe_x509`, `spiffe_jwt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_endpoint_auth_methods: Vec<String>,
    /// The values that `owner` of its registrations may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    /// What applies its documents: `--prune` of `apply` goes by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
}

/// A grant that is in effect.
pub type RegisteredGrant = Registered<TeamGrant>;

/// A grant with validated metadata: the admins of a team, and what their registrations must lie within.
#[derive(Clone, Debug)]
pub struct TeamGrant {
    metadata: GrantMetadata,
    admins: Vec<SpiffeIdPattern>,
    spiffe_ids: Vec<SpiffeIdPattern>,
    audiences: Vec<UriPattern>,
    resources: Vec<UriPattern>,
    authorities: Vec<AuthorityPattern>,
    scope: Scope,
    max_access_token_ttl: Duration,
}

impl Registration for TeamGrant {
    type Metadata = GrantMetadata;
    type CreationId = NotKept;
    type Dynamic = NotKept;

    const KIND: Kind = Kind::Grant;
    const PREFIX: &'static str = GRANTS;
    const SCHEMA: u32 = GRANT_SCHEMA;

    fn parse(metadata: GrantMetadata) -> Result<Self, InvalidMetadata> {
        Self::parse(metadata)
    }

    fn metadata(&self) -> Cow<'_, GrantMetadata> {
        Cow::Borrowed(&self.metadata)
    }

    fn name(&self) -> &str {
        &self.metadata.name
    }

    fn schema(&self) -> u32 {
        GRANT_SCHEMA
    }

    /// Nobody is its admin then.
    fn suspend(&mut self) {
        self.admins.clear();
        self.metadata.admins.clear();
    }

    /// It grants nothing to anybody, and is listed.
    fn outline(name: &str, _: &Value) -> Option<Self> {
        let metadata = GrantMetadata { name: is_name(name).then(|| name.to_owned())?, ..GrantMetadata::default() };
        Some(Self {
            metadata,
            admins: Vec::new(),
            spiffe_ids: Vec::new(),
            audiences: Vec::new(),
            resources: Vec::new(),
            authorities: Vec::new(),
            scope: Scope::default(),
            max_access_token_ttl: Duration::ZERO,
        })
    }
}

impl TeamGrant {
    /// Parses metadata. Contradictory metadata is rejected with the name of the field.
    pub fn parse(mut metadata: GrantMetadata) -> Result<Self, InvalidMetadata> {
        if !is_name(&metadata.name) {
            let problem = "must be 1 to 128 letters, digits, dots, hyphens and underscores";
            return Err(invalid("name", problem));
        }
        let admins = spiffe_ids("admins", &metadata.admins)?;
        if admins.is_empty() {
            return Err(invalid("admins", "name at least one SPIFFE ID of the team's admins"));
        }
        // Every workload of a trust domain would be one.
        let is_whole = |pattern: &SpiffeIdPattern| match pattern {
            SpiffeIdPattern::Exact(_) => false,
            SpiffeIdPattern::Below(prefix) => prefix.split('/').filter(|part| !part.is_empty()).count() < 3,
        };
        if admins.iter().any(is_whole) {
            return Err(invalid("admins", "a pattern for a whole trust domain would make every workload an admin"));
        }
        let spiffe_ids = spiffe_ids("spiffe_ids", &metadata.spiffe_ids)?;
        let audiences = uris("audiences", &metadata.audiences)?;
        let resources = uris("resources", &metadata.resources)?;
        let problem = "each is a host, a host and a port, or *. and the domain of all hosts below it";
        let authorities = parsed("authorities", &metadata.authorities, AuthorityPattern::parse, problem)?;
        let scope = Scope::parse(&metadata.scope).map_err(|error| invalid("scope", &error.to_string()))?;
        let ttl = *metadata.max_access_token_ttl.get_or_insert(DEFAULT_TTL);
        if ttl < Duration::from_secs(1) || ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
            return Err(invalid("max_access_token_ttl", "must be whole seconds, from 1s to 1h"));
        }
        if metadata.token_endpoint_auth_methods.is_empty() {
            metadata.token_endpoint_auth_methods = BY_SVID.map(ToOwned::to_owned).to_vec();
        }
        if metadata.token_endpoint_auth_methods.iter().any(|method| !BY_SVID.contains(&method.as_str())) {
            let problem =
                "must be spiffe_x509 and spiffe_jwt, or one of them: others have no identity that it could bound";
            return Err(invalid("token_endpoint_auth_methods", problem));
        }
        if metadata.owners.is_empty() || metadata.owners.len() > MAX_ENTRIES || metadata.owners.contains(&String::new())
        {
            return Err(invalid("owners", "name what its registrations must have as owner, and not too many"));
        }
        if !is_manager(metadata.managed_by.as_deref()) {
            return Err(invalid("managed_by", MANAGER_SHAPE));
        }
        Ok(Self { metadata, admins, spiffe_ids, audiences, resources, authorities, scope, max_access_token_ttl: ttl })
    }

    /// Whether a SPIFFE ID is that of an admin of the team.
    pub fn is_held_by(&self, id: &SpiffeId) -> bool {
        self.admins.iter().any(|pattern| pattern.matches(id))
    }

    /// Whether clients may have all SPIFFE IDs that match a pattern.
    pub fn covers_spiffe_id(&self, pattern: &SpiffeIdPattern) -> bool {
        self.spiffe_ids.iter().any(|granted| granted.covers(pattern))
    }

    /// Whether clients may have an audience.
    pub fn covers_audience(&self, audience: &str) -> bool {
        self.audiences.iter().any(|pattern| pattern.matches(audience))
    }

    /// Whether a resource may have an audience.
    pub fn covers_resource(&self, audience: &str) -> bool {
        self.resources.iter().any(|pattern| pattern.matches(audience))
    }

    /// Whether a resource may have an authority: a host, with or without a port.
    pub fn covers_authority(&self, authority: &str) -> bool {
        self.authorities.iter().any(|pattern| pattern.matches(authority))
    }

    /// Whether registrations may have all of these scopes.
    pub fn covers_scope(&self, scope: &Scope) -> bool {
        self.scope.covers(scope)
    }

    /// Whether clients may authenticate by a method.
    pub fn covers_method(&self, method: &str) -> bool {
        self.metadata.token_endpoint_auth_methods.iter().any(|granted| granted == method)
    }

    /// Whether clients' tokens may live so long.
    pub fn covers_ttl(&self, ttl: Duration) -> bool {
        ttl <= self.max_access_token_ttl
    }

    /// Whether registrations may have this owner.
    pub fn covers_owner(&self, owner: Option<&str>) -> bool {
        owner.is_some_and(|owner| self.metadata.owners.iter().any(|granted| granted == owner))
    }

    /// The owner of what is registered where none can be named.
    pub fn first_owner(&self) -> Option<&str> {
        self.metadata.owners.first().map(String::as_str)
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(is_plain)
}

fn spiffe_ids(field: &'static str, texts: &[String]) -> Result<Vec<SpiffeIdPattern>, InvalidMetadata> {
    parsed(
        field,
        texts,
        SpiffeIdPattern::parse,
        "each is a SPIFFE ID with a path, or one followed by /* for all below it",
    )
}

fn uris(field: &'static str, texts: &[String]) -> Result<Vec<UriPattern>, InvalidMetadata> {
    let problem = "each is an absolute URI without a fragment, or one with a host followed by /* for all below it";
    parsed(field, texts, UriPattern::parse, problem)
}

fn parsed<T>(
    field: &'static str,
    texts: &[String],
    parse: impl Fn(&str) -> Option<T>,
    problem: &str,
) -> Result<Vec<T>, InvalidMetadata> {
    if texts.len() > MAX_ENTRIES {
        return Err(invalid(field, "there are too many"));
    }
    texts.iter().map(|text| parse(text).ok_or_else(|| invalid(field, problem))).collect()
}

fn invalid(field: &'static str, problem: &str) -> InvalidMetadata {
    InvalidMetadata { kind: Kind::Grant, field, problem: problem.to_owned() }
}
