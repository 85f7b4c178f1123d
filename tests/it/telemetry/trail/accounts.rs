//! Of a mixed run each decision is counted or recorded, and one command finds what there is about it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;

use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::Decision;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ProtectedResource;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::support::calls::use_of;
use crate::support::child::Serve;
use crate::support::leaf::Leaf;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::ORDERS;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::certificate_of;
use crate::support::server::channel;
use crate::telemetry::trail::Trail;
use crate::telemetry::trail::records;
use crate::telemetry::trail::stop;

/// How many requests are under way at a time.
const CALLERS: usize = 8;

/// A connection for each of the callers, and what they ask about.
#[derive(Clone)]
struct Run {
    proxy: Channel,
    workload: Channel,
    thief: Channel,
    token: String,
    own: Leaf,
    stolen_by: Leaf,
}

impl Run {
    /// One request of a kind, which is what it should be.
    async fn ask(&self, kind: usize) {
        let mut bindings = BindingServiceClient::new(self.proxy.clone());
        let mut validate = async |token: &str, leaf: &Leaf| {
            let question = ValidateBindingRequest { evidence: certificate_of(leaf), ..use_of(token) };
            bindings.validate_binding(question).await.unwrap().into_inner().decision()
        };
        match kind {
            0 | 1 => assert_eq!(validate(&self.token, &self.own).await, Decision::Allow),
            2 => assert_eq!(validate(&self.token, &self.stolen_by).await, Decision::Deny),
            3 => assert_eq!(validate("no token", &self.own).await, Decision::Deny),
            4 => drop(
                TokenServiceClient::new(self.workload.clone()).issue_token(IssueTokenRequest::default()).await.unwrap(),
            ),
            5 => {
                let request = IssueTokenRequest { client_id: id("/checkout"), ..Default::default() };
                TokenServiceClient::new(self.thief.clone()).issue_token(request).await.unwrap_err();
            }
            _ => {
                let mut registry = RegistryServiceClient::new(self.workload.clone());
                registry.list_clients(ListClientsRequest::default()).await.unwrap_err();
            }
        }
    }

    async fn requests(&self, count: usize) {
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let run = self.clone();
            tasks.spawn(async move {
                for number in (caller..count).step_by(CALLERS) {
                    run.ask(number % 7).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}

fn id(path: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}{path}")
}

/// The counters of the metrics page whose series begin so, added up.
pub(super) fn counted(serve: &Serve, series: &str) -> u64 {
    let mut stream = TcpStream::connect(serve.ops).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let values = page.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

/// How often the trail says that each event had each outcome, with those that it only counts.
fn recorded(all: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut found = BTreeMap::new();
    for record in all {
        let member = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        *found.entry((member("event"), member("outcome"))).or_default() += record["repeated"].as_u64().unwrap_or(1);
    }
    found
}

/// Half of the requests before the resource asks for records of what it allows, and half afterwards.
async fn of_a_mixed_run(count: usize) {
    let trail = Trail::new("");
    let serve = trail.serve();
    let token = trail.use_it(&serve, 0).await;
    let connect = |path: &str| {
        let svid = trail.setup.ca.svid(&id(path)).issue();
        (channel(serve.mtls, trail.setup.tls(&svid)), svid)
    };
    let ((proxy, _), (thief, stolen_by), (admin, _)) = (connect("/proxy"), connect("/thief"), connect("/admin"));
    let (workload, own) = connect("/checkout");
    // The token of another certificate of the same workload would not do.
    drop(token);
    let issued = TokenServiceClient::new(workload.clone()).issue_token(IssueTokenRequest::default()).await.unwrap();
    let token = issued.into_inner().access_token;
    let run = Run { proxy, workload, thief, token, own, stolen_by };
    run.requests(count / 2).await;
    let resource = ProtectedResource { audience: ORDERS.to_owned(), record_allowed: true, ..Default::default() };
    let request = CreateProtectedResourceRequest { resource: Some(resource), ..Default::default() };
    RegistryServiceClient::new(admin).create_protected_resource(request).await.unwrap();
    run.requests(count / 2).await;

    let of = |series: &str| counted(&serve, series);
    let decisions = "lanyard_decisions_total{question=\"validate_binding\",decision=";
    let (allowed, denied) = (of(&format!("{decisions}\"allow\"")), of(&format!("{decisions}\"deny\"")));
    let (issued, refused) = (of("lanyard_tokens_issued_total"), of("lanyard_grants_refused_total"));
    let not_admitted = of("lanyard_calls_refused_total");
    stop(serve);
    // Two tokens were issued before the run.
    assert_eq!(allowed + denied + issued + refused + not_admitted, count as u64 + 2);
    let all = records(&trail.path("audit.jsonl"));
    let found = recorded(&all);
    let number = |event: &str, outcome: &str| found.get(&(event.to_owned(), outcome.to_owned())).copied().unwrap_or(0);
    assert_eq!(number("binding_decided", "denied"), denied, "{found:?}");
    assert_eq!(number("token_issued", "allowed"), issued, "{found:?}");
    assert_eq!(number("token_refused", "denied"), refused, "{found:?}");
    assert_eq!(number("call_not_admitted", "denied"), not_admitted, "{found:?}");
    // Those of the first half are only counted.
    let in_half = (0..count / 2).filter(|number| number % 7 < 2).count() as u64;
    assert_eq!((number("binding_decided", "allowed"), allowed), (in_half, 2 * in_half), "{found:?}");
    let verified = trail.verified(&trail.files()).json(0);
    assert_eq!(verified["chains"][0]["not_written"], serde_json::json!([]), "{verified}");
    println!(
        "{count} requests: {allowed} allowed, {denied} denied, {issued} tokens, {refused} refused, {not_admitted} not admitted; {} lines",
        all.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_mixed_run_each_decision_is_counted_or_recorded() {
    of_a_mixed_run(1400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: 20,000 requests; .ci/run-long runs it"]
async fn long_of_20_000_mixed_requests_each_decision_is_counted_or_recorded() {
    of_a_mixed_run(20_000).await;
}

fn search(trail: &Trail, arguments: &[&str]) -> Finished {
    let file = trail.path("audit.jsonl");
    run(lanyard().args(["audit", "search", text(&file)]).args(arguments))
}

#[tokio::test]
async fn one_command_says_who_got_tokens_by_a_change_and_what_was_refused() {
    let trail = Trail::new("");
    let serve = trail.serve();
    trail.use_it(&serve, 3).await;
    stop(serve);
    let found = |arguments: &[&str]| {
        let found = search(&trail, &[arguments, &["-o", "json"]].concat()).json(0);
        (found["records"].as_array().unwrap().clone(), found["more"].as_u64().unwrap())
    };
    let (changes, _) = found(&["--event", "client_changed", "--client", "*/checkout"]);
    let [change] = &changes[..] else { panic!("{changes:?}") };
    let revision = change["revision"].to_string();
    let (tokens, _) = found(&["--event", "token_issued", "--client", &id("/checkout"), "--revision", &revision]);
    let [token] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!((&token["actor"], &token["registration"]), (&id("/checkout").into(), &id("/checkout").into()));
    assert!(token["jti"].is_string() && token["bound_to"].is_string(), "{token}");
    assert_eq!(found(&["--event", "token_issued", "--revision", "999"]).0.len(), 0);
    // What was refused, by who it was, by the time and by the reason.
    let refused = ["--reason", "WRONG_ROLE", "--actor", "spiffe://*/checkout", "--since", "1h"];
    assert_eq!(found(&refused).0.len(), 3);
    assert_eq!(found(&["--reason", "WRONG_ROLE", "--actor", "spiffe://*/other"]).0.len(), 0);
    assert_eq!(found(&["--reason", "WRONG_ROLE", "--until", "1h"]).0.len(), 0);
    let (some, more) = found(&["--reason", "WRONG_ROLE", "--limit", "2"]);
    assert_eq!((some.len(), more), (2, 1));
    let printed = search(&trail, &["--reason", "WRONG_ROLE", "--limit", "1"]);
    assert!(
        printed.stdout.contains(" call not admitted denied ") && printed.stdout.contains(" reason=WRONG_ROLE"),
        "{printed:?}"
    );
    assert!(printed.stderr.contains("2 more: narrow the search"), "{printed:?}");
    // What is no record is said, and a time that is none is refused.
    let mut written = fs::read(trail.path("audit.jsonl")).unwrap();
    written.extend_from_slice(b"no record\n");
    fs::write(trail.path("audit.jsonl"), written).unwrap();
    assert!(search(&trail, &[]).stderr.contains("1 lines are no records"));
    assert_eq!(search(&trail, &["--since", "yesterday"]).code, Some(2));
}
