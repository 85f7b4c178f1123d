//! A log that nobody reads: no thread that serves waits for it, and what is dropped is counted.

use std::sync::Arc;

use lanyard::proto::CreateClientRequest;
use lanyard::proto::Decision;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use lanyard::proto::token_service_client::TokenServiceClient;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::binding_stream::StreamOutcome;
use crate::support::binding_stream::outcome_of;
use crate::support::calls::use_of;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::leaf::Leaf;
use crate::support::server::Setup;
use crate::support::server::certificate_of;
use crate::support::server::channel;
use crate::support::server::spiffe_client;
use crate::support::unread::Unread;

const AUDIT_LINES_DROPPED: &str = "lanyard_log_lines_dropped_total{kind=\"audit\"}";
const OTHER_LINES_DROPPED: &str = "lanyard_log_lines_dropped_total{kind=\"other\"}";

/// A server whose log has a line for each allowance, and its callers.
struct Mesh {
    setup: Setup,
    server: Unread,
    checkout: Leaf,
    proxy: Leaf,
    admin: Leaf,
    token: String,
}

impl Mesh {
    async fn start() -> Self {
        let setup = real_time();
        setup.write();
        let svid = |path: &str| setup.ca.svid(&format!("spiffe://prod.example{path}")).issue();
        let (checkout, proxy, admin) = (svid("/checkout"), svid("/proxy"), svid("/admin"));
        let server = Unread::start(&setup, "info,lanyard::audit=debug");
        let mut mesh = Self { setup, server, checkout, proxy, admin, token: String::new() };
        let client = Some(spiffe_client("spiffe://prod.example/checkout"));
        let mut registry = RegistryServiceClient::new(mesh.channel(&mesh.admin));
        registry.create_client(CreateClientRequest { client, ..Default::default() }).await.unwrap();
        mesh.token = mesh.issue().await;
        mesh
    }

    fn channel(&self, leaf: &Leaf) -> Channel {
        channel(self.server.mtls, self.setup.tls(leaf))
    }

    async fn issue(&self) -> String {
        let mut tokens = TokenServiceClient::new(self.channel(&self.checkout));
        within(tokens.issue_token(IssueTokenRequest::default())).await.unwrap().into_inner().access_token
    }

    fn question(&self) -> ValidateBindingRequest {
        ValidateBindingRequest { evidence: certificate_of(&self.checkout), ..use_of(&self.token) }
    }

    /// Has so many uses allowed, each of which is a line of the log.
    async fn allow(&self, count: usize) {
        let (questions, queue) = mpsc::channel(64);
        let mut bindings = BindingServiceClient::new(self.channel(&self.proxy));
        let mut answers = bindings.validate_bindings(ReceiverStream::new(queue)).await.unwrap().into_inner();
        let question = Arc::new(self.question());
        let asking = async move {
            for _ in 0..count {
                questions.send(ValidateBindingRequest::clone(&question)).await.unwrap();
            }
        };
        let answered = async {
            for _ in 0..count {
                let answer = within(answers.message()).await.unwrap().unwrap();
                assert_eq!(outcome_of(&answer), StreamOutcome::Allowed);
            }
        };
        tokio::join!(asking, answered);
    }

    /// Has so many requests of a workload that is not registered refused.
    async fn refuse(&self, count: usize) {
        let thief = self.setup.ca.svid("spiffe://prod.example/thief").issue();
        let mut tokens = TokenServiceClient::new(self.channel(&thief));
        for _ in 0..count {
            let refused = within(tokens.issue_token(IssueTokenRequest::default())).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
        }
    }

    /// A workload, a proxy, an admin and a probe are served: a token, an allowance, a list, a status.
    async fn all_are_served(&self) {
        self.issue().await;
        let mut bindings = BindingServiceClient::new(self.channel(&self.proxy));
        let allowed = within(bindings.validate_binding(self.question())).await.unwrap().into_inner();
        assert_eq!(allowed.decision(), Decision::Allow);
        let mut registry = RegistryServiceClient::new(self.channel(&self.admin));
        let list = within(registry.list_clients(ListClientsRequest::default())).await.unwrap().into_inner();
        assert_eq!(list.clients.len(), 1);
        let mut probe = Http::one(TcpStream::connect(self.server.ops).await.unwrap()).await;
        assert_eq!(within(probe.send(get("/readyz"))).await.body, "ok");
    }
}

/// The number in a line's field.
fn number(line: &str, field: &str) -> u64 {
    let value = line.split_once(&format!(" {field}=")).unwrap_or_else(|| panic!("{field}: {line}")).1;
    value.split([' ', '\n']).next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_an_unread_log_drops_is_counted_and_reported_where_it_is_missing_once_it_is_read() {
    let mut mesh = Mesh::start().await;
    // The line of the token was written before; the queue has room for 8192.
    let (mut allowed, mut issued) = (0, 1);
    while mesh.server.page().await.get(AUDIT_LINES_DROPPED) == Some(0) {
        mesh.allow(1000).await;
        allowed += 1000;
        assert!(allowed <= 20_000);
    }
    mesh.all_are_served().await;
    (allowed, issued) = (allowed + 1, issued + 1);
    let page = mesh.server.page().await;
    let dropped = page.get(AUDIT_LINES_DROPPED).unwrap();
    assert!(dropped > 0);
    assert_eq!(page.get(OTHER_LINES_DROPPED), Some(0));

    // The report is the last line, since none came after what is missing.
    let lines = mesh.server.read_until("lines of the log were dropped");
    let written = |text: &str| u64::try_from(lines.iter().filter(|line| line.contains(text)).count()).unwrap();
    // An admin has read once.
    let not_written = |count: u64, text: &str| count - written(text);
    let lacking = not_written(allowed, "binding allowed") + not_written(issued, "token issued");
    assert_eq!(dropped, lacking + not_written(1, "admin read"));
    let report = lines.last().unwrap();
    assert_eq!((number(report, "audit"), number(report, "other")), (dropped, 0));
    assert!(report.contains(" WARN lanyard::audit: "), "{report}");

    // It flows again.
    mesh.refuse(1).await;
    assert!(mesh.server.read_until("token refused").len() < 10);
    assert_eq!(mesh.server.page().await.get(AUDIT_LINES_DROPPED), Some(dropped));
}

#[tokio::test]
async fn thousands_of_refusals_keep_nobody_waiting_while_the_writer_is_blocked_and_sigterm_ends_the_server() {
    let mesh = Mesh::start().await;
    // More than a pipe holds, 64 KiB.
    mesh.allow(1000).await;
    mesh.refuse(2000).await;
    mesh.all_are_served().await;
    assert!(mesh.server.terminate().await.success());
}

#[tokio::test]
async fn two_thousand_refusals_of_one_caller_are_a_line_each_second_and_their_number() {
    let mut mesh = Mesh::start().await;
    mesh.refuse(2000).await;
    let mut counted = 0;
    let mut lines = 0;
    while counted < 2000 {
        let line = mesh.server.read_until("spiffe://prod.example/thief").pop().unwrap();
        lines += 1;
        counted += if line.contains(" more such refusals ") { number(&line, "repeated") } else { 1 };
    }
    assert_eq!(counted, 2000);
    assert!(lines < 1000, "{lines}");
}
