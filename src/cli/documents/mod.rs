//! What the registry keeps, clients and protected resources, and the commands for it: they are the same for both.

pub(in crate::cli) mod apply;
pub(in crate::cli) mod delete;
pub(in crate::cli) mod extra_field;
pub(in crate::cli) mod get;
pub(in crate::cli) mod list;
mod sources;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apply::Document;
use crate::apply::Registry;
use crate::apply::ServerFields;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::status::Needs;
use crate::client::connection::Channel;
use crate::yaml;
use crate::yaml::Node;
use crate::yaml::PlainScalars;

/// The most bytes of one answer: a page of a hundred records, each as large as records may be, has room in it.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Something that the registry keeps, as operators write it: one YAML document.
pub(in crate::cli) trait Registered: DeserializeOwned + From<Self::Metadata> + Serialize {
    /// What is sent of it.
    type Metadata: Document;

    /// What one is called, and the command that is for it.
    const KIND: &'static str;
    /// The field that is its name.
    const NAME: &'static str;
    /// Whose certificate the calls need.
    const NEEDS: Needs;
    /// The header of the table that `list` prints.
    const HEADER: [&'static str; 5];
    /// The other kind of documents.
    const OTHER: &'static str;

    /// What it says, without what it only points at.
    fn metadata(&self) -> &Self::Metadata;

    /// Its row in the table.
    fn row(&self) -> [String; 5];

    /// Whether a document that could not be read is one of the other kind.
    fn is_other(document: &Node) -> bool;

    /// Puts in what the document only points at. Paths start at `folder`.
    fn completed(self, folder: &Path) -> Result<Self::Metadata, CommandError>;
}

/// What is registered, with what the server adds, as `-o json` shows it.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Record<K> {
    #[serde(flatten)]
    pub(in crate::cli) document: K,
    pub(in crate::cli) etag: String,
    pub(in crate::cli) create_time: Option<String>,
    pub(in crate::cli) update_time: Option<String>,
    pub(in crate::cli) created_by: String,
    pub(in crate::cli) updated_by: String,
}

impl<K: Registered> Record<K> {
    /// What a message of the server says.
    pub(in crate::cli) fn read(message: <K::Metadata as Document>::Message) -> Result<Self, CommandError> {
        let ServerFields { etag, create_time, update_time, created_by, updated_by } =
            K::Metadata::server_fields(&message);
        let metadata = K::Metadata::try_from(message).map_err(|error| {
            CommandError::new(format!("the answer cannot be read: {error}"), "see that --server is a lanyard server")
        })?;
        Ok(Self {
            document: metadata.into(),
            etag,
            create_time: create_time.map(|time| time.to_string()),
            update_time: update_time.map(|time| time.to_string()),
            created_by,
            updated_by,
        })
    }

    /// A YAML document that can be applied; what the server added stands above it as comments.
    pub(in crate::cli) fn to_yaml(&self) -> Result<String, yaml::YamlError> {
        // Escaped: a line end in a name must not become a line of the document.
        let comment = |name: &str, value: &str| format!("# {name}: {}\n", value.escape_debug());
        Ok([
            comment("etag", &self.etag),
            comment("create_time", self.create_time.as_deref().unwrap_or_default()),
            comment("created_by", &self.created_by),
            comment("update_time", self.update_time.as_deref().unwrap_or_default()),
            comment("updated_by", &self.updated_by),
            yaml::to_string(&self.document)?,
        ]
        .concat())
    }
}

/// Reads the documents of a text; empty ones are passed over. The error names line and column.
pub(in crate::cli) fn documents<K: DeserializeOwned>(text: &str) -> Result<Vec<K>, yaml::YamlError> {
    yaml::documents(text, PlainScalars::MayBeText)?.iter().map(yaml::read).collect()
}

async fn open(connection: &ConnectionArguments) -> Result<Registry<Channel>, CommandError> {
    Ok(Registry::new(connection.open().await?).max_decoding_message_size(MAX_ANSWER_BYTES))
}
