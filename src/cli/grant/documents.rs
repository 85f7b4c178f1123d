//! Implements the document commands for grants.

use std::path::Path;

use crate::authority::access::GrantMetadata;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::revocation::ListedRevocation;
use crate::cli::status::Needs;

impl Registered for GrantMetadata {
    type Metadata = Self;

    const KIND: &'static str = "grant";
    const NAME: &'static str = "name";
    const NEEDS: Needs = Needs::Grants;
    const HEADER: [&'static str; 5] = ["NAME", "ADMINS", "SPIFFE_IDS", "SCOPE", "OWNERS"];
    const IS_REVOCABLE: bool = false;

    fn metadata(&self) -> &Self {
        self
    }

    fn created_note(_: &Self) -> Option<&'static str> {
        None
    }

    fn row(&self) -> [String; 5] {
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        [
            self.name.clone(),
            or_dash(self.admins.join(" ")),
            or_dash(self.spiffe_ids.join(" ")),
            or_dash(self.scope.clone()),
            or_dash(self.owners.join(" ")),
        ]
    }

    fn method(&self) -> Option<&str> {
        None
    }

    fn is_revoked_by(&self, _: &ListedRevocation) -> bool {
        false
    }

    fn managed_by(metadata: &mut Self) -> &mut Option<String> {
        &mut metadata.managed_by
    }

    fn owner(&self) -> Option<&str> {
        match self.owners.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn completed(self, _: &Path) -> Result<Self, CommandError> {
        Ok(self)
    }
}
