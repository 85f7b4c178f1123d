//! Implements the document commands for clients.

use std::path::Path;

use tonic::Code;

use crate::apply::Document as _;
use crate::apply::Registry;
use crate::authority::clock::Timestamp;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::cli::client::convert_jwks;
use crate::cli::client::warning::ClientWarning;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::revocation::ListedRevocation;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::client::connection::Channel;

impl Registered for ClientYaml {
    type Metadata = ClientMetadata;

    const KIND: &'static str = "client";
    const NAME: &'static str = "client_id";
    const NEEDS: Needs = Needs::Clients;
    const HEADER: [&'static str; 5] = ["CLIENT_ID", "METHOD", "IDENTITY", "SCOPE", "DISABLED"];
    const IS_REVOCABLE: bool = true;

    fn metadata(&self) -> &ClientMetadata {
        &self.metadata
    }

    fn created_note(_: &ClientMetadata) -> Option<&'static str> {
        None
    }

    fn row(&self) -> [String; 5] {
        let client = &self.metadata;
        [
            client.client_id.clone(),
            client.token_endpoint_auth_method.clone(),
            identity(client),
            if client.scope.is_empty() { "-".to_owned() } else { client.scope.clone() },
            if client.disabled { "yes" } else { "no" }.to_owned(),
        ]
    }

    fn method(&self) -> Option<&str> {
        Some(&self.metadata.token_endpoint_auth_method)
    }

    fn is_revoked_by(&self, revocation: &ListedRevocation) -> bool {
        revocation.concerns(&self.metadata)
    }

    fn managed_by(metadata: &mut ClientMetadata) -> &mut Option<String> {
        &mut metadata.managed_by
    }

    fn owner(&self) -> Option<&str> {
        self.metadata.owner.as_deref()
    }

    fn warnings(metadata: &ClientMetadata, now: Timestamp) -> Vec<String> {
        ClientWarning::about(metadata, now).iter().map(ToString::to_string).collect()
    }

    async fn deletion_impact(registry: &mut Registry<Channel>, name: &str) -> Result<Option<String>, CommandError> {
        let client = match ClientMetadata::read(registry, name).await {
            Ok(client) => client,
            // The deletion says it.
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(status::explain(&status, Self::NEEDS).of(name)),
        };
        Ok(client.spiffe_id.strip_suffix("/*").map(|path| {
            format!(
                "{name} covers all SPIFFE IDs below {path} that have no registration of their own: the tokens of all of them \
                 are refused then"
            )
        }))
    }

    /// Converts the certificates of `certificate_file` to `jwks`. A file with a private key is refused.
    fn completed(self, folder: &Path) -> Result<ClientMetadata, CommandError> {
        let Self { mut metadata, certificate_file } = self;
        if let Some(pem) = &metadata.certificate_pem {
            // Before it is sent: a private key must not leave this machine.
            convert_jwks::convert(pem, "certificate_pem")?;
        }
        let Some(file) = certificate_file else { return Ok(metadata) };
        if metadata.jwks.is_some() || metadata.certificate_pem.is_some() {
            let next = "leave in only one of certificate_file, certificate_pem and jwks";
            return Err(CommandError::new("certificate_file goes only without certificate_pem and jwks", next));
        }
        metadata.jwks = Some(convert_jwks::read(&folder.join(file))?);
        Ok(metadata)
    }
}

/// The identity or the key that the client's certificate must have.
fn identity(client: &ClientMetadata) -> String {
    let named = [
        ("", &client.spiffe_id),
        ("subject ", &client.tls_client_auth_subject_dn),
        ("dns ", &client.tls_client_auth_san_dns),
        ("uri ", &client.tls_client_auth_san_uri),
        ("ip ", &client.tls_client_auth_san_ip),
        ("email ", &client.tls_client_auth_san_email),
    ];
    if let Some((kind, name)) = named.into_iter().find_map(|(kind, name)| name.as_ref().map(|name| (kind, name))) {
        // Only a record of an earlier version names no client CA, unless none is configured.
        let any = ClientRegistration::parse(client.clone()).is_ok_and(|client| client.takes_any_client_ca());
        return format!("{kind}{name}{}", if any { " (any client CA)" } else { "" });
    }
    let keys = client.jwks.as_ref().and_then(|jwks| jwks.get("keys")).and_then(|keys| keys.as_array());
    match keys.map(Vec::len) {
        Some(1) => "1 certificate".to_owned(),
        Some(count) => format!("{count} certificates"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let client = ClientYaml::from(ClientMetadata {
            client_id: "a-client-with-a-long-name".to_owned(),
            token_endpoint_auth_method: "tls_client_auth".to_owned(),
            tls_client_auth_san_dns: Some("a.example".to_owned()),
            ..ClientMetadata::default()
        });
        let printed = table(ClientYaml::HEADER, [client.row()].into_iter());
        assert_eq!(
            printed,
            "CLIENT_ID                  METHOD           IDENTITY       SCOPE  DISABLED\n\
             a-client-with-a-long-name  tls_client_auth  dns a.example  -      no"
        );
    }

    #[test]
    fn the_list_shows_which_clients_any_client_ca_vouches_for() {
        let client = |client_ca: Option<&str>, uri: Option<&str>| {
            let dns = if uri.is_none() { Some("a.example".to_owned()) } else { None };
            ClientYaml::from(ClientMetadata {
                client_id: "a".to_owned(),
                token_endpoint_auth_method: "tls_client_auth".to_owned(),
                tls_client_auth_san_dns: dns,
                tls_client_auth_san_uri: uri.map(ToOwned::to_owned),
                client_ca: client_ca.map(ToOwned::to_owned),
                audience: vec!["https://orders.example".to_owned()],
                ..ClientMetadata::default()
            })
        };
        let [_, _, unnamed, ..] = client(None, None).row();
        assert_eq!(unnamed, "dns a.example (any client CA)");
        let [_, _, named, ..] = client(Some("corp"), None).row();
        assert_eq!(named, "dns a.example");
        // The bundle of its trust domain proves a SPIFFE ID.
        let [_, _, spiffe, ..] = client(None, Some("spiffe://prod.example/a")).row();
        assert_eq!(spiffe, "uri spiffe://prod.example/a");
    }
}
