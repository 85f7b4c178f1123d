//! A process that is killed while it writes, and a disk that is full.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::DeleteClientRequest;
use lanyard::proto::ListChangesRequest;
use lanyard::proto::UpdateClientRequest;
use lanyard::proto::list_changes_request::Registration;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::revoke_token_request::Target;
use lanyard::proto::token_service_client::TokenServiceClient;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::child::Serve;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::revocation::client;
use crate::support::revocation::of;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::channel;
use crate::support::server::spiffe_client;
use crate::support::tools;
use crate::telemetry::trail::Trail;
use crate::telemetry::trail::accounts::counted;
use crate::telemetry::trail::records;
use crate::telemetry::trail::stop;

const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_writing_loses_no_record_of_a_change_and_what_is_left_verifies() {
    let mut trail = Trail::new("");
    trail.setup.store = "{sled: {path: data}}".to_owned();
    trail.setup.write();
    let admin = trail.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}/admin")).issue();
    let acknowledged = Arc::new(Mutex::new(Vec::<String>::new()));
    let (mut in_file, rounds) = (0, 4);
    for round in 0..rounds {
        let serve = trail.serve();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut registry = RegistryServiceClient::new(channel(serve.mtls, trail.setup.tls(&admin)));
            let acknowledged = Arc::clone(&acknowledged);
            writers.spawn(async move {
                for number in 0.. {
                    let name = format!("spiffe://{TRUST_DOMAIN}/{round}/{writer}/{number}");
                    let client = Some(spiffe_client(&name));
                    if registry.create_client(CreateClientRequest { client, ..Default::default() }).await.is_err() {
                        return;
                    }
                    acknowledged.lock().unwrap().push(name);
                }
            });
        }
        // Killed between two acknowledgements, somewhere else in each round.
        let enough = acknowledged.lock().unwrap().len() + 20 + 13 * round;
        while acknowledged.lock().unwrap().len() < enough {
            tokio::task::yield_now().await;
        }
        drop(serve);
        while writers.join_next().await.is_some() {}
        let left = trail.verified(&trail.files()).json(0);
        assert_eq!(left["chains"].as_array().map(Vec::len), Some(round + 1), "{left}");
        in_file = fs::read_to_string(trail.path("audit.jsonl")).unwrap().matches("client_changed").count();
    }
    // The record of each change that was acknowledged is in the store, with who made it.
    let serve = trail.serve();
    let mut registry = RegistryServiceClient::new(channel(serve.mtls, trail.setup.tls(&admin)));
    let acknowledged = acknowledged.lock().unwrap().clone();
    for name in &acknowledged {
        let request = ListChangesRequest { registration: Some(Registration::ClientId(name.clone())) };
        let changes = registry.list_changes(request).await.unwrap().into_inner().changes;
        let told: Vec<(&str, &str)> = changes.iter().map(|one| (&*one.change, &*one.changed_by)).collect();
        assert_eq!(told, [("created", &*format!("spiffe://{TRUST_DOMAIN}/admin"))], "{name}");
    }
    stop(serve);
    println!(
        "{} changes acknowledged before {rounds} kills, all in the store; {in_file} in the file",
        acknowledged.len()
    );
}

#[tokio::test]
async fn on_a_full_disk_nothing_waits_for_the_file_and_with_space_it_has_every_record() {
    if !tools::namespaces() {
        return;
    }
    let trail = Trail::new("");
    let volume = trail.path("volume");
    fs::create_dir(&volume).unwrap();
    let section = "{file: volume/audit.jsonl, key: audit-key.pem}";
    let serve = Serve::start_on_small_disk(&volume, "256k", &[("LANYARD_AUDIT", section)], &trail.setup);
    let (file, filler) = (serve.seen(&volume.join("audit.jsonl")), serve.seen(&volume.join("filler")));
    // What is being written just now is taken back if there is no space for it.
    let records = |file: &Path| -> Vec<Value> {
        let text = fs::read_to_string(file).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    assert_eq!(records(&file)[0]["event"], "started");
    let mut rest = File::create(&filler).unwrap();
    while rest.write_all(&[0; 4096]).is_ok() {}
    while rest.write_all(&[0; 16]).is_ok() {}
    let before = records(&file).len();
    // A registration, a token and refusals; tmpfs has room to the end of the page that the last line is in.
    trail.use_it(&serve, 9).await;
    serve.line_with("the audit trail cannot be written there");
    assert!(records(&file).len() < before + 11);
    assert_eq!(counted(&serve, "lanyard_audit_records_total{destination=\"file\",outcome=\"lost\"}"), 0);
    fs::remove_file(&filler).unwrap();
    drop(rest);
    serve.line_with("the audit trail is written there again");
    while records(&file).len() < before + 11 {
        tokio::task::yield_now().await;
    }
    let all = records(&file);
    let number = |event: &str| all.iter().filter(|record| record["event"] == event).count();
    assert_eq!([number("client_changed"), number("token_issued"), number("call_not_admitted")], [1, 1, 9]);
    let copy = trail.path("copy.jsonl");
    fs::copy(&file, &copy).unwrap();
    let found: Value = run(lanyard().args(["audit", "verify", "-o", "json", text(&copy)])).json(0);
    assert_eq!((&found["chains"][0]["not_written"], &found["faults"]), (&json!([]), &json!([])), "{found}");
    stop(serve);
}

#[tokio::test]
async fn on_a_full_disk_of_the_store_what_takes_away_is_done_and_recorded_and_what_widens_is_refused() {
    if !tools::namespaces() {
        return;
    }
    let mut trail = Trail::new("");
    let volume = trail.path("volume");
    fs::create_dir(&volume).unwrap();
    trail.setup.store = "{sled: {path: volume/data}}".to_owned();
    trail.setup.write();
    let serve = Serve::start_on_small_disk(&volume, "64m", &[("LANYARD_AUDIT", &trail.section())], &trail.setup);
    let token = trail.use_it(&serve, 0).await;
    let svid = |path: &str| trail.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}{path}")).issue();
    let connection = channel(serve.mtls, trail.setup.tls(&svid("/admin")));
    let (mut registry, mut tokens) =
        (RegistryServiceClient::new(connection.clone()), TokenServiceClient::new(connection));
    let named = |name: &str| CreateClientRequest {
        client: Some(spiffe_client(&format!("spiffe://{TRUST_DOMAIN}/{name}"))),
        ..Default::default()
    };
    let disabled = registry.create_client(named("to-disable")).await.unwrap().into_inner();
    registry.create_client(named("to-delete")).await.unwrap();
    // A sixty-fourth of the disk is reserved. Half of that is left.
    let filler = serve.seen(&volume.join("filler"));
    let mut fill = File::create(&filler).unwrap();
    while fill.write_all(&[0; 4096]).is_ok() {}
    fill.set_len(fill.metadata().unwrap().len() - (512 << 10)).unwrap();

    let refused = registry.create_client(named("one-more")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let wider = Client { scope: "orders.read".to_owned(), ..disabled.clone() };
    let request = UpdateClientRequest { client: Some(wider), ..Default::default() };
    assert_eq!(registry.update_client(request).await.unwrap_err().code(), Code::Unavailable);
    for number in 0..32 {
        let target = client(&format!("spiffe://{TRUST_DOMAIN}/revoked-{number}"));
        tokens.revoke_token(of(target)).await.unwrap();
    }
    tokens.revoke_token(of(Target::Token(token))).await.unwrap();
    let disabled = Client { disabled: true, ..disabled };
    registry.update_client(UpdateClientRequest { client: Some(disabled), ..Default::default() }).await.unwrap();
    let client_id = format!("spiffe://{TRUST_DOMAIN}/to-delete");
    registry.delete_client(DeleteClientRequest { client_id, ..Default::default() }).await.unwrap();

    drop(fill);
    fs::remove_file(&filler).unwrap();
    registry.create_client(named("one-more")).await.unwrap();
    stop(serve);
    let all = records(&trail.path("audit.jsonl"));
    let number = |event: &str, change: &str| {
        all.iter().filter(|record| record["event"] == event && record["change"] == change).count()
    };
    assert_eq!(number("revocation", "revoked"), 33);
    let changed = ["created", "updated", "disabled", "deleted"].map(|change| number("client_changed", change));
    assert_eq!(changed, [4, 0, 1, 1]);
}
