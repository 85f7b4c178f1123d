//! The release binary in a process of its own, on a core of its own, and what it costs.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use rcgen::Certificate;
use rcgen::CertificateParams;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::SanType;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::Failure;
use crate::support::client::Peer;

/// Linux reports CPU time in hundredths of a second to every program (`USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

/// A server's process.
pub(crate) trait Process {
    fn id(&self) -> u32;

    /// The user and system time of the process so far, in seconds.
    fn cpu_seconds(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The program's name may contain spaces; the fields are counted from after it.
        let (_, fields) = stat.rsplit_once(") ").ok_or("unreadable stat")?;
        let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / TICKS_A_SECOND)
    }
}

/// The core of the server, and that of everything else.
pub(crate) const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";

/// The setting under which one caller may send as much as the server can take.
pub(crate) const UNSHARED: (&str, &str) = (
    "LANYARD_LIMITS__CALLERS",
    "[{role: proxy, address: {requests: 1000000, requests_per_second: 1000000, buffered_bytes: 1000000000}}, \
     {role: workload, address: {requests: 1000000, requests_per_second: 1000000, buffered_bytes: 1000000000}}, \
     {role: admin, address: {requests: 1000000, requests_per_second: 1000000, buffered_bytes: 1000000000}}]",
);

/// How long a server may take to start: with a million registrations that is a while.
const START: Duration = Duration::from_mins(3);

/// What `lanyard dev` wrote: a trust domain, samples, and a store that no process uses.
pub(crate) struct Folder {
    dir: TempDir,
    mtls: u16,
    ops: u16,
}

impl Folder {
    pub(crate) fn new() -> Result<Self, Failure> {
        let dir = tempfile::tempdir()?;
        let any = ["--listen-mtls", "127.0.0.1:0", "--listen-public", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0"];
        let story = Command::new(PROGRAM).args(["dev", "--once", "--dir"]).arg(dir.path()).args(any).output()?;
        if !story.status.success() {
            return Err(String::from_utf8_lossy(&story.stderr).into());
        }
        let yaml = fs::read_to_string(dir.path().join("lanyard.yaml"))?;
        let port = |listener: &str| -> Result<u16, Failure> {
            let address = yaml.lines().find_map(|line| line.trim().strip_prefix(listener)).ok_or("no address")?;
            Ok(address.rsplit(':').next().ok_or("no port")?.parse()?)
        };
        Ok(Self { mtls: port("mtls: ")?, ops: port("ops: ")?, dir })
    }

    /// The directory of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// An edge of a server that runs, in its trust domain.
    pub(crate) fn of_edge(centre: &Server) -> Result<Self, Failure> {
        let (dir, of_centre) = (tempfile::tempdir()?, centre.folder());
        for name in ["ca.pem", "server.pem", "server-key.pem"] {
            fs::copy(of_centre.join(name), dir.path().join(name))?;
        }
        let (chain, key) = centre.issued("edge")?;
        fs::write(dir.path().join("edge.pem"), chain)?;
        fs::write(dir.path().join("edge-key.pem"), key)?;
        let (mtls, ops) = (free_port()?, free_port()?);
        let whole = fs::read_to_string(of_centre.join("lanyard.yaml"))?;
        let issuer = whole.lines().find(|line| line.starts_with("issuer: ")).ok_or("no issuer")?;
        let yaml = format!(
            "dev: true
{issuer}
mtls_url: https://localhost:{centre}
listeners: {{mtls: '127.0.0.1:{mtls}', public: '127.0.0.1:0', ops: '127.0.0.1:{ops}'}}
tls: {{certificate: server.pem, key: server-key.pem}}
trust: {{trust_domain: dev.internal, bundles: {{dev.internal: ca.pem}}, client_cas: {{dev: ca.pem}}}}
store:
  upstream: {{endpoints: ['https://localhost:{centre}'], ca: ca.pem, certificate: edge.pem, key: edge-key.pem}}
roles: {{proxies: [{{spiffe_id: 'spiffe://dev.internal/proxy', resources: ['*']}}]}}
",
            centre = centre.mtls
        );
        fs::write(dir.path().join("lanyard.yaml"), yaml)?;
        Ok(Self { dir, mtls, ops })
    }

    /// A server on one core, once it is ready.
    pub(crate) async fn serve(self, settings: &[(&str, &str)], log: Stdio) -> Result<Server, Failure> {
        let process = spawn(self.dir.path(), settings, log)?;
        let server = Server { process, mtls: self.mtls, ops: self.ops, dir: self.dir };
        server.wait().await?;
        Ok(server)
    }
}

fn spawn(folder: &Path, settings: &[(&str, &str)], log: Stdio) -> Result<Child, Failure> {
    let mut server = Command::new("taskset");
    server.args(["-c", SERVER_CORE, PROGRAM, "serve", "--config"]).arg(folder.join("lanyard.yaml"));
    Ok(server.envs(settings.iter().copied()).stdout(Stdio::null()).stderr(log).spawn()?)
}

/// The program that is measured.
const PROGRAM: &str = env!("CARGO_BIN_EXE_lanyard");

/// A server on one core.
pub(crate) struct Server {
    process: Child,
    dir: TempDir,
    mtls: u16,
    ops: u16,
}

impl Server {
    /// A server with the trust domain and the samples of `lanyard dev`, and these settings (`LANYARD_…`) besides.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::start_with(settings, Stdio::null()).await
    }

    /// The same; its log goes to `log`.
    pub(crate) async fn start_with(settings: &[(&str, &str)], log: Stdio) -> Result<Self, Failure> {
        Folder::new()?.serve(settings, log).await
    }

    /// Kills the server, and starts it again with these settings.
    pub(crate) async fn start_after_kill(&mut self, settings: &[(&str, &str)]) -> Result<(), Failure> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = spawn(self.dir.path(), settings, Stdio::null())?;
        self.wait().await
    }

    async fn wait(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < START {
            if self.page("/readyz").is_ok_and(|page| page.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the server did not come up".into())
    }

    /// A page of the ops listener, with its head.
    pub(crate) fn page(&self, path: &str) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ops))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.mtls
    }

    /// One of the samples of `lanyard dev`.
    pub(crate) fn sample(&self, name: &str) -> Result<Peer, Failure> {
        Peer::in_folder(self.folder(), name, self.mtls)
    }

    /// Another workload of the trust domain.
    pub(crate) fn workload(&self, path: &str) -> Result<Peer, Failure> {
        Ok(self.certified(path)?.0)
    }

    /// The same, with its certificate.
    pub(crate) fn certified(&self, path: &str) -> Result<(Peer, Vec<u8>), Failure> {
        let (certificate, key) = self.made(path)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())?;
        let peer = Peer::new(&self.path("ca.pem"), vec![certificate.der().clone()], private, self.mtls)?;
        Ok((peer, certificate.der().to_vec()))
    }

    /// The certificate and the key of another workload, as PEM.
    fn issued(&self, path: &str) -> Result<(String, String), Failure> {
        let (certificate, key) = self.made(path)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn made(&self, path: &str) -> Result<(Certificate, KeyPair), Failure> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![SanType::URI(format!("spiffe://dev.internal/{path}").try_into()?)];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (ca, ca_key) = (self.file("ca.pem")?, KeyPair::from_pem(&self.file("ca-key.pem")?)?);
        let certificate = parameters.signed_by(&key, &Issuer::from_ca_cert_pem(&ca, ca_key)?)?;
        Ok((certificate, key))
    }

    /// The sample workload's certificate.
    pub(crate) fn certificate(&self) -> Result<Vec<u8>, Failure> {
        Ok(CertificateDer::from_pem_file(self.path("workload.pem"))?.to_vec())
    }

    /// A token of the sample workload.
    pub(crate) fn token(&self) -> Result<String, Failure> {
        let issued = self.command(&["token", "get"], "workload")?;
        Ok(issued.trim().to_owned())
    }

    /// Runs a command as one of the samples, and returns what it prints.
    pub(crate) fn command(&self, arguments: &[&str], sample: &str) -> Result<String, Failure> {
        let ran = Command::new(PROGRAM)
            .args(arguments)
            .arg("--server")
            .arg(format!("https://localhost:{}", self.mtls))
            .arg("--ca")
            .arg(self.path("ca.pem"))
            .arg("--cert")
            .arg(self.path(&format!("{sample}.pem")))
            .arg("--key")
            .arg(self.path(&format!("{sample}-key.pem")))
            .output()?;
        if ran.status.success() {
            Ok(String::from_utf8(ran.stdout)?)
        } else {
            Err(String::from_utf8_lossy(&ran.stderr).into())
        }
    }

    /// Its resident memory, in KiB.
    pub(crate) fn memory_kib(&self) -> Result<f64, Failure> {
        self.kib_of("VmRSS:")
    }

    /// The most resident memory that it had, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> Result<f64, Failure> {
        self.kib_of("VmHWM:")
    }

    fn kib_of(&self, name: &str) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let found = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("not in the status")?;
        Ok(found.trim().trim_end_matches(" kB").trim().parse()?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn file(&self, name: &str) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.path(name))?)
    }
}

impl Process for Server {
    fn id(&self) -> u32 {
        self.process.id()
    }
}

/// A server that answers without judging: this bench itself, started with `--noop`.
pub(crate) struct Noop {
    process: Child,
    port: u16,
}

impl Noop {
    /// One of this kind, with the trust domain in this folder.
    pub(crate) fn start(kind: &str, folder: &Path) -> Result<Self, Failure> {
        let mut process = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(std::env::current_exe()?)
            .args(["--noop", kind])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { process, port: line.trim().parse()? })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A peer that it accepts.
    pub(crate) fn peer(&self, folder: &Path) -> Result<Peer, Failure> {
        Peer::in_folder(folder, "proxy", self.port)
    }
}

impl Process for Noop {
    fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Noop {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port of this machine that nothing listens at.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until a program that was started listens at this port.
pub(crate) async fn until_listening(port: u16) -> Result<(), Failure> {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begin.elapsed() > Duration::from_secs(10) {
            return Err(format!("nothing listens at port {port}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Keeps this process, and the threads that it will start, away from the server's core.
pub(crate) fn leave_the_servers_core() -> Result<(), Failure> {
    run("taskset", &["-c", "-p", CLIENT_CORE, &std::process::id().to_string()])
}

/// Lets every other thread go before this one.
pub(crate) fn go_last() -> Result<(), Failure> {
    let this = fs::read_link("/proc/thread-self")?;
    let thread = this.file_name().and_then(|name| name.to_str()).ok_or("no thread")?;
    run("renice", &["-n", "19", "-p", thread])
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let done = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(format!("{program} failed (from the package util-linux)").into()) }
}
