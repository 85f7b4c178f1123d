//! `lanyard serve` as a process of its own, for tests of whole processes.

use std::fs;
use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::ManualClock;
use lanyard::authority::clock::SystemClock;

use crate::support::ca::TestCa;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;

/// The present version.
pub const BINARY: &str = env!("CARGO_BIN_EXE_lanyard");

/// A running `lanyard serve`; killed when dropped.
pub struct Serve {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// The address of its mTLS listener.
    pub mtls: SocketAddr,
    /// The address of its public listener.
    pub public: SocketAddr,
    /// The address of its probes.
    pub ops: SocketAddr,
}

/// A set-up for a process on the system clock.
pub fn real_time() -> Setup {
    let now = SystemClock.now();
    Setup { ca: TestCa::at(TRUST_DOMAIN, now), clock: Arc::new(ManualClock::new(now)), ..Setup::default() }
}

impl Serve {
    /// Starts a server on the files of `setup`, with this limit of file descriptors.
    pub fn start(setup: &Setup, descriptors: u32) -> Self {
        Self::started(Path::new(BINARY), (&[], Stdio::null()), setup, descriptors).0
    }

    /// The same with these variables in its environment.
    pub fn start_in(environment: &[(&str, &str)], setup: &Setup, descriptors: u32) -> Self {
        Self::start_of(Path::new(BINARY), environment, setup, descriptors)
    }

    /// The same with its standard output in this file.
    pub fn start_into(stdout: File, environment: &[(&str, &str)], setup: &Setup, descriptors: u32) -> Self {
        Self::started(Path::new(BINARY), (environment, stdout.into()), setup, descriptors).0
    }

    /// The same with a file system of this size, such as `256k`, at `volume`, which only it sees.
    pub fn start_on_small_disk(volume: &Path, size: &str, environment: &[(&str, &str)], setup: &Setup) -> Self {
        let mount =
            format!("exec unshare -rm sh -c 'mount -t tmpfs -o size={size} none {} && exec \"$@\"' sh", text(volume));
        Self::spawned(&mount, Path::new(BINARY), (environment, Stdio::null()), setup, 1024).0
    }

    /// The file of this path as the server sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.child.id(), text(path)))
    }

    /// The same of another version's binary, with these variables in its environment.
    pub fn start_of(binary: &Path, environment: &[(&str, &str)], setup: &Setup, descriptors: u32) -> Self {
        Self::started(binary, (environment, Stdio::null()), setup, descriptors).0
    }

    /// The same, and what it logs until it serves.
    pub fn start_with_lines(setup: &Setup, descriptors: u32) -> (Self, Vec<String>) {
        Self::started(Path::new(BINARY), (&[], Stdio::null()), setup, descriptors)
    }

    fn started(
        binary: &Path,
        outside: (&[(&str, &str)], Stdio),
        setup: &Setup,
        descriptors: u32,
    ) -> (Self, Vec<String>) {
        Self::spawned("exec", binary, outside, setup, descriptors)
    }

    /// `exec` begins the command that the server is.
    fn spawned(
        exec: &str,
        binary: &Path,
        (environment, stdout): (&[(&str, &str)], Stdio),
        setup: &Setup,
        descriptors: u32,
    ) -> (Self, Vec<String>) {
        let mut child = Command::new("sh")
            .envs(environment.iter().copied())
            .args(["-c", &format!("ulimit -n \"$2\"; {exec} \"$0\" serve --config \"$1\"")])
            .arg(binary)
            .arg(setup.path("lanyard.yaml"))
            .arg(descriptors.to_string())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut serve = Self { child, lines, mtls: nowhere, public: nowhere, ops: nowhere };
        let lines = serve.lines_until("mtls=");
        let line = lines.last().unwrap();
        let address =
            |name: &str| line.split_once(name).unwrap().1.split(' ').next().unwrap().parse::<SocketAddr>().unwrap();
        (serve.mtls, serve.public, serve.ops) = (address("mtls="), address("public="), address("ops="));
        (serve, lines)
    }

    /// The next line of its log that contains `text`.
    pub fn line_with(&self, text: &str) -> String {
        self.lines_until(text).pop().unwrap()
    }

    /// The lines of its log up to and including the next one that contains `text`.
    pub fn lines_until(&self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while lines.last().is_none_or(|line| !line.contains(text)) {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(30)) else {
                panic!("no line with {text:?} came, only {lines:#?}")
            };
            lines.push(line);
        }
        lines
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits for its end, and returns whether it succeeded.
    pub fn finish(mut self) -> bool {
        // The log ends with the process.
        while self.lines.recv_timeout(Duration::from_secs(30)).is_ok() {}
        self.child.wait().unwrap().success()
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Sets how many file descriptors it may have from now on. Returns whether this machine has the command for it.
    pub fn allow_descriptors(&self, count: u32) -> bool {
        let (pid, limit) = (self.child.id().to_string(), format!("--nofile={count}:"));
        Command::new("prlimit").args(["--pid", &pid, &limit]).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
