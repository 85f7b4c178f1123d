//! `lanyard serve` as a process whose log is read only when the test reads it.

use std::io::BufRead as _;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Child;
use std::process::ChildStderr;
use std::process::ExitStatus;
use std::process::Stdio;

use tokio::net::TcpStream;

use crate::support::door::within;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::page::PROMETHEUS;
use crate::support::page::Page;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::server::Setup;

/// A running server; killed when dropped.
pub struct Unread {
    child: Child,
    log: BufReader<ChildStderr>,
    pub mtls: SocketAddr,
    pub ops: SocketAddr,
}

impl Unread {
    /// Starts a server on the files of `setup`, and reads its log until it serves.
    pub fn start(setup: &Setup, log_level: &str) -> Self {
        let mut command = lanyard();
        command.env("LANYARD_LOG__LEVEL", log_level).args(["serve", "--config"]).arg(setup.path("lanyard.yaml"));
        // A full pipe on stdout too: nothing is written there.
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut unread = Self { child, log, mtls: nowhere, ops: nowhere };
        let serving = unread.read_until("mtls=").pop().unwrap();
        let address = |name: &str| {
            let rest = serving.split_once(name).unwrap().1;
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        (unread.mtls, unread.ops) = (address("mtls="), address("ops="));
        unread
    }

    /// The lines of its log up to the next one that contains `text`.
    pub fn read_until(&mut self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while lines.last().is_none_or(|line| !line.contains(text)) {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "no line has {text:?}, only {lines:#?}");
            lines.push(line);
        }
        lines
    }

    /// The present page of metrics.
    pub async fn page(&self) -> Page {
        let mut request = get("/metrics");
        request.headers_mut().insert("accept", PROMETHEUS.parse().unwrap());
        let stream = TcpStream::connect(self.ops).await.unwrap();
        Page::parsed(&within(Http::one(stream).await.send(request)).await.body)
    }

    /// Sends it SIGTERM, and waits for its end without reading its log.
    pub async fn terminate(mut self) -> ExitStatus {
        run(&mut shell(&format!("kill -TERM {}", self.child.id()))).ok();
        within(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill().is_err();
        let _waited = self.child.wait().is_ok();
    }
}
