//! The container image: what may go into it, what is in it, and that it works from nothing but that.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use tempfile::TempDir;

use crate::support::ca::TestCa;
use crate::support::dockerfile::Dockerfile;
use crate::support::dockerfile::Ignore;
use crate::support::dockerfile::Stage;
use crate::support::dockerfile::Step;
use crate::support::image::Image;
use crate::support::image::copy;
use crate::support::image::within;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::run;
use crate::support::server::SEAL;
use crate::support::server::in_crate;

/// The name by which the server is called: one that only `/etc/hosts` knows, as a container's runtime writes it.
const HOST: &str = "lanyard.prod.example";
const CHECKOUT: &str = "spiffe://prod.example/ns/shop/sa/checkout";
const AUDIENCE: &str = "https://orders.prod.example";
const BINARY: &str = "usr/local/bin/lanyard";
const STATE: &str = "var/lib/lanyard";
const WEB_CAS: &str = "etc/ssl/certs/ca-certificates.crt";
/// What is in the image besides the libraries.
const FILES: [&str; 9] = [
    BINARY,
    WEB_CAS,
    "etc/group",
    "etc/nsswitch.conf",
    "etc/passwd",
    "usr/share/doc/ca-certificates/copyright",
    "usr/share/doc/lanyard/copyright",
    "usr/share/doc/libc6/copyright",
    "usr/share/doc/libgcc-s1/copyright",
];

fn read(name: &str) -> String {
    fs::read_to_string(in_crate(name)).unwrap()
}

fn stages() -> [Stage; 2] {
    Dockerfile::parse(&read("Dockerfile")).unwrap().stages.try_into().unwrap()
}

fn ignore() -> Ignore {
    Ignore::parse(&read(".dockerignore")).unwrap()
}

#[test]
fn the_dockerfile_builds_by_the_ordinary_command_in_a_pinned_image() {
    let [build, _] = stages();
    assert!(build.steps.contains(&Step::Run("cargo build --release --locked".to_owned())), "{build:?}");
    let version = build.base.strip_prefix("docker.io/library/rust:").and_then(|tag| tag.strip_suffix("-slim-trixie"));
    let parts = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    let version = parts(version.unwrap());
    let cargo = read("Cargo.toml");
    let least = cargo.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert_eq!(version.len(), 3, "not fixed: {version:?}");
    assert!(version >= parts(least.trim_matches('"')), "{version:?} is older than {least}");
}

#[test]
fn the_image_begins_from_nothing_and_says_what_it_is_and_how_it_runs() {
    let [build, last] = stages();
    assert_eq!(last.base, "scratch");
    let label = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
    let labels = BTreeMap::from([
        label("title", "Lanyard"),
        label("description", env!("CARGO_PKG_DESCRIPTION")),
        label("licenses", "Apache-2.0"),
        label("version", env!("CARGO_PKG_VERSION")),
        label("revision", "unknown"),
        label("source", "unknown"),
    ]);
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let expected = [
        Step::Labels(labels),
        Step::CopyStage { stage: build.name.unwrap(), folder: "/image".to_owned() },
        Step::User("65532:65532".to_owned()),
        Step::Expose(vec![8443, 8444, 9464]),
        Step::StopSignal("SIGTERM".to_owned()),
        Step::Entrypoint(words(&["/usr/local/bin/lanyard"])),
        Step::Command(words(&["serve", "--config", "/etc/lanyard/lanyard.yaml"])),
    ];
    assert_eq!(last.steps, expected);
}

#[test]
fn the_context_has_the_sources_and_nothing_that_lies_about_in_a_checkout() {
    let through = ignore().let_through(&in_crate(""));
    // Cargo looks for the first file of each target, also of those that are not built.
    let benches = ["benches/pressure/main.rs", "benches/scale/main.rs", "benches/serving/main.rs"];
    for needed in
        ["Cargo.lock", "LICENSE", "build.rs", "proto/lanyard/v1/key.proto", "src/main.rs"].into_iter().chain(benches)
    {
        assert!(through.iter().any(|path| path == needed), "{needed} is kept out");
    }
    for path in through.iter().filter(|path| path.contains('/')) {
        let is = |kind: &str| Path::new(&path).extension().is_some_and(|extension| extension == kind);
        let source = is("rs") && (path.starts_with("src/") || benches.contains(&path.as_str()));
        assert!(source || path.starts_with("proto/") && is("proto"), "{path} is let through");
    }
    assert_eq!(through.iter().filter(|path| !path.contains('/')).count(), 4, "{through:?}");

    let checkout = TempDir::new().unwrap();
    let planted = [
        ".git/config",
        ".lanyard-dev/data/db",
        ".env",
        "target/release/lanyard",
        "data/db",
        "kek",
        "key-encryption-key",
        "server-key.pem",
        "src/server-key.pem",
        "src/tls/ca.key",
        "src/store/.git/config",
        "src/.env",
        "src/target/debug/build",
        "src/signer/kek",
        "proto/lanyard/v1/tls.crt",
        "benches/keystore.p12",
        "benches/serving/main.rs.bak",
        "helm/lanyard/values.yaml",
        "tests/it/main.rs",
        "fuzz/target/x",
    ];
    for path in through.iter().map(String::as_str).chain(planted) {
        let place = checkout.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, "secret").unwrap();
    }
    assert_eq!(ignore().let_through(checkout.path()), through);
    // It is the file that keeps them out.
    let lax = Ignore::parse("*\n!src\n!kek").unwrap().let_through(checkout.path());
    for path in ["kek", "src/server-key.pem", "src/store/.git/config"] {
        assert!(lax.iter().any(|through| through == path), "{path} is not looked at");
    }
}

#[test]
fn what_the_tests_do_not_understand_of_a_dockerfile_they_refuse() {
    let (begun, sound) = ("FROM scratch\n", "FROM scratch AS a\n# said\nLABEL a=\"b\" \\\n\n# within\n  c=\"d\"\n");
    let labels = BTreeMap::from([("a", "b"), ("c", "d")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    let parsed = Dockerfile::parse(sound).unwrap();
    assert_eq!(parsed.stages[0].steps, [Step::Labels(labels)]);
    for wrong in [
        "# escape=`\nFROM scratch".to_owned(),
        "RUN true".to_owned(),
        "FROM ${NOTHING}".to_owned(),
        "FROM --platform=linux/arm64 scratch".to_owned(),
        format!("{begun}ADD https://example.com/x /"),
        format!("{begun}ENV A=B"),
        format!("{begun}ONBUILD RUN true"),
        format!("{begun}VOLUME /data"),
        format!("{begun}SHELL [\"bash\"]"),
        format!("{begun}run true"),
        format!("{begun}RUN --mount=type=cache,target=/src true"),
        format!("{begun}RUN [\"true\"]"),
        format!("{begun}RUN <<END"),
        format!("{begun}RUN true \\"),
        format!("{begun}ARG A=B\nRUN true"),
        format!("{begun}ARG A"),
        format!("{begun}COPY a b"),
        format!("{begun}COPY --chown=1:1 . ."),
        format!("{begun}ENTRYPOINT lanyard"),
        format!("{begun}LABEL a=b"),
        format!("{begun}LABEL a=\"${{NOTHING}}\""),
        format!("{begun}USER $USER"),
    ] {
        assert!(Dockerfile::parse(&wrong).is_err(), "{wrong}");
    }
    for wrong in ["[ab].pem", "/src", "../x", "a\\b"] {
        assert!(Ignore::parse(wrong).is_err(), "{wrong}");
    }
}

/// What a cluster would give the container: its configuration, certificates and state as volumes, its hosts, and the
/// variables.
struct Cluster {
    folder: TempDir,
    ca: TestCa,
    mtls: u16,
    ops: u16,
}

impl Cluster {
    fn new() -> Self {
        let [mtls, public, ops] = free_ports();
        let cluster = Self {
            folder: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            ca: TestCa::at("prod.example", SystemClock.now()),
            mtls,
            ops,
        };
        let configuration = format!(
            "issuer: https://{HOST}:{public}\nmtls_url: https://{HOST}:{mtls}\n\
             listeners: {{mtls: '127.0.0.1:{mtls}', public: '127.0.0.1:{public}', ops: '127.0.0.1:{ops}'}}\n\
             tls: {{certificate: /var/run/lanyard/tls/tls.crt, key: /var/run/lanyard/tls/tls.key}}\n\
             trust:\n  trust_domain: prod.example\n  bundles: {{prod.example: /var/run/lanyard/trust/prod.example.pem}}\n\
             store: {{sled: {{path: /var/lib/lanyard}}}}\n\
             jwks_uri: {{allowed_hosts: [keys.prod.example]}}\n\
             roles: {{admins: [{{spiffe_id: spiffe://prod.example/admin}}]}}\n"
        );
        let server = cluster.ca.server_certificate(HOST).issue();
        let registration = format!(
            "client_id: {CHECKOUT}\ntoken_endpoint_auth_method: spiffe_x509\nscope: orders.read\naudience: [{AUDIENCE}]\n"
        );
        let [admin, checkout] = ["spiffe://prod.example/admin", CHECKOUT].map(|id| cluster.ca.svid(id).issue());
        for (path, contents) in [
            ("etc/lanyard.yaml", configuration),
            ("tls/tls.crt", server.chain_pem()),
            ("tls/tls.key", server.key_pem()),
            ("trust/prod.example.pem", cluster.ca.pem()),
            ("clients/checkout.yaml", registration),
            ("hosts", format!("127.0.0.1 {HOST}\n")),
        ] {
            cluster.write(path, &contents);
        }
        for (name, leaf) in [("admin", &admin), ("checkout", &checkout)] {
            cluster.write(&format!("clients/{name}.pem"), &leaf.chain_pem());
            cluster.write(&format!("clients/{name}-key.pem"), &leaf.key_pem());
        }
        // As the kubelet gives a volume to a pod with an fsGroup.
        run(within(&["install", "-d", "-m", "2770", "-g", "65532"]).arg(cluster.folder.path().join("state"))).ok();
        cluster
    }

    fn write(&self, path: &str, contents: &str) {
        let place = self.folder.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, contents).unwrap();
    }

    /// Runs the image with these arguments, and with the files of the server mounted.
    fn server(&self, image: &Image, arguments: &[&str]) -> std::process::Command {
        let paths = ["etc", "tls", "trust", "state", "hosts"].map(|name| self.folder.path().join(name));
        let places =
            ["/etc/lanyard", "/var/run/lanyard/tls", "/var/run/lanyard/trust", "/var/lib/lanyard", "/etc/hosts"];
        let volumes: Vec<(&Path, &str)> = paths.iter().map(std::path::PathBuf::as_path).zip(places).collect();
        image.command(&volumes, &[("LANYARD_KEYS__KEY_ENCRYPTION_KEY", SEAL)], arguments)
    }

    /// A command of a client, in a container of its own.
    fn client(&self, image: &Image, who: &str, arguments: &[&str]) -> String {
        let [clients, trust, hosts] = ["clients", "trust", "hosts"].map(|name| self.folder.path().join(name));
        let volumes = [(&*clients, "/clients"), (&*trust, "/var/run/lanyard/trust"), (&*hosts, "/etc/hosts")];
        let server = format!("https://{HOST}:{}", self.mtls);
        let (certificate, key) = (format!("/clients/{who}.pem"), format!("/clients/{who}-key.pem"));
        let variables = [
            ("LANYARD_SERVER", &*server),
            ("LANYARD_CA", "/var/run/lanyard/trust/prod.example.pem"),
            ("LANYARD_CERT", &certificate),
            ("LANYARD_KEY", &key),
        ];
        run(&mut image.command(&volumes, &variables, arguments)).ok()
    }

    /// The response that a probe of the kubelet receives.
    fn probe(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ops)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The state belongs to the image's user.
        let _gone = run(within(&["rm", "-rf"]).arg(self.folder.path())).code == Some(0);
    }
}

#[test]
#[ignore = "long: builds the image's binary; .ci/run runs it"]
fn what_the_dockerfile_builds_is_all_that_lanyard_needs_and_holds_nothing_else() {
    let Some(image) = Image::build(with_planted_secrets().path()) else { return };
    let entries = image.entries();
    let files: Vec<&str> = entries.iter().filter(|entry| entry.kind == "f").map(|entry| &*entry.path).collect();
    let libraries: Vec<&str> = files.iter().copied().filter(|path| !FILES.contains(path)).collect();
    assert_eq!(files.len(), FILES.len() + libraries.len(), "{files:?}");
    for library in &libraries {
        let directory = library.starts_with("lib/") || library.starts_with("lib64/");
        assert!(directory && library.contains(".so."), "{library} is no library");
    }
    for entry in &entries {
        assert!(["f", "d"].contains(&&*entry.kind), "{entry:?}");
        assert_eq!(entry.mode & 0o7000, 0, "{entry:?} runs as its owner");
        let executable = entry.kind == "f" && entry.mode & 0o111 != 0;
        assert!(!executable || entry.path == BINARY || libraries.contains(&&*entry.path), "{entry:?} can be run");
        let owned = entry.user == 65532 || entry.group == 65532;
        assert_eq!(owned, entry.path == STATE, "{entry:?}");
        assert!(owned || entry.mode & 0o022 == 0, "{entry:?} can be written");
        assert!(owned || entry.mode & 0o444 == 0o444, "{entry:?} cannot be read");
    }

    works(&image);

    // Each library is there because without it there is no start, and the CAs because there is no fetching.
    assert!(libraries.len() >= 3, "{libraries:?}");
    let version = |image: &Image| run(&mut image.command(&[], &[], &["--version"]));
    assert_eq!(version(&image.copy()).ok(), concat!("lanyard ", env!("CARGO_PKG_VERSION"), "\n"));
    for library in libraries {
        let lacking = image.copy();
        fs::remove_file(lacking.root.join(library)).unwrap();
        assert_ne!(version(&lacking).code, Some(0), "it starts without {library}");
    }
    let lacking = image.copy();
    fs::remove_file(lacking.root.join(WEB_CAS)).unwrap();
    let refused = run(&mut Cluster::new().server(&lacking, &["serve", "--config", "/etc/lanyard/lanyard.yaml"]));
    refused.refused("CA", "configuration");
}

/// The checkout, and in it what must not get into the image.
fn with_planted_secrets() -> TempDir {
    let checkout = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let through = ignore().let_through(&in_crate(""));
    for path in through.iter().map(String::as_str).chain(["Dockerfile", ".dockerignore"]) {
        copy(&in_crate(path), &checkout.path().join(path));
    }
    for path in [".git/config", ".env", "key-encryption-key", "src/server-key.pem", "target/release/lanyard"] {
        let place = checkout.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, "secret").unwrap();
    }
    checkout
}

/// Started as the Dockerfile says, it serves, stops on SIGTERM, and resumes from its volume.
fn works(image: &Image) {
    let cluster = Cluster::new();
    let check = ["config", "check", "--config", "/etc/lanyard/lanyard.yaml"];
    assert_eq!(run(&mut cluster.server(image, &check)).ok(), "the configuration is valid\n");
    let command: Vec<&str> = image.command.iter().map(String::as_str).collect();
    let start = || {
        let process = Process::start(&mut cluster.server(image, &command));
        process.until("serving");
        let ready = cluster.probe("/readyz");
        assert!(ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("ok"), "{ready}");
        process
    };
    let process = start();
    let registered = cluster.client(image, "admin", &["client", "apply", "-f", "/clients/checkout.yaml"]);
    assert_eq!(registered, format!("{CHECKOUT} created\n"));
    let token = cluster.client(image, "checkout", &["token", "get"]);
    let validate = ["validate", token.trim(), "--audience", AUDIENCE, "--own-connection"];
    assert!(cluster.client(image, "checkout", &validate).contains("ALLOW"));
    let (code, said) = process.end_by("TERM");
    assert_eq!(code, Some(0), "{said}");

    let process = start();
    assert!(cluster.client(image, "checkout", &validate).contains("ALLOW"));
    let (code, said) = process.end_by("TERM");
    assert_eq!(code, Some(0), "{said}");
}
