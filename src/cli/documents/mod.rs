//! The commands for the records of the registry, shared by clients, protected resources and grants.

pub(in crate::cli) mod apply;
pub(in crate::cli) mod apply_all;
mod commit;
pub(in crate::cli) mod delete;
pub(in crate::cli) mod diff;
pub(in crate::cli) mod export;
pub(in crate::cli) mod extra_field;
pub(in crate::cli) mod get;
pub(in crate::cli) mod history;
pub(in crate::cli) mod lint;
pub(in crate::cli) mod list;
mod prune;
pub(in crate::cli) mod sources;
pub(in crate::cli) mod watch;

use std::path::Path;

use clap::ValueEnum;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apply::Document;
use crate::apply::Registry;
use crate::apply::ServerFields;
use crate::authority::clock::Timestamp;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::revocation;
use crate::cli::revocation::ListedRevocation;
use crate::cli::status::Needs;
use crate::client::connection::Channel;
use crate::yaml;

/// The maximum size of a response in bytes. A page of a hundred records of the maximum size fits.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A record of the registry as operators write it: one YAML document.
pub(in crate::cli) trait Registered: DeserializeOwned + From<Self::Metadata> + Serialize {
    /// The metadata that is sent to the server.
    type Metadata: Document;

    /// The name of the kind, and of its command.
    const KIND: &'static str;
    /// The field that holds the record's name.
    const NAME: &'static str;
    /// The certificate that the calls need.
    const NEEDS: Needs;
    /// The header of the table that `list` prints.
    const HEADER: [&'static str; 5];
    /// Whether records of this kind can be revoked.
    const IS_REVOCABLE: bool;

    /// The metadata in the document, without the contents of the files that it refers to.
    fn metadata(&self) -> &Self::Metadata;

    /// What to say of a record that was created from this document, if anything.
    fn created_note(document: &Self::Metadata) -> Option<&'static str>;

    /// The record's row in the table.
    fn row(&self) -> [String; 5];

    /// How it authenticates, where it does.
    fn method(&self) -> Option<&str>;

    /// Whether a revocation concerns the record.
    fn is_revoked_by(&self, revocation: &ListedRevocation) -> bool;

    /// Whose the record is, in the operators' words.
    fn owner(&self) -> Option<&str>;

    /// What applies its documents, in the metadata.
    fn managed_by(metadata: &mut Self::Metadata) -> &mut Option<String>;

    /// What is accepted in a document, but will probably not work as its author expects.
    fn warnings(_: &Self::Metadata, _: Timestamp) -> Vec<String> {
        Vec::new()
    }

    /// What the deletion of the record with this name concerns besides itself, if that is much. Reads what is registered.
    async fn deletion_impact(_: &mut Registry<Channel>, _: &str) -> Result<Option<String>, CommandError> {
        Ok(None)
    }

    /// What to say after the record with this name is deleted.
    fn deletion_note(_: &str) -> Option<String> {
        None
    }

    /// Notes on all records that are registered.
    fn notes(_: &[&Self::Metadata]) -> Vec<String> {
        Vec::new()
    }

    /// Notes on records that contradict each other, of which at least one has such a name. Reads what is registered.
    async fn contradictions(_: &mut Registry<Channel>, _: impl Fn(&str) -> bool) -> Result<Vec<String>, CommandError> {
        Ok(Vec::new())
    }

    /// Adds the contents of the files that the document refers to. Paths are relative to `folder`.
    fn completed(self, folder: &Path) -> Result<Self::Metadata, CommandError>;
}

/// A registered record with the fields that the server adds, in the form of `-o json`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Record<K> {
    #[serde(flatten)]
    pub(in crate::cli) document: K,
    pub(in crate::cli) etag: String,
    pub(in crate::cli) create_time: Option<String>,
    pub(in crate::cli) update_time: Option<String>,
    pub(in crate::cli) created_by: String,
    pub(in crate::cli) updated_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) suspended: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cli) revocations: Vec<ListedRevocation>,
}

impl<K: Registered> Record<K> {
    /// Reads a message of the server.
    pub(in crate::cli) fn read(message: <K::Metadata as Document>::Message) -> Result<Self, CommandError> {
        let ServerFields { etag, create_time, update_time, created_by, updated_by, suspended } =
            K::Metadata::server_fields(&message);
        Ok(Self {
            document: document_of(message)?,
            etag,
            create_time: create_time.map(|time| time.to_string()),
            update_time: update_time.map(|time| time.to_string()),
            created_by,
            updated_by,
            suspended,
            revocations: Vec::new(),
        })
    }

    /// Adds those of these revocations that concern the record.
    fn with_revocations(self, all: &[ListedRevocation]) -> Self {
        let revocations = all.iter().filter(|revocation| self.document.is_revoked_by(revocation)).cloned().collect();
        Self { revocations, ..self }
    }

    /// The same for a command's output.
    fn text(&self) -> Result<String, CommandError> {
        self.to_yaml().map_err(|error| not_shown(&error))
    }

    /// A YAML document that can be applied. The fields that the server added precede it as comments.
    pub(in crate::cli) fn to_yaml(&self) -> Result<String, yaml::YamlError> {
        // Escaped, so that a line break in a name does not add a line to the document.
        let comment = |name: &str, value: &str| format!("# {name}: {}\n", value.escape_debug());
        let suspended = Some(&self.suspended).filter(|why| !why.is_empty());
        let revocations = self.revocations.iter().map(|one| comment("revoked", &one.comment()));
        Ok([
            comment("etag", &self.etag),
            comment("create_time", self.create_time.as_deref().unwrap_or_default()),
            comment("created_by", &self.created_by),
            comment("update_time", self.update_time.as_deref().unwrap_or_default()),
            comment("updated_by", &self.updated_by),
            suspended.map(|why| comment("suspended", why)).unwrap_or_default(),
            revocations.collect(),
            yaml::to_string(&self.document)?,
        ]
        .concat())
    }
}

/// Parses the documents of a text and skips empty ones. The error names line and column.
#[cfg(test)]
pub(in crate::cli) fn documents<K: DeserializeOwned>(text: &str) -> Result<Vec<K>, yaml::YamlError> {
    yaml::documents(text, yaml::PlainScalars::MayBeText)?.iter().map(yaml::read).collect()
}

/// A kind of record, as documents and commands name it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ValueEnum)]
enum Kind {
    Client,
    Resource,
    Grant,
}

/// The document of a record that the server sent.
fn document_of<K: Registered>(message: <K::Metadata as Document>::Message) -> Result<K, CommandError> {
    K::Metadata::try_from(message).map(Into::into).map_err(|error| {
        CommandError::new(format!("the answer cannot be read: {error}"), "see that --server is a lanyard server")
    })
}

/// A document for a command's output.
fn text_of<K: Registered>(document: &K) -> Result<String, CommandError> {
    yaml::to_string(document).map_err(|error| not_shown(&error))
}

fn not_shown(error: &yaml::YamlError) -> CommandError {
    CommandError::new(format!("the answer cannot be shown as YAML: {error}"), "ask for -o json")
}

pub(in crate::cli) async fn open(connection: &ConnectionArguments) -> Result<Registry<Channel>, CommandError> {
    Ok(registry(connection.open().await?))
}

pub(in crate::cli) fn registry(channel: Channel) -> Registry<Channel> {
    Registry::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// The revocations that may concern records of a kind.
async fn revocations<K: Registered>(channel: Channel) -> Result<Vec<ListedRevocation>, CommandError> {
    if K::IS_REVOCABLE { revocation::of_clients(channel).await } else { Ok(Vec::new()) }
}
