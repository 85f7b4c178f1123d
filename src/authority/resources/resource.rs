//! Protected resources (RFC 8707): the services behind the proxies, and their requirements for requests.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use spiffe::SpiffeId;
use spiffe::TrustDomain;

use crate::authority::evidence::EvidenceFrom;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::parse_spiffe_id;
use crate::authority::records::InvalidMetadata;
use crate::authority::records::Kind;
use crate::authority::records::MANAGER_SHAPE;
use crate::authority::records::NotKept;
use crate::authority::records::Record;
use crate::authority::records::Registered;
use crate::authority::records::Registration;
use crate::authority::records::is_manager;
use crate::authority::resources::delegated::Delegated;
use crate::authority::resources::host::HostAndPort;
use crate::authority::resources::metadata::EvidenceSource;
use crate::authority::resources::metadata::ResourceMetadata;
use crate::authority::resources::metadata::RouteMetadata;
use crate::authority::resources::metadata::invalid;
use crate::authority::resources::path::PathTemplate;
use crate::authority::resources::receipts::Receipts;
use crate::authority::resources::route::Need;
use crate::authority::resources::route::Route;
use crate::authority::resources::route::Routes;
use crate::authority::resources::txn::RouteTxn;
use crate::authority::resources::txn::TxnUse;
use crate::authority::scope::Scope;
use crate::authority::scope::is_resource_indicator;

/// The maximum number of entries of a list in a resource. A resource may have eight times as many routes.
const MAX_ENTRIES: usize = 128;

/// The bounds of staleness that a resource may set. A replica hears of the store each second, and a revocation that counts
/// nowhere for longer than a day would be none.
const STALENESS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(24);

/// The prefix of all keys of protected resources in the store. The audience follows.
pub const RESOURCES: &str = "/resources/";

/// The schema of the records of resources with a bound of staleness.
pub(in crate::authority) const WITH_STALENESS: u32 = 2;

/// The schema of the records of resources whose allowed requests are recorded one by one.
pub(in crate::authority) const WITH_RECORDING: u32 = 3;

/// The schema of the records of resources with `managed_by`.
pub(in crate::authority) const RESOURCE_WITH_MANAGER: u32 = 4;

/// The schema of the records of resources that say something about token exchange.
pub(in crate::authority) const RESOURCE_WITH_EXCHANGE: u32 = 5;

/// The schema of all others.
const WITHOUT: u32 = 1;

/// The stored data of a protected resource other than its metadata.
pub type ResourceRecord = Record<NotKept, NotKept>;

/// A protected resource that is in effect.
pub type RegisteredResource = Registered<ProtectedResource>;

/// A protected resource with validated metadata.
#[derive(Clone, Debug)]
pub struct ProtectedResource {
    /// The metadata in normal form: defaults filled in.
    pub metadata: ResourceMetadata,
    /// The scopes that the resource defines; `None` where it defines none, so that every scope of a token for it counts.
    pub defined: Option<Arc<Scope>>,
    /// The routes, each with its requirements.
    pub routes: Routes,
    /// The lowest grade of evidence that the resource accepts.
    pub least_evidence: EvidenceGrade,
    /// The source of the evidence for a proxy's check.
    pub evidence_from: EvidenceFrom,
    /// The trust domains whose workloads the resource accepts. An empty list means all.
    pub trust_domains: Arc<[TrustDomain]>,
    /// The delegated tokens that it takes. `None` where it takes none.
    pub delegated: Option<Arc<Delegated>>,
    /// Whether denials are enforced.
    pub mode: Mode,
    /// How old the snapshot may be for decisions about it, in place of the configured bound.
    pub max_staleness: Option<Duration>,
    /// Whether what is presented here leaves receipts, and who redeems them.
    pub receipts: Option<Receipts>,
    /// What becomes of the transaction tokens that requests bring.
    pub txn_token: TxnUse,
    /// Whether its record cannot be read, so that everything about it is denied.
    pub suspended: bool,
}

/// The handling of a request that a proxy asks about and that should be denied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The request is denied.
    Enforce,
    /// The request is allowed; the denial is counted in the metrics and logged.
    Report,
}

impl Registration for ProtectedResource {
    type Metadata = ResourceMetadata;
    type CreationId = NotKept;
    type Dynamic = NotKept;

    const KIND: Kind = Kind::Resource;
    const PREFIX: &'static str = RESOURCES;
    const SCHEMA: u32 = RESOURCE_WITH_EXCHANGE;

    fn metadata(&self) -> Cow<'_, ResourceMetadata> {
        Cow::Borrowed(&self.metadata)
    }

    fn name(&self) -> &str {
        self.audience()
    }

    fn parse(metadata: ResourceMetadata) -> Result<Self, InvalidMetadata> {
        Self::parse(metadata)
    }

    fn schema(&self) -> u32 {
        if self.takes_part_in_exchange() {
            return RESOURCE_WITH_EXCHANGE;
        }
        match (self.metadata.managed_by.is_some(), self.records_allowed(), self.max_staleness) {
            (true, _, _) => RESOURCE_WITH_MANAGER,
            (false, true, _) => WITH_RECORDING,
            (false, false, Some(_)) => WITH_STALENESS,
            (false, false, None) => WITHOUT,
        }
    }

    /// Removes all routes and enforces the denials.
    fn suspend(&mut self) {
        let ResourceMetadata { routes, least_evidence, mode, report_header, .. } = &mut self.metadata;
        (*least_evidence, *mode, *report_header) = (Some("certificate".to_owned()), Some("enforce".to_owned()), false);
        routes.clear();
        self.receipts = None;
        (self.routes, self.least_evidence, self.mode) = (Routes::default(), EvidenceGrade::Certificate, Mode::Enforce);
        (self.delegated, self.txn_token) = (None, TxnUse::Ignore);
        self.suspended = true;
    }

    /// It keeps the places where requests find the resource, so that they find no other one there.
    fn outline(name: &str, metadata: &Value) -> Option<Self> {
        let list = |member| {
            let texts = metadata.get(member).and_then(Value::as_array).into_iter().flatten();
            texts.filter_map(Value::as_str).map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let authorities = list("authorities");
        let authorities = authorities.iter().filter_map(|text| HostAndPort::registered(text));
        let metadata = ResourceMetadata {
            audience: name.to_owned(),
            destination_principals: list("destination_principals"),
            authorities: authorities.map(HostAndPort::into_text).collect(),
            owner: metadata.get("owner").and_then(Value::as_str).map(ToOwned::to_owned),
            managed_by: metadata.get("managed_by").and_then(Value::as_str).map(ToOwned::to_owned),
            ..ResourceMetadata::default()
        };
        let mut outline = Self {
            metadata,
            defined: None,
            routes: Routes::default(),
            least_evidence: EvidenceGrade::Certificate,
            evidence_from: EvidenceFrom::Peer,
            trust_domains: Arc::default(),
            delegated: None,
            mode: Mode::Enforce,
            max_staleness: None,
            receipts: None,
            txn_token: TxnUse::Ignore,
            suspended: true,
        };
        outline.suspend();
        Some(outline)
    }
}

impl ProtectedResource {
    /// Parses metadata. Contradictory metadata is rejected with the name of the field.
    pub fn parse(mut metadata: ResourceMetadata) -> Result<Self, InvalidMetadata> {
        if !is_resource_indicator(&metadata.audience) {
            return Err(invalid("audience", "must be an absolute URI without a fragment (RFC 8707 section 2)"));
        }
        let defined = Scope::parse(&metadata.scope).map_err(|error| invalid("scope", &error.to_string()))?;
        if metadata.routes.len() > 8 * MAX_ENTRIES {
            return Err(invalid("routes", "there are too many"));
        }
        let routes = metadata.routes.iter().map(|written| route(written, &defined)).collect::<Result<_, _>>()?;
        let routes = Routes::new(routes).ok_or_else(|| {
            invalid("routes", "two of them are for the same path and method, so that it is not clear which one counts")
        })?;
        let (least_evidence, name) = match metadata.least_evidence.as_deref() {
            None | Some("thumbprint") => (EvidenceGrade::Thumbprint, "thumbprint"),
            Some("spiffe_id") => (EvidenceGrade::SpiffeId, "spiffe_id"),
            Some("certificate") => (EvidenceGrade::Certificate, "certificate"),
            Some(_) => return Err(invalid("least_evidence", "is none of spiffe_id, thumbprint and certificate")),
        };
        metadata.least_evidence = Some(name.to_owned());
        let (mode, name) = match metadata.mode.as_deref() {
            None | Some("enforce") => (Mode::Enforce, "enforce"),
            Some("report") => (Mode::Report, "report"),
            Some(_) => return Err(invalid("mode", "is neither enforce nor report")),
        };
        metadata.mode = Some(name.to_owned());
        if metadata.report_header && mode == Mode::Enforce {
            return Err(invalid("report_header", "goes only with mode: report"));
        }
        let evidence_from = match &metadata.evidence_from {
            None => EvidenceFrom::Peer,
            Some(EvidenceSource { via, header: true }) if via.is_empty() => EvidenceFrom::Header,
            Some(EvidenceSource { header: true, .. }) => {
                return Err(invalid("evidence_from", "is either the header or via gateways"));
            }
            Some(EvidenceSource { via, header: false }) if via.is_empty() => {
                return Err(invalid("evidence_from", "via names no gateway; leave it out for the immediate peer"));
            }
            Some(EvidenceSource { via, header: false }) => EvidenceFrom::Via(spiffe_ids("evidence_from", via)?),
        };
        spiffe_ids("destination_principals", &metadata.destination_principals)?;
        for authority in &mut metadata.authorities {
            let problem = "each is a host, or a host and a port: orders.shop.internal:8443";
            let parsed = HostAndPort::registered(authority).ok_or_else(|| invalid("authorities", problem))?;
            *authority = parsed.into_text();
        }
        let trust_domains = metadata.trust_domains.iter().map(|name| {
            let parsed = TrustDomain::new(name).ok().filter(|parsed| parsed.as_str() == name);
            parsed.ok_or_else(|| invalid("trust_domains", "each is the name of a trust domain, such as prod.example"))
        });
        let trust_domains = trust_domains.collect::<Result<_, _>>()?;
        for (field, list) in [
            ("destination_principals", &metadata.destination_principals),
            ("authorities", &metadata.authorities),
            ("trust_domains", &metadata.trust_domains),
        ] {
            if list.len() > MAX_ENTRIES {
                return Err(invalid(field, "there are too many"));
            }
        }
        if !is_manager(metadata.managed_by.as_deref()) {
            return Err(invalid("managed_by", MANAGER_SHAPE));
        }
        let delegated = metadata.delegated.as_mut().map(Delegated::parse).transpose()?.map(Arc::new);
        let max_staleness = metadata.max_staleness;
        let is_bound = |bound: &Duration| STALENESS.contains(bound) && bound.subsec_nanos() == 0;
        if !max_staleness.is_none_or(|bound| is_bound(&bound)) {
            return Err(invalid("max_staleness", "must be whole seconds, from 5s to 24h"));
        }
        let defined = (!defined.is_empty()).then(|| Arc::new(defined));
        let receipts = metadata.receipts.as_ref().map(Receipts::parse).transpose()?;
        let txn_token = TxnUse::parse(metadata.txn_token.as_deref())?;
        if metadata.txn_once && !txn_token.verifies() {
            return Err(invalid("txn_once", "goes only with txn_token: accept or require"));
        }
        if !txn_token.verifies() && routes.iter().any(|route| matches!(route.txn, RouteTxn::Needed(_))) {
            return Err(invalid("routes", "txn_scope goes only with txn_token: accept or require"));
        }
        let suspended = false;
        Ok(Self {
            metadata,
            defined,
            routes,
            least_evidence,
            evidence_from,
            trust_domains,
            delegated,
            mode,
            max_staleness,
            receipts,
            txn_token,
            suspended,
        })
    }

    /// Parses a stored value; `None` where this version cannot read it.
    pub fn from_bytes(value: &[u8]) -> Option<Self> {
        Registered::<Self>::parse(value).ok()
    }

    /// Whether each allowed use is a record of the audit trail, and not only counted.
    pub fn records_allowed(&self) -> bool {
        self.metadata.record_allowed
    }

    /// Whether it says something about token exchange.
    pub fn takes_part_in_exchange(&self) -> bool {
        let metadata = &self.metadata;
        self.receipts.is_some() || self.delegated.is_some() || metadata.txn_token.is_some() || self.says_of_txn_tokens()
    }

    /// Whether its routes say something about transaction tokens.
    pub fn says_of_txn_tokens(&self) -> bool {
        self.routes.iter().any(|route| !matches!(route.txn, RouteTxn::AsResource))
    }

    /// Whether it takes a server that issues transaction tokens: one is minted here, or verified.
    pub fn needs_txn_tokens(&self) -> bool {
        self.txn_token.verifies() || self.routes.iter().any(|route| route.txn.minted().is_some())
    }

    /// The resource indicator that tokens for the resource contain in `aud`.
    pub fn audience(&self) -> &str {
        &self.metadata.audience
    }
}

fn route(written: &RouteMetadata, defined: &Scope) -> Result<Route, InvalidMetadata> {
    let RouteMetadata { methods, path, scope, public, txn, txn_scope } = written;
    let named = |method: &String| {
        !method.is_empty() && method.len() <= 32 && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
    };
    if !methods.iter().all(named) {
        return Err(invalid("routes", "a method is written in capitals: GET"));
    }
    let template = path.clone();
    let path = PathTemplate::parse(path).ok_or_else(|| {
        let problem = "is not a template such as /orders/{id} or /static/**";
        invalid("routes", &format!("'{}' {problem}", path.escape_default()))
    })?;
    let scope = Scope::parse(scope).map_err(|error| invalid("routes", &error.to_string()))?;
    if !defined.covers(&scope) {
        return Err(invalid("routes", "a scope is not one of those that the resource defines in scope"));
    }
    if *public && !scope.is_empty() {
        return Err(invalid("routes", "a public route needs no scope: leave one of the two out"));
    }
    let txn = RouteTxn::parse(txn.as_ref(), txn_scope, &template)?;
    if *public && !matches!(txn, RouteTxn::AsResource) {
        return Err(invalid("routes", "a public route has no transaction: it is nobody's"));
    }
    let need = if *public { Need::Nothing } else { Need::Token(scope) };
    Ok(Route { methods: methods.clone(), path, template, need, txn })
}

fn spiffe_ids(field: &'static str, texts: &[String]) -> Result<Vec<SpiffeId>, InvalidMetadata> {
    if texts.len() > MAX_ENTRIES {
        return Err(invalid(field, "there are too many"));
    }
    let parse = |text: &String| parse_spiffe_id(text).filter(|id| !id.path().is_empty());
    texts.iter().map(|text| parse(text).ok_or_else(|| invalid(field, "each is a SPIFFE ID with a path"))).collect()
}
