//! Support for the store tests: this test binary started as another process, and a seeded generator of random numbers.

use std::ffi::OsStr;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lanyard::store::sled::OpenError;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;

/// Names the store's directory to a started process; without it the process tests do nothing.
const DIRECTORY: &str = "LANYARD_TEST_STORE";

pub(crate) fn open(directory: &Path) -> Result<SledStore, OpenError> {
    SledStore::open(directory, SledOptions::default())
}

/// The directory that this process was started for, if it was.
pub(crate) fn own_directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Sends one line to the process that started this one. It is flushed when this returns.
pub(crate) fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Another process of this binary, which runs the one test `name` and communicates in lines.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    pub(crate) fn start(name: &str, directory: &Path, variables: &[(&str, &OsStr)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line, or `None` when the process has ended or nothing came for half a minute.
    pub(crate) fn next_line(&self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_secs(30)).ok()
    }

    /// Kills the process with SIGKILL, and returns its remaining lines.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }

    /// All lines until the process ends, and whether it succeeded; `None` if it did not end in 30 seconds.
    pub(crate) fn finish(mut self) -> Option<(Vec<String>, bool)> {
        let mut printed = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) => printed.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Some((printed, self.child.wait().unwrap().success()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.child.kill().unwrap();
                    self.child.wait().unwrap();
                    return None;
                }
            }
        }
    }
}

/// Waits for a moment: a process is killed at a random point, for which there is no event to wait for.
pub(crate) fn let_pass(moment: Duration) {
    let (_open, never) = mpsc::channel::<()>();
    assert!(never.recv_timeout(moment).is_err());
}

/// Marsaglia's xorshift64*.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A new seed for each run. It is printed, so that a failure can be repeated.
    pub(crate) fn new_seed() -> u64 {
        let mut bytes = [0; 4];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        u32::from_be_bytes(bytes).into()
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % end
    }
}
