//! What the commands for all that is registered need to know of clients.

use std::path::Path;

use tonic::Response;
use tonic::Status;

use crate::cli::client::convert_jwks;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents::Registered;
use crate::cli::documents::Registry;
use crate::cli::error::CommandError;
use crate::cli::status::Needs;
use crate::proto::Client;
use crate::proto::CreateClientRequest;
use crate::proto::DeleteClientRequest;
use crate::proto::GetClientRequest;
use crate::proto::ListClientsRequest;
use crate::proto::UpdateClientRequest;
use crate::yaml::Node;

impl Registered for ClientYaml {
    type Message = Client;

    const KIND: &'static str = "client";
    const NAME: &'static str = "client_id";
    const NEEDS: Needs = Needs::Clients;
    const HEADER: [&'static str; 5] = ["CLIENT_ID", "METHOD", "IDENTITY", "SCOPE", "DISABLED"];
    const OTHER: &'static str = "resource";

    fn name(&self) -> &str {
        &self.client_id
    }

    fn message(&self, etag: String) -> Client {
        Client { etag, ..self.clone().into() }
    }

    fn etag(message: &Client) -> &str {
        &message.etag
    }

    fn row(&self) -> [String; 5] {
        [
            self.client_id.clone(),
            self.token_endpoint_auth_method.clone(),
            identity(self),
            if self.scope.is_empty() { "-".to_owned() } else { self.scope.clone() },
            if self.disabled { "yes" } else { "no" }.to_owned(),
        ]
    }

    fn is_other(document: &Node) -> bool {
        document.get("client_id").is_none() && document.get("audience").is_some_and(Node::is_text)
    }

    /// Puts the certificates of `certificate_file` into `jwks`. Nothing else in that file is sent, such as a private key
    /// beside the certificate.
    fn completed(mut self, folder: &Path) -> Result<Self, CommandError> {
        let Some(file) = self.certificate_file.take() else { return Ok(self) };
        if self.jwks.is_some() || self.certificate_pem.is_some() {
            let next = "leave in only one of certificate_file, certificate_pem and jwks";
            return Err(CommandError::new("certificate_file goes only without certificate_pem and jwks", next));
        }
        self.jwks = Some(convert_jwks::read(&folder.join(file))?);
        Ok(self)
    }

    async fn read(registry: &mut Registry, name: &str) -> Result<Client, Status> {
        registry.get_client(GetClientRequest { client_id: name.to_owned() }).await.map(Response::into_inner)
    }

    async fn page(registry: &mut Registry, page_token: String) -> Result<(Vec<Client>, String), Status> {
        let page = registry.list_clients(ListClientsRequest { page_size: 0, page_token }).await?.into_inner();
        Ok((page.clients, page.next_page_token))
    }

    async fn create(registry: &mut Registry, message: Client, validate_only: bool) -> Result<Client, Status> {
        let request = CreateClientRequest { client: Some(message), validate_only };
        registry.create_client(request).await.map(Response::into_inner)
    }

    async fn update(registry: &mut Registry, message: Client, validate_only: bool) -> Result<Client, Status> {
        let request = UpdateClientRequest { client: Some(message), update_mask: None, validate_only };
        registry.update_client(request).await.map(Response::into_inner)
    }

    async fn remove(registry: &mut Registry, name: String, etag: String) -> Result<(), Status> {
        registry.delete_client(DeleteClientRequest { client_id: name, etag }).await.map(drop)
    }
}

/// What the client's certificate must be or bear.
fn identity(client: &ClientYaml) -> String {
    let named = [
        ("", &client.spiffe_id),
        ("subject ", &client.tls_client_auth_subject_dn),
        ("dns ", &client.tls_client_auth_san_dns),
        ("uri ", &client.tls_client_auth_san_uri),
        ("ip ", &client.tls_client_auth_san_ip),
        ("email ", &client.tls_client_auth_san_email),
    ];
    if let Some((kind, name)) = named.into_iter().find_map(|(kind, name)| name.as_ref().map(|name| (kind, name))) {
        return format!("{kind}{name}");
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
    use crate::cli::documents::list::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let client = ClientYaml::from(Client {
            client_id: "a-client-with-a-long-name".to_owned(),
            token_endpoint_auth_method: "tls_client_auth".to_owned(),
            tls_client_auth_san_dns: "a.example".to_owned(),
            ..Client::default()
        });
        let shown = table(ClientYaml::HEADER, [client.row()].into_iter());
        assert_eq!(
            shown,
            "CLIENT_ID                  METHOD           IDENTITY       SCOPE  DISABLED\n\
             a-client-with-a-long-name  tls_client_auth  dns a.example  -      no"
        );
    }
}
