//! A real Envoy, run on the configuration that `deploy/envoy` ships.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::leaf::Leaf;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::support::wire;

/// How long Envoy may take to be ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// What Envoy is started with: the shipped configuration, with changes.
pub struct EnvoySetup<'a> {
    /// Its certificate, which names `localhost` too, and the roots by which it knows its clients and Lanyard.
    pub svid: &'a Leaf,
    pub bundle: &'a str,
    /// Where Lanyard, and the service behind it, listen.
    pub lanyard: SocketAddr,
    pub upstream: SocketAddr,
    /// Other changes to the text: what must stand there, and what stands there then.
    pub changes: Vec<(&'static str, String)>,
}

/// A running Envoy.
pub struct Envoy {
    process: Child,
    pub address: SocketAddr,
}

impl EnvoySetup<'_> {
    /// The configuration with the test's addresses and files.
    fn write(&self, folder: &Path) {
        let shipped = fs::read_to_string(in_crate("deploy/envoy/envoy.yaml")).unwrap();
        let endpoint = |address: SocketAddr| format!("{{address: {}, port_value: {}}}", address.ip(), address.port());
        let at = |name: &str| folder.join(name).display().to_string();
        let mut changes = vec![
            ("{address: 127.0.0.1, port_value: 9901}", "{address: 127.0.0.1, port_value: 0}".to_owned()),
            ("{address: 0.0.0.0, port_value: 10443}", "{address: 127.0.0.1, port_value: 0}".to_owned()),
            ("{address: 127.0.0.1, port_value: 8080}", endpoint(self.upstream)),
            ("{address: lanyard.lanyard.svc, port_value: 8443}", endpoint(self.lanyard)),
            ("sni: lanyard.lanyard.svc", "sni: localhost".to_owned()),
            ("{exact: lanyard.lanyard.svc}", "{exact: localhost}".to_owned()),
            ("/etc/envoy/proxy.pem", at("proxy.pem")),
            ("/etc/envoy/proxy-key.pem", at("proxy-key.pem")),
            ("/etc/envoy/prod.example.pem", at("prod.example.pem")),
        ];
        changes.extend(self.changes.clone());
        let text = changes.iter().fold(shipped, |text, (before, after)| {
            assert!(text.contains(before), "deploy/envoy/envoy.yaml does not say {before}");
            text.replace(before, after)
        });
        for (name, contents) in [
            ("envoy.yaml", text),
            ("proxy.pem", self.svid.chain_pem()),
            ("proxy-key.pem", self.svid.key_pem()),
            ("prod.example.pem", self.bundle.to_owned()),
        ] {
            fs::write(folder.join(name), contents).unwrap();
        }
    }

    /// Starts it, and waits until it serves. `None` if Envoy is to be skipped.
    pub async fn start(self) -> Option<Envoy> {
        let program = tools::envoy()?;
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        let admin = folder.path().join("admin");
        let mut process = Command::new(program)
            .args(["--use-dynamic-base-id", "--disable-hot-restart", "--concurrency", "1", "-c"])
            .arg(folder.path().join("envoy.yaml"))
            .arg("--admin-address-path")
            .arg(&admin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (sender, serving) = mpsc::channel();
        // It goes on reading: Envoy would wait for room to log.
        thread::spawn(move || {
            let mut early = Vec::new();
            for line in log.lines().map_while(Result::ok) {
                let started = line.contains("starting workers");
                early.push(line);
                if started && sender.send(Ok(())).is_err() {
                    return;
                }
            }
            drop(sender.send(Err(early.join("\n"))));
        });
        match serving.recv_timeout(PATIENCE) {
            Ok(Ok(())) => {}
            Ok(Err(log)) => panic!("Envoy ended:\n{log}"),
            Err(error) => panic!("Envoy did not start: {error}"),
        }
        let admin: SocketAddr = fs::read_to_string(&admin).unwrap().trim().parse().unwrap();
        let listeners = wire::http1(TcpStream::connect(admin).await.unwrap(), "GET /listeners").await.body;
        let address = listeners.lines().find_map(|line| line.strip_prefix("orders::")?.trim().parse().ok());
        let address = address.unwrap_or_else(|| panic!("no listener in {listeners}"));
        Some(Envoy { process, address })
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
