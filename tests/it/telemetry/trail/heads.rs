//! The last record of each chain in the store: a tail that was cut off shows, and so does a chain that is gone.

use std::fs;
use std::path::PathBuf;

use lanyard::telemetry::trail::jwk_set;
use serde_json::Value;
use serde_json::json;

use crate::support::child::Serve;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::http::http1_only;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::connect;
use crate::telemetry::trail::Trail;
use crate::telemetry::trail::records;
use crate::telemetry::trail::relinked;
use crate::telemetry::trail::stop;

/// Calls the server with a certificate of this path.
pub(super) fn cli(trail: &Trail, serve: &Serve, path: &str, arguments: &[&str]) -> Finished {
    let svid = trail.setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}{path}")).issue();
    fs::write(trail.path("caller.pem"), svid.chain_pem()).unwrap();
    fs::write(trail.path("caller-key.pem"), svid.key_pem()).unwrap();
    let mut command = lanyard();
    command.args(arguments).args(["--server", &format!("https://localhost:{}", serve.mtls.port())]);
    command.arg("--ca").arg(trail.path("ca.pem"));
    command.arg("--cert").arg(trail.path("caller.pem")).arg("--key").arg(trail.path("caller-key.pem"));
    run(&mut command)
}

/// The heads that the store has, in a file as `verify` reads it.
pub(super) fn heads(trail: &Trail, serve: &Serve) -> (PathBuf, Value) {
    let listed = cli(trail, serve, "/admin", &["audit", "heads", "-o", "json"]).json(0);
    fs::write(trail.path("heads.json"), listed.to_string()).unwrap();
    (trail.path("heads.json"), listed["heads"].clone())
}

fn verify(trail: &Trail, lines: &[String]) -> Finished {
    let file = trail.path("looked-at.jsonl");
    fs::write(&file, lines.iter().flat_map(|line| [line, "\n"]).collect::<String>()).unwrap();
    let (key, heads) = (trail.path("audit-public.pem"), trail.path("heads.json"));
    let arguments = ["audit", "verify", "-o", "json", "--key", text(&key), "--heads", text(&heads), text(&file)];
    run(lanyard().args(arguments))
}

#[tokio::test]
async fn a_tail_that_was_cut_off_and_a_chain_that_is_gone_show_by_the_heads_in_the_store() {
    let mut trail = Trail::new("");
    trail.setup.store = "{sled: {path: data}}".to_owned();
    trail.setup.write();
    let serve = trail.serve();
    trail.use_it(&serve, 4).await;
    stop(serve);
    let first = records(&trail.path("audit.jsonl"));
    stop(trail.serve());
    let serve = trail.serve();
    let (_, kept) = heads(&trail, &serve);
    cli(&trail, &serve, "/checkout", &["audit", "heads"]).refused("WRONG_ROLE", "role Admin");
    let written = fs::read_to_string(trail.path("audit.jsonl")).unwrap();
    let lines: Vec<String> = written.lines().map(ToOwned::to_owned).collect();
    let own = |line: &String| line.contains(first[0]["chain"].as_str().unwrap());
    let (ended, others): (Vec<String>, Vec<String>) = lines.iter().cloned().partition(own);

    // The newest first. That of the server that runs is there too, once its first write to the store is done.
    let kept: Vec<Value> = kept.as_array().unwrap().iter().filter(|head| head["has_ended"] == true).cloned().collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let last = first.last().unwrap();
    let of_first = &kept[1];
    assert_eq!((&of_first["chain"], &of_first["sequence"]), (&last["chain"], &last["sequence"]), "{kept:?}");
    let whole = verify(&trail, &lines).json(0);
    assert_eq!((&whole["heads_compared"], &whole["missing_chains"]), (&json!(true), &json!([])));
    let found = whole["chains"].as_array().unwrap();
    let chain = found.iter().find(|chain| chain["chain"] == last["chain"]).unwrap();
    assert_eq!(chain["kept"], last["sequence"], "{whole}");

    // Without the last line, and with another one in its place, which is linked as it should be.
    let cut = [&ended[..ended.len() - 1], &others].concat();
    let found = verify(&trail, &cut).json(1);
    let fault = &found["faults"][0];
    assert!(fault["problem"].as_str().unwrap().contains("were cut off"), "{found}");
    assert_eq!((&fault["line"], &found["faults"][1]), (&json!(ended.len() - 1), &Value::Null));
    let mut rewritten = ended.clone();
    let end = rewritten.len() - 2;
    rewritten[end] = rewritten[end].replace("stopped", "signed_off");
    let found = verify(&trail, &relinked(&rewritten)).json(1);
    let problems = found["faults"].to_string();
    assert!(problems.contains("not the record of that number that the store has the hash of"), "{found}");
    // It is not called the one in the store, nor a missing one.
    assert_eq!((&found["chains"][0]["kept"], problems.contains("is missing")), (&Value::Null, false), "{found}");
    // The record that the store has is left out, as if it had never been written, and the chain goes on.
    let mut skipped: Vec<String> = ended[..ended.len() - 1].to_vec();
    skipped.push(ended[4].replacen("\"sequence\":5,", &format!("\"sequence\":{},", ended.len() + 1), 1));
    let found = verify(&trail, &relinked(&skipped)).json(1);
    assert!(found["faults"].to_string().contains("has the hash of is missing before this one"), "{found}");
    // The second chain ended after the first one began: its file is gone.
    let found = verify(&trail, &ended).json(1);
    let missing = found["missing_chains"].as_array().unwrap();
    assert!(missing.contains(&kept[0]["chain"]) && !missing.contains(&kept[1]["chain"]), "{found}");
    assert_eq!(found["faults"], json!([]), "{found}");
    // Files from before may have been deleted.
    let of_second = |line: &String| line.contains(kept[0]["chain"].as_str().unwrap());
    let mut later: Vec<String> = others.into_iter().filter(of_second).collect();
    // The first one ended before this began. That of the server that runs is not looked at.
    let time = kept[1]["time"].as_u64().unwrap() + 1;
    for line in &mut later {
        let record: Value = serde_json::from_str(line).unwrap();
        *line = line.replacen(&format!("\"time\":{},", record["time"]), &format!("\"time\":{time},"), 1);
    }
    let found = verify(&trail, &relinked(&later)).json(1);
    assert!(!found["missing_chains"].as_array().unwrap().contains(&kept[1]["chain"]), "{found}");
}

#[tokio::test]
async fn the_public_key_of_the_trail_is_a_document_of_its_own_and_verifies_the_file() {
    let trail = Trail::new("");
    let serve = trail.serve();
    trail.use_it(&serve, 1).await;
    let read = async |path: &str| {
        let config = http1_only(trail.setup.tls_builder(rustls::DEFAULT_VERSIONS).with_no_client_auth());
        let mut http = Http::one(connect(serve.public, config).await.unwrap()).await;
        http.send(get(path)).await
    };
    let (own, tokens) = (read("/audit/jwks").await, read("/oauth2/jwks").await);
    let set: Value = serde_json::from_str(&own.body).unwrap();
    let kid = set["keys"][0]["kid"].as_str().unwrap().to_owned();
    assert_eq!((own.status, set["keys"].as_array().map(Vec::len)), (200, Some(1)), "{}", own.body);
    assert!(!tokens.body.contains(&kid) && tokens.body.contains("\"kid\""), "{}", tokens.body);
    fs::write(trail.path("audit-jwks.json"), &own.body).unwrap();
    stop(serve);
    let file = trail.path("audit.jsonl");
    let verified = |key: &str| run(lanyard().args(["audit", "verify", "-o", "json", "--key", key, text(&file)]));
    let found = verified(text(&trail.path("audit-jwks.json"))).json(0);
    assert_eq!(found["signatures_verified"], true);
    assert!(found["chains"][0]["signed"].is_u64(), "{found}");
    // A set without a key verifies nothing, and is not taken for one that does.
    fs::write(trail.path("none.json"), jwk_set(None)).unwrap();
    assert_eq!(verified(text(&trail.path("none.json"))).code, Some(2));
}

#[tokio::test]
async fn what_admins_read_and_what_was_reloaded_is_in_the_trail() {
    let trail = Trail::new("");
    let serve = trail.serve();
    trail.use_it(&serve, 0).await;
    cli(&trail, &serve, "/admin", &["client", "list"]).ok();
    cli(&trail, &serve, "/checkout", &["client", "list"]).refused("WRONG_ROLE", "role Admin");
    cli(&trail, &serve, "/checkout", &["whoami"]).ok();
    let id = &format!("spiffe://{TRUST_DOMAIN}/checkout");
    cli(&trail, &serve, "/admin", &["explain", "identity", id]).ok();
    cli(&trail, &serve, "/checkout", &["explain", "identity", id]).ok();
    let file = trail.setup.path("lanyard.yaml");
    let configuration = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{configuration}\nlog: {{level: warn}}\n")).unwrap();
    serve.signal("HUP");
    // The handler is asynchronous: until the change is on the disk.
    while !fs::read_to_string(trail.path("audit.jsonl")).unwrap().contains("configuration_changed") {
        tokio::task::yield_now().await;
    }
    stop(serve);
    let all = records(&trail.path("audit.jsonl"));
    let of = |event: &str| all.iter().filter(|record| record["event"] == event).collect::<Vec<_>>();
    // `client list` shows which of them are revoked.
    let [read, revocations, explained] = of("admin_read")[..] else { panic!("{all:?}") };
    assert_eq!(read["method"], "/lanyard.v1.RegistryService/ListClients");
    assert_eq!(revocations["method"], "/lanyard.v1.TokenService/ListRevocations");
    assert_eq!(explained["method"], "/lanyard.v1.ExplanationService/ExplainIdentity");
    assert_eq!(read["actor"], format!("spiffe://{TRUST_DOMAIN}/admin"));
    assert!(read["certificate"].is_string() && read["remote"].is_string(), "{read}");
    let [changed] = of("configuration_changed")[..] else { panic!("{all:?}") };
    assert_eq!((&changed["change"], &changed["keys"]), (&json!("configuration"), &json!("log.level")));
}
