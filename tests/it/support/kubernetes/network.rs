//! A network, a mount table and processes apart from those of the machine, which end with the value.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// The first process: when its input ends, it does, and with it every other one. The input ends when this value is dropped,
/// or when the tests end in any other way.
const FIRST: &str = r#"ip link set lo up && mount --bind "$1" /etc/hosts && echo up && exec cat"#;

/// A network with a loopback alone, in which all ports are free, and with an `/etc/hosts` of its own.
pub struct Network {
    first: Child,
}

impl Network {
    /// Creates one. Its `/etc/hosts` is the file `hosts` in `folder`.
    pub fn create(folder: &Path) -> Self {
        let hosts = folder.join("hosts");
        fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            FIRST,
            "first",
        ]);
        let unshare = unshare.arg(hosts).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut first = unshare.spawn().unwrap_or_else(|error| panic!("{REMEDY}: unshare: {error}"));
        let mut line = String::new();
        BufReader::new(first.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line != "up\n" {
            let mut reason = String::new();
            first.stderr.take().unwrap().read_to_string(&mut reason).unwrap();
            panic!("{REMEDY}: {reason}");
        }
        Self { first }
    }

    /// A command in it. It begins in the folder `/`.
    pub fn command(&self, program: &Path) -> Command {
        let own = |kind: &str| format!("/proc/{}/ns/{kind}", self.first.id());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", own("net"))).arg(format!("--mount={}", own("mnt")));
        command.arg(format!("--pid={}", own("pid_for_children"))).args(["--wdns=/", "--"]).arg(program);
        command
    }
}

const REMEDY: &str = "these tests need root, with network namespaces and mounts of its own, and ip of iproute2; or leave them \
    out with LANYARD_SKIP=kubernetes";

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.first.stdin.take());
        let _ended = self.first.wait().is_ok();
    }
}
