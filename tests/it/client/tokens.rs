//! The client library against a real server: tokens that stay fresh, and the layer that puts them on requests.

use std::fs;
use std::time::Duration;

use hyper::Request;
use hyper::header::AUTHORIZATION;
use hyper::header::HeaderValue;
use lanyard::client::bearer::BearerLayer;
use lanyard::client::files::FileError;
use lanyard::client::renewal::Event;
use lanyard::client::renewal::Renewal;
use lanyard::client::source::TokenSource;
use lanyard::client::token::BoundToken;
use lanyard::client::token::TokenError;
use lanyard::proto::DenyReason;
use lanyard::proto::Match;
use tower::Layer as _;
use tower::Service as _;
use tower::ServiceExt as _;

use crate::support::door::within;
use crate::support::leaf::Leaf;
use crate::support::workload::Workload;
use crate::support::workload::serve;
use crate::support::workload::stopped;
use crate::support::workload::svid;
use crate::support::workload::verdict;

const HOUR: Duration = Duration::from_hours(1);

async fn next(renewal: &mut Renewal) -> Event {
    within(renewal.next()).await
}

#[track_caller]
fn token(event: Event) -> BoundToken {
    let Event::Renewed(token) = event else { panic!("{event:?}") };
    token
}

#[track_caller]
fn announced(event: Event, next: &Leaf) {
    let Event::Announced { certificate, overlap_until } = event else { panic!("{event:?}") };
    assert_eq!(&certificate, next.certificate());
    assert!(overlap_until.is_some());
}

/// What happens before the next token, and that token.
async fn until_renewed(renewal: &mut Renewal) -> (Vec<Event>, BoundToken) {
    let mut before = Vec::new();
    loop {
        let event = next(renewal).await;
        if let Event::Renewed(token) = event {
            return (before, token);
        }
        before.push(event);
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    let (server, workload, leaf) = Workload::start("strict", Duration::from_secs(6)).await;
    let mut renewal = workload.renewal();
    let first = token(next(&mut renewal).await);
    assert_eq!(first.certificate(), leaf.certificate());
    assert_eq!(first.scope(), "orders.read orders.write");
    // No failure and no end lies between the two.
    let second = token(next(&mut renewal).await);
    assert!(first.is_usable());
    assert_ne!(first.as_str(), second.as_str());
    assert!(second.usable_until() > first.usable_until());
    for token in [&first, &second] {
        assert_eq!(verdict(&server, token.as_str(), &leaf).await, Ok(Match::Exact));
    }
    let shown = format!("{second:?} {renewal:?}");
    assert!(!shown.contains(second.as_str()) && !shown.contains("eyJ"), "{shown}");
}

#[tokio::test]
async fn a_new_certificate_gets_a_new_token_and_missing_announcements_are_remembered() {
    let (server, workload, first) = Workload::start("strict", HOUR).await;
    let mut renewal = workload.renewal();
    let before = token(next(&mut renewal).await);
    let second = svid(&server);
    workload.hold(&second);
    let event = next(&mut renewal).await;
    assert!(matches!(event, Event::NotLineage), "{event:?}");
    let after = token(next(&mut renewal).await);
    assert_eq!(verdict(&server, after.as_str(), &second).await, Ok(Match::Exact));
    assert_eq!(verdict(&server, after.as_str(), &first).await, Err(DenyReason::CertificateRenewed));
    assert_eq!(verdict(&server, before.as_str(), &second).await, Err(DenyReason::CertificateRenewed));
    let third = svid(&server);
    workload.hold(&third);
    // The server is not asked again.
    let after = token(next(&mut renewal).await);
    assert_eq!(verdict(&server, after.as_str(), &third).await, Ok(Match::Exact));
}

#[tokio::test]
async fn by_lineage_the_next_certificate_is_announced_before_the_token_is_renewed() {
    let (server, workload, first) = Workload::start("lineage", HOUR).await;
    let mut renewal = workload.renewal();
    let before = token(next(&mut renewal).await);
    let (second, sibling) = (svid(&server), svid(&server));
    workload.hold(&second);
    announced(next(&mut renewal).await, &second);
    // At this moment the workload has only the token of before.
    assert_eq!(verdict(&server, before.as_str(), &second).await, Ok(Match::Lineage));
    assert_eq!(verdict(&server, before.as_str(), &first).await, Ok(Match::Exact));
    assert_eq!(verdict(&server, before.as_str(), &sibling).await, Err(DenyReason::CertificateRenewed));
    let after = token(next(&mut renewal).await);
    assert_eq!(verdict(&server, after.as_str(), &second).await, Ok(Match::Exact));
    let third = svid(&server);
    workload.hold(&third);
    announced(next(&mut renewal).await, &third);
    assert_eq!(verdict(&server, after.as_str(), &third).await, Ok(Match::Lineage));
    assert_eq!(token(next(&mut renewal).await).certificate(), third.certificate());
}

#[tokio::test]
async fn a_successor_that_the_server_refuses_is_used_all_the_same() {
    let (server, workload, first) = Workload::start("lineage", HOUR).await;
    let mut renewal = workload.renewal();
    token(next(&mut renewal).await);
    // Another instance with the same certificate was faster.
    let (taken, second) = (svid(&server), svid(&server));
    let request = lanyard::proto::AnnounceRotationRequest {
        certificate: taken.certificate().to_vec(),
        intermediates: Vec::new(),
    };
    server.tokens(&first).announce_rotation(request).await.unwrap();
    workload.hold(&second);
    let event = next(&mut renewal).await;
    let Event::NotAnnounced(error) = event else { panic!("{event:?}") };
    assert_eq!(error.reason().as_deref(), Some("SUCCESSOR_TAKEN"));
    let after = token(next(&mut renewal).await);
    assert_eq!(verdict(&server, after.as_str(), &second).await, Ok(Match::Exact));
}

#[tokio::test]
async fn a_certificate_without_its_key_is_not_used_until_both_are_there() {
    let (server, workload, first) = Workload::start("lineage", HOUR).await;
    let mut renewal = workload.renewal();
    token(next(&mut renewal).await);
    let second = svid(&server);
    fs::write(workload.path("svid.pem"), second.chain_pem()).unwrap();
    let event = next(&mut renewal).await;
    let Event::Unusable(TokenError::Files(FileError::NotTogether(cert, key))) = event else { panic!("{event:?}") };
    assert_eq!((cert, key), (workload.path("svid.pem"), workload.path("svid-key.pem")));
    // What it held before is what it goes on with, and announces from.
    fs::write(workload.path("svid-key.pem"), second.key_pem()).unwrap();
    announced(next(&mut renewal).await, &second);
    assert_eq!(token(next(&mut renewal).await).certificate(), second.certificate());
    assert_ne!(first.certificate(), second.certificate());
}

#[tokio::test]
async fn missing_and_wrong_files_are_told_at_the_start() {
    let (_, workload) = Workload::prepared();
    let error = Renewal::new(workload.settings()).unwrap_err();
    assert!(matches!(&error, FileError::Unreadable(path, _) if *path == workload.path("svid.pem")), "{error:?}");
    fs::write(workload.path("svid.pem"), "").unwrap();
    fs::write(workload.path("svid-key.pem"), "").unwrap();
    let error = Renewal::new(workload.settings()).unwrap_err();
    assert!(matches!(error, FileError::NoCertificate(_)), "{error:?}");
}

#[tokio::test]
async fn while_the_server_is_gone_it_is_tried_again_and_what_was_missed_is_made_up_for() {
    let (server, workload, _) = Workload::start("lineage", HOUR).await;
    let mut renewal = workload.renewal();
    token(next(&mut renewal).await);
    let (second, third) = (svid(&server), svid(&server));
    let setup = stopped(server).await;
    for changed in [&second, &third] {
        workload.hold(changed);
        for _ in 0..2 {
            let event = next(&mut renewal).await;
            let Event::Failed { error, retry_in } = event else { panic!("{event:?}") };
            assert!(error.is_temporary() && matches!(error, TokenError::Connection(..)), "{error:?}");
            assert!(retry_in <= Duration::from_secs(5));
        }
    }
    let server = serve(setup).await;
    let (before, after) = until_renewed(&mut renewal).await;
    let mut made_up: Vec<Event> = before.into_iter().filter(|event| !matches!(event, Event::Failed { .. })).collect();
    let last = made_up.pop().unwrap();
    // The second one may have been passed over, if both changed between two looks.
    for event in made_up {
        announced(event, &second);
    }
    announced(last, &third);
    assert_eq!(verdict(&server, after.as_str(), &third).await, Ok(Match::Exact));
}

#[tokio::test]
async fn a_source_waits_for_a_server_that_is_not_there_yet_and_reports_lasting_errors() {
    let (setup, workload) = Workload::prepared();
    let leaf = setup.ca.svid(crate::support::workload::CHECKOUT).issue();
    workload.hold(&leaf);
    let mut source = TokenSource::start(workload.settings()).unwrap();
    assert!(within(source.changed()).await);
    assert!(source.problem().unwrap().is_temporary());
    assert!(source.current().is_none());
    let server = serve(setup).await;
    // It is not registered.
    let refused = within(source.token()).await.unwrap_err();
    assert_eq!(refused.reason().as_deref(), Some("INVALID_CLIENT"), "{refused:?}");
    assert!(matches!(*refused, TokenError::Refused(_)));
    // Nor known at all.
    workload.hold(&server.setup.other_ca.svid(crate::support::workload::CHECKOUT).issue());
    let stranger = TokenSource::start(workload.settings()).unwrap();
    let refused = within(stranger.token()).await.unwrap_err();
    assert!(matches!(*refused, TokenError::Connection(..)) && !refused.is_temporary(), "{refused:?}");
    // Registered at last, the first one gets its token.
    workload.registered(&server, "strict", HOUR).await;
    while source.current().is_none() {
        assert!(within(source.changed()).await);
    }
    assert!(within(source.token()).await.is_ok());
    assert!(source.problem().is_none());
}

#[tokio::test]
async fn the_layer_puts_the_present_token_on_requests_and_sends_none_without() {
    let (server, workload, leaf) = Workload::start("strict", Duration::from_secs(3)).await;
    let mut source = TokenSource::start(workload.settings()).unwrap();
    let present = within(source.token()).await.unwrap();
    let echo = tower::service_fn(async |request: Request<()>| {
        Ok::<_, std::io::Error>(request.headers().get_all(AUTHORIZATION).iter().cloned().collect::<Vec<_>>())
    });
    let mut service = BearerLayer::new(source.clone()).layer(echo);
    let request = || Request::get("https://orders.prod.example/").header(AUTHORIZATION, "Basic x").body(()).unwrap();
    let sent: Vec<HeaderValue> = service.ready().await.unwrap().call(request()).await.unwrap();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_sensitive());
    let text = sent[0].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(verdict(&server, text, &leaf).await, Ok(Match::Exact));
    assert_eq!(text, present.as_str());

    stopped(server).await;
    while source.current().is_some() {
        assert!(within(source.changed()).await);
    }
    let refused = service.ready().await.unwrap().call(request()).await.unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(TokenError::NoToken)), "{refused:?}");
    // A token that is held somewhere else knows its end too.
    assert!(!present.is_usable());
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_comes_to_its_end() {
    let (server, workload, _) = Workload::start("strict", Duration::from_secs(3)).await;
    let mut renewal = workload.renewal();
    let mut last = token(next(&mut renewal).await);
    stopped(server).await;
    loop {
        let event = next(&mut renewal).await;
        match event {
            Event::Renewed(token) => last = token,
            Event::Expired => break,
            Event::Failed { error, .. } => assert!(error.is_temporary(), "{error:?}"),
            Event::Announced { .. } | Event::NotLineage | Event::NotAnnounced(_) | Event::Unusable(_) => {
                panic!("{event:?}")
            }
        }
    }
    assert!(!last.is_usable());
}
