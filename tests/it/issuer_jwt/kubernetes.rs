//! docs/kubernetes-service-accounts.md, as it is written: its configuration, its registration, and the commands of its pod, with
//! the real openssl and curl, and with nothing but a certificate that openssl has made and a token of the form that the API server
//! issues. Only hosts and folders are those of the test.

use std::fs;
use std::path::Path;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::issuer_jwt::cluster::ACCOUNT;
use crate::issuer_jwt::cluster::CLUSTER;
use crate::issuer_jwt::cluster::Cluster;
use crate::support::calls::opened;
use crate::support::kubernetes;
use crate::support::kubernetes::Options;
use crate::support::openssl::TestAuthority;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::run;
use crate::support::process::shell;
use crate::support::server::in_crate;
use crate::support::tools;

const ORDERS: &str = "https://orders.prod.example";

/// The blocks of the page in a language.
fn blocks(language: &str) -> Vec<String> {
    let page = fs::read_to_string(in_crate("docs/kubernetes-service-accounts.md")).unwrap();
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced
        .filter_map(|block| block.split_once('\n'))
        .filter(|(kind, _)| *kind == language)
        .map(|(_, text)| text.to_owned())
        .collect()
}

struct Pod {
    folder: TempDir,
    authority: TestAuthority,
    cluster: Cluster,
}

impl Pod {
    /// A pod, beside a server that trusts its cluster. `None` where a command is to be skipped.
    fn start() -> Option<Self> {
        let cluster = Cluster::new();
        let pod = Self::of(cluster, |page| page)?;
        pod.project("first");
        Some(pod)
    }

    /// The same with a change of what the page has.
    fn of(cluster: Cluster, change: impl Fn(String) -> String) -> Option<Self> {
        tools::curl()?;
        let authority = TestAuthority::start_with(|dir| {
            fs::write(dir.join("cluster-jwks.json"), cluster.jwks()).unwrap();
            change(blocks("yaml")[0].clone())
        })?;
        authority.make().svid("proxy", "URI:spiffe://prod.example/proxy");
        authority.files.apply(&change(blocks("yaml")[1].clone())).ok();
        let pod = Self { folder: TempDir::new().unwrap(), authority, cluster };
        for folder in ["tls", "secrets", "ca"] {
            fs::create_dir(pod.path(folder)).unwrap();
        }
        fs::copy(pod.authority.files.path("ca.pem"), pod.path("ca/ca.pem")).unwrap();
        Some(pod)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What the kubelet writes.
    fn project(&self, jti: &str) {
        let now = SystemClock.now().0;
        let token = self.cluster.token_with(|claims| {
            (claims["aud"], claims["jti"]) = (json!([self.authority.public]), json!(jti));
            (claims["iat"], claims["nbf"], claims["exp"]) = (json!(now), json!(now), json!(now + 600));
        });
        fs::write(self.path("secrets/token"), token).unwrap();
    }

    /// A text of the page with the folders and the host of the test.
    fn here(&self, text: &str) -> String {
        let folder = self.folder.path().display();
        text.replace("/var/run/secrets/lanyard", &format!("{folder}/secrets"))
            .replace("/etc/lanyard", &format!("{folder}/ca"))
            .replace("/tls/", &format!("{folder}/tls/"))
            .replace("https://lanyard.lanyard:8443", &self.authority.files.server)
    }

    /// The arguments of a container of the page's pod.
    fn arguments(&self, container: &str) -> Vec<String> {
        let manifest: Value = serde_saphyr::from_str(&blocks("yaml")[2]).unwrap();
        let containers = manifest["spec"]["initContainers"].as_array().unwrap();
        let found = containers.iter().find(|one| one["name"] == container).unwrap();
        found["args"].as_array().unwrap().iter().map(|text| self.here(text.as_str().unwrap())).collect()
    }

    fn make_certificate(&self) {
        run(&mut shell(&self.arguments("certificate")[0])).ok();
    }

    fn ask(&self) -> Value {
        let command = blocks("sh elsewhere").into_iter().find(|block| block.starts_with("curl")).unwrap();
        run(&mut shell(&self.here(&command))).json(0)
    }

    /// Whether a proxy that saw this certificate lets the token through.
    fn validate(&self, token: &str, certificate: &Path) -> Finished {
        let arguments = ["validate", token, "--audience", ORDERS, "--certificate", certificate.to_str().unwrap()];
        self.authority.files.run("proxy", &arguments)
    }
}

#[test]
fn curl_gets_a_bound_token_with_openssls_certificate_and_the_pods_own_token_alone() {
    let Some(pod) = Pod::start() else { return };
    pod.make_certificate();
    let answer = pod.ask();
    let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let claims = opened(token).1;
    assert_eq!((&claims["sub"], &claims["scope"]), (&json!("checkout"), &json!("orders.read")));
    assert_eq!(pod.validate(token, &pod.path("tls/tls.crt")).code, Some(0));
    // The nearest that is refused: the token with the certificate of another pod, and this pod's token in another pod.
    fs::rename(pod.path("tls/tls.crt"), pod.path("own.crt")).unwrap();
    pod.make_certificate();
    assert_eq!(pod.validate(token, &pod.path("tls/tls.crt")).code, Some(3));
    assert_eq!(pod.validate(token, &pod.path("own.crt")).code, Some(0));
    assert_eq!(pod.ask()["error"], "invalid_client");
    // As the page says: with the next token of the kubelet.
    pod.project("second");
    assert!(pod.ask()["access_token"].is_string());
}

#[test]
fn the_sidecar_keeps_a_token_and_reads_the_assertion_for_each() {
    let Some(pod) = Pod::start() else { return };
    pod.make_certificate();
    let arguments = pod.arguments("lanyard");
    let sidecar = Process::start(crate::support::process::lanyard().args(&arguments));
    sidecar.until("renewed: bound to");
    let token = fs::read_to_string(pod.path("tls/access-token")).unwrap();
    assert_eq!(pod.validate(&token, &pod.path("tls/tls.crt")).code, Some(0));
    let (code, _) = sidecar.end_by("TERM");
    assert_eq!(code, Some(0));
    assert!(!pod.path("tls/access-token").exists());
}

/// The issuer of the API server that the tests run.
const REAL: &str = "https://kubernetes.default.svc";

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_a_service_account_of_a_real_api_server_gets_a_bound_token_and_its_other_tokens_none() {
    let Some(real) = kubernetes::Cluster::start(&Options::default()) else { return };
    real.kubectl(&["create", "namespace", "shop"]).ok();
    let create = || real.kubectl(&["create", "serviceaccount", "checkout", "-n", "shop"]).ok();
    create();
    let uid =
        || real.get(&["serviceaccount", "checkout", "-n", "shop"])["metadata"]["uid"].as_str().unwrap().to_owned();
    let account = uid();
    let change = |page: String| page.replace(CLUSTER, REAL).replace(ACCOUNT, &account);
    let Some(pod) = Pod::of(Cluster::new(), change) else { return };
    let jwks = real.kubectl(&["get", "--raw", "/openid/v1/jwks"]).ok();
    fs::write(pod.authority.files.path("cluster-jwks.json"), jwks).unwrap();
    pod.make_certificate();
    let token_for = |audiences: &[&str]| {
        let mut command = vec!["create", "token", "checkout", "-n", "shop", "--duration=10m"];
        for audience in audiences {
            command.extend(["--audience", audience]);
        }
        real.kubectl(&command).ok().trim().to_owned()
    };
    let ask = |assertion: &str| {
        fs::write(pod.path("secrets/token"), assertion).unwrap();
        pod.ask()
    };
    let public = pod.authority.public.as_str();
    let own = token_for(&[public]);
    let (header, claims) = opened(&own);
    assert!(header.get("typ").is_none() && claims["aud"] == json!([public]), "{header} {claims}");
    // The server reads the file of keys again within seconds.
    let answer = (0..1000).map(|_| ask(&own)).find(|answer| answer.get("access_token").is_some()).unwrap();
    let issued = answer["access_token"].as_str().unwrap();
    assert_eq!(pod.validate(issued, &pod.path("tls/tls.crt")).code, Some(0));
    for audiences in [&[][..], &[REAL], &[public, REAL]] {
        assert_eq!(ask(&token_for(audiences))["error"], "invalid_client", "{audiences:?}");
    }
    assert!(ask(&token_for(&[public]))["access_token"].is_string());
    // Deleted and made again, it is another one.
    real.kubectl(&["delete", "serviceaccount", "checkout", "-n", "shop"]).ok();
    create();
    assert_ne!(uid(), account);
    assert_eq!(ask(&token_for(&[public]))["error"], "invalid_client");
}
