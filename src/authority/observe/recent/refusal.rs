//! A refusal as it is remembered.

use crate::authority::clock::Timestamp;
use crate::authority::decision::Step;
use crate::authority::identity::PeerIdentity;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::audit::AuditRecord;
use crate::authority::observe::fix;
use crate::authority::reference::Reference;

/// Why something is refused, besides what its audit record says.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    /// The steps of the decision. The last one did not pass.
    pub steps: Vec<Step>,
    /// What to do about it: a sentence in which `CLIENT`, `RESOURCE` and `CERTIFICATE` stand for what they name.
    pub fix: &'static str,
    /// The certificate of the connection.
    pub connection: Option<PresentedCertificate>,
    /// The certificate that a proxy saw on another connection.
    pub evidence: Option<PresentedCertificate>,
    /// Who sent the request, by its certificate.
    pub sender: Option<String>,
    /// Whether the record's resource is registered, and so is not the caller's choice.
    pub is_registered: bool,
    /// The code that its caller was told in place of the reason, where the reason would tell which tokens are good.
    pub told_as: Option<&'static str>,
}

/// A refusal with its grounds.
#[derive(Clone, Debug)]
pub struct RecentRefusal {
    /// Its reference.
    pub reference: Reference,
    /// When it was refused.
    pub at: Timestamp,
    pub(in crate::authority) record: AuditRecord,
    pub(in crate::authority) grounds: Grounds,
}

/// How much of a refusal someone sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::authority) enum Sight {
    /// All of it.
    Whole,
    /// The caller's own refusal, of a token and a registration of its own.
    Own,
    /// The caller's own refusal, in which the client may be another.
    OwnOfOther,
}

impl RecentRefusal {
    /// What a caller without the role Admin sees of it; `None` if it is no refusal of the caller's: it neither sent the
    /// request nor showed the certificate.
    pub(in crate::authority) fn sight_of(&self, caller: &PeerIdentity) -> Option<Sight> {
        let id = caller.spiffe_id().map(ToString::to_string);
        let sent = self.grounds.sender.as_deref() == Some(caller.to_string().as_str());
        if !sent && !self.is_evidence_of(caller) {
            return None;
        }
        let is_own = id.is_some() && self.record.client_id == id;
        Some(if is_own { Sight::Own } else { Sight::OwnOfOther })
    }

    /// Whether the evidence is this caller's: its certificate, or where only a SPIFFE ID was shown, that one.
    pub(in crate::authority) fn is_evidence_of(&self, caller: &PeerIdentity) -> bool {
        let thumbprint = self.grounds.evidence.as_ref().map(|evidence| evidence.thumbprint);
        let by_id =
            || caller.spiffe_id().is_some_and(|id| self.record.evidence.as_deref() == Some(id.to_string().as_str()));
        thumbprint.map_or_else(by_id, |thumbprint| thumbprint == caller.thumbprint())
    }

    /// What to do about it, with what it names in it.
    pub(in crate::authority) fn fix(&self, sight: Sight) -> String {
        let named = |name: &Option<String>, instead: &str| match (sight, name) {
            (Sight::Whole | Sight::Own, Some(name)) => name.clone(),
            (Sight::Whole | Sight::Own | Sight::OwnOfOther, _) => instead.to_owned(),
        };
        let shown = self.grounds.evidence.as_ref().or(self.grounds.connection.as_ref());
        let certificate = shown.map(|shown| shown.thumbprint.to_string());
        let resource = self.record.resource.as_deref().unwrap_or("the resource");
        let client = named(&self.record.client_id, "the client");
        fix::naming(self.grounds.fix, &client, &named(&certificate, "the certificate"), resource)
    }

    /// About how many bytes it takes.
    pub(in crate::authority::observe::recent) fn bytes(&self) -> usize {
        let certificate = |certificate: &Option<PresentedCertificate>| {
            certificate
                .iter()
                .map(|one| one.names.iter().map(|name| name.len() + 24).sum::<usize>() + 256)
                .sum::<usize>()
        };
        let steps: usize = self.grounds.steps.iter().map(|step| step.found.len() + step.expected.len() + 56).sum();
        let sender = self.grounds.sender.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + self.record.heap_bytes()
            + certificate(&self.grounds.connection)
            + certificate(&self.grounds.evidence)
            + steps
            + sender
    }
}
