//! Implements the document commands for protected resources.

use std::path::Path;

use crate::authority::resources::ResourceMetadata;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::resource::yaml::ResourceYaml;
use crate::cli::revocation::ListedRevocation;
use crate::cli::status::Needs;
use crate::yaml::Node;

impl Registered for ResourceYaml {
    type Metadata = ResourceMetadata;

    const KIND: &'static str = "resource";
    const NAME: &'static str = "audience";
    const NEEDS: Needs = Needs::Resources;
    const HEADER: [&'static str; 5] = ["AUDIENCE", "MODE", "EVIDENCE", "ROUTES", "OWNER"];
    const OTHER: &'static str = "client";
    const IS_REVOCABLE: bool = false;

    fn metadata(&self) -> &ResourceMetadata {
        &self.metadata
    }

    fn row(&self) -> [String; 5] {
        let ResourceMetadata { audience, mode, least_evidence, evidence_from, routes, owner, .. } = &self.metadata;
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let least = or_dash(least_evidence);
        let evidence = match evidence_from.as_ref().map(|gateways| gateways.via.as_slice()) {
            None => least,
            Some([only]) => format!("{least} via {only}"),
            Some(several) => format!("{least} via {} gateways", several.len()),
        };
        [audience.clone(), or_dash(mode), evidence, routes.len().to_string(), or_dash(owner)]
    }

    fn is_revoked_by(&self, _: &ListedRevocation) -> bool {
        false
    }

    fn is_other(document: &Node) -> bool {
        document.get("client_id").is_some()
    }

    fn completed(self, _: &Path) -> Result<ResourceMetadata, CommandError> {
        Ok(self.metadata)
    }
}
