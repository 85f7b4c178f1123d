//! `lanyard token get --watch`: keeps a fresh token in a file.

use std::future::pending;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::authority::identity::CertificateThumbprint;
use crate::cli::error::CommandError;
use crate::cli::output;
use crate::cli::serve::StopSignals;
use crate::cli::token::token_file::TokenFile;
use crate::cli::token_error;
use crate::client::renewal::Event;
use crate::client::renewal::Renewal;
use crate::client::renewal::TokenSettings;
use crate::client::token::BoundToken;

/// When a token could not be written, it is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// Until it is told to stop. The file is there exactly while it holds a token that may be used.
pub(in crate::cli::token) async fn run(settings: TokenSettings, file: TokenFile) -> Result<ExitCode, CommandError> {
    let mut stopped = pin!(StopSignals::watch()?.received());
    // Whatever an earlier run has left may be at its end.
    file.remove().map_err(|error| {
        let problem = format!("cannot remove what is at {}: {error}", file.path().display());
        CommandError::new(problem, "name a file with --out, in a folder that you may write to")
    })?;
    let mut renewal = Renewal::new(settings)?;
    let mut watch = Watch { file, filed: None, unwritten: None, complaint: None, begun: false };
    let result = loop {
        tokio::select! {
            () = &mut stopped => break Ok(ExitCode::SUCCESS),
            () = at(watch.filed.as_ref().map(BoundToken::usable_until)) => watch.expire(),
            () = at(watch.unwritten.as_ref().map(|(_, again)| *again)) => watch.write_again(),
            event = renewal.next() => if let Err(error) = watch.take(event) { break Err(error) },
        }
    };
    // Nobody renews it any more.
    if let Err(error) = watch.file.remove() {
        output::note(&format!("cannot remove {}: {error}", watch.file.path().display()));
    }
    result
}

struct Watch {
    file: TokenFile,
    /// What the file holds.
    filed: Option<BoundToken>,
    /// What it should hold, and when to try again to write it.
    unwritten: Option<(BoundToken, Instant)>,
    /// What was complained of last: the same is not said again and again.
    complaint: Option<String>,
    /// Whether there ever was a token.
    begun: bool,
}

impl Watch {
    fn take(&mut self, event: Event) -> Result<(), CommandError> {
        match event {
            Event::Renewed(token) => {
                self.begun = true;
                self.complaint = None;
                self.write(token);
            }
            Event::Announced { certificate, overlap_until } => {
                let until = overlap_until.map(humantime::format_rfc3339_seconds);
                let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
                let thumbprint = CertificateThumbprint::of(&certificate);
                output::note(&format!("announced: tokens of the certificate before pass with {thumbprint}{until}"));
            }
            Event::NotLineage => output::note("the registration says no rotation: lineage, so nothing is announced"),
            Event::NotAnnounced(error) => {
                let error = token_error::explain_token(error);
                output::note(&format!("not announced: {error}\n  next: {}", error.next()));
            }
            Event::Failed { error, .. } => {
                // What is wrong at the start is most likely wrong in what was asked.
                if !self.begun && !error.is_temporary() {
                    return Err(token_error::explain_token(error));
                }
                self.complain("no fresh token yet", &token_error::explain_token(error));
            }
            Event::Unusable(error) => {
                self.complain("what there was before is used on", &token_error::explain_token(error));
            }
            // The file has its own.
            Event::Expired => {}
        }
        Ok(())
    }

    fn write(&mut self, token: BoundToken) {
        self.unwritten = None;
        match self.file.put(token.as_str()) {
            Ok(()) => {
                let bound = CertificateThumbprint::of(token.certificate());
                let life = humantime::format_duration(token.life());
                output::note(&format!("renewed: bound to {bound}, good for {life}"));
                self.filed = Some(token);
            }
            Err(error) => {
                let problem = format!("cannot write {}: {error}", self.file.path().display());
                self.complain(
                    "what is there stays until its end",
                    &CommandError::new(problem, "see whether its folder is there, may be written to, and has room"),
                );
                self.unwritten = Some((token, Instant::now() + WRITE_AGAIN));
            }
        }
    }

    fn write_again(&mut self) {
        if let Some((token, _)) = self.unwritten.take().filter(|(token, _)| token.is_usable()) {
            self.write(token);
        }
    }

    /// A file that is not there is better than one with an expired token.
    fn expire(&mut self) {
        self.filed = None;
        match self.file.remove() {
            Ok(()) => output::note("removed: the token is at its end, and no fresh one could be had"),
            Err(error) => {
                let problem = format!("cannot remove {}: {error}", self.file.path().display());
                self.complain("it holds an expired token", &CommandError::new(problem, "remove it"));
            }
        }
    }

    fn complain(&mut self, consequence: &str, error: &CommandError) {
        let text = format!("{consequence}: {error}\n  next: {}", error.next());
        if self.complaint.as_ref() != Some(&text) {
            output::note(&text);
            self.complaint = Some(text);
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
