//! `lanyard token get --watch`: keeps a valid token in a file.

use std::future::pending;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::authority::identity::CertificateThumbprint;
use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::serve::StopSignals;
use crate::cli::token::token_file::TokenFile;
use crate::client::renewal::Event;
use crate::client::renewal::Renewal;
use crate::client::renewal::TokenSettings;
use crate::client::token::BoundToken;

/// The wait before a failed write of the file is retried.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// Runs until a stop signal. The file exists exactly while it contains a usable token.
pub(in crate::cli::token) async fn run(
    settings: TokenSettings,
    file: TokenFile,
    connection: &ConnectionArguments,
) -> Result<ExitCode, CommandError> {
    let mut stopped = pin!(StopSignals::watch_with_hangup()?.received());
    // The token of an earlier run may have expired.
    file.remove().map_err(|error| {
        let problem = format!("cannot remove {}: {error}", file.path().display());
        CommandError::new(problem, "name a file with --out, in a folder that you may write to")
    })?;
    let mut renewal = Renewal::new(settings).map_err(|error| connection.explain(error.into()))?;
    let mut watch = Watch { connection, file, written: None, pending_write: None, reported: None, begun: false };
    let result = loop {
        tokio::select! {
            () = &mut stopped => break Ok(ExitCode::SUCCESS),
            () = at(watch.written.as_ref().map(BoundToken::usable_until)) => watch.expire(),
            () = at(watch.pending_write.as_ref().map(|(_, again)| *again)) => watch.write_again(),
            event = renewal.next() => if let Err(error) = watch.take(event) { break Err(error) },
        }
    };
    // The token is no longer renewed.
    if let Err(error) = watch.file.remove() {
        output::note(&format!("cannot remove {}: {error}", watch.file.path().display()));
    }
    result
}

struct Watch<'a> {
    connection: &'a ConnectionArguments,
    file: TokenFile,
    /// The token in the file.
    written: Option<BoundToken>,
    /// The token that could not be written, and when to try again.
    pending_write: Option<(BoundToken, Instant)>,
    /// The last reported problem: the same one is not reported repeatedly.
    reported: Option<String>,
    /// Whether there has been a token.
    begun: bool,
}

impl Watch<'_> {
    fn take(&mut self, event: Event) -> Result<(), CommandError> {
        match event {
            Event::Renewed(token) => {
                self.begun = true;
                self.reported = None;
                self.write(token);
            }
            Event::Announced { certificate, overlap_until } => {
                let until = overlap_until.map(humantime::format_rfc3339_seconds);
                let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
                let thumbprint = CertificateThumbprint::of(&certificate);
                output::note(&format!("announced: tokens of the certificate before pass with {thumbprint}{until}"));
            }
            Event::NotLineage => {
                output::note("the registration has no rotation: lineage, so certificates are not announced");
            }
            Event::NotAnnounced(error) => {
                let error = self.connection.explain(error);
                output::note(&format!("not announced: {error}\n  next: {}", error.next()));
            }
            Event::Failed { error, .. } => {
                // A permanent error at the start is most likely an error in the arguments.
                if !self.begun && !error.is_temporary() {
                    return Err(self.connection.explain(error));
                }
                self.report("no new token yet", &self.connection.explain(error));
            }
            Event::Unusable(error) => {
                self.report("the previous certificate stays in use", &self.connection.explain(error));
            }
            // The file has a timer of its own.
            Event::Expired => {}
        }
        Ok(())
    }

    fn write(&mut self, token: BoundToken) {
        self.pending_write = None;
        match self.file.put(token.as_str()) {
            Ok(()) => {
                let bound = CertificateThumbprint::of(token.certificate());
                let life = humantime::format_duration(token.life());
                output::note(&format!("renewed: bound to {bound}, valid for {life}"));
                self.written = Some(token);
            }
            Err(error) => {
                let problem = format!("cannot write {}: {error}", self.file.path().display());
                self.report(
                    "the previous token stays in the file until it expires",
                    &CommandError::new(problem, "see whether its directory exists, is writable, and has free space"),
                );
                self.pending_write = Some((token, Instant::now() + WRITE_RETRY));
            }
        }
    }

    fn write_again(&mut self) {
        if let Some((token, _)) = self.pending_write.take().filter(|(token, _)| token.is_usable()) {
            self.write(token);
        }
    }

    /// No file is better than one with an expired token.
    fn expire(&mut self) {
        self.written = None;
        match self.file.remove() {
            Ok(()) => output::note("removed: the token is at its end, and no new one was issued in time"),
            Err(error) => {
                let problem = format!("cannot remove {}: {error}", self.file.path().display());
                self.report("it holds an expired token", &CommandError::new(problem, "remove it"));
            }
        }
    }

    fn report(&mut self, consequence: &str, error: &CommandError) {
        let text = format!("{consequence}: {error}\n  next: {}", error.next());
        if self.reported.as_ref() != Some(&text) {
            output::note(&text);
            self.reported = Some(text);
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
