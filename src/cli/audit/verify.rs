//! `lanyard audit verify`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::output::Format;
use crate::telemetry::trail::Chain;
use crate::telemetry::trail::Fault;
use crate::telemetry::trail::HeadVerifier;
use crate::telemetry::trail::Lost;
use crate::telemetry::trail::verify;

#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyArguments {
    /// The files, in any order: those that were renamed and the last one.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The public key of the audit trail, in PEM. Without it no signature is verified, and whoever can write the files can
    /// write them anew.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(in crate::cli) fn run(arguments: &VerifyArguments, format: Format) -> Result<ExitCode, CommandError> {
    let key = arguments.key.as_deref().map(HeadVerifier::open).transpose();
    let key = key.map_err(|error| {
        CommandError::new(
            error.to_string(),
            "name the public key with --key: `openssl pkey -in KEY.pem -pubout` writes it",
        )
    })?;
    let mut files = Vec::new();
    for file in &arguments.files {
        let name = file.display().to_string();
        let text = fs::read(file).map_err(|error| {
            let next = "see whether the path is right and whether you may read it";
            CommandError::new(format!("cannot read {name}: {error}"), next)
        })?;
        files.push((name, text));
    }
    let found = verify(&files, key.as_ref());
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
            if key.is_none() {
                output::note("no signature was verified: name the public key with --key");
            }
        }
        Format::Json => {
            let chains: Vec<Value> = found.chains.iter().map(object_of).collect();
            let fault = |Fault { file, line, problem }: &Fault| json!({"file": file, "line": line, "problem": problem});
            let faults: Vec<Value> = found.faults.iter().map(fault).collect();
            output::print_json(&json!({"chains": chains, "faults": faults, "signatures_verified": key.is_some()}))?;
        }
    }
    Ok(if found.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text_of(chain: &Chain, has_key: bool) -> String {
    let Chain { name, first, last, signed, has_ended, lost } = chain;
    let end = if *has_ended { "its end" } else { "no end: what came after may be missing" };
    let signed = match (has_key, signed) {
        (false, _) => String::new(),
        (true, Some(signed)) => format!("; signed up to {signed}"),
        (true, None) => "; nothing is signed".to_owned(),
    };
    let lost: Vec<String> = lost.iter().map(|Lost { first, last }| format!("{first} to {last}")).collect();
    let lost = if lost.is_empty() { String::new() } else { format!("; not written: {}", lost.join(", ")) };
    format!("chain {name}: records {first} to {last}, {end}{signed}{lost}")
}

fn object_of(chain: &Chain) -> Value {
    let Chain { name, first, last, signed, has_ended, lost } = chain;
    let lost: Vec<Value> = lost.iter().map(|Lost { first, last }| json!({"first": first, "last": last})).collect();
    json!({"chain": name, "first": first, "last": last, "signed": signed, "has_ended": has_ended, "not_written": lost})
}
