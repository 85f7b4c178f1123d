//! The audit trail in a file: every way to change it is noticed, and placed.

mod accounts;
mod heads;

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
use lanyard::telemetry::trail::Fault;
use lanyard::telemetry::trail::HeadVerifier;
use lanyard::telemetry::trail::Lost;
use lanyard::telemetry::trail::Verified;
use lanyard::telemetry::trail::verify;
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

    fn serve(&self) -> Serve {
        let section = format!("{{file: audit.jsonl, key: audit-key.pem{}}}", self.more);
        Serve::start_in(&[("LANYARD_AUDIT", &section)], &self.setup, 1024)
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
    trail.use_it(&serve, 40).await;
    stop(serve);
    let mut files = trail.files();
    assert_eq!(files.len(), 3, "{files:?}");
    let forward = trail.verified(&files).json(0);
    files.reverse();
    assert_eq!(trail.verified(&files).json(0), forward);
    assert!(forward["chains"][0]["first"].as_u64().unwrap() > 1, "{forward}");
    // How many records a file has depends on how many were written together: cut what there is into three parts.
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

const REMOVED: &str = "the record before this one was removed, changed or moved";

/// A file as text, and what is found in it.
fn judge(lines: &[String], key: &HeadVerifier) -> Verified {
    let text = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    verify(&[("file".to_owned(), text.into_bytes())], Some(key), &[])
}

/// Lines linked anew, as whoever can write the file but has no key would do.
fn relinked(lines: &[String]) -> Vec<String> {
    let mut previous = String::new();
    let relink = |line: &String| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["previous"] = json!(previous);
        let line = record.to_string();
        previous = URL_SAFE_NO_PAD.encode(Sha256::digest(&line));
        line
    };
    lines.iter().map(relink).collect()
}

#[tokio::test]
async fn each_kind_of_tampering_is_found_and_placed() {
    let trail = Trail::new("");
    let serve = trail.serve();
    trail.use_it(&serve, 8).await;
    stop(serve);
    let written = fs::read_to_string(trail.path("audit.jsonl")).unwrap();
    let lines: Vec<String> = written.lines().map(ToOwned::to_owned).collect();
    let key = HeadVerifier::open(&trail.path("audit-public.pem")).unwrap();
    let count = lines.len();
    assert!(count > 10 && judge(&lines, &key).faults.is_empty(), "{written}");
    let faults = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        judge(&lines, &key).faults
    };
    let at = |line, problem| vec![Fault { file: "file".to_owned(), line, problem }];
    let not_first = "this is not the first record of its chain";
    let number = "the number of this record is not after that of the record before";
    let signature = "the signature is not that of the key over the record before";
    // 1 a value is changed, 2 only a space is added.
    assert_eq!(faults(&|lines| lines[4] = lines[4].replace("WRONG_ROLE", "NO_SUCH_ROLE")), at(6, REMOVED));
    assert_eq!(faults(&|lines| lines[4] = lines[4].replacen(',', ", ", 1)), at(6, REMOVED));
    // 3 one is removed, 4 the first one is, 5 two change places, 6 one is there twice, 7 one of elsewhere is added.
    assert_eq!(faults(&|lines| drop(lines.remove(4))), at(5, REMOVED));
    // Without the first one the rest begins at 2, as where the files before were deleted.
    assert_eq!(judge(&lines[1..], &key).chains[0].first, 2);
    assert_eq!(faults(&|lines| lines[0] = lines[0].replace("started", "stopped")).first(), at(1, not_first).first());
    assert_eq!(faults(&|lines| lines.swap(4, 5)).first(), at(5, REMOVED).first());
    assert_eq!(faults(&|lines| lines.insert(5, lines[4].clone())).first(), at(6, REMOVED).first());
    assert_eq!(faults(&|lines| lines.insert(5, lines[8].clone())).first(), at(6, REMOVED).first());
    // 8 a number is changed and all that follow are linked anew, 9 a record is, and the signature no longer fits.
    let renumbered = faults(&|lines| {
        lines[5] = lines[5].replace("\"sequence\":6,", "\"sequence\":4,");
        *lines = relinked(lines);
    });
    assert_eq!(renumbered.first(), at(6, number).first());
    let rewritten = faults(&|lines| {
        lines[4] = lines[4].replace("WRONG_ROLE", "NO_SUCH_ROLE");
        *lines = relinked(lines);
    });
    assert_eq!(rewritten, at(count, signature));
    // 10 the signature is another's, 11 a line is no record, 12 something is added after the end.
    let resigned = faults(&|lines| {
        let last = lines.last_mut().unwrap();
        let mut record: Value = serde_json::from_str(last).unwrap();
        record["signature"] = json!(URL_SAFE_NO_PAD.encode([1; 64]));
        *last = record.to_string();
    });
    assert_eq!(resigned, at(count, signature));
    assert_eq!(faults(&|lines| lines[4] = "{\"chain\":".to_owned()).first(), at(5, "this is no record").first());
    let after = faults(&|lines| {
        let mut more = lines[4].clone();
        more = more.replace("\"sequence\":5,", &format!("\"sequence\":{},", count + 1));
        lines.push(more);
        *lines = relinked(lines);
    });
    assert!(after.contains(&at(count + 1, "this record is after the end of its chain")[0]), "{after:?}");
    // A tail that is cut off leaves a chain without an end, and says up to where it is signed.
    let cut = judge(&lines[..6], &key);
    assert_eq!((cut.faults.as_slice(), cut.chains[0].has_ended, cut.chains[0].signed), (&[][..], false, None));
    assert_eq!(cut.chains[0].last, 6);
    // What the server could not write is missing in the sequence alone, and is no fault.
    let mut lost = lines[..5].to_vec();
    lost.push(lines[7].clone());
    let lost = judge(&relinked(&lost), &key);
    assert_eq!((lost.faults.as_slice(), lost.chains[0].lost.as_slice()), (&[][..], &[Lost { first: 6, last: 7 }][..]));
}
