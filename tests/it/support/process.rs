//! The real binary as a process.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write as _;
use std::iter;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpSocket;

use crate::support::test_process::Chance;

/// How long a process may print nothing before the test gives up.
const OUTPUT_TIMEOUT: Duration = Duration::from_mins(1);

/// The binary under test, without environment variables, and without the contexts of whoever runs the tests.
pub fn lanyard() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LANYARD_")) {
        command.env_remove(name);
    }
    command.env("LANYARD_CONTEXTS", "/nonexistent/contexts.yaml");
    command
}

/// A command line for a shell.
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// The result of a command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// What it printed, as JSON, if it ended with this code.
    #[track_caller]
    pub fn json(self, code: i32) -> serde_json::Value {
        assert_eq!(self.code, Some(code), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it failed, printed no result, and printed the problem and, on a line of its own, what to do next.
    #[track_caller]
    pub fn refused(self, problem: &str, next: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{self:?}");
        assert!(lines[0].starts_with("error: ") && lines[0].contains(problem), "not '{problem}': {self:?}");
        assert!(lines[1].starts_with("  next: ") && lines[1].contains(next), "not '{next}': {self:?}");
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Finished {
    run_with(command, "")
}

/// Runs a command to its end, with this on its stdin.
pub fn run_with(command: &mut Command, stdin: &str) -> Finished {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Dropped at the end of this line, which ends the input. Not every command reads it.
    let _unread = child.stdin.take().unwrap().write_all(stdin.as_bytes()).is_err();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a program at a terminal, with these variables, where this is typed. What it prints is all in `stdout`.
pub fn run_at_a_terminal(command: &Command, variables: &[(&str, &str)], typed: &str) -> Finished {
    let quoted = |word: &OsStr| format!("'{}'", word.to_str().unwrap());
    let words = iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    let line = words.collect::<Vec<_>>().join(" ");
    let mut script = Command::new("script");
    // `-e`: with the code of the command.
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("LANYARD_CONTEXTS", "/nonexistent/contexts.yaml");
    run_with(script.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied()), typed)
}

/// A command that runs until it is dropped at the latest.
pub struct Process {
    child: Child,
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take().unwrap(), sender.clone());
        forward(child.stderr.take().unwrap(), sender);
        Self { child, lines: Mutex::new(lines) }
    }

    /// What it prints, to stdout or stderr, up to and including the line that contains `mark`.
    #[track_caller]
    pub fn until(&self, mark: &str) -> Vec<String> {
        let mut printed = Vec::new();
        loop {
            match self.lines.lock().unwrap().recv_timeout(OUTPUT_TIMEOUT) {
                Ok(line) => printed.push(line),
                Err(error) => panic!("'{mark}' did not come ({error}), but: {}", printed.join("\n")),
            }
            if printed.last().is_some_and(|line| line.contains(mark)) {
                return printed;
            }
        }
    }

    /// Whether it is still running.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal, such as `HUP`.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        let sent = run(&mut shell(&format!("kill -{signal} {}", self.child.id())));
        assert_eq!(sent.code, Some(0), "{sent:?}");
    }

    /// Sends it a signal, such as `TERM`, and waits for its end: its exit code, and its remaining output.
    #[track_caller]
    pub fn end_by(mut self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        let mut printed = Vec::new();
        loop {
            match self.lines.lock().unwrap().recv_timeout(OUTPUT_TIMEOUT) {
                Ok(line) => printed.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("{signal} does not end it: {}", printed.join("\n")),
            }
        }
        (self.child.wait().unwrap().code(), printed.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill().is_err();
        let _waited = self.child.wait().is_ok();
    }
}

fn forward(stream: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
}

/// Ports for this test alone, below the range that the system uses for outgoing connections, so that a server that
/// starts a second time finds its ports free again.
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let mut chance = Chance::seeded(Chance::new_seed());
    let candidates = std::iter::repeat_with(|| 20_000 + u16::try_from(chance.below(10_000)).unwrap());
    let ports: Vec<u16> = candidates.take(1000).filter(|port| reserve(*port).is_ok()).take(COUNT).collect();
    ports.try_into().unwrap()
}

thread_local! {
    /// The reserved ports of a test, which has a thread of its own.
    static RESERVED: RefCell<Vec<TcpSocket>> = const { RefCell::new(Vec::new()) };
}

/// Binds a socket to the port, without listening, until the test's thread ends. Nobody else reserves the port then, also
/// in another process. A server can listen there: it binds with `SO_REUSEADDR`, as this socket has it afterwards.
fn reserve(port: u16) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.set_reuseaddr(true)?;
    RESERVED.with_borrow_mut(|reserved| reserved.push(socket));
    Ok(())
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_free_port_is_reserved_for_its_test_until_that_ends() {
    let (held, number) = (mpsc::channel(), mpsc::channel());
    let test = thread::spawn(move || {
        let [port] = free_ports();
        number.0.send(port).unwrap();
        held.1.recv().unwrap();
    });
    let port = number.1.recv().unwrap();
    assert!(reserve(port).is_err());
    // Its own server can listen there, also a second time, and nobody answers before.
    let address = (Ipv4Addr::LOCALHOST, port);
    for _ in 0..2 {
        assert!(TcpStream::connect(address).is_err());
        drop(TcpListener::bind(address).unwrap());
    }
    held.0.send(()).unwrap();
    test.join().unwrap();
    assert!(reserve(port).is_ok());
}
