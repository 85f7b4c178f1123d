//! Writes the log: a thread of its own, the only one that waits for whoever reads it.

use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::poll;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::authority::observe::AUDIT_TARGET;
use crate::telemetry::queue::Kind;
use crate::telemetry::queue::LogQueue;
use crate::telemetry::queue::Next;

/// The name by which the subscriber's writer knows the report of dropped lines.
const GAP: &str = "log lines dropped";

/// Puts each formatted line into the queue.
#[derive(Debug)]
pub(super) struct ToQueue(pub(super) Arc<LogQueue>);

/// Takes one line.
#[derive(Debug)]
pub(super) struct LineOf<'a> {
    queue: &'a LogQueue,
    kind: Kind,
}

impl<'a> MakeWriter<'a> for ToQueue {
    type Writer = LineOf<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineOf { queue: &self.0, kind: Kind::Other }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let kind = match (metadata.target(), metadata.name()) {
            (AUDIT_TARGET, GAP) => Kind::Gap,
            (AUDIT_TARGET, _) => Kind::Audit,
            _ => Kind::Other,
        };
        LineOf { queue: &self.0, kind }
    }
}

impl Write for LineOf<'_> {
    /// The subscriber writes each line by one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(self.kind, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the thread that writes to standard error.
pub(super) fn start(queue: Arc<LogQueue>) -> io::Result<()> {
    // Not by the standard library's handle: its lock would be held while the reader keeps the writer waiting.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    thread::Builder::new().name("lanyard-log".to_owned()).spawn(move || write_all(&queue, &stderr)).map(drop)
}

fn write_all(queue: &LogQueue, out: &File) {
    loop {
        match queue.next() {
            Next::Write(kind, line) => queue.wrote(kind, write(out, &line).is_ok()),
            // In the audit trail, which is logged whatever the level is.
            Next::Report(missing) => tracing::warn!(
                name: GAP,
                target: AUDIT_TARGET,
                audit = missing.audit,
                other = missing.other,
                "lines of the log were dropped here, because it was not read fast enough or could not be written"
            ),
        }
    }
}

/// Writes a whole line, however long that takes. Who started this process may have made the other end non-blocking.
pub(super) fn write(mut out: &File, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => line = line.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(out, PollFlags::OUT)], None)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
