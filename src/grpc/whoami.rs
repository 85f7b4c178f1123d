//! The answer to `WhoAmI`.

use crate::authority::Authority;
use crate::authority::access::Fronted;
use crate::authority::decision::OwnRegistration;
use crate::authority::identity::Proof;
use crate::authority::records::Registration as _;
use crate::authority::state::Caller;
use crate::messages::timestamp;
use crate::proto;
use crate::proto::WhoAmIResponse;

pub(super) fn answer(authority: &Authority, caller: &Caller) -> WhoAmIResponse {
    let identity = &caller.identity;
    let client_cas = match identity.proof() {
        Proof::Pki(client_cas) => client_cas.clone(),
        Proof::Svid(_) | Proof::SelfSigned | Proof::Unknown => Vec::new(),
    };
    let fronted_audiences = match &caller.roles.proxy {
        None => Vec::new(),
        Some(Fronted::Every) => vec!["*".to_owned()],
        Some(Fronted::Audiences(audiences)) => audiences.to_vec(),
    };
    WhoAmIResponse {
        spiffe_id: identity.spiffe_id().map(ToString::to_string).unwrap_or_default(),
        certificate_thumbprint: identity.thumbprint().as_bytes().to_vec(),
        certificate_not_after: Some(timestamp(identity.certificate().not_after())),
        client_cas,
        roles: roles(caller).into_iter().map(Into::into).collect(),
        fronted_audiences,
        grants: caller.grants.iter().map(|grant| grant.registration.name().to_owned()).collect(),
        registrations: authority.registrations_of(caller).iter().map(registration).collect(),
    }
}

fn roles(caller: &Caller) -> Vec<proto::Role> {
    let held = &caller.roles;
    let all = [
        (held.workload, proto::Role::Workload),
        (held.proxy.is_some(), proto::Role::Proxy),
        (held.admin, proto::Role::Admin),
        (held.auditor, proto::Role::Auditor),
        (held.revoker, proto::Role::Revoker),
        (held.edge.is_some(), proto::Role::Edge),
        (!caller.grants.is_empty(), proto::Role::Team),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, role)| role).collect()
}

fn registration(own: &OwnRegistration) -> proto::OwnRegistration {
    let metadata = own.client.registration.metadata();
    proto::OwnRegistration {
        client_id: own.client_id.to_string(),
        registered_client_id: metadata.client_id,
        token_endpoint_auth_method: metadata.token_endpoint_auth_method,
        scope: metadata.scope,
        audience: metadata.audience,
        access_token_ttl: own.client.registration.terms.access_token_ttl.try_into().ok(),
        rotation: metadata.rotation.unwrap_or_default(),
        problem: own.problem.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}
