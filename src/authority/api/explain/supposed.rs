//! The peer that a question is about, as if it had connected: it is admitted, and its token requests are decided on, as
//! those of any peer. No token is made.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::authority::Authority;
use crate::authority::access::CalledMethod;
use crate::authority::access::NotAdmitted;
use crate::authority::access::PeerConnection;
use crate::authority::access::Proven;
use crate::authority::access::Reach;
use crate::authority::api::audit::cause;
use crate::authority::api::audit::one_step;
use crate::authority::api::audit::registration;
use crate::authority::api::reports::not_admitted_at;
use crate::authority::api::tokens::granted;
use crate::authority::decision::AskedIdentity;
use crate::authority::decision::Check;
use crate::authority::decision::GrantError;
use crate::authority::decision::ProvenAssertion;
use crate::authority::decision::Step;
use crate::authority::decision::TokenOutcome;
use crate::authority::decision::TokenRequest;
use crate::authority::decision::TokenTerms;
use crate::authority::decision::WhyNot;
use crate::authority::decision::explain_grant;
use crate::authority::decision::explain_refusal;
use crate::authority::evidence::Evidence;
use crate::authority::evidence::EvidenceGrade;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::PeerIdentity;
use crate::authority::observe::fix;
use crate::authority::registration::ClientId;
use crate::authority::registration::ClientStatus;
use crate::authority::registration::TokenEndpointAuthMethod;
use crate::authority::state::Caller;
use crate::authority::state::View;
use crate::authority::tokens::NOT_ISSUED;
use crate::authority::tokens::VerifiedToken;
use crate::authority::trust::Unproven;

impl Authority {
    /// The asked peer as the caller of the token endpoint, or why it is not admitted.
    pub(super) fn supposed_caller(&self, view: &View, asked: &AskedIdentity) -> Result<Caller, NotAdmitted> {
        let connection = self.supposed_connection(view, asked)?;
        self.authorize_caller(view.clone(), &connection, CalledMethod::issue_token())
    }

    fn supposed_connection(&self, view: &View, asked: &AskedIdentity) -> Result<PeerConnection, Unproven> {
        match asked {
            AskedIdentity::Certificate(asked) => self.admit_by(view, asked.chain.clone(), Reach::Direct),
            AskedIdentity::SpiffeId(id) => {
                if let Some(why) = view.trust.unprovable(id, view.now) {
                    return Err(why);
                }
                let identity = Arc::new(PeerIdentity::supposed(id));
                let proven = Proven { identity, generation: view.trust_generation, good_until: None };
                Ok(PeerConnection { reach: Reach::Direct, chain: Vec::new(), proven: ArcSwap::from_pointee(proven) })
            }
        }
    }

    /// What a token request of an admitted peer comes to, and the token as if it were issued.
    pub(super) fn supposed_token(
        &self,
        peer: &Caller,
        request: &TokenRequest,
    ) -> (TokenOutcome, Option<VerifiedToken>) {
        let (view, identity) = (&peer.view, &*peer.identity);
        let client_id = match &request.client_id {
            Some(text) => ClientId::parse(text),
            None => identity.spiffe_id().map(ClientId::from),
        };
        let assertion = supposed_assertion(view, identity, client_id.as_ref());
        let credentials = assertion.as_ref().map(|assertion| self.credentials(identity, assertion.as_ref()));
        let credentials = credentials.map_err(|error| *error);
        let decided = granted(view, credentials, request).and_then(|grant| {
            let error = GrantError::SigningUnavailable;
            let refused = || (error, one_step(Check::Signing, &error.to_string(), ""));
            let key = view.snapshot.keys.active().ok_or_else(refused)?;
            Ok((key.key_id().clone(), grant))
        });
        let (granted, steps, token) = match decided {
            Ok((key_id, grant)) => {
                let explained = |credentials| explain_grant(&view.snapshot, credentials, request, view.now);
                let steps = credentials.map(explained).unwrap_or_default();
                let claims = self.claims(view, identity, &grant, NOT_ISSUED.to_owned());
                let terms = TokenTerms {
                    scope: grant.scope,
                    audience: grant.audience,
                    expires_in: view.now.until(grant.expires),
                    bound: grant.bound,
                    rotation: grant.client.registration.terms.rotation,
                };
                (Ok(terms), steps, Some(VerifiedToken::new(key_id, claims)))
            }
            Err((error, steps)) => {
                let credentials = credentials.ok();
                let beyond = credentials
                    .and_then(|credentials| explain_refusal(&view.snapshot, credentials, request, view.now, error));
                let client = client_id.as_ref().map_or("the client", ClientId::as_str);
                let audience = request.audience.first().map_or("the resource", String::as_str);
                let why_not = WhyNot {
                    code: error.code().as_str(),
                    cause: beyond.unwrap_or_else(|| cause(error)),
                    fix: fix::naming(fix::of_grant(error), client, "the certificate", audience),
                };
                (Err(why_not), steps, None)
            }
        };
        let registration = registration(view, client_id.as_ref());
        (TokenOutcome { client_id, registration, granted, steps: readable(steps) }, token)
    }
}

/// The outcome of the token request of a peer that is not admitted.
pub(super) fn not_admitted(error: NotAdmitted) -> TokenOutcome {
    let (check, expected) = not_admitted_at(CalledMethod::issue_token().metric_label(), error);
    let steps = one_step(check, &error.to_string(), &expected);
    TokenOutcome { client_id: None, registration: None, granted: Err(refused_call(error)), steps }
}

/// Why a peer would not be admitted.
pub(super) fn refused_call(error: NotAdmitted) -> WhyNot {
    let code = match error {
        // As the handshake is refused.
        NotAdmitted::Unproven(why) => why.code(),
        NotAdmitted::NoSuchMethod
        | NotAdmitted::NoCertificate
        | NotAdmitted::NotForwarded(_)
        | NotAdmitted::WrongRole
        | NotAdmitted::ShareExceeded(_)
        | NotAdmitted::Overloaded
        | NotAdmitted::NotAtAnEdge => error.code(),
    };
    WhyNot { code, cause: error.to_string(), fix: fix::of_call(error).to_owned() }
}

/// Steps for people: a supposed certificate has no thumbprint that would tell them anything.
pub(super) fn readable(mut steps: Vec<Step>) -> Vec<Step> {
    let nobodys = Evidence::Thumbprint(CertificateThumbprint::of(&[])).to_string();
    let readable = |text: &mut Box<str>| {
        if text.contains(&nobodys) {
            *text = text.replace(&nobodys, "its certificate").into();
        }
    };
    for step in &mut steps {
        readable(&mut step.found);
        readable(&mut step.expected);
    }
    steps
}

/// What a proxy shows of the certificate of the peer. Where the question names none, it is the one that the token is bound to, if that
/// is of the same SPIFFE ID, and else another one.
pub(super) fn supposed_evidence(
    asked: &AskedIdentity,
    token: Option<&VerifiedToken>,
    shown: EvidenceGrade,
) -> Option<Evidence> {
    let certificate = match asked {
        AskedIdentity::Certificate(asked) => asked.leaf.clone(),
        AskedIdentity::SpiffeId(id) => {
            let own = token.filter(|token| token.bound_spiffe_id.as_ref() == Some(id));
            let bound_to = own.and_then(|token| token.bound_to);
            Certificate::supposed(&id.to_string(), bound_to)
        }
    };
    match shown {
        EvidenceGrade::SpiffeId => asked.spiffe_id().map(Evidence::SpiffeId),
        EvidenceGrade::Thumbprint => Some(Evidence::Thumbprint(certificate.thumbprint())),
        EvidenceGrade::Certificate => Some(Evidence::Certificate(Arc::new(certificate))),
    }
}

/// The assertion of a client that has to send one: its own JWT-SVID, or the JWT of its issuer.
pub(super) fn supposed_assertion(
    view: &View,
    identity: &PeerIdentity,
    client_id: Option<&ClientId>,
) -> Result<Option<ProvenAssertion>, GrantError> {
    let status = client_id.map(|client_id| view.snapshot.directory.status(client_id));
    let Some(ClientStatus::Registered(client)) = status else { return Ok(None) };
    let method = &client.registration.method;
    if let TokenEndpointAuthMethod::IssuerJwt(registered) = method {
        let supposed = view.trust.supposed_issuer_jwt(registered, view.now).map_err(GrantError::InvalidIssuerJwt)?;
        return Ok(Some(ProvenAssertion::Issuer(Box::new(supposed))));
    }
    match identity.spiffe_id().filter(|_| method.is_spiffe_jwt()) {
        Some(id) => {
            let supposed = view.trust.supposed_jwt_svid(id, view.now).map_err(GrantError::InvalidAssertion)?;
            Ok(Some(ProvenAssertion::Svid(supposed)))
        }
        None => Ok(None),
    }
}
