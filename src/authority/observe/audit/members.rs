//! The members of a record, by which it is printed.

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap as _;

use crate::authority::observe::audit::record::AuditRecord;

/// The value of a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Member<'a> {
    /// A text, which may be a caller's.
    Text(&'a str),
    /// A number.
    Number(u64),
}

/// The name of a member, as it is in a JSON object: in quotation marks between a comma and a colon, so that it is printed by
/// one copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemberName(&'static str);

impl MemberName {
    /// With the comma before it, which the first member of an object does not have, and the colon behind it.
    pub fn after_another(self) -> &'static str {
        self.0
    }

    /// The name alone.
    pub fn name(self) -> &'static str {
        self.0.strip_prefix(",\"").and_then(|name| name.strip_suffix("\":")).unwrap_or(self.0)
    }
}

/// The name of a member.
macro_rules! name {
    ($name:expr) => {
        MemberName(concat!(",\"", $name, "\":"))
    };
}

impl AuditRecord {
    /// Hands on the members that are there, in their order, until one is not taken.
    ///
    /// # Errors
    ///
    /// The first error of `take`.
    pub fn members<E>(&self, mut take: impl FnMut(MemberName, Member<'_>) -> Result<(), E>) -> Result<(), E> {
        // Without `..`: a field that is not printed does not compile.
        let Self {
            event,
            severity,
            outcome,
            actor,
            caller,
            remote,
            listener,
            certificate,
            spiffe_id,
            subject,
            client_id,
            resource,
            registration,
            requested,
            destination,
            route,
            principal,
            jti,
            delegation,
            txn,
            reason,
            cause,
            method,
            path,
            evidence,
            bound_to,
            predecessor,
            successor,
            revoked,
            change,
            keys,
            grant,
            feature,
            kid,
            comment,
            approved_by,
            proposal,
            proposed,
            request,
            revision,
            until,
            reference,
            repeated,
        } = self;
        take(name!("event"), Member::Text(event.into()))?;
        take(name!("severity"), Member::Text(severity.into()))?;
        take(name!("outcome"), Member::Text(outcome.into()))?;
        macro_rules! texts {
            ($($name:ident),+) => {
                $(if let Some(value) = $name {
                    take(name!(stringify!($name)), Member::Text(value))?;
                })+
            };
        }
        macro_rules! numbers {
            ($($name:ident),+) => {
                $(if let Some(value) = $name {
                    take(name!(stringify!($name)), Member::Number(*value))?;
                })+
            };
        }
        texts!(actor, caller, remote, listener, certificate, spiffe_id, subject, client_id, resource);
        texts!(registration, requested, destination, route, principal, jti, delegation, txn, reason, cause, method);
        texts!(path, evidence, bound_to, predecessor, successor, revoked, change, keys, grant, feature, kid);
        texts!(comment, approved_by, proposal, proposed, request);
        numbers!(revision, until);
        if let Some(reference) = reference {
            take(name!("reference"), Member::Text(&reference.to_string()))?;
        }
        numbers!(repeated);
        Ok(())
    }
}

impl Serialize for AuditRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.members(|name, value| map.serialize_entry(name.name(), &value))?;
        map.end()
    }
}
