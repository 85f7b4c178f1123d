//! What decisions are rolled up by.

use std::borrow::Cow;
use std::hash::Hash;
use std::hash::Hasher;
use std::num::NonZeroU64;

use crate::authority::observe::audit::beginning;
use crate::authority::resources::Route;

/// The hash of a kind.
pub(super) type Key = NonZeroU64;

/// The question that was decided.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Question {
    /// A proxy's check of a request.
    Check,
    /// A `ValidateBinding`. No mode applies to it.
    ValidateBinding,
}

/// What came of a request, with the fixed code of the reason.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// It was allowed.
    Allowed,
    /// It was to be denied, and passed because the mode is `report`.
    LetThrough(&'static str),
    /// It was denied.
    Denied(&'static str),
}

impl Outcome {
    /// The name without the reason.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::LetThrough(_) => "let_through",
            Self::Denied(_) => "denied",
        }
    }

    /// The reason; empty for an allowance.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Allowed => "",
            Self::LetThrough(reason) | Self::Denied(reason) => reason,
        }
    }

    /// Whether the request passed.
    pub fn passes(self) -> bool {
        !matches!(self, Self::Denied(_))
    }
}

/// A request as it is looked up.
#[derive(Clone, Copy, Debug)]
pub(in crate::authority) struct Asked<'a> {
    /// The resource, by its audience.
    pub(in crate::authority) resource: &'a str,
    /// The caller: the client of the token, or else what is known of the certificate. Empty where nothing was looked at.
    pub(in crate::authority) caller: &'a str,
    pub(in crate::authority) question: Question,
    /// The methods and the template of the route that matched.
    pub(in crate::authority) route: Option<(&'a [String], &'a str)>,
    pub(in crate::authority) outcome: Outcome,
    /// What to do about a refusal.
    pub(in crate::authority) fix: &'static str,
}

impl Hash for Asked<'_> {
    /// What to do about a refusal follows from the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.resource, self.caller, self.question, self.route, self.outcome).hash(state);
    }
}

/// The methods and the template of a route.
pub(in crate::authority) fn named(route: &Route) -> (&[String], &str) {
    (&route.methods, &route.template)
}

/// What the requests that are counted together have in common.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kind {
    /// The resource, by its audience.
    pub resource: String,
    /// The caller: the client of the token, or else what is known of the certificate. Empty where nothing was looked at.
    pub caller: String,
    /// The question.
    pub question: Question,
    /// The route that matched, such as `GET /orders/{id}`. Empty where none did, and for a `ValidateBinding`.
    pub route: String,
    /// What came of them.
    pub outcome: Outcome,
    /// What to do about a refusal: a sentence in which `CLIENT`, `RESOURCE` and `CERTIFICATE` stand for what they name.
    pub(in crate::authority) fix: Cow<'static, str>,
}

impl Kind {
    pub(super) fn of(asked: &Asked<'_>) -> Self {
        let Asked { resource, caller, question, route, outcome, fix } = *asked;
        let route = route.map(|(methods, template)| match methods {
            [] => template.to_owned(),
            methods => format!("{} {template}", methods.join(",")),
        });
        Self {
            resource: resource.to_owned(),
            caller: beginning(caller).to_owned(),
            question,
            route: route.as_deref().map(beginning).unwrap_or_default().to_owned(),
            outcome,
            fix: Cow::Borrowed(fix),
        }
    }

    /// What it is looked up by. The methods of its route are put into `methods`.
    pub(super) fn asked<'a>(&'a self, methods: &'a mut Vec<String>) -> Asked<'a> {
        let (named, template) = self.route.rsplit_once(' ').unwrap_or(("", &self.route));
        methods.extend(named.split(',').filter(|method| !method.is_empty()).map(ToOwned::to_owned));
        let route = (!self.route.is_empty()).then_some((methods.as_slice(), template));
        let Self { resource, caller, question, outcome, .. } = self;
        Asked { resource, caller, question: *question, route, outcome: *outcome, fix: "" }
    }

    /// What to do about a refusal, with what it names in it.
    pub fn fix(&self) -> String {
        self.named_in(&self.fix)
    }

    /// A sentence about what to do, with what it names in it.
    pub(in crate::authority) fn named_in(&self, fix: &str) -> String {
        let client = if self.caller.is_empty() { "the client" } else { &self.caller };
        fix.replace("CLIENT", client).replace("CERTIFICATE", "the certificate").replace("RESOURCE", &self.resource)
    }

    pub(super) fn bytes(&self) -> usize {
        let fix = if let Cow::Owned(fix) = &self.fix { fix.len() } else { 0 };
        self.resource.len() + self.caller.len() + self.route.len() + fix
    }
}

/// A kind that lost its place.
#[derive(Debug)]
pub(super) struct Displaced {
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// The requests of each hour, with its number.
    pub(super) counts: Vec<(u32, u32)>,
}
