//! Certificates, bundles and client CAs that change on the disk while the server serves.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::server::Stage;
use crate::server::own_bundle::OwnBundle;
use crate::server::trust_feeds::Feeds;
use crate::server::trust_feeds::Source;
use crate::tls::server_certificate::ServerCertificate;
use crate::trust::files;
use crate::trust::files::Contents;

/// How often the files are looked at. Reading them whole is cheap and sees every kind of replacement, the swapped symbolic
/// links of a Kubernetes volume among them.
const INTERVAL: Duration = Duration::from_secs(5);

/// Knows the files and what they last held.
#[derive(Debug)]
pub(super) struct Reloader {
    trust: files::Config,
    contents: Mutex<Contents>,
    certificate: Arc<ServerCertificate>,
    feeds: Arc<Feeds>,
    own_bundle: OwnBundle,
}

impl Reloader {
    pub(super) fn new(
        trust: files::Config,
        contents: Contents,
        certificate: Arc<ServerCertificate>,
        feeds: Arc<Feeds>,
        own_bundle: OwnBundle,
    ) -> Self {
        own_bundle.publish(contents.own());
        Self { trust, contents: Mutex::new(contents), certificate, feeds, own_bundle }
    }

    /// Looks at the files every few seconds and on SIGHUP.
    pub(super) async fn run(
        self: Arc<Self>,
        hangup: Arc<tokio::sync::Mutex<Signal>>,
        mut stages: watch::Receiver<Stage>,
    ) {
        let mut hangup = hangup.lock().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = hangup.recv() => tracing::info!("SIGHUP: reading certificates and bundles again"),
                _ = stages.wait_for(|stage| *stage != Stage::Serving) => return,
            }
            self.reload();
        }
    }

    /// Takes in what has changed. A broken file keeps what it should replace, and the log says so each time it is looked at.
    pub(super) fn reload(&self) {
        match self.certificate.reload() {
            Ok(true) => tracing::info!("the server certificate was replaced"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the server certificate on the disk is broken; the old one is kept"),
        }
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        match files::load(&self.trust) {
            Ok((_, unchanged)) if unchanged == *contents => {}
            Ok((bundles, changed)) => {
                *contents = changed;
                self.feeds.set(Source::Files, bundles);
                self.own_bundle.publish(contents.own());
                tracing::info!("the bundles and client CAs were replaced");
            }
            Err(error) => tracing::error!(%error, "a bundle or client CA on the disk is broken; the old ones are kept"),
        }
    }
}
