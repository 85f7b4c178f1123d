//! `lanyard client convert-jwks`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::authority::registration::jwks_from_pem;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::client::files::FileError;

#[derive(Args, Debug)]
pub(in crate::cli) struct ConvertArguments {
    /// PEM file with one certificate, or several: the current one and the next. A file with a private key is refused;
    /// other blocks are ignored.
    #[arg(value_name = "FILE")]
    certificate: PathBuf,
}

/// The JWK Set is JSON in either format.
pub(in crate::cli::client) fn run(arguments: &ConvertArguments) -> Result<(), CommandError> {
    output::print_json(&read(&arguments.certificate)?)
}

/// Reads the certificates of a PEM file as a JWK Set with `x5c` (RFC 8705 section 2.2.2).
pub(in crate::cli::client) fn read(path: &Path) -> Result<Value, CommandError> {
    let text = fs::read(path).map_err(|error| FileError::Unreadable(path.to_owned(), error))?;
    let text = String::from_utf8(text).map_err(|_| FileError::NotPem(path.to_owned()))?;
    convert(&text, &path.display().to_string())
}

/// The same of PEM text with this name.
pub(in crate::cli::client) fn convert(pem: &str, name: &str) -> Result<Value, CommandError> {
    jwks_from_pem(pem).map_err(|error| {
        let next = "name PEM with -----BEGIN CERTIFICATE----- blocks and no private key (`openssl x509 -in FILE` prints \
                    the certificate alone; with `-inform der` of DER)";
        CommandError::new(format!("{name} {}", error.problem), next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_pem_is_named_with_what_is_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for contents in [&b"nothing"[..], b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(file.path(), contents).unwrap();
            let error = read(file.path()).unwrap_err();
            assert!(error.to_string().starts_with(&*file.path().to_string_lossy()), "{error}");
            assert!(error.next().contains("BEGIN CERTIFICATE"));
        }
    }
}
