//! The memory of a whole process, within the bound that its limits promise.

use lanyard::limits::Machine;
use tokio::net::TcpStream;

use crate::pressure::peer::VALIDATE_BINDING;
use crate::pressure::peer::VALIDATE_BINDINGS;
use crate::pressure::peer::settled;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::within;
use crate::support::frames::DATA;
use crate::support::frames::END_HEADERS;
use crate::support::frames::Frames;
use crate::support::frames::HEADERS;
use crate::support::frames::WINDOW_UPDATE;
use crate::support::frames::call;
use crate::support::http::Http;
use crate::support::http::get;
use crate::support::page::Page;
use crate::support::server::Setup;
use crate::support::server::connect;

/// The budget of the server for what requests hold.
const BUDGET: u64 = 32 * 1024 * 1024;

/// The window of a connection, in bytes.
const CONNECTION_WINDOW: u64 = 256 * 1024;

/// The connections, of one workload each, and how many requests each begins: as many as a connection may have.
const CONNECTIONS: usize = 24;
const REQUESTS: u32 = 100;

/// A message that is announced as 200 KiB, and begun. All of a connection fit into its window.
const BEGUN: [u8; 2300] = {
    let mut message = [0; 2300];
    message[2] = 3;
    message[3] = 32;
    message
};

async fn page(serve: &Serve) -> Page {
    let ops = TcpStream::connect(serve.ops).await.unwrap();
    Page::of(&Http::one(ops).await.send(get("/metrics")).await.body)
}

/// Connections that begin requests and end none, of which the server has read all.
async fn unfinished(setup: &Setup, serve: &Serve, method: &str, begun: &[u8]) -> Vec<impl Sized + use<>> {
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let leaf = setup.ca.svid(&format!("spiffe://prod.example/attacker-{number}")).issue();
        let mut frames = Frames::open(connect(serve.mtls, setup.tls(&leaf)).await.unwrap()).await;
        // Until then a connection's window is only 64 KiB.
        within(frames.next_of(WINDOW_UPDATE)).await.unwrap();
        for stream in (0..REQUESTS).map(|number| 2 * number + 1) {
            frames.send(HEADERS, END_HEADERS, stream, &call(method)).await.unwrap();
            if !begun.is_empty() {
                frames.send(DATA, 0, stream, begun).await.unwrap();
            }
        }
        settled(&mut frames).await;
        open.push(frames);
    }
    open
}

#[tokio::test]
async fn the_memory_of_requests_that_do_not_end_stays_within_what_the_limits_promise() {
    let share = format!("{{buffered_bytes: {BUDGET}, requests: 100000}}");
    let setup = Setup {
        limits: format!(
            "{{queue_delay: 1h, buffered_bytes: {BUDGET}, callers: [{{role: workload, address: {share}}}]}}"
        ),
        ..real_time()
    };
    setup.write();
    // Streams that are open, and messages whose room is reserved.
    for (method, begun) in [(VALIDATE_BINDINGS, &[][..]), (VALIDATE_BINDING, &BEGUN)] {
        let serve = Serve::start(&setup, 1024);
        let before = serve.resident();
        let open = unfinished(&setup, &serve, method, begun).await;
        let grown = serve.resident().saturating_sub(before);
        let page = page(&serve).await;
        let used = page.get("lanyard_limit_used{role=\"workload\",limit=\"buffered_bytes\"}").unwrap();
        let refused = page.get("lanyard_limit_refused_total{role=\"workload\",limit=\"buffered_bytes\"}").unwrap();
        // What has arrived and no handler has read yet is in h2, and not counted: at most the window of each connection.
        let most = Machine::most_bytes(open.len(), BUDGET) + open.len() as u64 * CONNECTION_WINDOW;
        println!("{method}: {grown} bytes, of which {used} are counted, and at most {most} are promised");
        assert!((BUDGET / 2..=BUDGET).contains(&used) && refused > 0, "{method}: {used} held, {refused} refused");
        assert!(grown <= most, "{method}: {grown} bytes, of which {used} are counted, and at most {most} are promised");
    }
}
