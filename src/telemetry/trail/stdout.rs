//! Standard output as a destination: each line by one call, so that lines of other writers come between lines and not into
//! them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use crate::telemetry::trail::destination::Deliver;
use crate::telemetry::trail::destination::Delivered;
use crate::telemetry::trail::destination::NotDelivered;
use crate::telemetry::trail::lines::Lines;
use crate::telemetry::writer::write;

#[derive(Debug)]
pub(super) struct Stdout {
    out: File,
    /// Whether the last line may have been written in part, so that it has no end.
    is_cut: bool,
}

impl Stdout {
    pub(super) fn open() -> io::Result<Self> {
        // Not by the standard library's handle: its lock would be held while the reader keeps the writer waiting.
        Ok(Self { out: File::from(io::stdout().as_fd().try_clone_to_owned()?), is_cut: false })
    }
}

impl Deliver for Stdout {
    /// Waits for whoever reads. The line that cannot be written is not tried again, and neither are those behind it: a part of
    /// it may have been.
    fn deliver(&mut self, batch: &[Arc<Lines>]) -> Result<(), NotDelivered> {
        let ever = |written| move |error: io::Error| NotDelivered::Ever(error.to_string(), Delivered::First(written));
        if self.is_cut {
            write(&self.out, b"\n").map_err(ever(0))?;
            self.is_cut = false;
        }
        for (written, (_, text)) in batch.iter().flat_map(|lines| lines.each()).enumerate() {
            self.is_cut = true;
            write(&self.out, text).map_err(ever(written))?;
            self.is_cut = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Read as _;
    use std::io::Seek as _;

    use super::*;
    use crate::authority::clock::Timestamp;
    use crate::telemetry::trail::chain::ChainEnd;
    use crate::telemetry::trail::chain::STARTED;

    #[test]
    fn after_a_line_that_could_not_be_written_the_next_begins_a_line_of_its_own() {
        let mut chain = ChainEnd::new("a-1-b", None);
        chain.push_event(1, Timestamp(1), STARTED);
        let batch = chain.take((1, 1));
        let mut stdout = Stdout { out: OpenOptions::new().write(true).open("/dev/full").unwrap(), is_cut: false };
        for _ in 0..2 {
            let outcome = stdout.deliver(&batch);
            assert!(matches!(outcome, Err(NotDelivered::Ever(_, Delivered::First(0)))), "{outcome:?}");
        }
        stdout.out = tempfile::tempfile().unwrap();
        stdout.deliver(&batch).unwrap();
        stdout.deliver(&batch).unwrap();
        let mut written = String::new();
        stdout.out.rewind().unwrap();
        stdout.out.read_to_string(&mut written).unwrap();
        let line = String::from_utf8_lossy(batch[0].text());
        assert_eq!(written, format!("\n{line}{line}"));
    }
}
