//! The sample clients, registered as an operator would register them: a YAML file, applied by the admin.

use std::fs;
use std::path::Path;

use crate::cli::client::yaml::ClientYaml;
use crate::cli::connect::ConnectionArguments;
use crate::cli::dev::TRUST_DOMAIN;
use crate::cli::dev::cannot_write;
use crate::cli::error::CommandError;
use crate::cli::registered::apply;

/// Whom the samples' tokens are for.
pub(super) const AUDIENCE: &str = "https://orders.dev.internal";

/// What the samples may ask for.
const SCOPE: &str = "orders.read orders.write";

const FILE: &str = "clients.yaml";

/// Writes the file and applies it.
pub(super) async fn register(dir: &Path, port: u16) -> Result<(), CommandError> {
    let path = dir.join(FILE);
    fs::write(&path, clients()).map_err(|error| cannot_write(&path, &error))?;
    apply::quietly::<ClientYaml>(&path, &ConnectionArguments::local(port, dir, "admin")?).await
}

fn clients() -> String {
    let workload = |name: &str| {
        format!(
            "\
client_id: spiffe://{TRUST_DOMAIN}/{name}
token_endpoint_auth_method: spiffe_x509
scope: {SCOPE}
audience: [{AUDIENCE}]
---
"
        )
    };
    format!(
        "\
# The clients of `lanyard dev`, as `lanyard client apply -f` takes them. Written at each start.
{}{}client_id: selfsigned
token_endpoint_auth_method: self_signed_tls_client_auth
scope: {SCOPE}
audience: [{AUDIENCE}]
certificate_file: selfsigned.pem
",
        workload("workload"),
        workload("thief"),
    )
}
