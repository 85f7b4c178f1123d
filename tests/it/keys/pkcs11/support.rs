//! A server with a token, and what the tests of it ask.

use std::process::Command;

use lanyard::proto::Decision;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ListSigningKeysRequest;
use lanyard::proto::RevokeSigningKeyRequest;
use lanyard::proto::RevokeSigningKeyResponse;
use lanyard::proto::RotateSigningKeyRequest;
use lanyard::proto::SigningKey;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use serde_json::Value;
use tokio::net::TcpStream;
use tonic::Status;

use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::leaf::Leaf;
use crate::support::mint::kid_of;
use crate::support::observed::Observed;
use crate::support::page::Page;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::ORDERS;
use crate::support::server::Setup;
use crate::support::server::certificate_of;
use crate::support::softhsm::SoftHsm;

/// A set-up on the disk with this section `keys`.
pub fn setup(keys: String) -> Setup {
    Setup { store: "{sled: {path: data}}".to_owned(), keys, ..real_time() }
}

/// Starts a server that finds the token.
pub fn start(hsm: &SoftHsm, setup: Setup) -> Observed {
    let environment = hsm.environment();
    let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Observed::start_on(setup, "", &pairs)
}

/// Stops the server, and returns its set-up and the rest of its log.
pub fn stop(server: Observed) -> (Setup, String) {
    let Observed { process, setup, .. } = server;
    let (code, log) = process.end_by("TERM");
    assert_eq!(code, Some(0), "{log}");
    (setup, log)
}

/// Stops it and starts it with another section `keys`.
pub fn restart_with(hsm: &SoftHsm, server: Observed, keys: String) -> Observed {
    let (setup, _) = stop(server);
    start(hsm, Setup { keys, ..setup })
}

/// A command of the binary on this set-up, such as `serve`, run to its end.
pub fn command(hsm: &SoftHsm, setup: &Setup, arguments: &[&str]) -> Finished {
    setup.write();
    let mut command: Command = lanyard();
    command.args(arguments).arg("--config").arg(setup.path("lanyard.yaml")).envs(hsm.environment());
    run(&mut command)
}

/// What `lanyard serve` says when it does not start.
pub fn not_started(hsm: &SoftHsm, setup: &Setup) -> String {
    let Finished { code, stdout, stderr } = command(hsm, setup, &["serve"]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    stderr
}

/// The outcome of a request for a token.
pub async fn issue(server: &Observed, leaf: &Leaf) -> Result<String, Status> {
    let issued = server.tokens(leaf).issue_token(IssueTokenRequest::default()).await;
    issued.map(|response| response.into_inner().access_token)
}

/// Asks for tokens until one is issued that is as wanted.
pub async fn issue_until(server: &Observed, leaf: &Leaf, wanted: impl Fn(&str) -> bool) -> String {
    within(async {
        loop {
            if let Ok(token) = issue(server, leaf).await
                && wanted(&token)
            {
                return token;
            }
            // The server is not asked faster than its limits of one caller allow.
            server.page().await;
        }
    })
    .await
}

/// Asks for tokens until another key signs.
pub async fn issue_by_another(server: &Observed, leaf: &Leaf, kid: &str) -> String {
    issue_until(server, leaf, |token| kid_of(token) != kid).await
}

/// Checks that a use of a token is allowed.
#[track_caller]
pub fn is_allowed(decision: Decision) {
    assert_eq!(decision, Decision::Allow);
}

/// The decision about a use of a token.
pub async fn decision(server: &Observed, token: &str, leaf: &Leaf) -> Decision {
    let request = ValidateBindingRequest {
        access_token: token.to_owned(),
        evidence: certificate_of(leaf),
        audience: ORDERS.to_owned(),
        scope: String::new(),
        receipt: false,
    };
    let proxy = server.svid("/proxy");
    server.bindings(&proxy).validate_binding(request).await.unwrap().into_inner().decision()
}

/// The keys of the JWK Set.
pub async fn jwks(server: &Observed) -> Vec<Value> {
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/somebody")));
    let jwks = keys.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().jwks;
    serde_json::from_str::<Value>(&jwks).unwrap()["keys"].as_array().unwrap().clone()
}

/// The keys with their states.
pub async fn listed(server: &Observed) -> Vec<SigningKey> {
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/admin")));
    keys.list_signing_keys(ListSigningKeysRequest {}).await.unwrap().into_inner().keys
}

/// Publishes a new key: its `kid`.
pub async fn rotate(server: &Observed) -> Result<String, Status> {
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/admin")));
    let rotated = keys.rotate_signing_key(RotateSigningKeyRequest {}).await;
    rotated.map(|response| response.into_inner().key.unwrap().kid)
}

/// Revokes a key.
pub async fn revoke(server: &Observed, kid: &str) -> RevokeSigningKeyResponse {
    let mut keys = KeyServiceClient::new(server.channel(&server.svid("/admin")));
    let request = RevokeSigningKeyRequest { kid: kid.to_owned(), reason: "the token was stolen".to_owned() };
    keys.revoke_signing_key(request).await.unwrap().into_inner()
}

impl Observed {
    /// An answer of the ops listener.
    pub async fn ops(&self, path: &str) -> Reply {
        let mut http = Http::one(TcpStream::connect(self.ops).await.unwrap()).await;
        http.send(get(path)).await
    }

    /// The page of metrics.
    pub async fn page(&self) -> Page {
        Page::of(&self.ops("/metrics").await.body)
    }

    /// The page of metrics, once it is as wanted.
    pub async fn page_with(&self, series: &str, value: u64) -> Page {
        within(async {
            loop {
                let page = self.page().await;
                if page.get(series) == Some(value) {
                    return page;
                }
            }
        })
        .await
    }
}
