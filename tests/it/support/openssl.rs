//! A server whose every certificate was made with the openssl command line, as operators make them.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::tools;

const CONFIG: &str = "\
issuer: https://localhost:PUBLIC
listeners: {mtls: '127.0.0.1:MTLS', public: '127.0.0.1:PUBLIC', ops: '127.0.0.1:0'}
tls: {certificate: server.pem, key: server-key.pem}
trust:
  trust_domain: prod.example
  bundles: {prod.example: ca.pem}
  client_cas: {corp: corp.pem}
store: {memory: true}
keys: {key_encryption_key_file: key-encryption-key}
registration: own-identity
exchange: {enabled: true}
roles: {admins: [{spiffe_id: spiffe://prod.example/admin}], proxies: [{spiffe_id: spiffe://prod.example/proxy, resources: ['*']}]}
";

/// The extensions that SPIFFE requires of a leaf (X509-SVID section 4 and appendix A).
pub const SVID: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
    extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=";

/// The extensions that CAs put into client certificates.
pub const LEAF: &str = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n";

/// A server whose files were all made by openssl.
pub struct TestAuthority {
    pub files: Files,
    /// The URL of the public listener, which is the issuer.
    pub public: String,
    openssl: &'static str,
    _process: Process,
    _directory: TempDir,
}

impl TestAuthority {
    /// `None` if openssl is to be skipped.
    pub fn start() -> Option<Self> {
        Self::start_with(|_| String::new())
    }

    /// With these lines beside the others of its configuration; the files that they name go into the same folder.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Option<Self> {
        let openssl = tools::openssl()?;
        let directory = TempDir::new().unwrap();
        let mut files = Files { dir: directory.path().to_owned(), server: String::new() };
        let make = Make { dir: files.dir.clone(), openssl };
        make.ca("ca", "/O=prod.example/CN=root");
        make.ca("corp", "/O=Corp/CN=client CA");
        make.leaf("ca", "server", "/CN=server", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n");
        make.svid("admin", "URI:spiffe://prod.example/admin");
        fs::write(files.path("key-encryption-key"), make.run(&["rand", "-base64", "32"])).unwrap();
        let [mtls, public] = free_ports().map(|port: u16| port.to_string());
        let config = CONFIG.replace("MTLS", &mtls).replace("PUBLIC", &public) + &more(&files.dir);
        fs::write(files.path("lanyard.yaml"), config).unwrap();

        let process = Process::start(lanyard().args(["serve", "--config"]).arg(files.path("lanyard.yaml")));
        process.until("serving");
        files.server = format!("https://localhost:{mtls}");
        let public = format!("https://localhost:{public}");
        Some(Self { files, public, openssl, _process: process, _directory: directory })
    }

    pub fn make(&self) -> Make {
        Make { dir: self.files.dir.clone(), openssl: self.openssl }
    }

    pub fn register(&self, client_id: &str, method: &str, identity: &str) {
        let document = format!(
            "client_id: {client_id}\ntoken_endpoint_auth_method: {method}\n{identity}\naudience: [https://a.example]\n"
        );
        self.files.apply(&document).ok();
    }

    /// Registers a client that may have tokens for `resource`, with the scopes `orders.read` and `orders.write`.
    pub fn offer(&self, resource: &str, client_id: &str, method: &str, identity: &str) {
        let document = format!(
            "client_id: {client_id}\ntoken_endpoint_auth_method: {method}\n{identity}\n\
             scope: orders.read orders.write\naudience: [{resource}]\n"
        );
        self.files.apply(&document).ok();
    }

    pub fn register_certificate(&self, client_id: &str) {
        let pem = fs::read_to_string(self.files.path(&format!("{client_id}.pem"))).unwrap();
        let indented = format!("certificate_pem: |\n  {}", pem.trim().replace('\n', "\n  "));
        self.register(client_id, "self_signed_tls_client_auth", &indented);
    }

    /// Requests a token with the certificate of `who`.
    pub fn ask(&self, who: &str, client_id: &str) -> Finished {
        let Finished { code, stdout, stderr } = self.files.run(who, &["token", "get", "--client-id", client_id]);
        if code == Some(0) {
            let certificate = self.files.path(&format!("{who}.pem"));
            let inspect = ["token", "inspect", stdout.trim(), "-o", "json", "--cert"];
            let inspected = run(lanyard().args(inspect).arg(certificate)).json(0);
            assert_eq!(inspected["certificate"]["matches"], true, "{inspected}");
        }
        Finished { code, stdout, stderr }
    }
}

/// Makes certificates: NAME.pem with NAME-key.pem.
pub struct Make {
    pub dir: PathBuf,
    openssl: &'static str,
}

impl Make {
    pub fn run(&self, arguments: &[&str]) -> String {
        run(Command::new(self.openssl).args(arguments).current_dir(&self.dir)).ok()
    }

    /// x5t#S256 of NAME.pem, computed without this crate's code.
    pub fn thumbprint(&self, name: &str) -> String {
        let line = format!(
            "{openssl} x509 -in {name}.pem -outform der | {openssl} dgst -sha256 -binary | {openssl} base64 -A \
             | tr '+/' '-_' | tr -d =",
            openssl = self.openssl
        );
        run(shell(&line).current_dir(&self.dir)).ok().trim().to_owned()
    }

    pub fn self_signed(&self, name: &str, subject: &str, more: &[&str]) {
        let (key, out) = (format!("{name}-key.pem"), format!("{name}.pem"));
        let request = ["req", "-x509", "-nodes", "-subj", subject, "-keyout", &key, "-out", &out];
        self.run(&[&request, more].concat());
    }

    pub fn ca(&self, name: &str, subject: &str) {
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
        self.self_signed(name, subject, &[&curve[..], &usage[..]].concat());
    }

    pub fn leaf(&self, ca: &str, name: &str, subject: &str, extensions: &str) {
        let [key, request, out, text] = ["-key.pem", ".csr", ".pem", ".ext"].map(|suffix| format!("{name}{suffix}"));
        let (ca, ca_key) = (format!("{ca}.pem"), format!("{ca}-key.pem"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let requested = ["req", "-new", "-nodes", "-utf8", "-subj", subject, "-keyout", &key, "-out", &request];
        self.run(&[&requested[..], &curve[..]].concat());
        fs::write(self.dir.join(&text), extensions).unwrap();
        let from = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        self.run(&[&from[..], &["-extfile", &text, "-days", "1", "-out", &out]].concat());
    }

    pub fn svid(&self, name: &str, names: &str) {
        self.leaf("ca", name, "/O=SPIRE", &format!("{SVID}{names}\n"));
    }
}

/// The claims of the token in a token endpoint's response.
pub fn claims(answer: &Value) -> Value {
    let payload = answer["access_token"].as_str().and_then(|token| token.split('.').nth(1));
    let payload = payload.unwrap_or_else(|| panic!("no token: {answer}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
