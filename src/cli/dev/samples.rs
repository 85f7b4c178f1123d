//! The sample clients and their protected resources. They are registered as an operator would do it: YAML files, applied
//! by the admin.

use std::fs;
use std::path::Path;

use crate::cli::client::yaml::ClientYaml;
use crate::cli::connect::ConnectionArguments;
use crate::cli::dev::TRUST_DOMAIN;
use crate::cli::dev::cannot_write;
use crate::cli::documents::Registered;
use crate::cli::documents::apply;
use crate::cli::error::CommandError;
use crate::cli::resource::yaml::ResourceYaml;

/// The audience of the samples' tokens.
pub(super) const AUDIENCE: &str = "https://orders.dev.internal";

/// The resource that the workload calls and that calls the other one for it.
pub(super) const RELAY: &str = "https://relay.dev.internal";

/// The scope that the samples may request.
const SCOPE: &str = "orders.read orders.write";

/// The names of the files in the directory.
pub(super) const CLIENTS: &str = "clients.yaml";
pub(super) const RESOURCES: &str = "resources.yaml";

/// Writes the files that are not there yet, and registers what is in them and not registered yet. What was changed since
/// the first start stays as it is.
pub(super) async fn register(dir: &Path, port: u16) -> Result<(), CommandError> {
    write::<ClientYaml>(dir, CLIENTS, &clients(), port).await?;
    write::<ResourceYaml>(dir, RESOURCES, &resources(), port).await
}

async fn write<K: Registered>(dir: &Path, file: &str, documents: &str, port: u16) -> Result<(), CommandError> {
    let path = dir.join(file);
    if !path.exists() {
        fs::write(&path, documents).map_err(|error| cannot_write(&path, &error))?;
    }
    apply::missing::<K>(&path, &ConnectionArguments::local(port, dir, "admin")?).await
}

fn clients() -> String {
    format!(
        "\
# The clients of `lanyard dev`, as `lanyard client apply -f` takes them. Written at the first start.
client_id: spiffe://{TRUST_DOMAIN}/workload
token_endpoint_auth_method: spiffe_x509
scope: {SCOPE} relay.call
audience: [{AUDIENCE}, {RELAY}]
---
client_id: spiffe://{TRUST_DOMAIN}/thief
token_endpoint_auth_method: spiffe_x509
scope: {SCOPE}
audience: [{AUDIENCE}]
---
# It acts for the workload: it exchanges the receipts of its calls for tokens of its own (RFC 8693).
client_id: spiffe://{TRUST_DOMAIN}/relay
token_endpoint_auth_method: spiffe_x509
audience: [{AUDIENCE}]
grant_types: [client_credentials, \"urn:ietf:params:oauth:grant-type:token-exchange\"]
exchange:
  - subjects: [spiffe://{TRUST_DOMAIN}/workload]
    presented_at: {RELAY}
    audience: {AUDIENCE}
    grants:
      - {{needs: relay.call, gives: orders.read}}
    presentation: receipt
---
client_id: selfsigned
token_endpoint_auth_method: self_signed_tls_client_auth
scope: {SCOPE}
audience: [{AUDIENCE}]
certificate_file: selfsigned.pem
"
    )
}

fn resources() -> String {
    format!(
        "\
# The protected resources of `lanyard dev`, as `lanyard resource apply -f` takes them. Written at the first start.
audience: {AUDIENCE}
scope: {SCOPE}
routes:
  - methods: [GET]
    path: /orders/{{id}}
    scope: orders.read
  - methods: [POST]
    path: /orders
    scope: orders.write
  - path: /healthz
    public: true
authorities: [orders.dev.internal]
delegated:
  actors: [spiffe://{TRUST_DOMAIN}/relay]
---
audience: {RELAY}
scope: relay.call
routes:
  - path: /**
    scope: relay.call
authorities: [relay.dev.internal]
receipts:
  exchangers: [spiffe://{TRUST_DOMAIN}/relay]
"
    )
}
