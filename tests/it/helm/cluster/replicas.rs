//! Several replicas over an etcd of one's own: they share what is registered, and an upgrade of them fails no request.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::helm::cluster::own_etcd;
use crate::helm::cluster::release::Release;
use crate::support::helm;
use crate::support::helm::list;
use crate::support::kubernetes::Cluster;
use crate::support::kubernetes::Options;
use crate::support::process::Finished;
use crate::support::server::in_crate;
use crate::support::yaml;

const COUNT: usize = 3;
const AUDIENCE: &str = "https://orders.prod.example";

/// How many clients ask at the same time, each on new connections.
const CLIENTS: usize = 3;

/// A workload, which every server's Service gets a token for.
fn registrations() -> Value {
    let checkout = json!({
        "client_id": "spiffe://prod.example/ns/shop/sa/checkout", "token_endpoint_auth_method": "spiffe_x509",
        "scope": "orders.read", "audience": [AUDIENCE], "access_token_ttl": "1h", "owner": "team-shop",
    });
    json!({"admin": {"secret": "lanyard-admin-tls"}, "clients": {"checkout": checkout}})
}

impl Release<'_> {
    /// Writes the certificate of the workload.
    fn write_workload(&self) {
        let leaf = self.ca.svid("spiffe://prod.example/ns/shop/sa/checkout").issue();
        fs::write(self.folder.path().join("checkout.pem"), leaf.chain_pem()).unwrap();
        fs::write(self.folder.path().join("checkout-key.pem"), leaf.key_pem()).unwrap();
    }

    /// A token through the Service, on a connection of its own.
    fn token(&self) -> Finished {
        self.call("checkout", &["token", "get"])
    }

    /// The verdict on the workload's use of a token, through the Service, on a connection of its own.
    fn verdict(&self, token: &str) -> Finished {
        let question = ["validate", token, "--audience", AUDIENCE, "--own-connection", "--output", "json"];
        self.call("checkout", &question)
    }

    /// The replicas that are ready and not stopping: their names and addresses.
    fn replicas(&self) -> Vec<(String, String)> {
        let pods = self.get(&["pods", "--selector=app.kubernetes.io/component=server"]);
        let ready = |pod: &&Value| {
            let ready =
                list(&pod["status"]["conditions"]).iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
            ready && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = |pod: &Value| (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]));
        list(&pods["items"]).iter().filter(ready).map(of).collect()
    }

    /// How many tokens a replica has issued.
    fn issued(&self, address: &str) -> u64 {
        let page = format!("curl --silent --fail http://{address}:9464/metrics");
        let page = self.cluster.shell(self.folder.path(), &page).ok();
        page.lines().find_map(|line| line.strip_prefix("lanyard_tokens_issued_total ")).unwrap().parse().unwrap()
    }

    /// Gets a token from each replica in turn, and asserts that all of them accept it.
    fn each_replica_issues_and_accepts(&self) -> String {
        let replicas = self.replicas();
        assert_eq!(replicas.len(), COUNT, "{replicas:?}");
        let issued = || replicas.iter().map(|(_, address)| self.issued(address)).collect::<Vec<u64>>();
        let before = issued();
        let tokens: Vec<String> = (0..COUNT).map(|_| self.token().ok().trim().to_owned()).collect();
        assert_eq!(issued(), before.iter().map(|count| count + 1).collect::<Vec<u64>>(), "one from each");
        for token in &tokens {
            for _ in 0..COUNT {
                assert_eq!(self.verdict(token).json(0)["decision"], "DECISION_ALLOW");
            }
        }
        tokens.into_iter().next().unwrap()
    }

    /// Runs `act` while clients get tokens and have them judged, none of which may fail. Prints how many they were.
    fn under_load<T>(&self, what: &str, act: impl FnOnce() -> T) -> T {
        let (over, answered, failed) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let ask = || {
            while !over.load(Ordering::SeqCst) {
                let token = self.token();
                let verdict = (token.code == Some(0)).then(|| self.verdict(token.stdout.trim()));
                let allowed = verdict.as_ref().is_some_and(|verdict| verdict.code == Some(0));
                if allowed {
                    answered.fetch_add(2, Ordering::SeqCst);
                } else {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{token:?}, {verdict:?}"));
                }
            }
        };
        let done = thread::scope(|scope| {
            let clients = [(); CLIENTS].map(|()| scope.spawn(ask));
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            over.store(true, Ordering::SeqCst);
            for client in clients {
                client.join().unwrap();
            }
            done
        });
        let (answered, failed) = (answered.into_inner(), failed.into_inner().unwrap());
        // Not println, whose output the test harness hides when the test succeeds.
        let _unseen = writeln!(std::io::stderr(), "{what}: {answered} answers, {} failed", failed.len()).is_err();
        assert!(failed.is_empty(), "{what}: {failed:#?}");
        assert!(answered >= 2 * CLIENTS, "{what}: {answered}");
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Waits until these pods are gone.
    fn until_gone(&self, pods: &BTreeSet<String>) {
        for pod in pods {
            self.kubectl(&["wait", "--for=delete", &format!("pod/{pod}"), "--timeout=120s"]).ok();
        }
    }

    /// Asks the API server to evict a pod, as `kubectl drain` does.
    fn evict(&self, pod: &str) -> Finished {
        let namespace = &self.namespace;
        let metadata = json!({"name": pod, "namespace": namespace});
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
        let at = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        let lines = format!("kubectl create --raw {at} --filename - <<END\n{eviction}\nEND");
        self.cluster.shell(self.folder.path(), &lines)
    }

    fn names(&self) -> BTreeSet<String> {
        self.replicas().into_iter().map(|(name, _)| name).collect()
    }
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_replicas_over_an_etcd_are_upgraded_and_evicted_without_a_failed_request() {
    let Some(cluster) = Cluster::start(&Options { apart: true, ..Options::default() }) else { return };
    let release = Release::prepare(&cluster, "etcd");
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(_etcd) = own_etcd::start(&cluster, &release.etcd_ca, &folder) else { return };
    release.write_workload();
    release.install().ok();
    assert_eq!(release.names().len(), COUNT);
    let admin = "kubectl -n identity create secret tls lanyard-admin-tls --cert=admin.pem --key=admin-key.pem";
    cluster.shell(release.folder.path(), admin).ok();
    let values = release.values_file("registered.yaml", &json!({"registrations": registrations()}));
    release.upgrade(&["--values", &values]);
    release.each_replica_issues_and_accepts();

    // Another configuration replaces them one by one.
    let before = release.names();
    let other = ["--values", &values, "--set", "config.tokens.verdict_ttl=3s"];
    release.under_load("upgrade", || {
        release.upgrade(&other);
        release.until_gone(&before);
    });
    let after = release.names();
    assert!(after.len() == COUNT && after.is_disjoint(&before), "{before:?}, {after:?}");
    release.under_load("rollback", || {
        release.release("rollback", &["--wait", "--timeout", "15m"]);
        release.until_gone(&after);
    });

    // One that could not start takes the place of none.
    let metadata = json!({"name": "another-key", "namespace": release.namespace});
    let data = json!({"key-encryption-key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}));
    let before = release.names();
    let another = ["--values", &values, "--set", "keyEncryptionKey.existingSecret=another-key"];
    let failed = release.under_load("upgrade that fails", || {
        release.helm("upgrade", &[&another[..], &["--wait", "--timeout", "20s"]].concat())
    });
    assert_eq!((failed.code, release.names()), (Some(1), before), "{failed:?}");
    release.upgrade(&["--values", &values]);

    // As where nodes are drained: one pod is evicted, and no second one before another has taken its place.
    let allowed = "--for=jsonpath={.status.disruptionsAllowed}=1";
    release.kubectl(&["wait", allowed, "poddisruptionbudget/lanyard", "--timeout=60s"]).ok();
    let before = release.names();
    let [gone, kept] = [before.first(), before.last()].map(|pod| pod.unwrap().as_str());
    release.under_load("eviction", || {
        release.evict(gone).ok();
        let refused = release.evict(kept);
        assert!(refused.code == Some(1) && refused.stderr.contains("disruption budget"), "{refused:?}");
        release.until_gone(&BTreeSet::from([gone.to_owned()]));
        release.kubectl(&["wait", allowed, "poddisruptionbudget/lanyard", "--timeout=120s"]).ok();
    });
    assert!(release.names().contains(kept));
    release.each_replica_issues_and_accepts();
}

#[test]
#[ignore = "long: builds Kubernetes once; .ci/run-long runs it"]
fn long_a_release_on_a_volume_moves_to_etcd_as_the_page_says_and_no_token_is_refused() {
    let Some(cluster) = Cluster::start(&Options { apart: true, ..Options::default() }) else { return };
    let release = Release::prepare(&cluster, "secret");
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(_etcd) = own_etcd::start(&cluster, &release.etcd_ca, &folder) else { return };
    release.write_workload();
    release.install().ok();
    let values = release.values_file("registered.yaml", &json!({"registrations": registrations()}));
    release.upgrade(&["--values", &values]);
    let [kept, revoked] = [(); 2].map(|()| release.token().ok().trim().to_owned());
    release.call("admin", &["token", "revoke", &revoked]).ok();
    let clients = release.registered("client", "client_id");

    // What is to be its values from now on: those of the example for etcd beside its own.
    let example = yaml::value(&fs::read_to_string(helm::example("etcd")).unwrap());
    let mut moved = release.values.clone();
    moved["registrations"]["clients"] = registrations()["clients"].clone();
    (moved["etcd"], moved["replicas"]) = (example["etcd"].clone(), example["replicas"].clone());
    release.values_file("values.yaml", &moved);
    let secret = "kubectl -n identity create secret generic lanyard-etcd --from-file=ca.crt=etcd-ca.pem \
        --from-file=tls.crt=etcd-client.pem --from-file=tls.key=etcd-client-key.pem";
    cluster.shell(release.folder.path(), secret).ok();

    let page = fs::read_to_string(in_crate("docs/replicas.md")).unwrap();
    let commands = page.split("\n```").find_map(|block| block.strip_prefix("sh elsewhere\n")).unwrap();
    let said = cluster.shell(release.folder.path(), commands).ok();
    assert!(said.contains("records copied"), "{said}");
    assert_eq!(release.kubectl(&["get", "statefulset/lanyard"]).code, Some(1));
    for _ in 0..COUNT {
        assert_eq!(release.verdict(&kept).json(0)["decision"], "DECISION_ALLOW");
        let refused = release.verdict(&revoked).json(3);
        assert_eq!((&refused["decision"], &refused["reason"]), (&json!("DECISION_DENY"), &json!("TOKEN_REVOKED")));
    }
    release.each_replica_issues_and_accepts();
    assert_eq!(release.registered("client", "client_id"), clients);
    // The old store stays, for the way back.
    release.get(&["persistentvolumeclaim/data-lanyard-0"]);
}
