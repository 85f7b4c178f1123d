//! Implements the document commands for protected resources.

use std::path::Path;

use crate::apply::Registry;
use crate::authority::clock::Timestamp;
use crate::authority::resources::Finding;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::findings;
use crate::cli::documents::Registered;
use crate::cli::documents::list;
use crate::cli::error::CommandError;
use crate::cli::resource::dependents;
use crate::cli::resource::yaml::ResourceYaml;
use crate::cli::revocation::ListedRevocation;
use crate::cli::status::Needs;
use crate::client::connection::Channel;

impl Registered for ResourceYaml {
    type Metadata = ResourceMetadata;

    const KIND: &'static str = "resource";
    const NAME: &'static str = "audience";
    const NEEDS: Needs = Needs::Resources;
    const HEADER: [&'static str; 5] = ["AUDIENCE", "MODE", "EVIDENCE", "ROUTES", "OWNER"];
    const IS_REVOCABLE: bool = false;

    fn metadata(&self) -> &ResourceMetadata {
        &self.metadata
    }

    fn created_note(document: &ResourceMetadata) -> Option<&'static str> {
        document.mode.is_none().then_some("the document names no mode: its denials are enforced")
    }

    fn row(&self) -> [String; 5] {
        let ResourceMetadata { audience, mode, least_evidence, evidence_from, routes, owner, .. } = &self.metadata;
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let least = or_dash(least_evidence);
        let evidence = match evidence_from.as_ref().map(|from| (from.via.as_slice(), from.header)) {
            None => least,
            Some((_, true)) => format!("{least} by the header"),
            Some(([only], false)) => format!("{least} via {only}"),
            Some((several, false)) => format!("{least} via {} gateways", several.len()),
        };
        [audience.clone(), or_dash(mode), evidence, routes.len().to_string(), or_dash(owner)]
    }

    fn method(&self) -> Option<&str> {
        None
    }

    fn is_revoked_by(&self, _: &ListedRevocation) -> bool {
        false
    }

    fn managed_by(metadata: &mut ResourceMetadata) -> &mut Option<String> {
        &mut metadata.managed_by
    }

    fn owner(&self) -> Option<&str> {
        self.metadata.owner.as_deref()
    }

    fn warnings(resource: &ResourceMetadata, _: Timestamp) -> Vec<String> {
        const NO_SCOPE: &str =
            "it defines no scope: every scope of a token for it counts there, whatever resource it is meant for";
        resource.scope.is_empty().then(|| NO_SCOPE.to_owned()).into_iter().collect()
    }

    async fn deletion_impact(registry: &mut Registry<Channel>, name: &str) -> Result<Option<String>, CommandError> {
        dependents::of(registry, name).await
    }

    fn deletion_note(name: &str) -> Option<String> {
        Some(format!(
            "note: requests to it and tokens for it are denied from now on (RESOURCE_UNKNOWN, RESOURCE_DELETED), until it is \
             registered again, or `lanyard resource forget {name}` says that the audience is to count as never registered"
        ))
    }

    fn notes(registered: &[&ResourceMetadata]) -> Vec<String> {
        findings(registered).iter().map(note).collect()
    }

    async fn contradictions(
        registry: &mut Registry<Channel>,
        concern: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, CommandError> {
        let records = list::all::<Self>(registry).await?;
        let registered: Vec<&ResourceMetadata> = records.iter().map(|record| record.document.metadata()).collect();
        let concerns = |finding: &Finding| match finding {
            Finding::SharedAuthority { audiences, .. } => audiences.iter().any(|audience| concern(audience)),
            Finding::NotByHost { .. } => false,
        };
        Ok(findings(&registered).iter().filter(|finding| concerns(finding)).map(note).collect())
    }

    fn completed(self, _: &Path) -> Result<ResourceMetadata, CommandError> {
        Ok(self.metadata)
    }
}

fn note(finding: &Finding) -> String {
    match finding {
        Finding::SharedAuthority { authority, audiences } => format!(
            "note: {} share the authority {authority}: requests are denied where only that says which is meant; leave it to \
             one of them, or give each destination_principals of its own",
            audiences.join(", ")
        ),
        Finding::NotByHost { audience } => format!(
            "note: {audience} has authorities and destination_principals: its host alone does not find it; if a gateway \
             asks about it, list the gateway's SPIFFE ID as well, or name the resource in the filter"
        ),
    }
}
