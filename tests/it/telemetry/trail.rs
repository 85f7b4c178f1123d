//! The audit trail in a file: every way to change it is noticed, and placed.

mod accounts;
mod changes;
mod destinations;
mod heads;
mod interrupted;
mod replicas;
mod tampering;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;
use sha2::Sha256;

use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::channel;
use crate::support::server::spiffe_client;

/// A server's files, with a key for the audit trail.
struct Trail {
    setup: Setup,
    /// Further settings of the section.
    more: &'static str,
}

impl Trail {
    fn new(more: &'static str) -> Self {
        let setup = real_time();
        setup.write();
        let trail = Self { setup, more };
        let (key, public) = (trail.path("audit-key.pem"), trail.path("audit-public.pem"));
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", text(&key)]);
        openssl(&["pkey", "-in", text(&key), "-pubout", "-out", text(&public)]);
        trail
    }

    fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    fn section(&self) -> String {
        format!("{{file: audit.jsonl, key: audit-key.pem{}}}", self.more)
    }

    fn serve(&self) -> Serve {
        Serve::start_in(&[("LANYARD_AUDIT", &self.section())], &self.setup, 1024)
    }

    /// A token, and as many refused calls.
    async fn use_it(&self, serve: &Serve, refusals: usize) -> String {
        let svid = |path: &str| self.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}{path}")).issue();
        let (admin, workload) = (svid("/admin"), svid("/checkout"));
        let request = lanyard::proto::CreateClientRequest {
            client: Some(spiffe_client(&format!("spiffe://{TRUST_DOMAIN}/checkout"))),
            ..Default::default()
        };
        let mut registry = RegistryServiceClient::new(channel(serve.mtls, self.setup.tls(&admin)));
        registry.create_client(request).await.unwrap();
        let connection = channel(serve.mtls, self.setup.tls(&workload));
        let mut tokens = TokenServiceClient::new(connection.clone());
        let token = tokens.issue_token(IssueTokenRequest::default()).await.unwrap().into_inner().access_token;
        let mut registry = RegistryServiceClient::new(connection);
        for _ in 0..refusals {
            registry.list_clients(ListClientsRequest::default()).await.unwrap_err();
        }
        token
    }

    /// The files, the one that grows last.
    fn files(&self) -> Vec<PathBuf> {
        let file = self.path("audit.jsonl");
        let entries = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| text(path).contains("audit.jsonl.")).collect();
        files.sort();
        files.push(file);
        files
    }

    fn verified(&self, files: &[PathBuf]) -> Finished {
        let mut command = lanyard();
        command.args(["audit", "verify", "--key", text(&self.path("audit-public.pem")), "-o", "json"]).args(files);
        run(&mut command)
    }
}

fn openssl(arguments: &[&str]) {
    run(Command::new("openssl").args(arguments)).ok();
}

fn records(file: &Path) -> Vec<Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stop(serve: Serve) {
    serve.signal("TERM");
    assert!(serve.finish());
}

#[tokio::test]
async fn grants_refusals_and_changes_are_in_one_chain_that_is_signed_and_has_an_end() {
    let trail = Trail::new("");
    let serve = trail.serve();
    let token = trail.use_it(&serve, 2).await;
    stop(serve);
    let file = trail.path("audit.jsonl");
    let all = records(&file);
    let events: Vec<&str> = all.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(events.first(), Some(&"started"), "{events:?}");
    assert_eq!(events[events.len() - 2..], ["stopped", "signed"], "{events:?}");
    for (event, count) in [("client_changed", 1), ("token_issued", 1), ("call_not_admitted", 2)] {
        assert_eq!(events.iter().filter(|one| **one == event).count(), count, "{event}: {events:?}");
    }
    let numbers: Vec<u64> = all.iter().map(|one| one["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    let issued = all.iter().find(|one| one["event"] == "token_issued").unwrap();
    assert!(issued["jti"].is_string() && issued["bound_to"].is_string(), "{issued}");
    let written = fs::read_to_string(&file).unwrap();
    assert!(!written.contains(&token) && !written.contains(token.rsplit('.').next().unwrap()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let found = trail.verified(&trail.files()).json(0);
    let chain = &found["chains"][0];
    assert_eq!((&chain["first"], &chain["has_ended"]), (&json!(1), &json!(true)), "{found}");
    assert_eq!((&chain["last"], &chain["signed"]), (&json!(all.len()), &json!(all.len() - 1)), "{found}");
    assert_eq!((&found["faults"], &chain["not_written"]), (&json!([]), &json!([])));
    // Another key did not sign it.
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", text(&trail.path("other-key.pem"))]);
    let other = trail.path("other.pem");
    openssl(&["pkey", "-in", text(&trail.path("other-key.pem")), "-pubout", "-out", text(&other)]);
    let verify = |arguments: &[&str]| run(lanyard().args(["audit", "verify", text(&file)]).args(arguments));
    let refused = verify(&["--key", text(&other)]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains(&format!("line {}: the signature is not", all.len())), "{refused:?}");
    let unsigned = verify(&[]);
    assert!(unsigned.code == Some(0) && unsigned.stderr.contains("no signature was verified"), "{unsigned:?}");
    assert_eq!(verify(&["--key", text(&trail.path("audit-key.pem"))]).code, Some(2));
    assert_eq!(run(lanyard().args(["audit", "verify", "/nowhere"])).code, Some(2));
}

#[tokio::test]
async fn after_kill_9_what_is_left_verifies_and_the_next_start_begins_a_chain_of_its_own() {
    let trail = Trail::new("");
    let serve = trail.serve();
    trail.use_it(&serve, 5).await;
    // Until they are on the disk: a change is recorded before it is acknowledged, and written within a second.
    while records(&trail.path("audit.jsonl")).len() < 8 {
        tokio::task::yield_now().await;
    }
    drop(serve);
    let left = trail.verified(&trail.files()).json(0);
    assert_eq!(left["chains"][0]["has_ended"], false, "{left}");
    // As if the last line had been cut off in the middle.
    let file = trail.path("audit.jsonl");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
    stop(trail.serve());
    let both = trail.verified(&trail.files()).json(0);
    let ends: Vec<&Value> = both["chains"].as_array().unwrap().iter().map(|chain| &chain["has_ended"]).collect();
    assert_eq!(ends.iter().filter(|ended| ***ended == json!(true)).count(), 1, "{both}");
    assert_eq!(ends.len(), 2, "{both}");
}

#[tokio::test]
async fn renamed_files_verify_in_any_order_and_one_that_is_missing_in_between_is_noticed() {
    let trail = Trail::new(", max_bytes: 1000, keep: 2");
    let serve = trail.serve();
    trail.use_it(&serve, 1).await;
    let workload = trail.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}/checkout")).issue();
    let mut tokens = TokenServiceClient::new(channel(serve.mtls, trail.setup.tls(&workload)));
    // Until a third file is renamed, and with it the first deleted: how many records a file gets depends on how many are
    // written together.
    while !trail.files().iter().any(|file| text(file).ends_with("-000003")) {
        tokens.issue_token(IssueTokenRequest::default()).await.unwrap();
    }
    stop(serve);
    let mut files = trail.files();
    assert_eq!(files.len(), 3, "{files:?}");
    let forward = trail.verified(&files).json(0);
    files.reverse();
    assert_eq!(trail.verified(&files).json(0), forward);
    assert!(forward["chains"][0]["first"].as_u64().unwrap() > 1, "{forward}");
    // Cut what there is into three parts.
    files.reverse();
    let whole: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let lines: Vec<&str> = whole.lines().collect();
    let parts = ["one", "two", "three"].map(|name| trail.path(name));
    for (part, lines) in parts.iter().zip([&lines[..1], &lines[1..2], &lines[2..]]) {
        fs::write(part, lines.iter().flat_map(|line| [line, "\n"]).collect::<String>()).unwrap();
    }
    let [one, two, three] = parts;
    assert_eq!(trail.verified(&[three.clone(), one.clone(), two]).json(0), forward);
    let found = trail.verified(&[three, one]).json(1);
    let problem = "the record before this one was removed, changed or moved";
    assert_eq!(found["faults"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&found["faults"][0]["problem"], &found["faults"][0]["line"]), (&json!(problem), &json!(1)));
}

#[test]
fn a_server_does_not_start_with_an_audit_trail_that_it_cannot_write_or_sign() {
    let setup = real_time();
    setup.write();
    let serve = |section: &str| {
        let mut command = lanyard();
        command.env("LANYARD_AUDIT", section).args(["serve", "--config", text(&setup.path("lanyard.yaml"))]);
        run(&mut command)
    };
    for (section, problem) in [
        ("{file: /dev/full}", "the audit trail /dev/full cannot be written"),
        ("{file: /nowhere/audit.jsonl}", "the audit trail /nowhere/audit.jsonl cannot be written"),
        ("{file: audit.jsonl, key: nowhere.pem}", "nowhere.pem cannot be used"),
        ("{file: audit.jsonl, key: lanyard.yaml}", "lanyard.yaml cannot be used"),
    ] {
        serve(section).refused(problem, "`audit` in the configuration");
    }
}

/// The hash of a line, as the next one has it.
fn hash(line: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(line))
}

/// Lines linked anew, as whoever can write the file but has no key would do.
fn relinked(lines: &[String]) -> Vec<String> {
    let mut previous = String::new();
    let relink = |line: &String| {
        let record: Value = serde_json::from_str(line).unwrap();
        let line =
            line.replacen(&format!("\"previous\":{}", record["previous"]), &format!("\"previous\":\"{previous}\""), 1);
        previous = hash(&line);
        line
    };
    lines.iter().map(relink).collect()
}
