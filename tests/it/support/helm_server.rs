//! A real server, started with the arguments and the environment that the chart gives its container.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;

use serde_json::Value;

use crate::support::helm_pod::Pod;
use crate::support::helm_pod::Site;
use crate::support::process::Process;

/// A server that runs and is ready.
pub struct Server {
    pub process: Process,
}

impl Server {
    /// Starts it, and probes it as a kubelet does until it is ready.
    pub fn start(site: &Site) -> Self {
        let pod = site.server();
        let [container] = pod.containers() else { panic!("one container") };
        let mut process = Process::start(&mut pod.command(container));
        while !probed(site, container, "readinessProbe").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
            if !process.runs() {
                // Never printed: it fails with the process's output.
                process.until("\0");
            }
            std::thread::yield_now();
        }
        for probe in ["startupProbe", "livenessProbe"] {
            let answer = probed(site, container, probe).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{probe}: {answer}");
        }
        Self { process }
    }
}

/// The response to a probe of the server, if there is one.
fn probed(site: &Site, container: &Value, probe: &str) -> Option<String> {
    let get = &container[probe]["httpGet"];
    // Refused until the server listens.
    let mut stream = TcpStream::connect(("127.0.0.1", site.port(get["port"].as_str().unwrap()))).ok()?;
    let path = get["path"].as_str().unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The server's container, with another command of the same binary.
pub fn in_its_place(pod: &Pod<'_>, arguments: &[&str]) -> std::process::Command {
    pod.other_command(&pod.containers()[0], arguments.iter().copied())
}
