//! `lanyard audit heads`.

use clap::Args;
use serde::Deserialize;
use serde::Serialize;

use crate::authority::clock::Timestamp;
use crate::authority::observe::AuditHead;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::moment;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::cli::table::table;
use crate::proto;
use crate::proto::ListAuditHeadsRequest;
use crate::proto::admin_service_client::AdminServiceClient;

#[derive(Args, Debug)]
pub(in crate::cli) struct HeadsArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Only the chains of the server on this host.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

/// The document that `heads -o json` prints and `verify --heads` reads.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heads {
    pub(super) heads: Vec<Head>,
}

/// The last record of a chain.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    chain: String,
    sequence: u64,
    hash: String,
    time: Timestamp,
    has_ended: bool,
}

impl From<proto::AuditHead> for Head {
    fn from(head: proto::AuditHead) -> Self {
        let proto::AuditHead { chain, sequence, hash, time, has_ended } = head;
        let seconds = time.and_then(|time| u64::try_from(time.seconds).ok());
        Self { chain, sequence, hash, time: Timestamp(seconds.unwrap_or_default()), has_ended }
    }
}

impl From<Head> for AuditHead {
    fn from(head: Head) -> Self {
        let Head { chain, sequence, hash, time, has_ended } = head;
        Self { chain, sequence, hash, time, has_ended }
    }
}

impl From<AuditHead> for Head {
    fn from(head: AuditHead) -> Self {
        let AuditHead { chain, sequence, hash, time, has_ended } = head;
        Self { chain, sequence, hash, time, has_ended }
    }
}

impl Head {
    fn row(&self) -> [String; 4] {
        let end = if self.has_ended { "its end" } else { "" };
        [self.chain.clone(), self.sequence.to_string(), moment::moment(self.time), end.to_owned()]
    }
}

pub(in crate::cli) async fn run(arguments: HeadsArguments, format: Format) -> Result<(), CommandError> {
    let mut admin = AdminServiceClient::new(arguments.connection.open().await?);
    let listed = admin.list_audit_heads(ListAuditHeadsRequest {}).await;
    let listed = listed.map_err(|status| status::explain(&status, Needs::Store))?.into_inner().heads;
    let heads = listed.into_iter().map(Head::from).map(AuditHead::from);
    let heads = heads.filter(|head| arguments.host.as_ref().is_none_or(|host| head.host() == host));
    let heads: Vec<Head> = heads.map(Head::from).collect();
    match format {
        Format::Json => output::print_json(&Heads { heads }),
        Format::Text => output::print(&table(["CHAIN", "LAST RECORD", "ON THE DISK", ""], heads.iter().map(Head::row))),
    }
}
