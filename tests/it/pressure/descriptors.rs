//! A process whose file descriptors strangers want to use up.

use tokio::net::TcpStream;

use crate::pressure::support::silent;
use crate::pressure::support::stranger;
use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::door::knock;
use crate::support::page::Page;
use crate::support::server::Setup;
use crate::support::wire::http1;

fn start(descriptors: u32) -> (Setup, Serve) {
    let tls = "  handshake_timeout: 1h\n  drain_timeout: 5s";
    let setup = Setup { tls: tls.to_owned(), ..real_time() };
    setup.write();
    let serve = Serve::start(&setup, descriptors);
    (setup, serve)
}

async fn page(serve: &Serve) -> Page {
    let answer = http1(TcpStream::connect(serve.ops).await.unwrap(), "GET /metrics").await;
    assert_eq!(answer.status, 200);
    Page::of(answer.body.trim_end_matches("# EOF\n"))
}

/// Checks that probes are answered and that an admin gets in.
async fn serves(setup: &Setup, serve: &Serve) {
    for path in ["/livez", "/readyz"] {
        let answer = http1(TcpStream::connect(serve.ops).await.unwrap(), &format!("GET {path}")).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let admin = setup.ca.svid("spiffe://prod.example/admin").issue();
    let config = setup.tls_builder(rustls::DEFAULT_VERSIONS);
    let config = config.with_client_auth_cert(admin.chain.clone(), admin.private_key()).unwrap();
    assert!(knock(serve.mtls, config).await.is_jwks());
}

#[tokio::test]
async fn with_few_descriptors_probes_are_answered_and_an_admin_gets_in() {
    for descriptors in [64, 100] {
        let (setup, serve) = start(descriptors);
        let before = page(&serve).await;
        let limit = |listener| before.get(&format!("lanyard_connections_limit{{listener=\"{listener}\"}}")).unwrap();
        let limits = ["mtls", "public", "ops"].map(limit);
        assert!(limits.iter().all(|limit| *limit >= 2), "{limits:?}");
        assert!(limits.iter().sum::<u64>() < u64::from(descriptors), "{limits:?}");
        let mut held = Vec::new();
        for address in [serve.mtls, serve.public, serve.ops] {
            for number in 0..u8::try_from(descriptors).unwrap() {
                held.push(silent(address, stranger(number)).await);
            }
        }
        serves(&setup, &serve).await;
        let during = page(&serve).await;
        // Nothing failed for lack of descriptors, so that nothing had to be tried again.
        assert_eq!(during.get("lanyard_accept_errors_total"), Some(0));
        for listener in ["mtls", "public", "ops"] {
            let open = during.get(&format!("lanyard_connections{{listener=\"{listener}\"}}")).unwrap();
            assert!(open <= limit(listener), "{listener}: {open}");
        }
        serve.signal("TERM");
        assert!(serve.finish());
        drop(held);
    }
}

#[tokio::test]
async fn a_limit_of_descriptors_that_is_too_low_is_said_at_start_and_one_that_is_not_is_not() {
    for (descriptors, said) in [(1024, true), (16_384, false)] {
        let setup = real_time();
        setup.write();
        let (serve, lines) = Serve::start_with_lines(&setup, descriptors);
        let warned = lines.iter().any(|line| line.contains("permits fewer connections than tls.max_connections"));
        assert_eq!(warned, said, "{descriptors}: {lines:#?}");
        serves(&setup, &serve).await;
    }
}

#[tokio::test]
async fn a_process_out_of_descriptors_pauses_between_its_attempts_and_recovers() {
    for recovers in [true, false] {
        let (setup, serve) = start(1024);
        // Fewer than it has open: the limit was lowered from outside, or its files have used it up.
        if !serve.allow_descriptors(10) {
            return;
        }
        let mut held = Vec::new();
        for address in [serve.mtls, serve.ops] {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..4 {
            serve.line_with("cannot accept connections");
        }
        if recovers {
            assert!(serve.allow_descriptors(1024));
            serves(&setup, &serve).await;
            // A loop that asks again at once would have failed by the thousand.
            let failed = page(&serve).await.get("lanyard_accept_errors_total").unwrap();
            assert!((4..20).contains(&failed), "{failed}");
        }
        serve.signal("TERM");
        assert!(serve.finish());
        drop(held);
    }
}
