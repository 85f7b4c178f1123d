//! `lanyard audit verify`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::authority::observe::AuditHead;
use crate::cli::audit::heads::Heads;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::telemetry::trail::Chain;
use crate::telemetry::trail::Expected;
use crate::telemetry::trail::Fault;
use crate::telemetry::trail::HeadVerifier;
use crate::telemetry::trail::Lost;
use crate::telemetry::trail::Others;
use crate::telemetry::trail::verify;

#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyArguments {
    /// The files, in any order: those that were renamed and the last one, or what standard output gave. Lines that are not of
    /// the trail, such as those of the log, are passed over and counted.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The public key of the audit trail, in PEM, or the JWK Set at `/audit/jwks`. Without it no signature is verified, and whoever can write the files can
    /// write them anew.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What `lanyard audit heads -o json` printed: the last record of each chain that the store has. Without it a tail that
    /// was cut off looks like a crash.
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Where the files are from. What this destination did not get, as a later record says, is no fault.
    #[arg(long, value_name = "DESTINATION", default_value = "file")]
    from: Destination,
}

/// A destination of the audit trail.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Destination {
    /// `audit.file`.
    File,
    /// `audit.stdout`, saved.
    Stdout,
    /// `audit.otlp`: the bodies of the log records, each on a line.
    Otlp,
}

impl Destination {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::Otlp => "otlp",
        }
    }
}

pub(in crate::cli) fn run(arguments: &VerifyArguments, format: Format) -> Result<ExitCode, CommandError> {
    let key = arguments.key.as_deref().map(HeadVerifier::open).transpose();
    let key = key.map_err(|error| {
        CommandError::new(
            error.to_string(),
            "name the public key with --key: `openssl pkey -in KEY.pem -pubout` writes it",
        )
    })?;
    let heads = arguments.heads.as_deref().map(read_heads).transpose()?;
    let mut files = Vec::new();
    for file in &arguments.files {
        let name = file.display().to_string();
        files.push((name, read(file)?));
    }
    let (heads_given, heads) = (heads.is_some(), heads.unwrap_or_default());
    let found = verify(&files, Expected { key: key.as_ref(), heads: &heads, from: arguments.from.name() });
    if found.chains.is_empty() && found.faults.is_empty() {
        return Err(CommandError::new("there is no record in the files", "name files of the audit trail"));
    }
    match format {
        Format::Text => {
            for chain in &found.chains {
                output::print(&text_of(chain, key.is_some()))?;
            }
            for Fault { file, line, problem } in &found.faults {
                output::print(&format!("{file}, line {line}: {problem}"))?;
            }
            for AuditHead { chain, sequence, .. } in &found.missing {
                output::print(&format!(
                    "chain {chain}: in none of the files, and the store has its record {sequence}"
                ))?;
            }
            for Others { file, line, count } in &found.others {
                output::note(&format!("{file}: {count} lines are not of the audit trail, the first is line {line}"));
            }
            if !heads_given {
                output::note(
                    "whether a tail was cut off was not looked at: name what `lanyard audit heads -o json` prints with --heads",
                );
            }
            if key.is_none() {
                output::note("no signature was verified: name the public key with --key");
            }
        }
        Format::Json => {
            let chains: Vec<Value> = found.chains.iter().map(object_of).collect();
            let fault = |Fault { file, line, problem }: &Fault| json!({"file": file, "line": line, "problem": problem});
            let faults: Vec<Value> = found.faults.iter().map(fault).collect();
            let missing: Vec<&str> = found.missing.iter().map(|head| head.chain.as_str()).collect();
            output::print_json(&json!({
                "chains": chains,
                "faults": faults,
                "missing_chains": missing,
                "signatures_verified": key.is_some(),
                "heads_compared": heads_given,
                "other_lines": found.others.iter().map(|others| others.count).sum::<usize>(),
            }))?;
        }
    }
    let is_whole = found.faults.is_empty() && found.missing.is_empty();
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(file).map_err(|error| CommandError::unreadable(file.display(), &error))
}

fn read_heads(file: &Path) -> Result<Vec<AuditHead>, CommandError> {
    let heads: Heads = serde_json::from_slice(&read(file)?).map_err(|error| {
        let next = "write it with `lanyard audit heads -o json`";
        CommandError::new(format!("{} is no list of heads: {error}", file.display()), next)
    })?;
    Ok(heads.heads.into_iter().map(AuditHead::from).collect())
}

fn text_of(chain: &Chain, has_key: bool) -> String {
    let Chain { name, first, last, signed, kept, has_ended, lost, not_copied } = chain;
    let end = if *has_ended { "its end" } else { "no end: what came after may be missing" };
    let signed = match (has_key, signed) {
        (false, _) => String::new(),
        (true, Some(signed)) => format!("; signed up to {signed}"),
        (true, None) => "; nothing is signed".to_owned(),
    };
    let ranges = |what: &str, missing: &[Lost]| {
        let ranges: Vec<String> = missing.iter().map(|Lost { first, last }| format!("{first} to {last}")).collect();
        if ranges.is_empty() { String::new() } else { format!("; {what}: {}", ranges.join(", ")) }
    };
    let (lost, not_copied) = (ranges("not written", lost), ranges("not written here", not_copied));
    let kept = kept.map(|kept| format!("; record {kept} is the one in the store")).unwrap_or_default();
    format!("chain {name}: records {first} to {last}, {end}{signed}{kept}{lost}{not_copied}")
}

fn object_of(chain: &Chain) -> Value {
    let Chain { name, first, last, signed, kept, has_ended, lost, not_copied } = chain;
    let ranges = |missing: &[Lost]| -> Vec<Value> {
        missing.iter().map(|Lost { first, last }| json!({"first": first, "last": last})).collect()
    };
    json!({
        "chain": name, "first": first, "last": last, "signed": signed, "kept": kept, "has_ended": has_ended,
        "not_written": ranges(lost), "not_written_here": ranges(not_copied)
    })
}
