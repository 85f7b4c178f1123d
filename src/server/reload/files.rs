//! The configuration, certificates, bundles and client CAs that change on the disk while the server runs.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::observe::Reloaded;
use crate::authority::trust::TrustBundles;
use crate::config::Source as ConfigFile;
use crate::server::reload::configuration::Followed;
use crate::server::reload::configuration::NotApplied;
use crate::server::stage::Stage;
use crate::server::supervised;
use crate::server::trust::Feeds;
use crate::server::trust::OwnBundle;
use crate::server::trust::Source;
use crate::telemetry;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust_sources::files;
use crate::trust_sources::files::Contents;

/// How often the files are read. Reading them completely is cheap and detects every kind of replacement, including the
/// swapped symbolic links of a Kubernetes volume.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reads the files again, and applies their changes.
#[derive(Debug)]
pub(in crate::server) struct Reloader {
    authority: Arc<Authority>,
    files: Mutex<Files>,
    certificate: Arc<ServerCertificate>,
    feeds: Arc<Feeds>,
    own_bundle: OwnBundle,
}

/// The files in effect and their last contents.
#[derive(Debug)]
struct Files {
    /// `None` where the configuration was not read from a regular file.
    configuration: Option<Followed>,
    trust: files::Config,
    contents: Contents,
}

impl Reloader {
    pub(in crate::server) fn new(
        configuration: Option<ConfigFile>,
        (trust, contents): (files::Config, Contents),
        certificate: Arc<ServerCertificate>,
        (authority, feeds): (Arc<Authority>, Arc<Feeds>),
        own_bundle: OwnBundle,
    ) -> Self {
        own_bundle.publish(contents.own());
        let files = Mutex::new(Files { configuration: configuration.map(Followed::new), trust, contents });
        Self { authority, files, certificate, feeds, own_bundle }
    }

    /// Runs for as long as the server runs.
    pub(in crate::server) fn start(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        authority: &Arc<Authority>,
        hangup: Signal,
        stages: watch::Receiver<Stage>,
    ) {
        let (reloader, hangup) = (Arc::clone(self), Arc::new(AsyncMutex::new(hangup)));
        let reloading = move || Arc::clone(&reloader).run(Arc::clone(&hangup), stages.clone());
        supervised::spawn(tasks, authority, "reloader", reloading);
    }

    /// Reads the files every few seconds and on SIGHUP.
    async fn run(self: Arc<Self>, hangup: Arc<AsyncMutex<Signal>>, mut stages: watch::Receiver<Stage>) {
        let mut hangup = hangup.lock().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: reading the configuration, certificates and bundles again");
                    if let Some(configuration) = &mut self.files().configuration {
                        configuration.forget_reason();
                    }
                }
                _ = stages.wait_for(|stage| *stage == Stage::Draining) => return,
            }
            self.reload();
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies what has changed. A broken file leaves the present state in effect.
    pub(in crate::server) fn reload(&self) {
        let reloads = self.authority.reloads();
        reloads.set_failing(Reloaded::Certificate, self.reload_certificate().is_err());
        let mut files = self.files();
        reloads.set_failing(Reloaded::Configuration, self.reload_configuration(&mut files).is_err());
        reloads.set_failing(Reloaded::Trust, self.reload_trust(&mut files).is_err());
    }

    /// A broken certificate is logged at every attempt.
    fn reload_certificate(&self) -> Result<(), ()> {
        match self.certificate.reload() {
            Ok(true) => {
                tracing::info!("the server certificate was replaced");
                self.authority.report_reloaded(Reloaded::Certificate, None);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the server certificate on the disk is broken; the old one is kept");
                return Err(());
            }
        }
        Ok(())
    }

    fn reload_trust(&self, files: &mut Files) -> Result<(), ()> {
        match files::load(&files.trust) {
            Ok((_, unchanged)) if unchanged == files.contents => {}
            Ok((bundles, changed)) => {
                self.apply_trust(files, bundles, changed);
                tracing::info!("the bundles and client CAs were replaced");
                self.authority.report_reloaded(Reloaded::Trust, None);
            }
            Err(error) => {
                tracing::error!(%error, "a bundle or client CA on the disk is broken; the old ones are kept");
                return Err(());
            }
        }
        Ok(())
    }

    fn apply_trust(&self, files: &mut Files, bundles: TrustBundles, contents: Contents) {
        self.feeds.set(Source::Files, bundles);
        self.own_bundle.publish(contents.own());
        // Last, so that a panic before this makes the next run repeat it.
        files.contents = contents;
    }

    fn reload_configuration(&self, files: &mut Files) -> Result<(), ()> {
        let outcome = self.reconfigure(files);
        let Some(followed) = &mut files.configuration else { return Ok(()) };
        match outcome {
            Ok(()) => {
                followed.mark_applied();
                Ok(())
            }
            Err(error) => {
                followed.refused(&error);
                Err(())
            }
        }
    }

    /// Everything that can fail is done before anything is applied.
    fn reconfigure(&self, files: &mut Files) -> Result<(), NotApplied> {
        let Some(followed) = &files.configuration else { return Ok(()) };
        let Some(change) = followed.change()? else { return Ok(()) };
        let trust = change.is_of_trust().then(|| files::load(&change.config.trust)).transpose()?;
        telemetry::set_level(&change.config.log.level);
        tracing::info!(keys = ?change.keys, "the configuration was changed");
        let keys: Vec<&str> = change.keys.iter().map(String::as_str).collect();
        self.authority.report_reloaded(Reloaded::Configuration, Some(keys.join(" ")));
        self.authority.replace_roles(change.config.policy.roles);
        if let Some((bundles, contents)) = trust {
            files.trust = change.config.trust;
            self.apply_trust(files, bundles, contents);
        }
        if let Some(followed) = &mut files.configuration {
            followed.set_source(change.source);
        }
        Ok(())
    }
}
