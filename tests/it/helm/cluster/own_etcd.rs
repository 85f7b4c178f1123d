//! An etcd of one's own in a cluster: three members with TLS, at the names that the example has.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::ca::TestCa;
use crate::support::etcd::program;
use crate::support::kubernetes::Cluster;
use crate::support::process::Process;
use crate::support::process::text;

/// The address of a member, on the network of the pods.
fn address(member: usize) -> String {
    format!("10.244.255.{}", member + 1)
}

/// Starts it, with certificates of this CA; it ends when the members are dropped. `None` if etcd is to be skipped.
pub fn start(cluster: &Cluster, ca: &TestCa, folder: &TempDir) -> Option<Vec<Process>> {
    let etcd = program()?.join("etcd");
    let certificate = (0..3).fold(ca.server_certificate("etcd.etcd"), |certificate, member| {
        let certificate = certificate.dns(&format!("etcd-{member}.etcd.etcd"));
        certificate.ip(address(member).parse().unwrap())
    });
    let certificate = certificate.valid_for(Duration::from_hours(24)).issue();
    let write = |name: &str, content: String| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        text(&path).to_owned()
    };
    let files = [
        ("--trusted-ca-file", write("ca.pem", ca.pem())),
        ("--cert-file", write("member.pem", certificate.chain_pem())),
        ("--key-file", write("member-key.pem", certificate.key_pem())),
    ];
    // A headless Service, and the hostnames of its endpoints, as those of a StatefulSet.
    let (name, ports) = (json!({"name": "etcd", "namespace": "etcd"}), json!([{"name": "client", "port": 2379}]));
    let endpoint = |member: usize| {
        json!({
            "addresses": [address(member)], "hostname": format!("etcd-{member}"), "conditions": {"ready": true},
        })
    };
    let mut labelled = name.clone();
    labelled["labels"] = json!({"kubernetes.io/service-name": "etcd"});
    let spec = json!({"clusterIP": "None", "ports": ports});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "etcd"}}));
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": spec}));
    cluster.apply(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": labelled, "addressType": "IPv4",
        "ports": ports, "endpoints": [endpoint(0), endpoint(1), endpoint(2)],
    }));
    let all = [0, 1, 2].map(|member| format!("etcd-{member}=http://{}:2380", address(member))).join(",");
    let members: Vec<Process> = (0..3)
        .map(|member| {
            cluster.shell(Path::new("/"), &format!("ip address add {}/32 dev pods", address(member))).ok();
            let (client, peer) =
                (format!("https://{}:2379", address(member)), format!("http://{}:2380", address(member)));
            let mut command = cluster.command(&etcd);
            command.args(["--name", &format!("etcd-{member}"), "--initial-cluster", &all, "--unsafe-no-fsync"]);
            command.arg("--data-dir").arg(folder.path().join(format!("data-{member}")));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--client-cert-auth"]);
            for (flag, file) in &files {
                command.args([flag, file.as_str()]);
            }
            Process::start(&mut command)
        })
        .collect();
    for member in &members {
        member.until("ready to serve client requests");
    }
    Some(members)
}
