//! The bundle document of the server's own trust domain, if the server has that bundle. Other trust domains federate
//! with it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use crate::authority::clock::Clock;
use crate::authority::trust::BundleDocument;

/// How often others should fetch the document. Files are read far more often.
const REFRESH_HINT: Duration = Duration::from_mins(5);

/// Numbers each bundle, and writes its document.
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

    /// The document, and its changes; `None` where there is none.
    pub(in crate::server) fn printed(&self) -> watch::Receiver<Option<String>> {
        self.printed.subscribe()
    }

    /// Publishes these roots. The sequence number is the time of the change, so that it also grows over restarts.
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
