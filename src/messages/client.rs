//! Conversion of a client between the registry's message and the core's metadata.

use crate::authority::registration::ClientMetadata;
use crate::authority::registration::RegisteredClient;
use crate::messages::common::Malformed;
use crate::messages::common::Masked;
use crate::messages::common::duration;
use crate::messages::common::duration_message;
use crate::messages::common::etag;
use crate::messages::common::set;
use crate::messages::common::take_one_of;
use crate::messages::common::timestamp;
use crate::messages::exchange;
use crate::proto::Client;
use crate::proto::Delegates;

impl TryFrom<Client> for ClientMetadata {
    type Error = Malformed;

    /// Output-only fields are ignored.
    fn try_from(client: Client) -> Result<Self, Malformed> {
        let jwks = set(client.jwks).map(|text| serde_json::from_str(&text)).transpose();
        Ok(Self {
            client_id: client.client_id,
            token_endpoint_auth_method: client.token_endpoint_auth_method,
            spiffe_id: set(client.spiffe_id),
            tls_client_auth_subject_dn: set(client.tls_client_auth_subject_dn),
            tls_client_auth_san_dns: set(client.tls_client_auth_san_dns),
            tls_client_auth_san_uri: set(client.tls_client_auth_san_uri),
            tls_client_auth_san_ip: set(client.tls_client_auth_san_ip),
            tls_client_auth_san_email: set(client.tls_client_auth_san_email),
            client_ca: set(client.client_ca),
            jwks: jwks.map_err(|_| Malformed { field: "jwks", problem: "is not JSON" })?,
            jwks_uri: set(client.jwks_uri),
            certificate_pem: set(client.certificate_pem),
            scope: client.scope,
            audience: client.audience,
            grant_types: client.grant_types,
            tls_client_certificate_bound_access_tokens: client.tls_client_certificate_bound_access_tokens,
            access_token_ttl: duration("access_token_ttl", client.access_token_ttl)?,
            rotation: set(client.rotation),
            exchange: client.exchange.into_iter().map(exchange::rule).collect::<Result<_, _>>()?,
            delegates: client.delegates.map(|delegates| delegates.clients),
            txn: client.txn.into_iter().map(exchange::txn_rule).collect::<Result<_, _>>()?,
            owner: set(client.owner),
            managed_by: set(client.managed_by),
            issuer: set(client.issuer),
            subject: set(client.subject),
            claims: client.claims.into_iter().collect(),
            disabled: client.disabled,
        })
    }
}

impl From<ClientMetadata> for Client {
    /// Output-only fields are left out.
    fn from(metadata: ClientMetadata) -> Self {
        Self {
            client_id: metadata.client_id,
            token_endpoint_auth_method: metadata.token_endpoint_auth_method,
            spiffe_id: metadata.spiffe_id.unwrap_or_default(),
            tls_client_auth_subject_dn: metadata.tls_client_auth_subject_dn.unwrap_or_default(),
            tls_client_auth_san_dns: metadata.tls_client_auth_san_dns.unwrap_or_default(),
            tls_client_auth_san_uri: metadata.tls_client_auth_san_uri.unwrap_or_default(),
            tls_client_auth_san_ip: metadata.tls_client_auth_san_ip.unwrap_or_default(),
            tls_client_auth_san_email: metadata.tls_client_auth_san_email.unwrap_or_default(),
            client_ca: metadata.client_ca.unwrap_or_default(),
            jwks: match metadata.jwks {
                None => String::new(),
                // The JSON may also be a string.
                Some(serde_json::Value::String(text)) => text,
                Some(jwks) => jwks.to_string(),
            },
            jwks_uri: metadata.jwks_uri.unwrap_or_default(),
            certificate_pem: metadata.certificate_pem.unwrap_or_default(),
            scope: metadata.scope,
            audience: metadata.audience,
            grant_types: metadata.grant_types,
            tls_client_certificate_bound_access_tokens: metadata.tls_client_certificate_bound_access_tokens,
            access_token_ttl: metadata.access_token_ttl.map(duration_message),
            rotation: metadata.rotation.unwrap_or_default(),
            exchange: metadata.exchange.into_iter().map(exchange::exchange_rule).collect(),
            delegates: metadata.delegates.map(|clients| Delegates { clients }),
            txn: metadata.txn.into_iter().map(exchange::txn_rule_message).collect(),
            owner: metadata.owner.unwrap_or_default(),
            managed_by: metadata.managed_by.unwrap_or_default(),
            issuer: metadata.issuer.unwrap_or_default(),
            subject: metadata.subject.unwrap_or_default(),
            claims: metadata.claims.into_iter().collect(),
            disabled: metadata.disabled,
            etag: String::new(),
            create_time: None,
            update_time: None,
            created_by: String::new(),
            updated_by: String::new(),
            warnings: Vec::new(),
            suspended: String::new(),
        }
    }
}

impl From<&RegisteredClient> for Client {
    fn from(client: &RegisteredClient) -> Self {
        Self {
            etag: etag(client.revision),
            create_time: Some(timestamp(client.record.create_time)),
            update_time: Some(timestamp(client.record.update_time)),
            created_by: client.record.created_by.to_string(),
            updated_by: client.record.updated_by.to_string(),
            suspended: client.suspended.map(|why| why.to_string()).unwrap_or_default(),
            ..client.registration.metadata().into()
        }
    }
}

impl Masked for Client {
    fn take(&mut self, field: &str, from: &Self) -> Option<()> {
        if field == "certificate_pem" {
            // The certificates are stored as jwks, which new certificates replace.
            self.jwks.clear();
        }
        take_one_of!(
            self, from, field: token_endpoint_auth_method, spiffe_id, tls_client_auth_subject_dn, tls_client_auth_san_dns,
            tls_client_auth_san_uri, tls_client_auth_san_ip, tls_client_auth_san_email, client_ca, jwks, jwks_uri,
            certificate_pem, scope, audience, grant_types, tls_client_certificate_bound_access_tokens, access_token_ttl,
            rotation, exchange, delegates, txn, owner, managed_by, disabled, issuer, subject, claims,
        );
        Some(())
    }
}
