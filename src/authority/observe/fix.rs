//! What to do about each refusal: a sentence with its command. `CLIENT`, `RESOURCE` and `CERTIFICATE` stand for what they
//! name.

use crate::authority::access::NotAdmitted;
use crate::authority::decision::CheckRefusal;
use crate::authority::decision::GrantError;
use crate::authority::decision::Mismatch;
use crate::authority::decision::NoDecision;
use crate::authority::decision::NotExplained;
use crate::authority::deny_reason::DenyReason;
use crate::authority::observe::handshake_error::HandshakeError;
use crate::authority::observe::txn_fix;
use crate::authority::trust::Unproven;

/// A fix with what it names.
pub(in crate::authority) fn naming(fix: &str, client: &str, certificate: &str, resource: &str) -> String {
    fix.replace("CLIENT", client).replace("CERTIFICATE", certificate).replace("RESOURCE", resource)
}

/// What gets a caller another token.
const NEW_TOKEN: &str = "get a new token: `lanyard token get`";

const RECORD_TOO_NEW: &str =
    "upgrade this server to the version that wrote the record; until then nothing is decided by it";

const REGISTER: &str =
    "register the client: `lanyard client apply -f FILE`; `lanyard client list` shows what is registered";

/// What to do about a denied use of a token.
pub(in crate::authority) fn of_denial(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::TokenMalformed | DenyReason::TokenType | DenyReason::UnknownKey | DenyReason::BadSignature => {
            "send an access token of this server: `lanyard token inspect` shows what was sent, `lanyard keys list` the keys"
        }
        DenyReason::WrongIssuer => {
            "get a token from this server: `lanyard token inspect` shows the issuer of the one that was sent"
        }
        DenyReason::TokenExpired | DenyReason::ClientRecreated | DenyReason::AuthenticationChanged => NEW_TOKEN,
        DenyReason::TokenNotYetValid => "set the clocks: the token is from the future",
        DenyReason::ClientUnknown => REGISTER,
        DenyReason::ClientDisabled => {
            "set `disabled: false` in the registration, if that is meant: `lanyard client get CLIENT`, \
             `lanyard history client CLIENT` says who disabled it"
        }
        DenyReason::ClientSuspended | DenyReason::ResourceSuspended => RECORD_TOO_NEW,
        DenyReason::ClientCaRemoved => {
            "configure the client CA again, or change `client_ca` of the registration: `lanyard client get CLIENT`"
        }
        DenyReason::TrustDomainUntrusted => {
            "see why the bundle of the trust domain is missing or stale: `lanyard doctor --config FILE`"
        }
        DenyReason::IssuerUntrusted => {
            "see why the issuer is not in `trusted_issuers`, or its keys cannot be fetched: `lanyard doctor --config FILE`"
        }
        DenyReason::TokenRevoked => "get a new token, if the client is to go on: `lanyard token get`",
        DenyReason::ClientRevoked => {
            "lift the revocation, if it is over: `lanyard token revoke --client CLIENT --lift`"
        }
        DenyReason::IdentityRevoked => {
            "see `lanyard revocation list --kind identity`, and lift the revocation if it is over: \
             `lanyard token revoke --identity CLIENT --lift`"
        }
        DenyReason::CertificateRevoked => {
            "give the workload a new certificate and a token with it; see `lanyard revocation list --kind certificate`"
        }
        DenyReason::WrongAudience => {
            "get a token for RESOURCE: `lanyard token get --audience RESOURCE`; if the client may not, add RESOURCE to its \
             `audience` and apply it"
        }
        DenyReason::ResourceDeleted => {
            "register RESOURCE again, or let it be as if it had never been: `lanyard resource forget RESOURCE`"
        }
        DenyReason::DelegationBroken => {
            "have the caller in front send its request again with a new token: what this one was exchanged for no longer \
             counts; the steps say which token, and why"
        }
        DenyReason::DelegationNotAccepted => {
            "add `delegated` with the client to RESOURCE, if others may act there for its callers: \
             `lanyard resource get RESOURCE`"
        }
        DenyReason::ActorNotAccepted => {
            "add CLIENT to `delegated.actors` of the resource, or raise its `max_actors`, if that may be: \
             `lanyard resource get RESOURCE`"
        }
        DenyReason::TrustDomainNotAccepted => {
            "add the trust domain to `trust_domains` of the resource, if it may come: `lanyard resource get RESOURCE`"
        }
        DenyReason::NotBound => {
            "get a token that is bound: remove `tls_client_certificate_bound_access_tokens: false` from the registration: \
             `lanyard client get CLIENT`"
        }
        DenyReason::EvidenceMissing => {
            "have the proxy show the certificate of its peer (docs/checks.md): `lanyard doctor --envoy FILE` says what is missing"
        }
        DenyReason::EvidenceTooWeak => {
            "have the proxy show more of the certificate, or lower `evidence` of the resource: `lanyard resource get RESOURCE`"
        }
        DenyReason::CertificateExpired => "renew the certificate CERTIFICATE, and get a token with the new one",
        DenyReason::CertificateNotYetValid => "set the clocks, or wait: the certificate CERTIFICATE is not valid yet",
        DenyReason::CertificateRenewed => {
            "get a new token with the renewed certificate: `lanyard token get`; `rotation: identity` or `rotation: lineage` in \
             the registration lets tokens outlive a renewal"
        }
        DenyReason::CertificateMismatch => {
            "find out who used the token: it came with a certificate of somebody else; if that was no mistake, revoke it: \
             `lanyard token revoke --issued-to CLIENT`"
        }
        DenyReason::LineageOver => "get a new token with the certificate that is in use: `lanyard token get`",
        DenyReason::RotationStrict => {
            "have the proxy show the certificate or its hash, or set `rotation: identity` in the registration: \
             `lanyard client get CLIENT`"
        }
        DenyReason::InsufficientScope => {
            "get a token with the scope that the route needs: `lanyard token get --scope SCOPE`; if the client may not have \
             it, add it to the `scope` of the registration, or to the resource that defines it"
        }
    }
}

/// What to do about a denied check.
pub(in crate::authority) fn of_check(refusal: CheckRefusal) -> &'static str {
    match refusal {
        CheckRefusal::Denied(reason) => of_denial(reason),
        CheckRefusal::TokenMissing => {
            "send an access token in `authorization: Bearer`: `lanyard token get --audience RESOURCE`; if the route is for \
             everybody, make it public: `lanyard resource get RESOURCE`"
        }
        CheckRefusal::AuthorizationMalformed => {
            "send one `authorization: Bearer` header with one token, and nothing else in it"
        }
        CheckRefusal::EvidenceMalformed(_) => {
            "see what the proxy writes into `x-forwarded-client-cert` (docs/checks.md): `lanyard doctor --envoy FILE`"
        }
        CheckRefusal::ResourceUnknown => {
            "register a resource for this authority (`lanyard resource apply -f FILE`), and let this proxy front it: \
             `roles.proxies` of the server's configuration"
        }
        CheckRefusal::RouteUnknown => {
            "add a route for this method and path to the resource, if it is to be served: `lanyard resource get RESOURCE`"
        }
        CheckRefusal::PathNotCanonical => {
            "send the path in its plain form: without `//`, `..`, escapes of `/` and the like"
        }
        CheckRefusal::TxnTokenMissing => txn_fix::MISSING,
        CheckRefusal::TxnTokenMalformed => txn_fix::MALFORMED,
        CheckRefusal::TxnTokenInvalid | CheckRefusal::TxnTokenForeign => txn_fix::NOT_OURS,
        CheckRefusal::TxnTokenExpired => txn_fix::EXPIRED,
        CheckRefusal::TxnTokenRevoked => txn_fix::REVOKED,
        CheckRefusal::TxnScopeMissing => txn_fix::SCOPE_MISSING,
        CheckRefusal::TxnTokenSeen => txn_fix::SEEN,
        CheckRefusal::TxnContextRefused => txn_fix::CONTEXT_REFUSED,
        CheckRefusal::TxnTokenNotMinted => txn_fix::NOT_MINTED,
        CheckRefusal::RequestMalformed => {
            "see that the proxy sends HTTP attributes in its checks, and no more than 1 MiB"
        }
        CheckRefusal::NotAProxy => {
            "give the proxy's identity the role Proxy: `roles.proxies` of the server's configuration"
        }
        CheckRefusal::Overloaded => "wait and try again; see docs/operations.md for limits and load",
        CheckRefusal::Unable => "look into the server's log for the error",
    }
}

/// What to do about a refused token request.
pub(in crate::authority) fn of_grant(error: GrantError) -> &'static str {
    match error {
        GrantError::InvalidClient(mismatch) => of_mismatch(mismatch),
        GrantError::InvalidAssertion(_) => {
            "fetch a new JWT-SVID for this server's issuer as its only audience: the cause says what is wrong with this one"
        }
        GrantError::InvalidIssuerJwt(_) => {
            "send a new token of the issuer, for its `audience` in `trusted_issuers` alone: the cause says what is wrong with \
             this one; `lanyard doctor --config FILE` tells whether the issuer's keys are known"
        }
        GrantError::TooManyAssertions => {
            "wait until some of the client's assertions have expired: ask for shorter ones"
        }
        GrantError::UnknownAssertionType | GrantError::HalfAnAssertion => {
            "send client_assertion, and as client_assertion_type urn:ietf:params:oauth:client-assertion-type:jwt-spiffe or \
             urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        }
        GrantError::ForeignConnection => "connect with the X509-SVID of the workload that the client assertion names",
        GrantError::InvalidRequest => "name the client: `lanyard whoami` shows the names that the certificate proves",
        GrantError::InvalidScope => {
            "ask for scopes that the client may have (`lanyard client get CLIENT`), or add the scope there and to the resource \
             that defines it"
        }
        GrantError::InvalidTarget => {
            "ask for audiences that the client may have, or add the audience to its registration: `lanyard client get CLIENT`"
        }
        GrantError::TokenTooLarge => "ask for fewer scopes or audiences at a time",
        GrantError::ServerError | GrantError::SigningUnavailable => {
            "look into the server's log; `lanyard keys list` shows whether a key signs"
        }
        GrantError::Busy => "try again: too many tokens wait for their signature",
        GrantError::ResourceSuspended => RECORD_TOO_NEW,
        GrantError::Undecidable(_) => "see why this replica does not follow the store: `lanyard doctor --config FILE`",
    }
}

fn of_mismatch(mismatch: Mismatch) -> &'static str {
    match mismatch {
        Mismatch::UnknownClient => REGISTER,
        Mismatch::AmbiguousClient => "leave the SPIFFE ID to one registration: `lanyard client list` shows them",
        Mismatch::DisabledClient => of_denial(DenyReason::ClientDisabled),
        Mismatch::SuspendedClient => RECORD_TOO_NEW,
        Mismatch::RevokedClient => of_denial(DenyReason::ClientRevoked),
        Mismatch::Certificate => {
            "compare the certificate with the registration: `lanyard client get CLIENT`; connect with the one that it names, or \
             register the new one"
        }
        Mismatch::Assertion => {
            "send a client assertion exactly where the registration is by spiffe_jwt or issuer_jwt, with the claims that it \
             names: `lanyard client get CLIENT`"
        }
        Mismatch::AssertionReused => {
            "find out who has the assertion of CLIENT: it came with two certificates; if a container was started anew with a \
             new certificate, wait for its next assertion"
        }
        Mismatch::Connection => "connect with the X509-SVID of the workload that the client assertion names",
    }
}

/// What to do about a question that got no decision.
pub(in crate::authority) fn of_no_decision(why: NoDecision) -> &'static str {
    match why {
        NoDecision::TokenMissing => "send the access token in `access_token`",
        NoDecision::AudienceMissing => "name the resource in `audience`",
        NoDecision::ScopeMalformed => "send scopes that are separated by single spaces",
        NoDecision::NotAProxy => "give the caller the role Proxy, or let it ask about its own connection alone",
        NoDecision::ForeignResource => {
            "let this proxy front the resource: `roles.proxies` of the server's configuration"
        }
        NoDecision::Stale => "see why this replica does not follow the store: `lanyard doctor --config FILE`",
        NoDecision::RecordTooNew => RECORD_TOO_NEW,
        NoDecision::EvidenceMalformed(_) => "send the evidence in the form that docs/checks.md shows",
    }
}

/// What to do about a call that was not admitted.
pub(in crate::authority) fn of_call(error: NotAdmitted) -> &'static str {
    match error {
        NotAdmitted::NoSuchMethod => "call a method that this version has: `grpcurl SERVER list`",
        NotAdmitted::NoCertificate => "connect with a client certificate",
        NotAdmitted::Unproven(why) => of_certificate(why),
        NotAdmitted::NotForwarded(_) => "have the TLS terminator forward the certificate as `forwarded` is configured",
        NotAdmitted::WrongRole => {
            "give the caller the role under `roles` of the server's configuration, or register it as a client"
        }
        NotAdmitted::ShareExceeded(_) => "wait and try again; see docs/operations.md for the share of a caller",
        NotAdmitted::Overloaded => "wait and try again; see docs/operations.md for limits and load",
        NotAdmitted::NotAtAnEdge => "call the centre: `mtls_url` in the configuration of the edge names it",
    }
}

/// What to do about a failed handshake.
pub(in crate::authority) fn of_handshake(error: HandshakeError) -> &'static str {
    match error {
        HandshakeError::Unproven(why) => of_certificate(why),
        HandshakeError::HandshakeFailed => {
            "see that it is a TLS 1.2 or 1.3 client with a certificate, and no plain HTTP"
        }
        HandshakeError::TooSlow | HandshakeError::Displaced => "see what keeps the client or the network so long",
        HandshakeError::UserUnknown => "name the user in `local.proxies`, if its processes are proxies of this machine",
        HandshakeError::ProxyHeader => "have the load balancer begin connections with a header of the PROXY protocol",
    }
}

fn of_certificate(why: Unproven) -> &'static str {
    match why {
        Unproven::Expired | Unproven::IssuerExpired => "renew the certificate, or the CA that has expired",
        Unproven::NotYetValid | Unproven::IssuerNotYetValid => "set the clocks, or wait until the certificate is valid",
        Unproven::UnknownTrustDomain => "configure the bundle of the trust domain, if it may come: `trust.bundles`",
        Unproven::StaleBundle => "see why the bundle is not confirmed: `lanyard doctor --config FILE`",
        Unproven::NoPath => {
            "see that the certificate is from the trust domain's own CA, and that the server has its new bundle: \
             `lanyard doctor --config FILE`"
        }
        Unproven::Revoked | Unproven::IdentityRevoked => {
            "see `lanyard revocation list`, and lift the revocation if it is over"
        }
        Unproven::Unknown => {
            "register the certificate (`lanyard client convert-jwks CERT.pem`), or configure the CA that issued it: `trust.client_cas`"
        }
        Unproven::ChainSize
        | Unproven::Invalid(_)
        | Unproven::SeveralUris
        | Unproven::InvalidSpiffeId
        | Unproven::SigningCertificate
        | Unproven::KeyUsage
        | Unproven::NamesNotCritical
        | Unproven::ExtendedKeyUsage
        | Unproven::UnsupportedVersion
        | Unproven::UnsupportedKey
        | Unproven::UnsupportedSignature
        | Unproven::CriticalExtension(_)
        | Unproven::IssuerNotCa
        | Unproven::IssuerKeyUsage
        | Unproven::IssuerExtendedKeyUsage
        | Unproven::IssuerSpiffeId
        | Unproven::PathLength
        | Unproven::NameConstraints
        | Unproven::UnsupportedNameConstraints
        | Unproven::PolicyRequired
        | Unproven::PathTooComplex => {
            "have a certificate issued that the rule accepts: `openssl x509 -noout -text -in CERT.pem` shows what is in it"
        }
    }
}

/// What to do about a refused request whose cause says it.
pub(in crate::authority) const AS_THE_CAUSE_SAYS: &str = "correct what the cause names, and try again";

/// What a caller is told to do that did not prove to be the client that it named.
pub(in crate::authority) const OWN_CLIENTS: &str =
    "see `lanyard whoami` for the clients that your certificate proves, and what each may ask for";

/// What a client is told to do whose exchange was refused for a reason that it may not know.
pub(in crate::authority) const OWN_EXCHANGES: &str = "exchange the receipt of the request, before it is over, by a rule of your own; an admin sees the reason: `lanyard why`";

/// What to do about a question that is not answered.
pub(in crate::authority) fn of_not_explained(why: NotExplained) -> &'static str {
    match why {
        NotExplained::NotYours => "ask about the certificate that you connect with, or have an admin or an auditor ask",
        NotExplained::Undecidable(why) => of_no_decision(why.into()),
    }
}
