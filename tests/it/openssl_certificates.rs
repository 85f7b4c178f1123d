//! Certificates as operators make them, with the openssl command line: each method takes the right one, and refuses the
//! nearest wrong one. The server, its CAs and its own certificate are all made so too.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::tools;

const CONFIG: &str = "\
issuer: https://lanyard.prod.example
listeners: {mtls: '127.0.0.1:0', public: '127.0.0.1:0', ops: '127.0.0.1:0'}
tls: {certificate: server.pem, key: server-key.pem}
trust:
  trust_domain: prod.example
  bundles: {prod.example: ca.pem}
  client_cas: {corp: corp.pem}
store: {memory: true}
keys: {key_encryption_key_file: key-encryption-key}
roles: {admins: [{spiffe_id: spiffe://prod.example/admin}]}
";

/// What the SPIFFE standard demands of a leaf (X509-SVID section 4 and appendix A).
const SVID: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
    extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=";

/// A server whose files were all made by openssl.
struct World {
    files: Files,
    openssl: &'static str,
    _process: Process,
    _directory: TempDir,
}

impl World {
    /// `None` if openssl is to be skipped.
    fn start() -> Option<Self> {
        let openssl = tools::openssl()?;
        let directory = TempDir::new().unwrap();
        let mut files = Files { dir: directory.path().to_owned(), server: String::new() };
        let make = Make { dir: files.dir.clone(), openssl };
        make.ca("ca", "/O=prod.example/CN=root");
        make.ca("corp", "/O=Corp/CN=client CA");
        make.leaf("ca", "server", "/CN=server", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n");
        make.svid("admin", "URI:spiffe://prod.example/admin");
        fs::write(files.path("key-encryption-key"), make.run(&["rand", "-base64", "32"])).unwrap();
        fs::write(files.path("lanyard.yaml"), CONFIG).unwrap();

        let process = Process::start(lanyard().args(["serve", "--config"]).arg(files.path("lanyard.yaml")));
        let serving = process.until("serving").pop().unwrap();
        let port = serving.split_once("mtls=127.0.0.1:").unwrap().1.split(' ').next().unwrap();
        files.server = format!("https://localhost:{port}");
        Some(Self { files, openssl, _process: process, _directory: directory })
    }

    fn make(&self) -> Make {
        Make { dir: self.files.dir.clone(), openssl: self.openssl }
    }

    fn register(&self, client_id: &str, method: &str, identity: &str) {
        let document = format!(
            "client_id: {client_id}\ntoken_endpoint_auth_method: {method}\n{identity}\naudience: [https://a.example]\n"
        );
        self.files.apply(&document).ok();
    }

    fn register_certificate(&self, client_id: &str) {
        let pem = fs::read_to_string(self.files.path(&format!("{client_id}.pem"))).unwrap();
        let indented = format!("certificate_pem: |\n  {}", pem.trim().replace('\n', "\n  "));
        self.register(client_id, "self_signed_tls_client_auth", &indented);
    }

    /// Asks for a token with the certificate of `who`.
    fn ask(&self, who: &str, client_id: &str) -> Finished {
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
struct Make {
    dir: PathBuf,
    openssl: &'static str,
}

impl Make {
    fn run(&self, arguments: &[&str]) -> String {
        run(Command::new(self.openssl).args(arguments).current_dir(&self.dir)).ok()
    }

    fn self_signed(&self, name: &str, subject: &str, more: &[&str]) {
        let (key, out) = (format!("{name}-key.pem"), format!("{name}.pem"));
        let request = ["req", "-x509", "-nodes", "-subj", subject, "-keyout", &key, "-out", &out];
        self.run(&[&request, more].concat());
    }

    fn ca(&self, name: &str, subject: &str) {
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
        self.self_signed(name, subject, &[&curve[..], &usage[..]].concat());
    }

    fn leaf(&self, ca: &str, name: &str, subject: &str, extensions: &str) {
        let [key, request, out, text] = ["-key.pem", ".csr", ".pem", ".ext"].map(|ending| format!("{name}{ending}"));
        let (ca, ca_key) = (format!("{ca}.pem"), format!("{ca}-key.pem"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let asked = ["req", "-new", "-nodes", "-utf8", "-subj", subject, "-keyout", &key, "-out", &request];
        self.run(&[&asked[..], &curve[..]].concat());
        fs::write(self.dir.join(&text), extensions).unwrap();
        let from = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        self.run(&[&from[..], &["-extfile", &text, "-days", "1", "-out", &out]].concat());
    }

    fn svid(&self, name: &str, names: &str) {
        self.leaf("ca", name, "/O=SPIRE", &format!("{SVID}{names}\n"));
    }
}

const REFUSED: &str = "refused your certificate";

#[test]
fn an_svid_from_a_ca_by_openssl_gets_a_token_and_its_near_misses_do_not() {
    let Some(world) = World::start() else { return };
    let make = world.make();
    let id = "spiffe://prod.example/ns/shop/sa/checkout";
    world.register(id, "spiffe_x509", "owner: shop");
    make.svid("checkout", &format!("URI:{id}"));
    world.ask("checkout", id).ok();

    make.svid("another", "URI:spiffe://prod.example/ns/shop/sa/another");
    world.ask("another", id).refused("(INVALID_CLIENT)", "");
    make.svid("two", &format!("URI:{id},URI:spiffe://prod.example/ns/shop/sa/another"));
    world.ask("two", id).refused(REFUSED, "log");
    make.leaf("ca", "authority", "/CN=a", &format!("{SVID}URI:{id}\n").replace("CA:FALSE", "CA:TRUE"));
    world.ask("authority", id).refused(REFUSED, "log");
    make.leaf("ca", "signer", "/CN=a", &format!("{SVID}URI:{id}\n").replace("Signature", "Signature,keyCertSign"));
    world.ask("signer", id).refused(REFUSED, "log");
    // A client CA vouches for no SVID.
    make.leaf("corp", "foreign", "/CN=a", &format!("{SVID}URI:{id}\n"));
    world.ask("foreign", id).refused(REFUSED, "log");
}

#[test]
fn a_certificate_of_a_pki_is_known_by_the_subject_that_openssl_prints() {
    let Some(world) = World::start() else { return };
    let make = world.make();
    let extensions = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n";
    make.leaf("corp", "reports", "/C=DE/O=Shop\\, Söhne \\+ Co./OU=Back  Office/CN=reports #1", extensions);
    let printed = make.run(&["x509", "-in", "reports.pem", "-noout", "-subject", "-nameopt", "RFC2253"]);
    let subject = printed.trim().strip_prefix("subject=").unwrap();
    assert!(subject.starts_with("CN=reports #1,OU="), "{subject}");
    let names = format!("tls_client_auth_subject_dn: '{subject}'\nclient_ca: corp");
    world.register("reports", "tls_client_auth", &names);
    world.ask("reports", "reports").ok();

    // The same names in another order, and the same subject from a CA that is none for clients.
    make.leaf("corp", "order", "/C=DE/OU=Back  Office/O=Shop\\, Söhne \\+ Co./CN=reports #1", extensions);
    world.ask("order", "reports").refused("", "");
    make.ca("fake", "/O=Corp/CN=client CA");
    make.leaf("fake", "forged", "/C=DE/O=Shop\\, Söhne \\+ Co./OU=Back  Office/CN=reports #1", extensions);
    world.ask("forged", "reports").refused(REFUSED, "log");

    make.leaf("corp", "stock", "/CN=stock", &format!("{extensions}subjectAltName=DNS:stock.corp.example\n"));
    world.register("stock", "tls_client_auth", "tls_client_auth_san_dns: stock.corp.example");
    world.ask("stock", "stock").ok();
    world.ask("stock", "reports").refused("(INVALID_CLIENT)", "");
}

#[test]
fn the_self_signed_certificates_that_openssl_makes_by_default_get_tokens_once_registered() {
    let Some(world) = World::start() else { return };
    let make = world.make();
    for (name, key) in [("two", "rsa:2048"), ("four", "rsa:4096")] {
        make.self_signed(name, "/CN=billing", &["-newkey", key]);
        let text = make.run(&["x509", "-in", &format!("{name}.pem"), "-noout", "-text"]);
        assert!(text.contains("CA:TRUE") && !text.contains("Key Usage"), "{text}");
        world.ask(name, name).refused(REFUSED, "must be registered first");
        world.register_certificate(name);
        world.ask(name, name).ok();
    }
    // Each is known by itself: not by its name, and not by its key.
    world.ask("two", "four").refused("(INVALID_CLIENT)", "");
    make.run(&["req", "-x509", "-key", "two-key.pem", "-subj", "/CN=billing", "-out", "again.pem"]);
    fs::copy(make.dir.join("two-key.pem"), make.dir.join("again-key.pem")).unwrap();
    world.ask("again", "two").refused(REFUSED, "must be registered first");
}
