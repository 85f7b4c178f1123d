//! A running `lanyard dev`, and the commands of the identities whose files it makes.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;

/// The audience of the samples' tokens.
pub const AUDIENCE: &str = "https://orders.dev.internal";

/// The resource of the sample that calls the other one for its callers.
pub const RELAY: &str = "https://relay.dev.internal";

/// Any three free ports.
pub const ANY: [u16; 3] = [0, 0, 0];

/// The command, with ports for the three listeners.
pub fn dev(dir: &Path, [mtls, public, ops]: [u16; 3]) -> Command {
    let mut command = lanyard();
    command.args(["dev", "--dir"]).arg(dir);
    for (flag, port) in [("--listen-mtls", mtls), ("--listen-public", public), ("--listen-ops", ops)] {
        command.args([flag, &format!("127.0.0.1:{port}")]);
    }
    command
}

/// Runs until it is dropped, with its directory.
pub struct Dev {
    pub files: Files,
    /// All that it printed at startup.
    pub printed: Vec<String>,
    _process: Process,
    _directory: TempDir,
}

impl Dev {
    /// On any free ports, in a directory of its own.
    pub fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let process = Process::start(&mut dev(directory.path(), ANY));
        let printed = process.until(LAST_LINE);
        let files = Files { dir: directory.path().to_owned(), server: server(&printed) };
        Self { files, printed, _process: process, _directory: directory }
    }
}

/// A text in the last line that it prints at startup.
pub const LAST_LINE: &str = "serve --config";

/// The URL of the mTLS listener, as its first line names it.
pub fn server(printed: &[String]) -> String {
    let line = printed.iter().find(|line| line.starts_with("Lanyard serves: ")).unwrap();
    line.split_whitespace().nth(2).unwrap().to_owned()
}

/// A folder with ca.pem, NAME.pem and NAME-key.pem, and the URL of their server.
#[derive(Clone)]
pub struct Files {
    pub dir: PathBuf,
    pub server: String,
}

impl Files {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A command with the identity of these files.
    pub fn command(&self, who: &str, arguments: &[&str]) -> Command {
        let mut command = lanyard();
        command.args(arguments).args(["--server", &self.server]);
        let files =
            [("--ca", "ca.pem".to_owned()), ("--cert", format!("{who}.pem")), ("--key", format!("{who}-key.pem"))];
        for (flag, file) in files {
            command.arg(flag).arg(self.path(&file));
        }
        command
    }

    pub fn run(&self, who: &str, arguments: &[&str]) -> Finished {
        run(&mut self.command(who, arguments))
    }

    /// The token that it receives with these arguments.
    pub fn token(&self, who: &str, arguments: &[&str]) -> String {
        self.run(who, &[&["token", "get"], arguments].concat()).ok().trim().to_owned()
    }

    /// Checks as the proxy whether this token may be used with a certificate, PEM.
    pub fn validate(&self, token: &str, certificate: &str) -> Finished {
        let certificate = self.path(certificate);
        self.run("proxy", &["validate", token, "--audience", AUDIENCE, "--certificate", text(&certificate)])
    }

    /// Applies a YAML document as the admin.
    pub fn apply(&self, yaml: &str) -> Finished {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile_in(&self.dir).unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        self.run("admin", &["client", "apply", "-f", text(file.path())])
    }
}
