//! Messages over one bidirectional stream of a connection, answered in their order.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::support::Failure;
use crate::support::client::Connection;
use crate::support::client::Measured;
use crate::support::client::Reader;
use crate::support::client::Verdict;
use crate::support::frames;
use crate::support::frames::Request;

/// A stream that is open.
pub(super) struct Open {
    pub(super) number: u32,
    /// When the messages without an answer were written.
    sent: VecDeque<Instant>,
    /// What was received of the next answer.
    received: Vec<u8>,
}

impl Open {
    /// Takes in the payload of a DATA frame, which may hold any part of any number of answers.
    pub(super) fn take_in(&mut self, payload: &[u8], reader: Reader, measured: &mut Measured) {
        self.received.extend_from_slice(payload);
        let mut rest = self.received.as_slice();
        while let Some(([_, length @ ..], after)) = rest.split_first_chunk::<5>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some((message, after)) = after.split_at_checked(length) else { break };
            let Some(sent) = self.sent.pop_front() else { break };
            let time = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
            match reader(message) {
                Verdict::Served => measured.served.saturating_record(time),
                Verdict::Refused => measured.refused.saturating_record(time),
            }
            rest = after;
        }
        let taken = self.received.len() - rest.len();
        drop(self.received.drain(..taken));
    }
}

impl Connection {
    /// Sends `calls` messages over one stream, the given ones in turn, of which `concurrency` are under way at each
    /// moment.
    pub(crate) async fn streamed_loop(
        &mut self,
        requests: &[Request],
        calls: usize,
        concurrency: usize,
        reader: Reader,
    ) -> Result<Measured, Failure> {
        let number = u32::try_from(self.sent.len() * 2 + 1)?;
        self.sent.push(None);
        let (mut measured, mut requests, mut left) = (Measured::default(), requests.iter().cycle(), calls);
        let first = requests.clone().next().ok_or("no request")?;
        first.write_head(number, &mut self.out);
        self.open = Some(Open { number, sent: VecDeque::new(), received: Vec::new() });
        loop {
            let room = self.window;
            let open = self.open.as_mut().ok_or("the server ended the stream")?;
            let mut written = 0;
            while left > 0 && open.sent.len() < concurrency && written < room {
                let request = requests.next().ok_or("no request")?;
                request.write_message(number, &mut self.out);
                written += i64::try_from(request.flow())?;
                open.sent.push_back(Instant::now());
                left -= 1;
            }
            let is_over = left == 0 && open.sent.is_empty();
            self.window -= written;
            if is_over {
                frames::frame(&mut self.out, frames::DATA, frames::END_STREAM, number, &[]);
                while self.open.is_some() {
                    self.exchange(reader, &mut measured).await?;
                }
                return Ok(measured);
            }
            self.exchange(reader, &mut measured).await?;
        }
    }
}
