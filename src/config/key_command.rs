//! Opening a sealed key-encryption key by a command, such as a tool of a key management service: the sealed key goes to
//! its standard input, the opened key comes from its standard output.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use zeroize::Zeroizing;

/// How long the command may take to print the key, and then to end.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The most bytes of output. A key has 44 characters.
const MAX_OUTPUT_BYTES: u64 = 1024;

/// The most bytes of its error output that a message quotes.
const MAX_QUOTED_BYTES: u64 = 400;

/// Runs the command. The error says what went wrong, and quotes the beginning of what the command printed as errors;
/// never any of its output.
pub(super) fn opened(command: &[String], sealed: &[u8]) -> Result<Zeroizing<String>, String> {
    run(command, sealed, TIME_LIMIT)
}

fn run(command: &[String], sealed: &[u8], limit: Duration) -> Result<Zeroizing<String>, String> {
    let (program, arguments) = command.split_first().ok_or("must name a program")?;
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What it starts itself ends with it.
        .process_group(0)
        .spawn();
    let mut child = started.map_err(|error| format!("{program} cannot be started: {error}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (output, complaints) = attach(&mut child, sealed);
    let printed = output.recv_timeout(limit);
    let ended = printed.is_ok().then(|| ended(child, limit)).flatten();
    // It may have left processes behind, and is reaped elsewhere if it has not ended by now.
    if let Some(group) = group {
        let _gone = kill_process_group(group, Signal::KILL).is_err();
    }
    let quoted = || {
        let complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&complaints).trim() {
            "" => String::new(),
            text => format!("; it said: {}", text.escape_default()),
        }
    };
    let seconds = limit.as_secs();
    let printed = match printed {
        Ok(printed) => printed.map_err(|error| format!("the output of {program} cannot be read: {error}"))?,
        Err(_) => return Err(format!("{program} did not print the key within {seconds} seconds{}", quoted())),
    };
    if u64::try_from(printed.len()).is_ok_and(|length| length > MAX_OUTPUT_BYTES) {
        return Err(format!("{program} printed more than {MAX_OUTPUT_BYTES} bytes, and a key has 44"));
    }
    match ended {
        Some(status) if status.success() => {}
        Some(status) => return Err(format!("{program} failed ({status}){}", quoted())),
        None => return Err(format!("{program} did not end within {seconds} seconds{}", quoted())),
    }
    let text = str::from_utf8(&printed).map_err(|_| format!("{program} printed no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

type Output = Receiver<io::Result<Zeroizing<Vec<u8>>>>;

/// Feeds the command, and reads what it prints: its output up to a little more than is allowed, and the beginning of its
/// errors.
fn attach(child: &mut Child, sealed: &[u8]) -> (Output, Arc<Mutex<Vec<u8>>>) {
    let (send, output) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        let sealed = sealed.to_vec();
        // A command that does not read it all may still print the key.
        thread::spawn(move || stdin.write_all(&sealed));
    }
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut bytes = Zeroizing::new(Vec::with_capacity(2048));
            let read = stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut bytes);
            send.send(read.map(|_| bytes))
        });
    }
    let complaints: Arc<Mutex<Vec<u8>>> = Arc::default();
    if let Some(mut stderr) = child.stderr.take() {
        let complaints = Arc::clone(&complaints);
        thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                let mut complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MAX_QUOTED_BYTES.saturating_sub(complaints.len() as u64);
                complaints.extend(buffer.iter().take(length).take(usize::try_from(room).unwrap_or(0)));
            }
        });
    }
    (output, complaints)
}

/// How the command ended; `None` where it did not within the limit.
fn ended(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let (send, ended) = mpsc::channel();
    thread::spawn(move || send.send(child.wait()));
    ended.recv_timeout(limit).ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, sealed: &str, limit: Duration) -> Result<Zeroizing<String>, String> {
        run(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], sealed.as_bytes(), limit)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn what_the_command_makes_of_the_sealed_key_is_the_key() {
        assert_eq!(shell("tr a-z A-Z", "sealed", LONG).as_deref().map(String::as_str), Ok("SEALED"));
        assert_eq!(shell("echo key; echo warning >&2", "", LONG).as_deref().map(String::as_str), Ok("key\n"));
        let large = "x".repeat(1024 * 1024);
        assert_eq!(shell("echo key", &large, LONG).as_deref().map(String::as_str), Ok("key\n"), "not all is read");
    }

    #[test]
    fn a_command_that_fails_is_quoted_in_part_and_its_output_never() {
        let error = shell("echo secret; echo refused by the service >&2; exit 3", "", LONG).unwrap_err();
        assert!(error.contains("exit status: 3") && error.ends_with("it said: refused by the service"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        let error = shell("yes complaint | head -c 100000 >&2; exit 1", "", LONG).unwrap_err();
        assert!(error.contains("complaint") && error.len() < 1000, "{error}");
    }

    #[test]
    fn a_command_that_prints_too_much_is_refused() {
        for script in ["yes secret", "yes secret | head -c 1025"] {
            let error = shell(script, "", LONG).unwrap_err();
            assert!(error.contains("more than 1024 bytes") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
        let short = Duration::from_millis(100);
        let folder = tempfile::TempDir::new().unwrap();
        let mark = folder.path().join("mark");
        // It prints nothing; it does not end; a process that it started holds its output.
        for script in ["sleep 1000", "echo key; exec 1>&-; sleep 1000", "sleep 1000 & exit 0"] {
            let script = format!("echo $$ > {}; {script}", mark.display());
            let error = shell(&script, "", short).unwrap_err();
            assert!(error.contains("within 0 seconds"), "{script}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        assert_eq!(run(&[], b"", LONG).unwrap_err(), "must name a program");
        let error = run(&["/no/such/program".to_owned()], b"", LONG).unwrap_err();
        assert!(error.starts_with("/no/such/program cannot be started"), "{error}");
        assert_eq!(shell("printf '\\377'", "", LONG).unwrap_err(), "sh printed no text");
    }
}
