//! Three replicas on one store: three chains, and one command that verifies them.

use std::fs;
use std::path::Path;

use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use serde_json::Value;
use serde_json::json;

use crate::support::child::Serve;
use crate::support::etcd::Cluster;
use crate::support::etcd::Options;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::channel;
use crate::telemetry::trail::Trail;
use crate::telemetry::trail::heads::heads;
use crate::telemetry::trail::records;
use crate::telemetry::trail::stop;

const FILES: [&str; 3] = ["audit-0.jsonl", "audit-1.jsonl", "audit-2.jsonl"];

/// A token and a refusal at a replica, as soon as it knows the client.
async fn use_replica(trail: &Trail, serve: &Serve) {
    let svid = trail.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}/checkout")).issue();
    let connection = channel(serve.mtls, trail.setup.tls(&svid));
    let mut tokens = TokenServiceClient::new(connection.clone());
    while tokens.issue_token(IssueTokenRequest::default()).await.is_err() {
        tokio::task::yield_now().await;
    }
    let mut registry = RegistryServiceClient::new(connection);
    registry.list_clients(ListClientsRequest::default()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_chains_of_three_replicas_are_verified_by_one_command_against_one_store() {
    let Some(cluster) = Cluster::start(Options::default()) else { return };
    let mut trail = Trail::new("");
    trail.setup.store = cluster.store_section("/lanyard/audit", [0, 1, 2]);
    trail.setup.write();
    let start = |file: &str| {
        let section = format!("{{file: {file}, key: audit-key.pem}}");
        Serve::start_in(&[("LANYARD_AUDIT", &section)], &trail.setup, 1024)
    };
    let [one, two, three] = FILES.map(start);
    trail.use_it(&one, 2).await;
    use_replica(&trail, &two).await;
    use_replica(&trail, &three).await;
    // One ends as it should, one is killed, one runs on.
    stop(one);
    while !fs::read_to_string(trail.path(FILES[1])).unwrap().contains("call_not_admitted") {
        tokio::task::yield_now().await;
    }
    drop(two);
    // The first head of each chain is kept a moment after its start.
    let mut kept = heads(&trail, &three).1;
    while kept.as_array().unwrap().len() < FILES.len() {
        kept = heads(&trail, &three).1;
    }
    stop(three);
    let files = FILES.map(|file| trail.path(file));
    let verify = |files: &[&Path]| -> Finished {
        let (key, heads) = (trail.path("audit-public.pem"), trail.path("heads.json"));
        let mut command = lanyard();
        command.args(["audit", "verify", "-o", "json", "--key", text(&key), "--heads", text(&heads)]).args(files);
        run(&mut command)
    };
    let all: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let found = verify(&all).json(0);
    let chains = found["chains"].as_array().unwrap();
    assert_eq!(chains.len(), 3, "{found}");
    for (file, has_ended) in files.iter().zip([true, false, true]) {
        let written = records(file);
        let chain = chains.iter().find(|chain| chain["chain"] == written[0]["chain"]).unwrap();
        assert_eq!((&chain["first"], &chain["last"]), (&json!(1), &json!(written.len())), "{found}");
        assert_eq!(chain["has_ended"], has_ended, "{found}");
        assert!(chain["kept"].is_u64(), "{found}");
        assert!(written.iter().any(|record| record["event"] == "token_issued"), "{written:?}");
    }
    // In the other order it is the same, and one file alone is a part.
    let reversed: Vec<&Path> = all.iter().rev().copied().collect();
    assert_eq!(verify(&reversed).json(0), found);
    let part = verify(&all[..2]).json(1);
    let chain_of = |file: &Path| records(file)[0]["chain"].clone();
    assert_eq!(part["missing_chains"], json!([chain_of(all[2])]), "{part}");
    // What is changed in one of them is placed in it.
    let written = fs::read_to_string(all[1]).unwrap();
    fs::write(all[1], written.replacen("token_issued", "token_denied", 1)).unwrap();
    let place = written.lines().position(|line| line.contains("token_issued")).unwrap() + 2;
    let found = verify(&all).json(1);
    let faults: Vec<&Value> = found["faults"].as_array().unwrap().iter().collect();
    assert_eq!((faults.len(), &faults[0]["file"]), (1, &json!(text(all[1]))), "{found}");
    assert_eq!(faults[0]["line"], json!(place), "{found}");
}
