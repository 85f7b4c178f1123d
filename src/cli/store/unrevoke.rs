//! `lanyard store unrevoke`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::authority::clock::Clock as _;
use crate::authority::clock::Entropy as _;
use crate::authority::clock::SystemClock;
use crate::authority::clock::SystemEntropy;
use crate::authority::clock::Timestamp;
use crate::authority::identity::Certificate;
use crate::authority::identity::CertificateThumbprint;
use crate::authority::records::ChangeRecord;
use crate::authority::records::kept_with;
use crate::authority::registration::ClientId;
use crate::authority::state::REVOCATIONS;
use crate::authority::state::RevocationRecord;
use crate::authority::state::Revoked;
use crate::authority::state::lifting;
use crate::authority::store::Expected;
use crate::authority::store::Store;
use crate::authority::store::StoreError;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::role::Role;
use crate::cli::store::opened::Configured;
use crate::cli::store::opened::failed;
use crate::cli::thumbprint;
use crate::client::files;

/// Who lifts, in the record.
const BY: &str = "lanyard store unrevoke";

const IN_USE: &str = "stop that server first; while one serves, an admin lifts with `lanyard token revoke --lift`";

/// The most revocations that an error lists.
const MOST_LISTED: usize = 10;

#[derive(Args, Debug)]
pub(in crate::cli) struct UnrevokeArguments {
    /// The server's configuration file, which names the store.
    #[arg(long, value_name = "FILE", env = "LANYARD_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    what: What,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// A client, or any SPIFFE ID.
    #[arg(long, value_name = "ID", value_parser = client)]
    client: Option<Revoked>,
    /// A certificate, in a PEM file (its first one) or a DER file.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// A certificate, by its SHA-256, as 43 characters of base64url or 64 of hex.
    // base64url may begin with a hyphen.
    #[arg(long, value_name = "SHA256", value_parser = thumbprint::parse, allow_hyphen_values = true)]
    thumbprint: Option<CertificateThumbprint>,
    /// All SPIFFE IDs below a path, such as `spiffe://prod.example/ns/shop/*`.
    #[arg(long, value_name = "PATTERN", value_parser = identity)]
    identity: Option<Revoked>,
    /// A trust domain.
    #[arg(long, value_name = "NAME", value_parser = trust_domain)]
    trust_domain: Option<Revoked>,
    /// The holders of a role.
    #[arg(long, value_enum)]
    role: Option<Role>,
}

fn client(text: &str) -> Result<Revoked, &'static str> {
    ClientId::parse(text).map(Revoked::Client).ok_or("is not a client_id")
}

fn identity(text: &str) -> Result<Revoked, &'static str> {
    Revoked::identities(text).ok_or("must be a SPIFFE ID that ends in /*")
}

fn trust_domain(text: &str) -> Result<Revoked, &'static str> {
    Revoked::trust_domain(text).ok_or("must be the name of a trust domain, without spiffe://")
}

impl What {
    fn read(self) -> Result<Revoked, CommandError> {
        let Self { client, certificate, thumbprint, identity, trust_domain, role } = self;
        if let Some(path) = certificate {
            let certificate = Certificate::parse(&files::certificate(&path)?).map_err(|error| {
                let next = "name a certificate, or give its SHA-256 with --thumbprint";
                CommandError::new(format!("{}: {error}", path.display()), next)
            })?;
            return Ok(Revoked::Certificate(certificate.thumbprint()));
        }
        let role = role.map(|role| Revoked::Role(role.into()));
        let revoked = client.or(identity).or(trust_domain).or(thumbprint.map(Revoked::Certificate)).or(role);
        revoked.ok_or_else(|| CommandError::new("nothing to lift", "--help lists what can be lifted"))
    }
}

pub(in crate::cli) async fn run(arguments: UnrevokeArguments, format: Format) -> Result<(), CommandError> {
    let revoked = arguments.what.read()?;
    let configured = Configured::read(&arguments.config)?;
    let keep = configured.config.policy.history;
    let store = configured.open(IN_USE).await?;
    let now = SystemClock.now();
    let key = revoked.store_key();
    let stored = store.get(&key).await.map_err(|error| failed(&error))?;
    let present = stored.and_then(|stored| Some((RevocationRecord::from_bytes(&stored.value)?, stored.revision)));
    let Some((present, revision)) = present.filter(|(present, _)| present.is_in_effect(now)) else {
        let next = match in_effect(&*store, now).await.map_err(|error| failed(&error))? {
            listed if listed.is_empty() => "no revocation in this store can be lifted".to_owned(),
            listed => format!("name one of these: {}", listed.join(", ")),
        };
        return Err(CommandError::new(format!("{} is not revoked", described(&revoked)), next));
    };
    let kept = ChangeRecord::new("lifted", (BY, now, None), (Some(&present), None::<&RevocationRecord>));
    let lifted = revoked.lifted(present, now, BY);
    let change = lifting(&key, Expected::At(revision), lifted.as_ref());
    let change = change.ok_or_else(|| CommandError::new("the record cannot be written", "report this"))?;
    let change = if keep.is_zero() {
        change
    } else {
        let mut random = [0; 4];
        let made = SystemEntropy::default().fill(&mut random);
        made.map_err(|error| CommandError::new(error.to_string(), "see that this machine has random bytes"))?;
        let with_history = kept_with(&*store, (&key, &kept), (now.after(keep), random), change).await;
        with_history.map_err(|error| failed(&error))?
    };
    store.transact(change).await.map_err(|error| failed(&error))?;
    match format {
        Format::Json => {
            let kind: &str = revoked.kind().into();
            output::print_json(&json!({ "result": "lifted", "kind": kind, "name": revoked.name() }))
        }
        Format::Text => output::print(&format!("{} no longer revoked", described(&revoked))),
    }
}

/// The revocations that can be lifted, as arguments of this command.
async fn in_effect(store: &dyn Store, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let entries = store.list(REVOCATIONS).await?.entries;
    let liftable = entries.iter().filter_map(|(key, stored)| {
        let revoked = Revoked::from_store_key(key).filter(Revoked::is_liftable)?;
        RevocationRecord::from_bytes(&stored.value).filter(|record| record.is_in_effect(now))?;
        Some(described(&revoked))
    });
    Ok(liftable.take(MOST_LISTED).collect())
}

fn described(revoked: &Revoked) -> String {
    let kind: &str = revoked.kind().into();
    format!("{kind} {}", revoked.name())
}
