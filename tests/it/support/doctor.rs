//! A set-up for `lanyard doctor` on the system clock. It is valid until a test changes it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::clock::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::ca::TestCa;
use crate::support::leaf::Leaf;
use crate::support::leaf::LeafBuilder;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::SEAL;

pub const HOST: &str = "lanyard.prod.example";
pub const LANYARD: &str = "spiffe://prod.example/lanyard";

/// The files, and the authorities that issued them.
pub struct DoctorFixture {
    pub dir: TempDir,
    pub now: Timestamp,
    pub ca: TestCa,
    pub intermediate: TestCa,
    /// The ports of the mTLS, public and ops listeners.
    pub ports: [u16; 3],
}

impl DoctorFixture {
    /// The store does not exist yet.
    pub fn new() -> Self {
        let now = SystemClock.now();
        let ca = TestCa::at("prod.example", now);
        let intermediate = ca.intermediate("below");
        let fixture = Self { dir: TempDir::new().unwrap(), now, ca, intermediate, ports: free_ports() };
        let [mtls, public, ops] = fixture.ports;
        let yaml = format!(
            "issuer: https://{HOST}\n\
             listeners: {{mtls: '127.0.0.1:{mtls}', public: '127.0.0.1:{public}', ops: '127.0.0.1:{ops}'}}\n\
             tls: {{certificate: server.pem, key: server-key.pem}}\n\
             trust:\n  trust_domain: prod.example\n  bundles: {{prod.example: ca.pem, other.example: other.pem}}\n  \
             client_cas: {{corp: corp.pem}}\n\
             store: {{sled: {{path: volume/data}}}}\n\
             keys: {{key_encryption_key_file: key-encryption-key}}\n"
        );
        fixture.write("lanyard.yaml", &yaml);
        fixture.write("ca.pem", &fixture.ca.pem());
        fixture.write("other.pem", &TestCa::at("other.example", now).pem());
        fixture.write("corp.pem", &TestCa::at("corp", now).pem());
        fixture.write("key-encryption-key", SEAL);
        fs::create_dir(fixture.path("volume")).unwrap();
        fs::create_dir(fixture.path("scratch")).unwrap();
        fixture.present(&fixture.certificate().issue());
        fixture
    }

    /// A builder of the server's certificate, issued by the intermediate.
    pub fn certificate(&self) -> LeafBuilder<'_> {
        self.intermediate.svid(LANYARD).dns(HOST)
    }

    /// Writes a certificate, its chain and its key into the server's files.
    pub fn present(&self, leaf: &Leaf) {
        self.write("server.pem", &leaf.chain_pem());
        self.write("server-key.pem", &leaf.key_pem());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only its user may read.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.allow(name, 0o600);
    }

    pub fn allow(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Replaces a part of the configuration, which must be there.
    pub fn configure(&self, from: &str, to: &str) {
        let yaml = fs::read_to_string(self.path("lanyard.yaml")).unwrap();
        assert!(yaml.contains(from), "{from} is not in {yaml}");
        self.write("lanyard.yaml", &yaml.replace(from, to));
    }

    /// Adds lines to the configuration.
    pub fn add(&self, lines: &str) {
        let yaml = fs::read_to_string(self.path("lanyard.yaml")).unwrap();
        self.write("lanyard.yaml", &format!("{yaml}{lines}\n"));
    }

    /// Runs a server until it serves.
    pub fn serve(&self) -> Process {
        let process = Process::start(lanyard().args(["serve", "--config"]).arg(self.path("lanyard.yaml")));
        process.until("serving");
        process
    }

    /// Runs a server and stops it, so that there is a store with keys in it.
    pub fn served(self) -> Self {
        let (code, output) = self.serve().end_by("TERM");
        assert_eq!(code, Some(0), "{output}");
        self
    }

    /// The command, with a folder of its own for temporary files.
    pub fn doctor(&self) -> Command {
        let mut command = lanyard();
        command.env("TMPDIR", self.path("scratch")).args(["doctor", "--config"]).arg(self.path("lanyard.yaml"));
        command
    }

    /// The doctor's JSON report with these additional flags.
    #[track_caller]
    pub fn seen_with(&self, flags: &[&str]) -> Seen {
        let finished = run(self.doctor().args(flags).args(["-o", "json"]));
        assert_eq!(fs::read_dir(self.path("scratch")).unwrap().count(), 0, "something is left behind");
        Seen::new(&finished)
    }

    #[track_caller]
    pub fn seen(&self) -> Seen {
        self.seen_with(&[])
    }
}

/// A parsed report.
#[derive(Debug)]
pub struct Seen {
    pub code: Option<i32>,
    pub report: Value,
}

impl Seen {
    /// Parses the report, and checks its sums and its fields.
    #[track_caller]
    pub fn new(finished: &Finished) -> Self {
        let report: Value =
            serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        assert_eq!(finished.stderr, "", "{finished:?}");
        let seen = Self { code: finished.code, report };
        let (errors, warnings) = (seen.codes("error"), seen.codes("warning"));
        assert_eq!(seen.report["errors"], errors.len(), "{seen:?}");
        assert_eq!(seen.report["warnings"], warnings.len(), "{seen:?}");
        assert_eq!(seen.report["healthy"], errors.is_empty(), "{seen:?}");
        assert_eq!(seen.code, Some(i32::from(!errors.is_empty())), "{seen:?}");
        for line in seen.lines() {
            let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["check", "code", "message", "next", "status", "subject"]);
            let faulty = matches!(line["status"].as_str().unwrap(), "error" | "warning");
            assert_eq!((line["code"].is_string(), line["next"].is_string()), (faulty, faulty), "{line}");
            assert!(!line["message"].as_str().unwrap().is_empty(), "{line}");
        }
        seen
    }

    pub fn lines(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().unwrap().iter()
    }

    /// The codes of the lines with this status.
    pub fn codes(&self, status: &str) -> Vec<&str> {
        self.lines().filter(|line| line["status"] == status).map(|line| line["code"].as_str().unwrap()).collect()
    }

    /// The names of the checks with this status.
    pub fn checks(&self, status: &str) -> Vec<&str> {
        self.lines().filter(|line| line["status"] == status).map(|line| line["check"].as_str().unwrap()).collect()
    }

    /// Checks that there are no errors and no warnings.
    #[track_caller]
    pub fn healthy(&self) {
        assert_eq!((self.codes("error"), self.codes("warning")), (vec![], vec![]), "{self:#?}");
    }

    /// Checks that this is the only error and there is no warning.
    #[track_caller]
    pub fn only(&self, code: &str) {
        assert_eq!((self.codes("error"), self.codes("warning")), (vec![code], vec![]), "{self:#?}");
    }

    /// Checks that this is the only warning and there is no error.
    #[track_caller]
    pub fn only_warns(&self, code: &str) {
        assert_eq!((self.codes("error"), self.codes("warning")), (vec![], vec![code]), "{self:#?}");
    }
}
