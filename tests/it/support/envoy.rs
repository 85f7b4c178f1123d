//! A real Envoy, run on the configuration in `deploy/envoy`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use tokio::net::TcpStream;

use crate::support::leaf::Leaf;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::support::wire;

/// The configuration of a started Envoy: the shipped one, with changes.
pub struct EnvoySetup<'a> {
    /// The socket that it asks over, instead of over TLS, and the user that it runs as.
    pub local: Option<(&'a Path, u32)>,
    /// Its certificate, which also names `localhost`, and the roots by which it verifies its clients and Lanyard.
    pub svid: &'a Leaf,
    pub bundle: &'a str,
    /// The addresses of Lanyard and of the service behind Envoy.
    pub lanyard: SocketAddr,
    pub upstream: SocketAddr,
    /// Other changes to the text: the text to replace, and its replacement.
    pub changes: Vec<(&'static str, String)>,
}

/// A running Envoy; killed when dropped. If the test fails, its log is printed.
pub struct Envoy {
    process: Option<Process>,
    pub address: SocketAddr,
    /// The address of its admin interface.
    pub admin: SocketAddr,
}

impl EnvoySetup<'_> {
    /// The configuration with the test's addresses and files.
    fn write(&self, folder: &Path) {
        let shipped = fs::read_to_string(in_crate("deploy/envoy/envoy.yaml")).unwrap();
        let local = fs::read_to_string(in_crate("deploy/envoy/local-socket.yaml")).unwrap();
        let shipped = match self.local {
            None => shipped,
            Some(_) => [shipped.split_once("  - name: lanyard\n").expect("a cluster of that name").0, &local].concat(),
        };
        let endpoint = |address: SocketAddr| format!("{{address: {}, port_value: {}}}", address.ip(), address.port());
        let at = |name: &str| folder.join(name).display().to_string();
        let mut changes = vec![
            ("{address: 127.0.0.1, port_value: 9901}", "{address: 127.0.0.1, port_value: 0}".to_owned()),
            ("{address: 0.0.0.0, port_value: 10443}", "{address: 127.0.0.1, port_value: 0}".to_owned()),
            ("{address: 127.0.0.1, port_value: 8080}", endpoint(self.upstream)),
            ("/etc/envoy/proxy.pem", at("proxy.pem")),
            ("/etc/envoy/proxy-key.pem", at("proxy-key.pem")),
            ("/etc/envoy/prod.example.pem", at("prod.example.pem")),
            // Longer than any operation takes on a machine that is busy with other tests.
            ("connect_timeout: 1s", "connect_timeout: 30s".to_owned()),
            ("timeout: 0.25s", "timeout: 20s".to_owned()),
        ];
        changes.extend(match self.local {
            None => vec![
                ("{address: lanyard.lanyard.svc, port_value: 8443}", endpoint(self.lanyard)),
                ("sni: lanyard.lanyard.svc", "sni: localhost".to_owned()),
                ("{exact: lanyard.lanyard.svc}", "{exact: localhost}".to_owned()),
            ],
            Some((socket, _)) => vec![("path: /run/lanyard/local.sock", format!("path: {}", socket.display()))],
        });
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

    /// The result of `envoy --mode validate`. `None` if Envoy is to be skipped.
    pub fn validate(&self) -> Option<Finished> {
        let program = tools::envoy()?;
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        Some(run(Command::new(program).args(["--mode", "validate", "-c"]).arg(folder.path().join("envoy.yaml"))))
    }

    /// Starts it, and waits until it serves. `None` if Envoy is to be skipped.
    pub async fn start(self) -> Option<Envoy> {
        let program = tools::envoy()?;
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        let admin = folder.path().join("admin");
        let own = folder.path().metadata().unwrap().uid();
        let other = self.local.map(|(_, user)| user).filter(|user| *user != own);
        // The tools of whoever runs the tests are nobody else's.
        let program = other.map_or(program.clone(), |_| {
            let copy = folder.path().join("envoy");
            fs::copy(&program, &copy).unwrap();
            copy
        });
        let mut command = Command::new(program);
        command.args(["--disable-hot-restart", "--concurrency", "1", "-c"]).arg(folder.path().join("envoy.yaml"));
        if let Some(user) = other {
            command.uid(user).gid(user);
            let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
            for path in files.chain([folder.path().to_owned()]) {
                std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
            }
        }
        let process = Process::start(command.arg("--admin-address-path").arg(&admin));
        process.until("starting workers");
        let admin: SocketAddr = fs::read_to_string(&admin).unwrap().trim().parse().unwrap();
        let listeners = wire::http1(TcpStream::connect(admin).await.unwrap(), "GET /listeners").await.body;
        let address = listeners.lines().find_map(|line| line.strip_prefix("orders::")?.trim().parse().ok());
        let address = address.unwrap_or_else(|| panic!("no listener in {listeners}"));
        Some(Envoy { process: Some(process), address, admin })
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(process) = self.process.take()
        {
            println!("Envoy at {}: {}", self.address, process.end_by("KILL").1);
        }
    }
}
