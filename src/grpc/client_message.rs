//! A client as the registry's messages have it, and as the core has it.

use std::time::Duration;

use prost_types::Timestamp;
use tonic::Status;

use crate::authority::clock;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::RegisteredClient;
use crate::authority::store::Revision;
use crate::grpc::status::malformed;
use crate::proto::Client;

/// Reads what a request says of a client. Output-only fields are not looked at.
pub(super) fn read(client: Client) -> Result<ClientMetadata, Status> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let jwks = some(client.jwks)
        .map(|text| serde_json::from_str(&text).map_err(|_| malformed("jwks", "is not JSON")))
        .transpose()?;
    let access_token_ttl = client
        .access_token_ttl
        .map(|ttl| {
            let ttl =
                Duration::try_from(ttl).map_err(|_| malformed("access_token_ttl", "is not a positive duration"))?;
            Ok::<_, Status>(humantime::format_duration(ttl).to_string())
        })
        .transpose()?;
    Ok(ClientMetadata {
        client_id: client.client_id,
        token_endpoint_auth_method: client.token_endpoint_auth_method,
        spiffe_id: some(client.spiffe_id),
        tls_client_auth_subject_dn: some(client.tls_client_auth_subject_dn),
        tls_client_auth_san_dns: some(client.tls_client_auth_san_dns),
        tls_client_auth_san_uri: some(client.tls_client_auth_san_uri),
        tls_client_auth_san_ip: some(client.tls_client_auth_san_ip),
        tls_client_auth_san_email: some(client.tls_client_auth_san_email),
        client_ca: some(client.client_ca),
        jwks,
        jwks_uri: some(client.jwks_uri),
        certificate_pem: some(client.certificate_pem),
        scope: client.scope,
        audience: client.audience,
        grant_types: client.grant_types,
        tls_client_certificate_bound_access_tokens: client.tls_client_certificate_bound_access_tokens,
        access_token_ttl,
        rotation: some(client.rotation),
        owner: some(client.owner),
        disabled: client.disabled,
    })
}

/// Prints a client as it stands.
pub(super) fn print(client: &RegisteredClient) -> Client {
    let ClientMetadata {
        client_id,
        token_endpoint_auth_method,
        spiffe_id,
        tls_client_auth_subject_dn,
        tls_client_auth_san_dns,
        tls_client_auth_san_uri,
        tls_client_auth_san_ip,
        tls_client_auth_san_email,
        client_ca,
        jwks,
        jwks_uri,
        certificate_pem,
        scope,
        audience,
        grant_types,
        tls_client_certificate_bound_access_tokens,
        access_token_ttl: _,
        rotation,
        owner,
        disabled,
    } = client.registration.metadata.clone();
    Client {
        client_id,
        token_endpoint_auth_method,
        spiffe_id: spiffe_id.unwrap_or_default(),
        tls_client_auth_subject_dn: tls_client_auth_subject_dn.unwrap_or_default(),
        tls_client_auth_san_dns: tls_client_auth_san_dns.unwrap_or_default(),
        tls_client_auth_san_uri: tls_client_auth_san_uri.unwrap_or_default(),
        tls_client_auth_san_ip: tls_client_auth_san_ip.unwrap_or_default(),
        tls_client_auth_san_email: tls_client_auth_san_email.unwrap_or_default(),
        client_ca: client_ca.unwrap_or_default(),
        jwks: jwks.map(|jwks| jwks.to_string()).unwrap_or_default(),
        jwks_uri: jwks_uri.unwrap_or_default(),
        certificate_pem: certificate_pem.unwrap_or_default(),
        scope,
        audience,
        grant_types,
        tls_client_certificate_bound_access_tokens,
        access_token_ttl: client.registration.access_token_ttl.try_into().ok(),
        rotation: rotation.unwrap_or_default(),
        owner: owner.unwrap_or_default(),
        disabled,
        etag: etag(client.revision),
        create_time: Some(timestamp(client.record.create_time)),
        update_time: Some(timestamp(client.record.update_time)),
        created_by: client.record.created_by.clone(),
        updated_by: client.record.updated_by.clone(),
    }
}

/// The `etag` of a revision.
pub(super) fn etag(revision: Revision) -> String {
    revision.0.to_string()
}

/// The revision that an `etag` names. One text a revision: no signs and no leading zeros.
pub(super) fn revision(text: &str) -> Option<Revision> {
    text.parse().ok().map(Revision).filter(|revision| etag(*revision) == text)
}

pub(super) fn timestamp(time: clock::Timestamp) -> Timestamp {
    Timestamp { seconds: i64::try_from(time.0).unwrap_or(i64::MAX), nanos: 0 }
}
