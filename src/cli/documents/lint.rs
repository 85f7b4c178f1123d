//! `lanyard lint`: what documents say beside each other, without a server.

pub(in crate::cli) mod exchange;
pub(in crate::cli) mod issuers;
mod txn;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::authority::access::TeamGrant;
use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::authority::registration::ClientMetadata;
use crate::authority::registration::ClientRegistration;
use crate::authority::resources::Finding;
use crate::authority::resources::Gap;
use crate::authority::resources::ProtectedResource;
use crate::authority::resources::ResourceMetadata;
use crate::authority::resources::findings;
use crate::authority::resources::gaps;
use crate::authority::scope::Scope;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents::Registered;
use crate::cli::documents::sources;
use crate::cli::documents::sources::Documents;
use crate::cli::documents::sources::SourceArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::resource::yaml::ResourceYaml;
use crate::config;

#[derive(Args, Debug)]
pub(in crate::cli) struct LintArguments {
    #[command(flatten)]
    sources: SourceArguments,
    /// The server's configuration, to compare the issuers that rules name with those that it trusts.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Something that is valid and probably not meant.
#[derive(Debug, PartialEq, Serialize)]
struct Remark {
    kind: &'static str,
    name: String,
    text: String,
}

/// Prints what is probably not meant. Fails with what could not be applied at all.
pub(in crate::cli) fn run(arguments: &LintArguments, format: Format) -> Result<ExitCode, CommandError> {
    let Documents { grants, clients, resources } = sources::read_all(&arguments.sources.filenames)?;
    let (grants, clients, resources) = (grants.documents, clients.documents, resources.documents);
    let invalid = |problem: String| CommandError::new(problem, "correct the named field").not_retryable();
    let parsed = resources.iter().map(|resource| {
        ProtectedResource::parse(resource.clone()).map_err(|error| invalid(format!("{}: {error}", resource.audience)))
    });
    let parsed: Vec<ProtectedResource> = parsed.collect::<Result<_, _>>()?;
    let mut terms = Vec::new();
    for client in &clients {
        let parsed = ClientRegistration::parse(client.clone());
        let parsed = parsed.map_err(|error| invalid(format!("{}: {error}", client.client_id)))?;
        terms.extend(parsed.terms.exchange.clone().map(|terms| (client, terms)));
    }
    for grant in &grants {
        TeamGrant::parse(grant.clone()).map_err(|error| invalid(format!("{}: {error}", grant.name)))?;
    }
    let config = arguments.config.as_deref().map(config::load).transpose();
    let config =
        config.map_err(|error| CommandError::new(error.to_string(), "see `lanyard config check`").not_retryable())?;
    let issuers = config.as_ref().map(issuers::trusted);
    let mut remarks = of_clients(&clients, &resources);
    for (client, terms) in &terms {
        let found = exchange::of_client(client, terms, &clients, &parsed);
        let found = found.into_iter().chain(txn::of_client(terms, &parsed));
        let found = found.chain(issuers.iter().flat_map(|issuers| issuers::of_client(terms, issuers)));
        remarks.extend(found.map(|text| of_client(client, text)));
    }
    remarks.extend(of_resources(&resources, &parsed));
    let given = txn::given(terms.iter().map(|(_, terms)| &**terms), &parsed);
    for resource in &parsed {
        let found = exchange::of_resource(resource, &clients);
        remarks.extend(
            found
                .into_iter()
                .chain(txn::of_resource(resource, &given))
                .map(|text| of_resource(resource.audience(), text)),
        );
    }
    match format {
        Format::Text => {
            for Remark { kind, name, text } in &remarks {
                output::print(&format!("{kind} {name}: {text}"))?;
            }
            if resources.is_empty() {
                output::note("audiences and scopes are not compared: there is no resource among the documents");
            }
            output::note(&format!(
                "documents: {}; remarks: {}",
                grants.len() + clients.len() + resources.len(),
                remarks.len()
            ));
        }
        Format::Json => output::print_json(&remarks)?,
    }
    Ok(if remarks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_client(client: &ClientMetadata, text: String) -> Remark {
    Remark { kind: ClientYaml::KIND, name: client.client_id.clone(), text }
}

fn of_resource(audience: &str, text: String) -> Remark {
    Remark { kind: ResourceYaml::KIND, name: audience.to_owned(), text }
}

fn of_clients(clients: &[ClientMetadata], resources: &[ResourceMetadata]) -> Vec<Remark> {
    let now = SystemClock.now();
    let defined: HashMap<&str, &str> =
        resources.iter().map(|resource| (resource.audience.as_str(), resource.scope.as_str())).collect();
    let mut remarks = Vec::new();
    for client in clients {
        let mut say = |text: String| remarks.push(of_client(client, text));
        ClientYaml::warnings(client, now).into_iter().for_each(&mut say);
        if resources.is_empty() {
            continue;
        }
        for audience in client.audience.iter().filter(|audience| !defined.contains_key(audience.as_str())) {
            say(format!("no document registers the audience {audience}: no routes and no scopes are defined for it"));
        }
        let scopes: Vec<&&str> = client.audience.iter().filter_map(|audience| defined.get(audience.as_str())).collect();
        // A resource that defines no scope takes each, as an audience that is not registered does.
        if scopes.len() < client.audience.len() || scopes.iter().any(|scope| scope.is_empty()) {
            continue;
        }
        let asked = Scope::parse(&client.scope).ok();
        for token in asked.iter().flat_map(Scope::tokens) {
            if !scopes.iter().any(|scope| scope.split(' ').any(|one| one == token)) {
                say(format!("none of its audiences defines the scope {token}"));
            }
        }
    }
    remarks
}

fn of_resources(resources: &[ResourceMetadata], parsed: &[ProtectedResource]) -> Vec<Remark> {
    let now = SystemClock.now();
    let mut remarks = Vec::new();
    for (resource, parsed) in resources.iter().zip(parsed) {
        let audience = resource.audience.as_str();
        remarks.extend(ResourceYaml::warnings(resource, now).into_iter().map(|text| of_resource(audience, text)));
        if resource.routes.is_empty() {
            remarks.push(of_resource(audience, "it has no routes: every check at a proxy is denied".to_owned()));
        }
        remarks.extend(gaps(&parsed.routes).iter().map(|gap| of_resource(audience, of_gap(gap))));
    }
    let all: Vec<&ResourceMetadata> = resources.iter().collect();
    for finding in findings(&all) {
        match finding {
            Finding::SharedAuthority { authority, audiences } => {
                for audience in &audiences {
                    let text = format!("{} share the authority {authority}", audiences.join(", "));
                    remarks.push(of_resource(audience, format!("{text}: one of them is refused")));
                }
            }
            Finding::NotByHost { audience } => {
                let text = "it has authorities and destination_principals: its host alone does not find it";
                remarks.push(of_resource(&audience, text.to_owned()));
            }
        }
    }
    remarks
}

fn of_gap(Gap { narrower, methods, wider, demands }: &Gap) -> String {
    let demands = match demands.as_deref() {
        None => "no token".to_owned(),
        Some("") => "a token without any scope".to_owned(),
        Some(scope) => format!("only {scope}"),
    };
    format!(
        "requests to {narrower} by other methods than {} fall to {wider}, which needs {demands}: add a route for all methods",
        methods.join(", ")
    )
}
