//! A process that is overloaded, by what its own threads measure.

use std::num::NonZero;
use std::thread;
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

/// How many connections each serving thread has, and how many callers each of them: while one connection's requests are
/// answered, those of the others wait. Of one connection alone all that has arrived is admitted before any is answered, and
/// what comes after it finds nothing before it.
const CONNECTIONS: usize = 4;
const CALLERS: usize = 32;

/// How long the process is kept from running, while requests arrive.
const STOPPED: Duration = Duration::from_millis(200);

/// Asks its probes, which are answered, and returns how many requests of the lowest priority it has refused.
async fn refused(serve: &Serve) -> u64 {
    let mut ops = Http::one(TcpStream::connect(serve.ops).await.unwrap()).await;
    assert_eq!(ops.send(get("/livez")).await.status, 200);
    let page = ops.send(get("/metrics")).await.body;
    let line = page.lines().find_map(|line| line.strip_prefix("lanyard_admission_refused_total{priority=\"rest\"} "));
    line.unwrap().parse().unwrap()
}

/// The process does not run for a while, as where its group has used up its part of the processor. What arrives meanwhile
/// is a queue, however fast the clients are, and whatever else this machine does.
async fn stop_for_a_while(serve: &Serve) {
    serve.signal("STOP");
    tokio::time::sleep(STOPPED).await;
}

#[tokio::test]
async fn an_overloaded_process_refuses_answers_probes_and_ends_in_time_when_it_is_told_to() {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let setup = Setup {
        // Any queue is too long.
        limits: "{queue_delay: 1us, callers: [{role: workload, address: {requests_per_second: 1000000, \
                 connections: 10000}}]}"
            .to_owned(),
        tls: "  drain_timeout: 2s".to_owned(),
        ..real_time()
    };
    setup.write();
    let serve = Serve::start(&setup, 1024);
    let leaf = setup.ca.svid("spiffe://prod.example/checkout").issue();
    let mut flood = JoinSet::new();
    for _ in 0..threads * CONNECTIONS {
        let keys = KeyServiceClient::new(channel(serve.mtls, setup.tls(&leaf)));
        for _ in 0..CALLERS {
            let mut keys = keys.clone();
            flood.spawn(async move {
                loop {
                    drop(keys.get_jwks(GetJwksRequest {}).await);
                }
            });
        }
    }
    let overloaded = async {
        while refused(&serve).await == 0 {
            stop_for_a_while(&serve).await;
            serve.signal("CONT");
        }
    };
    tokio::time::timeout(Duration::from_mins(1), overloaded).await.unwrap();
    stop_for_a_while(&serve).await;
    serve.signal("TERM");
    serve.signal("CONT");
    let ended = tokio::task::spawn_blocking(move || serve.finish());
    assert!(within(ended).await.unwrap());
    flood.abort_all();
}
