//! What the record of a refusal says of its sender.

use crate::authority::access::ConnectionInfo;
use crate::authority::access::Sender;
use crate::authority::decision::Check;
use crate::authority::decision::Step;
use crate::authority::decision::Steps;
use crate::authority::decision::Walk as _;
use crate::authority::identity::PresentedCertificate;
use crate::authority::observe::AuditRecord;
use crate::authority::observe::Grounds;
use crate::authority::observe::beginning;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::state::View;

/// Adds who sent the request, and on which connection.
pub(in crate::authority::api) fn sent_by(sender: &Sender, record: AuditRecord) -> AuditRecord {
    let ConnectionInfo { remote, listener } = sender.connection;
    let certificate = certificate(sender);
    AuditRecord { remote: remote.map(|remote| remote.to_string()), listener, ..presented(certificate.as_ref(), record) }
}

/// Adds the thumbprint of a certificate, and its subject if it has no SPIFFE ID.
pub(in crate::authority::api) fn presented(
    certificate: Option<&PresentedCertificate>,
    record: AuditRecord,
) -> AuditRecord {
    AuditRecord {
        certificate: certificate.map(|certificate| certificate.thumbprint.to_string()),
        subject: certificate.and_then(|certificate| certificate.subject.as_deref()).map(beginning).map(str::to_owned),
        ..record
    }
}

/// The sender by its certificate, or by the user that it runs as.
pub(in crate::authority::api) fn actor(sender: &Sender) -> Option<String> {
    sender.identity.as_ref().map(ToString::to_string)
}

/// The registration that applies to a client, by its `client_id`.
pub(in crate::authority::api) fn registration(view: &View, client: Option<&ClientId>) -> Option<String> {
    match view.snapshot.directory.status(client?) {
        ClientStatus::Registered(client) => Some(client.registration.client_id.to_string()),
        ClientStatus::Unknown | ClientStatus::Ambiguous | ClientStatus::Suspended | ClientStatus::Disabled => None,
    }
}

/// What is remembered of the sender of a refused request, and what to do about it.
pub(in crate::authority::api) fn grounds(sender: &Sender, fix: &'static str) -> Grounds {
    Grounds { fix, connection: certificate(sender), sender: actor(sender), ..Grounds::default() }
}

fn certificate(sender: &Sender) -> Option<PresentedCertificate> {
    let identity = sender.identity.as_ref()?.certificate()?;
    Some(PresentedCertificate::from(identity.certificate()))
}

/// The only step of a decision that ended with it.
pub(in crate::authority::api) fn one_step(check: Check, found: &str, expected: &str) -> Vec<Step> {
    let mut steps = Steps::default();
    steps.at(check, || (found.to_owned(), expected.to_owned()));
    steps.refused()
}
