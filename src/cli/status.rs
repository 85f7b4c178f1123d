//! The messages for a server's refusals, each with the next step.

use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::cli::connect_error;
use crate::cli::error::CommandError;
use crate::client::connection;
use crate::client::connection::ConnectError;

/// The role that a call needs.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Needs {
    /// Admin, for the registry of clients.
    Clients,
    /// Admin, for the registry of protected resources.
    Resources,
    /// Admin, for grants.
    Grants,
    /// Admin or Auditor, or a grant, for what was asked at a protected resource.
    ResourceReports,
    /// Admin, for the list of revocations.
    Revocations,
    /// Admin, for an export of the store.
    Store,
    /// Admin, for what waits for a second admin.
    Proposals,
    /// Admin, for the signing keys.
    Keys,
    /// Workload, for tokens.
    Workload,
    /// Workload, for tokens with which it acts for others.
    Exchange,
    /// Workload or Admin, for revocations.
    WorkloadOrAdmin,
    /// Workload or Proxy, for decisions.
    WorkloadOrProxy,
    /// Admin, for the refusals of all callers.
    Refusals,
    /// Admin or Auditor, for questions about others.
    Explanations,
    /// Any role.
    AnyRole,
}

/// Turns a refusal into an error with the next step.
pub(in crate::cli) fn explain(status: &Status, needs: Needs) -> CommandError {
    if let Some(cause) = connection::find::<ConnectError>(status) {
        return connect_error::explain(cause, None, SystemClock.now());
    }
    let info = status.get_details_error_info();
    let reference = info.as_ref().and_then(|info| info.metadata.get("reference").cloned());
    let reason = info.map(|info| info.reason);
    let name = reason.as_deref().map_or_else(|| format!("{:?}", status.code()), ToOwned::to_owned);
    let next = by_reason(reason.as_deref(), needs).unwrap_or_else(|| by_code(status.code(), needs));
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    CommandError::new(format!("{message} ({name})"), next).with_code(name).with_reference(reference)
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn by_reason(reason: Option<&str>, needs: Needs) -> Option<&'static str> {
    Some(match (reason?, needs) {
        ("INVALID_CLIENT", _) => {
            "see `lanyard whoami` for the clients that your certificate proves, and why one gets no tokens; with an \
             X509-SVID leave out --client-id: it must be the SPIFFE ID"
        }
        ("INVALID_REQUEST", Needs::Workload | Needs::Exchange) => {
            "name the client with --client-id, as it is registered"
        }
        ("INVALID_REQUEST", Needs::WorkloadOrAdmin) => {
            "correct what the message names (`lanyard token inspect` shows a token's jti and client_id); a client that \
             revokes its own token says who it is with --client-id"
        }
        ("SUBJECT_NOT_ACCEPTED" | "INVALID_TARGET" | "INVALID_SCOPE", Needs::Exchange) => {
            "an admin sees the cause with `lanyard why` and the reference, and what the rules give with `lanyard exchange explain`; \
             a receipt is good for seconds"
        }
        ("INVALID_GRANT", Needs::Exchange) => {
            "get a new grant: one is good once and for a minute, for the client and with the certificate that it was asked for with; an \
             admin sees the cause with `lanyard why` and the reference"
        }
        ("UNAUTHORIZED_CLIENT", _) => {
            "have an admin add the grant type to the client's `grant_types`: token-exchange, with rules in `exchange`, or jwt-bearer for \
             grants of other trust domains"
        }
        ("CHAINING_NOT_ENABLED", _) => {
            "have the other authorization server named in `chaining.to` of the server's configuration"
        }
        ("EXCHANGE_NOT_ENABLED", _) => "have `exchange.enabled` set in the server's configuration",
        ("INVALID_SCOPE", _) => "ask for scopes that `lanyard whoami` shows, or leave out --scope",
        ("INVALID_TARGET", _) => "ask for audiences that `lanyard whoami` shows, or leave out --audience",
        ("INVALID_CLIENT_METADATA" | "INVALID_RESOURCE" | "INVALID_GRANT_METADATA", _) => {
            "correct the named field and apply it again"
        }
        ("IDENTITY_TAKEN", _) => {
            "no two clients may have one identity: change this one, or first delete or change the one that has it"
        }
        ("CLIENT_NOT_FOUND", _) => {
            "see `lanyard client list` for what is registered; what covers a name is shown by that registration's own name"
        }
        ("AUTHORITY_TAKEN", _) => {
            "leave the authority to one of the two resources, or give each destination_principals of its own"
        }
        ("RESOURCE_NOT_DELETED", _) => {
            "nothing needs to be forgotten: `lanyard resource list` shows what is registered"
        }
        ("AUDIENCE_MISSING", _) => "say with --audience which protected resource the token was presented to",
        ("NOT_A_PROXY", _) => {
            "use a certificate with the role Proxy to present evidence of another connection, or ask about your own \
             with --own-connection"
        }
        ("FOREIGN_RESOURCE", _) => {
            "ask about an audience that the server's configuration lists for this proxy, or have it listed there"
        }
        ("CERTIFICATE_NOT_PROVEN", _) => {
            "renew the certificate if it has expired; else see that the server still trusts its CA or trust domain; what is \
             revoked an admin sees with `lanyard revocation list`"
        }
        ("NOT_GRANTED", _) => {
            "see `lanyard whoami` for the grants that you hold, and `lanyard grant get` for what each covers"
        }
        ("NOT_YOURS", Needs::Explanations) => {
            "ask about the certificate of --cert, or use a certificate with the role Admin or Auditor"
        }
        ("NOT_YOURS", _) => {
            "use the certificate of the client that the token was issued to (and its --client-id, unless it has an \
             X509-SVID), or one with the role Admin or Revoker"
        }
        ("ONLY_ADMINS_LIFT", _) => "ask an admin to lift it: the role Revoker revokes and changes nothing else",
        ("LAST_ADMIN", _) => {
            "as an admin, add --yes if it is meant: then only `lanyard store unrevoke`, on a stopped server, lifts it"
        }
        ("FEATURE_NOT_ENABLED", _) => {
            "see `lanyard store feature list`; enable it once every replica runs this version, and none is to run an earlier one \
             again"
        }
        ("FEATURE_NOT_FOUND", _) => "see `lanyard store feature list` for the features of this version",
        ("REPLICA_TOO_OLD", _) => {
            "upgrade or stop that replica, and repeat this; the heartbeat of one that has ended counts for 10 seconds"
        }
        ("RECORD_TOO_NEW", _) => "ask a server of the version that wrote the record, or upgrade this one",
        ("REVOCATION_UNAVAILABLE", _) => {
            "try again until it succeeds: it is not known whether the revocation is stored"
        }
        ("KEY_NOT_FOUND", _) => "see `lanyard keys list` for the keys",
        ("KEY_UNREADABLE", _) => {
            "see the server's log for the record; configure the key-encryption key that it was sealed with under \
             `keys.previous`, and a server that is not older than the record"
        }
        ("KEYS_CHANGED", _) => "see `lanyard keys list` for what has changed, and try again",
        ("KEYS_UNAVAILABLE", _) => {
            "try again until it succeeds: it is not known whether the change is stored; `lanyard keys list` shows it"
        }
        ("REFERENCE_MALFORMED", _) => {
            "copy the reference whole: it is in the answer, in the header x-lanyard-reference and in the log"
        }
        ("REFUSAL_NOT_FOUND", _) => {
            "see the audit trail for it; an admin finds others with `lanyard why --since 1h --caller PATTERN`"
        }
        ("OTHER_REPLICA", _) => {
            "ask that replica itself: `lanyard why` with --replica, or --server with its own address"
        }
        ("REPORT_OVER_ENFORCE", _) => {
            "leave `mode` out of the document to keep the mode, or add --allow-report if what is denied now is to pass"
        }
        ("TOO_MANY_FOLLOWERS", _) => "end one of the others that follow, or ask another replica",
        ("PROPOSED", _) => {
            "have another admin see it with `lanyard proposals show`, and approve it: `lanyard proposals approve ID`"
        }
        ("APPROVAL_NEEDED", _) => "register it with `lanyard apply`, and have another admin approve it",
        ("TOO_MANY_PROPOSALS", _) => "see `lanyard proposals list`: approve or reject what waits",
        ("PROPOSAL_NOT_FOUND", _) => {
            "see `lanyard proposals list` for what waits, and `lanyard history` for what was done"
        }
        ("OWN_PROPOSAL", _) => "ask another admin to approve it, or withdraw it with `lanyard proposals reject`",
        ("PROPOSAL_OUTDATED", _) => "reject it, see what has changed with `lanyard history`, and propose it anew",
        ("PROPOSER_NOT_ALLOWED", _) => "reject it; who may still do so proposes it anew",
        ("PROPOSAL_NOT_YOURS", _) => "ask an admin to reject it",
        ("ETAG_MISSING", Needs::Resources) => "give the etag as `lanyard resource get` shows it",
        ("ETAG_MISSING", Needs::Grants) => "give the etag as `lanyard grant get` shows it",
        ("ETAG_MISSING", _) => "give the etag as `lanyard client get` shows it",
        _ => return None,
    })
}

fn by_code(code: Code, needs: Needs) -> &'static str {
    match (code, needs) {
        (
            Code::PermissionDenied,
            Needs::Clients
            | Needs::Resources
            | Needs::Grants
            | Needs::Revocations
            | Needs::Store
            | Needs::Keys
            | Needs::Proposals
            | Needs::Refusals,
        ) => "use a certificate that the server's configuration gives the role Admin, with --cert and --key",
        (Code::PermissionDenied, Needs::ResourceReports) => {
            "use a certificate with the role Admin or Auditor, or one that holds a grant for the resource"
        }
        (Code::PermissionDenied, Needs::Workload | Needs::Exchange) => {
            "use a certificate with the role Workload: an X509-SVID of a trust domain that the server knows, or the \
             certificate of a registered client"
        }
        (Code::PermissionDenied, Needs::AnyRole | Needs::Explanations) => {
            "the certificate is accepted, but it has no role: have an admin register a client for it (its names are in \
             `openssl x509 -noout -text -in CERT`), or name it under `roles` in the server's configuration"
        }
        (Code::PermissionDenied, Needs::WorkloadOrAdmin) => "use a certificate with the role Workload or Admin",
        (Code::PermissionDenied, Needs::WorkloadOrProxy) => "use a certificate with the role Proxy or Workload",
        (Code::Unauthenticated, _) => "see that --cert is the certificate that the server expects of you",
        (Code::InvalidArgument, _) => "correct what the message names; --help says what goes there",
        (Code::NotFound, Needs::Resources | Needs::ResourceReports) => {
            "see `lanyard resource list` for what is registered"
        }
        (Code::NotFound, Needs::Grants) => "see `lanyard grant list` for the grants",
        (Code::NotFound, _) => "see `lanyard client list` for what is registered",
        (Code::AlreadyExists, Needs::Resources) => {
            "see `lanyard resource get` for what is there already, and change one of the two"
        }
        (Code::AlreadyExists, Needs::Grants) => {
            "see `lanyard grant get` for what is there already, and change one of the two"
        }
        (Code::AlreadyExists, _) => "see `lanyard client get` for what is there already, and change one of the two",
        (Code::Aborted, Needs::Resources) => {
            "it was changed meanwhile: read it again with `lanyard resource get`, then repeat your change"
        }
        (Code::Aborted, Needs::Grants) => {
            "it was changed meanwhile: read it again with `lanyard grant get`, then repeat your change"
        }
        (Code::Aborted, _) => {
            "it was changed meanwhile: read it again with `lanyard client get`, then repeat your change"
        }
        (Code::ResourceExhausted, _) => "the server is busy: wait a moment and try again",
        (Code::Unavailable, _) => {
            "the server cannot answer now: try again, and if that lasts look at its /readyz and its log"
        }
        (Code::DeadlineExceeded | Code::Cancelled, _) => {
            "the server took too long: try again, and look at its load and its log"
        }
        (Code::Unimplemented, _) => {
            "see that --server names the mTLS listener of a lanyard server, and that it is not older than this command"
        }
        (
            Code::Ok | Code::Unknown | Code::FailedPrecondition | Code::OutOfRange | Code::Internal | Code::DataLoss,
            _,
        ) => "look into the server's log for the cause",
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_reason_is_named_and_decides_on_the_advice() {
        let details = ErrorDetails::with_error_info("INVALID_SCOPE", "lanyard", []);
        let status = Status::with_error_details(Code::InvalidArgument, "the scope goes beyond", details);
        let error = explain(&status, Needs::Workload);
        assert_eq!(error.to_string(), "the scope goes beyond (INVALID_SCOPE)");
        assert!(error.next().contains("--scope"));
    }

    #[test]
    fn without_a_reason_the_code_is_named() {
        let error = explain(&Status::permission_denied("not for you"), Needs::Clients);
        assert_eq!(error.to_string(), "not for you (PermissionDenied)");
        assert!(error.next().contains("role Admin"));
        assert!(!explain(&Status::permission_denied(""), Needs::Workload).next().contains("Admin"));
    }
}
