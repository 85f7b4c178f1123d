//! The two steps that make a batch durable, as a seam: tests watch them, fail them, and leave them out to prove that the
//! suite would notice.

use std::fmt;
use std::io;

/// The steps between writing a batch to sled and acknowledging it, in this order. The provided methods are the real
/// thing; an implementation that does not call what it is given loses acknowledged writes.
pub trait Durability: fmt::Debug + Send {
    /// Hands the batch to the operating system: sled's blocking `flush`. After this it survives the death of the process.
    ///
    /// # Errors
    /// Any error stops all writes until the process is started again.
    fn flush(&mut self, flush: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        flush()
    }

    /// Hands the batch to the disk. sled 0.34's flush is `sync_file_range`, which flushes neither the disk's own cache
    /// nor the file's length; this is `fdatasync`. After this it survives a power cut.
    ///
    /// # Errors
    /// As for `flush`. It is never tried again: after a failed sync the kernel may have dropped the very pages that
    /// failed, and a second sync would succeed without them.
    fn sync(&mut self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        sync()
    }
}

/// The real disk, with nothing in between.
#[derive(Debug)]
pub struct Disk;

impl Durability for Disk {}
