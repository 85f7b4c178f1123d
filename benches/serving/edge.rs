//! What a request costs through a real Envoy whose checks are answered on its own machine, over a Unix socket: beside a server
//! there that answers without judging, and beside the same Lanyard over TCP and mTLS.
//!
//! As in [`crate::envoy`], Lanyard and the server that does not judge are alone on the servers' core, and the Envoys, the
//! service and the client share the other. What an edge decides by is what a server decides by, so that a server is asked.

use std::os::unix::fs::MetadataExt as _;

use crate::envoy::A_SECOND;
use crate::envoy::Asked;
use crate::envoy::Envoy;
use crate::envoy::TOKENS;
use crate::envoy::WARMING;
use crate::envoy::serve;
use crate::envoy::served;
use crate::figures::Figure;
use crate::figures::Figures;
use crate::issued_tokens;
use crate::noop::NOOP_SOCKET;
use crate::record_answers;
use crate::support::Failure;
use crate::support::frames::Request;
use crate::support::server::Folder;
use crate::support::server::Noop;
use crate::support::server::UNSHARED;

/// Prints and writes the median time of a request that is checked over the socket, and what the check adds to it.
pub(crate) async fn over_a_socket(rounds: usize) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let user = folder.store().metadata()?.uid();
    let proxies = format!("[{{uid: {user}, resources: ['*']}}]");
    let settings = [
        UNSHARED,
        ("LANYARD_LIMITS__QUEUE_DELAY", "1s"),
        ("LANYARD_LOCAL__UNIX", "local.sock"),
        ("LANYARD_LOCAL__PROXIES", &proxies),
    ];
    let server = folder.serve(&settings, std::process::Stdio::null()).await?;
    let token = issued_tokens(&server, 1).await?.pop().ok_or("no token")?;
    record_answers(&server, &token, &server.certificate()?).await?;
    let noop = Noop::start("socket", server.folder())?;
    let service = serve().await?;
    let (own_socket, noop_socket) = (server.folder().join("local.sock"), server.folder().join(NOOP_SOCKET));
    let start = |asked| Envoy::start(server.folder(), service, asked);
    let mut without = start(Asked::Nobody)?.connect().await?;
    let mut noop_local = start(Asked::Socket(&noop_socket))?.connect().await?;
    let mut replica = start(Asked::Port(server.port()))?.connect().await?;
    let mut local = start(Asked::Socket(&own_socket))?.connect().await?;
    let (mut beside_noop, mut beside_replica) = (Figure::median_time(), Figure::median_time());
    let (mut added_beside_noop, mut added_beside_replica) = (Figure::median_time(), Figure::median_time());
    for _ in 0..rounds {
        let tokens = issued_tokens(&server, TOKENS).await?;
        let requests: Vec<Request> = tokens.iter().map(|token| Request::get("/orders/1", token)).collect();
        local.connection.at_rate(&requests, A_SECOND, WARMING, served).await?;
        let base = without.round(&requests, None).await?;
        let not_judged = noop_local.round(&requests, Some(&noop)).await?;
        let over_tls = replica.round(&requests, Some(&server)).await?;
        let ours = local.round(&requests, Some(&server)).await?;
        println!(
            "p50, p99 us: without a check {base}; over the socket, with one that does not judge {not_judged}, with ours \
             {ours}; over TCP and mTLS {over_tls}"
        );
        beside_noop.add(ours, not_judged);
        beside_replica.add(ours, over_tls);
        added_beside_noop.add(ours.beyond(base), not_judged.beyond(base));
        added_beside_replica.add(ours.beyond(base), over_tls.beyond(base));
    }
    let mut all = Figures::default();
    all.add("edge_vs_noop_socket_p50", beside_noop);
    all.add("edge_vs_replica_p50", beside_replica);
    all.add("edge_added_vs_noop_socket_p50", added_beside_noop);
    all.add("edge_added_vs_replica_p50", added_beside_replica);
    all.print();
    all.write()
}
