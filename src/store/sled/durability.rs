//! The two steps that make a batch durable, as a trait: tests observe them, make them fail, or omit them to prove that
//! the test suite would notice.

use std::fmt;
use std::io;

/// The steps between writing a batch to sled and acknowledging it, in this order. The provided methods are the
/// production ones. An implementation that does not call its argument loses acknowledged writes.
pub trait Durability: fmt::Debug + Send {
    /// Passes the batch to the operating system: sled's blocking `flush`. After this the batch survives the death of
    /// the process.
    ///
    /// # Errors
    /// Any error stops all writes until the process is restarted.
    fn flush(&mut self, flush: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        flush()
    }

    /// Writes the batch to the disk. sled 0.34's flush is `sync_file_range`, which flushes neither the disk's own cache
    /// nor the file's length; this is `fdatasync`. After this the batch survives a power cut.
    ///
    /// # Errors
    /// As for `flush`. It is never retried: after a failed sync the kernel may have dropped the pages that failed, and
    /// a second sync would succeed without them.
    fn sync(&mut self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        sync()
    }
}

/// The production implementation.
#[derive(Debug)]
pub struct Disk;

impl Durability for Disk {}
