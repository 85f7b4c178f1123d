//! The stream: what is known when, and how old it may be.

use std::time::Duration;

use lanyard::client::verifier::FollowError;
use lanyard::client::verifier::Refused;
use lanyard::client::verifier::Verifier;
use lanyard::proto::RevocationEntries;
use lanyard::proto::revoked_tokens::Tokens;
use lanyard::proto::watch_revocations_response::Response as Sent;
use tokio::time::sleep;
use tonic::Status;
use tonic_types::ErrorDetails;
use tonic_types::StatusExt as _;

use super::issued::Issued;
use crate::support::door::within;
use crate::support::revocation_feed::RevocationFeed;
use crate::support::revocation_feed::entry;

const BOUND: Duration = Duration::from_secs(2);

/// Waits until the workload's token is refused for this reason, or accepted.
async fn until(issued: &Issued, verifier: &Verifier, expected: impl Fn(Option<Refused>) -> bool) {
    within(async {
        while !expected(issued.verify(verifier, &issued.token()).err()) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn stale(refused: Option<Refused>) -> bool {
    matches!(refused, Some(Refused::Stale { .. }))
}

fn again() -> Status {
    Status::with_error_details(
        tonic::Code::Aborted,
        "list again",
        ErrorDetails::with_error_info("LIST_AGAIN", "lanyard", []),
    )
}

/// A listing that revokes the workload's token, at this revision.
fn revoking(issued: &Issued, revision: u64) -> RevocationEntries {
    let revocations = vec![entry("a", [Tokens::Jti("j1".to_owned())])];
    RevocationEntries { revision, revocations, ..issued.listed() }
}

#[tokio::test]
async fn nothing_is_decided_before_the_listing_is_there() {
    let issued = Issued::new();
    let feed = RevocationFeed::start(issued.listed()).await;
    feed.rewrite(|script| script.refusal = Some(Status::permission_denied("WRONG_ROLE")));
    let mut settings = feed.settings();
    settings.accept_stale = true;
    let verifier = Verifier::follow(settings).unwrap();
    feed.streams(2).await;
    assert_eq!(issued.verify(&verifier, &issued.token()), Err(Refused::Stale { age: None }));
    assert_eq!((verifier.age(), Refused::Stale { age: None }.code()), (None, "SNAPSHOT_STALE"));
    assert!(verifier.problem().is_some_and(|problem| problem.to_string().contains("WRONG_ROLE")));
    feed.rewrite(|script| script.refusal = None);
    within(verifier.ready()).await;
    assert!(issued.verify(&verifier, &issued.token()).is_ok());
    assert!(verifier.problem().is_none());
}

#[tokio::test]
async fn beyond_the_bound_it_refuses_unless_told_otherwise_and_it_heals() {
    let issued = Issued::new();
    let feed = RevocationFeed::start(issued.listed()).await;
    let mut settings = feed.settings();
    settings.max_age = BOUND;
    let strict = Verifier::follow(settings.clone()).unwrap();
    settings.accept_stale = true;
    let lenient = Verifier::follow(settings).unwrap();
    within(strict.ready()).await;
    within(lenient.ready()).await;
    let fresh = issued.verify(&lenient, &issued.token()).unwrap();
    assert!(!fresh.is_stale && fresh.age <= BOUND);
    feed.rewrite(|script| script.beats = false);
    until(&issued, &strict, stale).await;
    let Err(Refused::Stale { age: Some(age) }) = issued.verify(&strict, &issued.token()) else { panic!() };
    assert!(age > BOUND);
    until(&issued, &lenient, |refused| {
        assert_eq!(refused, None);
        lenient.age().is_some_and(|age| age > BOUND)
    })
    .await;
    let accepted = issued.verify(&lenient, &issued.token()).unwrap();
    assert!(accepted.is_stale && accepted.age > BOUND);
    // What arrives proves nothing of what does not.
    let other = entry("b", [Tokens::Jti("j2".to_owned())]);
    feed.say(Sent::Changed(RevocationEntries { revision: 6, revocations: vec![other], keys: Vec::new() }));
    assert!(stale(issued.verify(&strict, &issued.token()).err()));
    feed.rewrite(|script| script.beats = true);
    until(&issued, &strict, |refused| refused.is_none()).await;
    assert_eq!(feed.streams(2).await, [None, None]);
}

#[tokio::test]
async fn the_age_of_the_servers_own_snapshot_counts() {
    let issued = Issued::new();
    let feed = RevocationFeed::start(issued.listed()).await;
    feed.rewrite(|script| script.age = Duration::from_secs(61));
    let verifier = Verifier::follow(feed.settings()).unwrap();
    feed.streams(1).await;
    until(&issued, &verifier, |refused| {
        let aged = matches!(refused, Some(Refused::Stale { age: Some(age) }) if age >= Duration::from_secs(61));
        aged || refused.is_none()
    })
    .await;
    assert!(stale(issued.verify(&verifier, &issued.token()).err()));
    feed.rewrite(|script| script.age = Duration::from_secs(1));
    within(verifier.ready()).await;
    assert!(issued.verify(&verifier, &issued.token()).unwrap().age >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_stream_that_ends_goes_on_at_another_server_after_its_revision() {
    let issued = Issued::new();
    let (one, other) = (RevocationFeed::start(issued.listed()).await, RevocationFeed::start(issued.listed()).await);
    other.rewrite(|script| script.refusal = Some(Status::unavailable("not yet")));
    let (mut settings, ca) = (one.settings(), other.settings());
    one.trust(&other);
    settings.servers.extend(ca.servers);
    let verifier = Verifier::follow(settings).unwrap();
    within(verifier.ready()).await;
    let change = RevocationEntries { revision: 9, ..revoking(&issued, 9) };
    one.say(Sent::Changed(change));
    until(&issued, &verifier, |refused| refused == Some(Refused::TokenRevoked)).await;
    one.rewrite(|script| script.refusal = Some(Status::unavailable("over")));
    other.rewrite(|script| script.refusal = None);
    one.end(Status::unavailable("over"));
    within(async {
        while other.streams(0).await.last() != Some(&Some(9)) || verifier.problem().is_some() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(issued.verify(&verifier, &issued.token()), Err(Refused::TokenRevoked));
    let lifted = RevocationEntries { revision: 10, revocations: vec![entry("a", [])], keys: Vec::new() };
    other.say(Sent::Changed(lifted));
    until(&issued, &verifier, |refused| refused.is_none()).await;
}

#[tokio::test]
async fn a_server_that_is_behind_is_left_for_another_and_none_is_said() {
    let issued = Issued::new();
    let (one, other) = (RevocationFeed::start(issued.listed()).await, RevocationFeed::start(issued.listed()).await);
    one.rewrite(|script| script.age = Duration::from_secs(61));
    one.trust(&other);
    let mut settings = one.settings();
    settings.servers.extend(other.settings().servers);
    // Whichever is asked first.
    for _ in 0..4 {
        let verifier = Verifier::follow(settings.clone()).unwrap();
        within(verifier.ready()).await;
        assert!(issued.verify(&verifier, &issued.token()).is_ok());
    }
    settings.servers.clear();
    let verifier = Verifier::follow(settings).unwrap();
    within(async {
        while verifier.problem().is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(matches!(verifier.problem().as_deref(), Some(FollowError::NoServer)));
}

#[tokio::test]
async fn a_new_listing_replaces_everything_and_an_older_one_does_not() {
    let issued = Issued::new();
    let feed = RevocationFeed::start(revoking(&issued, 9)).await;
    let verifier = feed.verifier().await;
    assert_eq!(issued.verify(&verifier, &issued.token()), Err(Refused::TokenRevoked));
    // A replica that has not learned of the revocation yet.
    feed.rewrite(|script| script.listed = RevocationEntries { revision: 8, ..issued.listed() });
    feed.end(again());
    assert_eq!(feed.streams(2).await, [None, None]);
    within(async {
        while !matches!(verifier.problem().as_deref(), Some(FollowError::Behind)) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(issued.verify(&verifier, &issued.token()), Err(Refused::TokenRevoked));
    feed.rewrite(|script| {
        script.listed.revision = 12;
        script.resumes = false;
    });
    until(&issued, &verifier, |refused| refused.is_none()).await;
}

#[tokio::test]
async fn a_server_of_another_issuer_is_not_followed() {
    let issued = Issued::new();
    let feed = RevocationFeed::start(issued.listed()).await;
    feed.rewrite(|script| script.issuer = "https://lanyard.test.example".to_owned());
    let verifier = Verifier::follow(feed.settings()).unwrap();
    feed.streams(2).await;
    let problem = verifier.problem();
    assert!(
        matches!(problem.as_deref(), Some(FollowError::OtherIssuer(other)) if other == "https://lanyard.test.example")
    );
    assert_eq!(verifier.age(), None);
}
