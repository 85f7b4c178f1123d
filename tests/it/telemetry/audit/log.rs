//! What a subscriber writes to the log while something happens.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use tracing_subscriber::fmt;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of all that is logged at `level` and above while `act` runs on this thread.
pub fn logged(level: tracing::Level, act: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = fmt().with_max_level(level).without_time().with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), act);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}
