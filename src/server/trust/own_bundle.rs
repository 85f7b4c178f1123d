//! The bundle document of the server's own trust domain, where it holds that: what others federate with.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use crate::authority::clock::Clock;
use crate::authority::trust::BundleDocument;

/// How often others are asked to look. Files are looked at far more often.
const REFRESH_HINT: Duration = Duration::from_mins(5);

/// Numbers each bundle, and prints it.
#[derive(Debug)]
pub(in crate::server) struct OwnBundle {
    clock: Arc<dyn Clock>,
    printed: watch::Sender<Option<String>>,
    last: Mutex<(Vec<CertificateDer<'static>>, u64)>,
}

impl OwnBundle {
    pub(in crate::server) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, printed: watch::Sender::new(None), last: Mutex::default() }
    }

    /// The document as it changes; `None` where there is none.
    pub(in crate::server) fn printed(&self) -> watch::Receiver<Option<String>> {
        self.printed.subscribe()
    }

    /// Publishes these roots. The sequence is the time of the change, so that it grows over restarts too.
    pub(in crate::server) fn publish(&self, roots: &[CertificateDer<'static>]) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 == roots {
            return;
        }
        let sequence = self.clock.now().0.max(last.1.saturating_add(1));
        *last = (roots.to_vec(), sequence);
        let held = (!roots.is_empty()).then(|| BundleDocument::print(roots, sequence, REFRESH_HINT));
        self.printed.send_replace(held);
    }
}
