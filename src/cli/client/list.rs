//! `lanyard client list`.

use clap::Args;

use crate::cli::client_yaml::ClientRecord;
use crate::cli::client_yaml::ClientYaml;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::ListClientsRequest;
use crate::proto::registry_service_client::RegistryServiceClient;

const HEADER: [&str; 5] = ["CLIENT_ID", "METHOD", "IDENTITY", "SCOPE", "DISABLED"];

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(in crate::cli::client) async fn run(arguments: ListArguments, format: Format) -> Result<(), CommandError> {
    let mut registry = RegistryServiceClient::new(arguments.connection.open().await?);
    let mut records = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListClientsRequest { page_size: 0, page_token };
        let page = registry.list_clients(request).await.map_err(|status| status::explain(&status, Needs::Admin))?;
        let page = page.into_inner();
        records.extend(page.clients.into_iter().map(ClientRecord::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match format {
        Format::Json => output::print_json(&records),
        Format::Text => output::print(&table(records.iter().map(|record| row(&record.client)))),
    }
}

fn row(client: &ClientYaml) -> [String; 5] {
    [
        client.client_id.clone(),
        client.token_endpoint_auth_method.clone(),
        identity(client),
        if client.scope.is_empty() { "-".to_owned() } else { client.scope.clone() },
        if client.disabled { "yes" } else { "no" }.to_owned(),
    ]
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

fn table(rows: impl Iterator<Item = [String; 5]>) -> String {
    let rows: Vec<[String; 5]> = std::iter::once(HEADER.map(ToOwned::to_owned)).chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Client;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let client = ClientYaml::from(Client {
            client_id: "a-client-with-a-long-name".to_owned(),
            token_endpoint_auth_method: "tls_client_auth".to_owned(),
            tls_client_auth_san_dns: "a.example".to_owned(),
            ..Client::default()
        });
        let shown = table([row(&client)].into_iter());
        assert_eq!(
            shown,
            "CLIENT_ID                  METHOD           IDENTITY       SCOPE  DISABLED\n\
             a-client-with-a-long-name  tls_client_auth  dns a.example  -      no"
        );
    }
}
