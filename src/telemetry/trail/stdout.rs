//! Standard output as a destination: each line by one call, so that lines of other writers come between lines and not into
//! them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use crate::telemetry::trail::destination::Deliver;
use crate::telemetry::trail::destination::NotDelivered;
use crate::telemetry::trail::lines::Lines;
use crate::telemetry::writer::write;

#[derive(Debug)]
pub(super) struct Stdout {
    out: File,
}

impl Stdout {
    pub(super) fn open() -> io::Result<Self> {
        // Not by the standard library's handle: its lock would be held while the reader keeps the writer waiting.
        Ok(Self { out: File::from(io::stdout().as_fd().try_clone_to_owned()?) })
    }
}

impl Deliver for Stdout {
    /// Waits for whoever reads. What cannot be written is not tried again: a part of it may have been.
    fn deliver(&mut self, batch: &[Arc<Lines>]) -> Result<(), NotDelivered> {
        let mut lines = batch.iter().flat_map(|lines| lines.each());
        let written = lines.try_for_each(|(_, text)| write(&self.out, text));
        written.map_err(|error| NotDelivered::Ever(error.to_string()))
    }
}
