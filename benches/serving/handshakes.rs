//! What a handshake costs beside openssl's.

use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::figures::Figure;
use crate::figures::Round;
use crate::support::Failure;
use crate::support::client::Measured;
use crate::support::client::Peer;
use crate::support::server::Process;
use crate::support::server::SERVER_CORE;
use crate::support::server::free_port;
use crate::support::server::until_listening;

/// How many handshakes a round has. Both servers are asked one after another: `s_server` takes one at a time.
const HANDSHAKES: usize = 500;

/// `openssl s_server` with the same certificates, which asks for a client's and verifies it.
pub(crate) struct OpenSsl {
    process: Child,
    port: u16,
}

impl OpenSsl {
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let port = free_port()?;
        let process = Command::new("taskset")
            .args(["-c", SERVER_CORE, "openssl", "s_server", "-quiet", "-tls1_3", "-num_tickets", "0"])
            .args(["-Verify", "4", "-verify_return_error", "-cert", "server.pem", "-key", "server-key.pem"])
            .args(["-CAfile", "ca.pem", "-accept", &format!("127.0.0.1:{port}")])
            .current_dir(folder)
            // It ends with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let started = Self { process, port };
        until_listening(port).await?;
        Ok(started)
    }
}

impl Process for OpenSsl {
    fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The CPU time of our handshake over that of openssl.
pub(crate) async fn beside_openssl(
    rounds: usize,
    ours: &(&impl Process, Peer),
    folder: &Path,
) -> Result<Figure, Failure> {
    let openssl = OpenSsl::start(folder).await?;
    let other = (&openssl, Peer::in_folder(folder, "proxy", openssl.port)?);
    let mut figure = Figure::cpu_time();
    for _ in 0..rounds {
        let ours = round(ours).await?;
        figure.add(ours, round(&other).await?);
    }
    Ok(figure)
}

async fn round((process, peer): &(&impl Process, Peer)) -> Result<Round, Failure> {
    let mut measured = Measured::default();
    let (before, begin) = (process.cpu_seconds()?, Instant::now());
    for _ in 0..HANDSHAKES {
        let dialled = Instant::now();
        let mut stream = peer.handshake().await?;
        // Until the server has read it all, the certificate of the client is not verified.
        stream.shutdown().await?;
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
        measured.served.saturating_record(u64::try_from(dialled.elapsed().as_micros())?);
    }
    Round::new(&measured, begin.elapsed().as_secs_f64(), process.cpu_seconds()? - before)
}
