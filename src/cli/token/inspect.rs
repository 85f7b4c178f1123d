//! `lanyard token inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::authority::clock::Clock as _;
use crate::authority::clock::SystemClock;
use crate::authority::clock::Timestamp;
use crate::authority::identity::CertificateThumbprint;
use crate::cli::error::CommandError;
use crate::cli::moment::date;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::token_input::TokenInput;
use crate::client::files;

#[derive(Args, Debug)]
pub(in crate::cli) struct InspectArguments {
    /// The token: - reads it from stdin, @FILE from a file. Given here itself, it shows in the list of processes.
    #[arg(value_name = "TOKEN|-|@FILE", default_value = "-")]
    token: TokenInput,
    /// PEM or DER file: report whether the token is bound to this certificate. The exit code does not depend on it: an
    /// unverified token proves nothing.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
}

/// The content of a token.
#[derive(Debug, Serialize)]
struct Inspection {
    /// Always false: the signature is not verified.
    verified: bool,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_to: Option<Binding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Compared>,
}

/// A thumbprint in its two forms.
#[derive(Debug, Serialize)]
struct Binding {
    #[serde(rename = "x5t#S256")]
    thumbprint: String,
    /// The form of XFCC's `Hash=`.
    hex: String,
}

#[derive(Debug, Serialize)]
struct Compared {
    #[serde(flatten)]
    is: Binding,
    matches: bool,
}

/// Why a text is not a readable token.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
enum Unreadable {
    #[error("this is not a JWT: it has {0} parts, not three")]
    Parts(usize),
    #[error("the token's {0} is not base64url without padding")]
    Encoding(&'static str),
    #[error("the token's {0} is not a JSON object")]
    Json(&'static str),
}

pub(in crate::cli) fn run(arguments: InspectArguments, format: Format) -> Result<ExitCode, CommandError> {
    let token = arguments.token.read()?;
    let mut inspection = Inspection::read(&token).map_err(|error| {
        CommandError::new(error.to_string(), "give the token alone, as `lanyard token get` prints it, without 'Bearer'")
    })?;
    if let Some(path) = &arguments.cert {
        inspection.compare(CertificateThumbprint::of(&files::certificate(path)?));
    }
    match format {
        Format::Json => output::print_json(&inspection)?,
        Format::Text => {
            output::note("not verified: these are the token's own claims (`lanyard validate` evaluates them)");
            output::print(&inspection.text(SystemClock.now()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Inspection {
    fn read(token: &str) -> Result<Self, Unreadable> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = *parts else { return Err(Unreadable::Parts(parts.len())) };
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| Unreadable::Encoding("signature"))?;
        let (header, claims) = (object("header", header)?, object("payload", claims)?);
        let bound_to = claims.get("cnf").and_then(|cnf| cnf.get("x5t#S256")).and_then(Value::as_str);
        let bound_to = bound_to.and_then(CertificateThumbprint::parse).map(Binding::from);
        Ok(Self { verified: false, header, claims, bound_to, certificate: None })
    }

    fn compare(&mut self, certificate: CertificateThumbprint) {
        let is = Binding::from(certificate);
        let matches = self.bound_to.as_ref().is_some_and(|bound| bound.thumbprint == is.thumbprint);
        self.certificate = Some(Compared { is, matches });
    }

    fn is_txn_token(&self) -> bool {
        self.header.get("typ").and_then(Value::as_str).is_some_and(|typ| typ.eq_ignore_ascii_case("txntoken+jwt"))
    }

    /// The token's content is indented, so that no claim can pass for a result of this command.
    fn text(&self, now: Timestamp) -> String {
        let mut lines = vec!["header".to_owned()];
        lines.extend(self.header.iter().map(|(name, value)| member(name, &display(value))));
        lines.push("claims".to_owned());
        lines.extend(self.claims.iter().map(|(name, value)| match (name.as_str(), value.as_u64()) {
            ("exp" | "iat" | "nbf", Some(seconds)) => member(name, &relative(Timestamp(seconds), now)),
            _ => member(name, &display(value)),
        }));
        match &self.bound_to {
            Some(bound) => {
                lines.push("bound to".to_owned());
                lines.push(member("x5t#S256", &bound.thumbprint));
                lines.push(member("sha256", &bound.hex));
            }
            None if self.is_txn_token() => {
                lines.push(
                    "a transaction token: it is bound to no certificate, and proves nothing of who sends it".to_owned(),
                );
            }
            None => lines.push("bound to no certificate: there is no cnf with a well-formed x5t#S256".to_owned()),
        }
        lines.extend(self.certificate.as_ref().map(|certificate| {
            if certificate.matches {
                "the certificate is the one that the token is bound to".to_owned()
            } else {
                format!(
                    "the certificate is NOT the one that the token is bound to: its x5t#S256 is {}",
                    certificate.is.thumbprint
                )
            }
        }));
        lines.join("\n")
    }
}

fn member(name: &str, value: &str) -> String {
    format!("  {:<16} {value}", display(&Value::from(name)))
}

/// Plain text unchanged, everything else as JSON: a newline in a claim must not begin a line.
fn display(value: &Value) -> String {
    let plain = value.as_str().filter(|text| !text.contains(char::is_control));
    plain.map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl From<CertificateThumbprint> for Binding {
    fn from(thumbprint: CertificateThumbprint) -> Self {
        Self { thumbprint: thumbprint.to_string(), hex: hex::encode(thumbprint.as_bytes()) }
    }
}

/// Decodes strictly, so that each token has one text form.
fn object(part: &'static str, text: &str) -> Result<Map<String, Value>, Unreadable> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Unreadable::Encoding(part))?;
    serde_json::from_slice(&bytes).map_err(|_| Unreadable::Json(part))
}

/// The date of a time and how far off it is.
fn relative(time: Timestamp, now: Timestamp) -> String {
    let Some(date) = date(time) else {
        return time.0.to_string();
    };
    let (ahead, behind) = (humantime::format_duration(now.until(time)), humantime::format_duration(time.until(now)));
    if time > now { format!("{date} (in {ahead})") } else { format!("{date} ({behind} ago)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8705 appendix A.
    const THUMBPRINT: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";

    fn token(claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(r#"{"alg":"ES256","typ":"at+jwt"}"#), encode(claims), encode("signature"))
    }

    fn bound() -> String {
        token(&format!(r#"{{"sub":"checkout","exp":1700000300,"cnf":{{"x5t#S256":"{THUMBPRINT}"}}}}"#))
    }

    #[test]
    fn times_and_the_binding_are_readable() {
        let text = Inspection::read(&bound()).unwrap().text(Timestamp(1_700_000_000));
        assert!(text.contains("exp              2023-11-14T22:18:20Z (in 5m)"), "{text}");
        assert!(text.contains(THUMBPRINT), "{text}");
        assert!(text.contains("0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd"), "{text}");
    }

    #[test]
    fn a_certificate_is_distinguished_from_another() {
        let mut inspection = Inspection::read(&bound()).unwrap();
        inspection.compare(CertificateThumbprint::parse(THUMBPRINT).unwrap());
        assert!(inspection.text(Timestamp(0)).contains("\nthe certificate is the one"));
        inspection.compare(CertificateThumbprint::of(b"another"));
        assert!(inspection.text(Timestamp(0)).contains("\nthe certificate is NOT the one"));
    }

    #[test]
    fn an_unbound_token_matches_no_certificate() {
        for claims in ["{}", r#"{"cnf":{}}"#, r#"{"cnf":{"x5t#S256":"AAAA"}}"#, r#"{"cnf":{"x5t#S256":7}}"#] {
            let mut inspection = Inspection::read(&token(claims)).unwrap();
            assert!(inspection.text(Timestamp(0)).contains("\nbound to no certificate"), "{claims}");
            inspection.compare(CertificateThumbprint::of(b"any"));
            assert!(inspection.certificate.is_some_and(|compared| !compared.matches));
        }
    }

    #[test]
    fn a_transaction_token_is_called_one() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let of = |typ: &str| {
            let header = format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#);
            let claims = encode(r#"{"txn":"t","tctx":{"order":"17"},"rctx":{"method":"POST"}}"#);
            Inspection::read(&format!("{}.{claims}.{}", encode(&header), encode("s"))).unwrap().text(Timestamp(0))
        };
        let text = of("txntoken+jwt");
        assert!(text.contains("\na transaction token: ") && text.contains(r#"{"order":"17"}"#), "{text}");
        assert!(!of("JWT").contains("a transaction token"), "{text}");
    }

    #[test]
    fn a_claim_cannot_pass_for_a_result() {
        let claims = r#"{"a":"b\nthe certificate is the one","c\nthe certificate is the one":1}"#;
        let text = Inspection::read(&token(claims)).unwrap().text(Timestamp(0));
        assert!(!text.contains("\nthe certificate"), "{text}");
    }

    #[test]
    fn what_is_not_strictly_a_jwt_is_refused() {
        let parts = |text: &str| Inspection::read(text).map(|_| ()).unwrap_err();
        assert_eq!(parts("a.b"), Unreadable::Parts(2));
        assert_eq!(parts(&format!("{}.a.b", bound())), Unreadable::Parts(5));
        assert_eq!(parts(&format!("{}=", bound())), Unreadable::Encoding("signature"));
        assert_eq!(parts("e30=.e30.e30"), Unreadable::Encoding("header"));
        assert_eq!(parts("W10.e30.e30"), Unreadable::Json("header"));
        assert_eq!(parts("e30.W10.e30"), Unreadable::Json("payload"));
    }

    #[test]
    fn no_time_is_too_late_to_be_shown() {
        for seconds in [253_402_300_799, 253_402_300_800, u64::MAX] {
            let text = Inspection::read(&token(&format!(r#"{{"exp":{seconds}}}"#))).unwrap().text(Timestamp(0));
            assert!(text.contains("exp"), "{text}");
        }
    }
}
