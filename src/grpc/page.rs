//! The pages of list requests.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

use crate::authority::records::RegistryError;
use crate::grpc::status;
use crate::grpc::status::malformed;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The page that a list request asks for.
pub(super) struct Page {
    /// The number of entries: at most a thousand.
    pub(super) size: usize,
    /// The name after which it begins.
    pub(super) after: Option<String>,
}

impl Page {
    pub(super) fn read(page_size: i32, page_token: &str) -> Result<Self, Status> {
        let size = match usize::try_from(page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(MAX_PAGE),
            Err(_) => return Err(malformed("page_size", "is negative")),
        };
        let after = decode_page_token(page_token).map_err(|error| status::registry_error(&error))?;
        Ok(Self { size, after })
    }

    /// The token of the page that begins after a name; empty where there is none.
    pub(super) fn token(next: Option<String>) -> String {
        next.map(|name| URL_SAFE_NO_PAD.encode(name)).unwrap_or_default()
    }

    /// Splits the entries into the page and the token of the next one. The input has one entry more than the page if
    /// there is a next one.
    pub(super) fn cut<T>(&self, mut entries: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, String) {
        let more = entries.len() > self.size;
        entries.truncate(self.size);
        let last = entries.last().filter(|_| more).map(name);
        (entries, Self::token(last))
    }
}

fn decode_page_token(token: &str) -> Result<Option<String>, RegistryError> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some).ok_or(RegistryError::InvalidPageToken)
}
