//! The protected resources that somebody is there for.

use std::sync::Arc;

/// The protected resources that a proxy fronts, by audience.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fronted {
    /// All protected resources.
    Every,
    /// The resources with these audiences.
    Audiences(Arc<[String]>),
}

impl Fronted {
    /// Whether the proxy may check tokens for this audience.
    pub fn includes(&self, audience: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Audiences(audiences) => audiences.iter().any(|fronted| fronted == audience),
        }
    }

    /// The audience, if the proxy fronts exactly one.
    pub fn only(&self) -> Option<&str> {
        match self {
            Self::Audiences(audiences) => match &**audiences {
                [only] => Some(only),
                _ => None,
            },
            Self::Every => None,
        }
    }

    /// Whether this is the same set of resources, in any order.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every, Self::Every) => true,
            (Self::Audiences(one), Self::Audiences(two)) => {
                one.iter().all(|audience| two.contains(audience)) && two.iter().all(|audience| one.contains(audience))
            }
            (Self::Every, Self::Audiences(_)) | (Self::Audiences(_), Self::Every) => false,
        }
    }
}
