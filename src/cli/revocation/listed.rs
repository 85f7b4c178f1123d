//! The revocations of a server, as the command line prints them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tonic::Code;
use tonic::Status;

use crate::authority::identity::CertificateThumbprint;
use crate::authority::identity::SpiffeIdPattern;
use crate::authority::registration::ClientMetadata;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::client::connection::Channel;
use crate::proto::ListRevocationsRequest;
use crate::proto::Revocation;
use crate::proto::RevocationKind;
use crate::proto::token_service_client::TokenServiceClient;

/// The most revocations in one page.
const PAGE: i32 = 1000;

/// The maximum size of a response in bytes. A page with names of the maximum length fits.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The kinds that concern clients as a whole.
const OF_CLIENTS: [RevocationKind; 6] = [
    RevocationKind::Client,
    RevocationKind::Certificate,
    RevocationKind::Issued,
    RevocationKind::IssuedWith,
    RevocationKind::Identity,
    RevocationKind::TrustDomain,
];

/// A revocation, as `-o json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct ListedRevocation {
    pub(in crate::cli) kind: &'static str,
    pub(in crate::cli) name: String,
    /// If not, it refuses only the tokens that were issued before its end.
    pub(in crate::cli) in_effect: bool,
    pub(in crate::cli) revoke_time: Option<String>,
    pub(in crate::cli) revoked_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) lift_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) lifted_by: Option<String>,
}

impl From<Revocation> for ListedRevocation {
    fn from(message: Revocation) -> Self {
        let kind = match message.kind() {
            RevocationKind::Token => "token",
            RevocationKind::Client => "client",
            RevocationKind::Certificate => "certificate",
            RevocationKind::Issued => "issued",
            RevocationKind::IssuedWith => "issued-with",
            RevocationKind::AllIssued => "all-issued",
            RevocationKind::Identity => "identity",
            RevocationKind::TrustDomain => "trust-domain",
            RevocationKind::Role => "role",
            RevocationKind::Unspecified => "unknown",
        };
        Self {
            kind,
            name: message.name,
            in_effect: message.in_effect,
            revoke_time: message.revoke_time.map(|time| time.to_string()),
            revoked_by: message.revoked_by,
            until: message.until.map(|time| time.to_string()),
            lift_time: message.lift_time.map(|time| time.to_string()),
            lifted_by: Some(message.lifted_by).filter(|by| !by.is_empty()),
        }
    }
}

impl ListedRevocation {
    /// The revocation's row in a table.
    pub(in crate::cli) fn row(&self) -> [String; 5] {
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        let until = match &self.lift_time {
            Some(lifted) => format!("lifted {lifted}"),
            None => time(&self.until),
        };
        [self.kind.to_owned(), self.name.clone(), time(&self.revoke_time), until, self.revoked_by.clone()]
    }

    /// The revocation as a comment in a client's document.
    pub(in crate::cli) fn comment(&self) -> String {
        let Self { kind, name, revoked_by, .. } = self;
        let since = self.revoke_time.as_deref().unwrap_or_default();
        let end = match (&self.lift_time, &self.until) {
            (Some(lifted), _) => format!(", lifted {lifted}"),
            (None, Some(until)) => format!(", until {until}"),
            (None, None) => String::new(),
        };
        let effect = if self.in_effect { "" } else { " (ended: only tokens issued before are refused)" };
        format!("{kind} {name} since {since} by {revoked_by}{end}{effect}")
    }

    /// Whether it revokes a client, all of a pattern's or some of it, or what was issued to it.
    pub(in crate::cli) fn concerns(&self, client: &ClientMetadata) -> bool {
        let uri = client.spiffe_id.as_ref().or(client.tls_client_auth_san_uri.as_ref()).unwrap_or(&client.client_id);
        // The text before the star of a pattern, or a SPIFFE ID.
        let own = SpiffeIdPattern::parse(uri).map(|pattern| match pattern {
            SpiffeIdPattern::Exact(id) => (id.to_string(), false),
            SpiffeIdPattern::Below(prefix) => (prefix, true),
        });
        match self.kind {
            "client" | "issued" => {
                self.name == client.client_id
                    || own.is_some_and(|(own, below)| self.name == own || below && self.name.starts_with(&own))
            }
            "identity" => {
                let revoked = self.name.trim_end_matches('*');
                own.is_some_and(|(own, below)| own.starts_with(revoked) || below && revoked.starts_with(&own))
            }
            "trust-domain" => own.is_some_and(|(own, _)| own.starts_with(&format!("spiffe://{}/", self.name))),
            "certificate" | "issued-with" => thumbprints(client).any(|thumbprint| thumbprint == self.name),
            _ => false,
        }
    }
}

/// The thumbprints of a client's registered certificates.
fn thumbprints(client: &ClientMetadata) -> impl Iterator<Item = String> {
    let keys = client.jwks.as_ref().and_then(|jwks| jwks.get("keys")).and_then(|keys| keys.as_array());
    keys.into_iter().flatten().filter_map(|key| {
        let der = STANDARD.decode(key.get("x5c")?.get(0)?.as_str()?).ok()?;
        Some(CertificateThumbprint::of(&der).to_string())
    })
}

/// Reads all revocations of these kinds, or of all.
pub(super) async fn fetch(channel: Channel, kinds: Vec<RevocationKind>) -> Result<Vec<ListedRevocation>, Status> {
    let mut tokens = TokenServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    let kinds: Vec<i32> = kinds.into_iter().map(i32::from).collect();
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListRevocationsRequest { page_size: PAGE, page_token, kinds: kinds.clone() };
        let page = tokens.list_revocations(request).await?.into_inner();
        listed.extend(page.revocations.into_iter().map(ListedRevocation::from));
        if page.next_page_token.is_empty() {
            return Ok(listed);
        }
        page_token = page.next_page_token;
    }
}

/// Reads the revocations that may concern clients. An older server does not list them.
pub(in crate::cli) async fn of_clients(channel: Channel) -> Result<Vec<ListedRevocation>, CommandError> {
    match fetch(channel, OF_CLIENTS.to_vec()).await {
        Err(status) if status.code() == Code::Unimplemented => {
            output::note("note: this server is older and does not list revocations");
            Ok(Vec::new())
        }
        // A team's admin, who sees its clients.
        Err(status) if status.code() == Code::PermissionDenied => {
            output::note("note: what is revoked is not shown: it is for admins, auditors and revokers");
            Ok(Vec::new())
        }
        listed => listed.map_err(|status| status::explain(&status, Needs::Clients)),
    }
}
