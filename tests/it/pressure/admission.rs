//! A process that is overloaded, by what its own threads measure.

use std::time::Duration;

use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::server::Setup;
use crate::support::server::channel;

async fn refused(serve: &Serve) -> u64 {
    let ops = TcpStream::connect(serve.ops).await.unwrap();
    let page = Http::one(ops).await.send(get("/metrics")).await.body;
    let line = page.lines().find_map(|line| line.strip_prefix("lanyard_admission_refused_total{priority=\"rest\"} "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_overloaded_process_refuses_answers_probes_and_ends_in_time_when_it_is_told_to() {
    let setup = Setup {
        // Any queue is too long, so that some clients are enough to overload it.
        limits: "{queue_delay: 1us, callers: [{role: workload, address: {requests_per_second: 1000000}}]}".to_owned(),
        tls: "  drain_timeout: 2s".to_owned(),
        ..real_time()
    };
    setup.write();
    let serve = Serve::start(&setup, 1024);
    let leaf = setup.ca.svid("spiffe://prod.example/checkout").issue();
    let keys = KeyServiceClient::new(channel(serve.mtls, setup.tls(&leaf)));
    let mut flood = JoinSet::new();
    for _ in 0..200 {
        let mut keys = keys.clone();
        flood.spawn(async move {
            loop {
                drop(keys.get_jwks(GetJwksRequest {}).await);
            }
        });
    }
    tokio::time::timeout(Duration::from_mins(1), async { while refused(&serve).await == 0 {} }).await.unwrap();
    serve.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || serve.finish());
    assert!(within(ended).await.unwrap());
    flood.abort_all();
}
