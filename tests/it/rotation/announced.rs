//! Successors of certificates: how they are announced, and how far they carry a token.

use std::time::Duration;

use lanyard::proto::AnnounceRotationRequest;
use lanyard::proto::Client;
use lanyard::proto::DenyReason;
use lanyard::proto::Match;
use tonic::Code;

use crate::rotation::policies::Rotating;
use crate::rotation::policies::hash_of;
use crate::rotation::policies::hour;
use crate::support::calls::refusal;
use crate::support::leaf::Leaf;
use crate::support::server::certificate_of;
use crate::support::server::spiffe_client;

const CHECKOUT: &str = "spiffe://prod.example/checkout";

#[tokio::test]
async fn a_successor_passes_in_both_grades_and_its_siblings_do_not() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let (next, sibling) = (rotating.another(10, None), rotating.another(20, None));
    assert_eq!(rotating.verdict(certificate_of(&next)).await, Err(DenyReason::CertificateRenewed));
    let announced = rotating.announce(&rotating.first, &next).await.unwrap();
    let until = i64::try_from(rotating.server.now().0).unwrap() + 15 * 60;
    assert_eq!(announced.overlap_until.unwrap().seconds, until);
    for evidence in [certificate_of(&next), hash_of(&next)] {
        assert_eq!(rotating.verdict(evidence).await, Ok((Match::Lineage, 1)));
    }
    // A hash alone does not tell whose certificate it is.
    for (evidence, reason) in [
        (certificate_of(&sibling), DenyReason::CertificateRenewed),
        (hash_of(&sibling), DenyReason::CertificateMismatch),
    ] {
        assert_eq!(rotating.verdict(evidence).await, Err(reason));
    }
    assert_eq!(rotating.verdict(certificate_of(&rotating.first)).await, Ok((Match::Exact, 0)));
    // It leads forward only: the successor's own tokens are none of its predecessor's.
    let token = rotating.server.token(&next).await;
    let back = rotating.server.validate(&token, certificate_of(&rotating.first)).await.unwrap();
    assert_eq!(back.reason(), DenyReason::CertificateRenewed);
}

#[tokio::test]
async fn the_window_closes_and_no_answer_may_be_kept_beyond_it() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let next = rotating.another(10, None);
    rotating.announce(&rotating.first, &next).await.unwrap();
    rotating.server.advance(Duration::from_secs(15 * 60 - 2));
    let evaluated = rotating.evaluate(certificate_of(&next)).await;
    let now = i64::try_from(rotating.server.now().0).unwrap();
    assert_eq!((evaluated.generation, evaluated.cache_until.unwrap().seconds), (1, now + 2));
    rotating.server.advance(Duration::from_secs(2));
    assert_eq!(rotating.verdict(certificate_of(&next)).await, Err(DenyReason::LineageOver));
    assert_eq!(rotating.verdict(hash_of(&next)).await, Err(DenyReason::LineageOver));
}

#[tokio::test]
async fn generations_are_counted_and_end() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let mut present = rotating.first.clone();
    for generation in 1..=5_u32 {
        let next = rotating.another(i64::from(generation) * 10, None);
        rotating.announce(&present, &next).await.unwrap();
        let expected = match generation {
            1..=3 => Ok((Match::Lineage, generation)),
            // The first one past the end has its own reason; a later one is refused like any unrelated certificate.
            4 => Err(DenyReason::LineageOver),
            _ => Err(DenyReason::CertificateRenewed),
        };
        assert_eq!(rotating.verdict(certificate_of(&next)).await, expected, "{generation}");
        present = next;
    }
}

#[tokio::test]
async fn a_certificate_has_one_successor_and_the_first_wins() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let (next, second) = (rotating.another(10, None), rotating.another(20, None));
    let first = rotating.announce(&rotating.first, &next).await.unwrap();
    rotating.server.advance(Duration::from_mins(1));
    let again = rotating.announce(&rotating.first, &next).await.unwrap();
    assert_eq!(again, first, "to announce it again moves nothing");
    let taken = rotating.announce(&rotating.first, &second).await;
    assert_eq!(refusal(taken), (Code::Aborted, "SUCCESSOR_TAKEN".to_owned()));
    assert_eq!(rotating.verdict(certificate_of(&second)).await, Err(DenyReason::CertificateRenewed));
    assert_eq!(rotating.verdict(certificate_of(&next)).await, Ok((Match::Lineage, 1)));
}

#[tokio::test]
async fn of_many_successors_announced_at_once_exactly_one_is_taken() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let mut calls = tokio::task::JoinSet::new();
    for later in 1..=20 {
        let mut tokens = rotating.server.tokens(&rotating.first);
        let certificate = rotating.another(later, None).certificate().to_vec();
        let request = AnnounceRotationRequest { certificate, intermediates: Vec::new() };
        calls.spawn(async move { tokens.announce_rotation(request).await.map(drop) });
    }
    let outcomes = calls.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.into_iter().filter_map(Result::err);
    assert!(refused.into_iter().all(|status| status.code() == Code::Aborted));
}

#[tokio::test]
async fn only_a_certificate_of_the_very_same_workload_can_succeed() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let (ca, other) = (&rotating.server.setup.ca, &rotating.server.setup.other_ca);
    let own = rotating.another(10, None);
    for (name, next, reason) in [
        ("another workload's", ca.svid("spiffe://prod.example/thief").issue(), "SUCCESSOR_OTHER_IDENTITY"),
        ("another trust domain's", other.svid("spiffe://other.example/checkout").issue(), "SUCCESSOR_OTHER_IDENTITY"),
        ("signed by another trust domain", other.svid(CHECKOUT).issue(), "SUCCESSOR_NOT_PROVEN"),
        ("expired", ca.svid(CHECKOUT).expired().issue(), "SUCCESSOR_NOT_PROVEN"),
        ("not valid yet", ca.svid(CHECKOUT).not_yet_valid().issue(), "SUCCESSOR_NOT_PROVEN"),
        ("with two names", ca.svid(CHECKOUT).uri("https://x.example").issue(), "SUCCESSOR_NOT_PROVEN"),
        ("the one in use", rotating.first.clone(), "SUCCESSOR_NOT_ANOTHER"),
        (
            "a PKI's",
            rotating.server.setup.corp.client_certificate().dns("a.corp.example").issue(),
            "SUCCESSOR_OTHER_IDENTITY",
        ),
    ] {
        let refused = rotating.announce(&rotating.first, &next).await;
        assert_eq!(refusal(refused), (Code::InvalidArgument, reason.to_owned()), "{name}");
    }
    for certificate in [Vec::new(), vec![0x30; 20 * 1024], own.certificate()[..100].to_vec()] {
        let request = AnnounceRotationRequest { certificate, intermediates: Vec::new() };
        let refused = rotating.server.tokens(&rotating.first).announce_rotation(request).await;
        assert_eq!(refusal(refused), (Code::InvalidArgument, "SUCCESSOR_NOT_PROVEN".to_owned()));
    }
    rotating.announce(&rotating.first, &own).await.unwrap();
}

#[tokio::test]
async fn only_a_client_registered_for_lineage_announces_and_only_for_its_own_connection() {
    for rotation in ["strict", "identity"] {
        let rotating = Rotating::new(rotation, "thumbprint").await;
        let refused = rotating.announce(&rotating.first, &rotating.another(10, None)).await;
        assert_eq!(refusal(refused), (Code::FailedPrecondition, "NOT_LINEAGE".to_owned()), "{rotation}");
    }
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let unregistered = rotating.server.svid("/unregistered");
    let refused = rotating.announce(&unregistered, &rotating.another(10, None)).await;
    assert_eq!(refusal(refused), (Code::FailedPrecondition, "NOT_LINEAGE".to_owned()));
    // A thief that is registered too can name successors of its own certificate alone.
    let thief = "spiffe://prod.example/thief";
    let registered = Client { rotation: "lineage".to_owned(), access_token_ttl: hour(), ..spiffe_client(thief) };
    rotating.server.register(registered).await.unwrap();
    let thief = rotating.server.setup.ca.svid(thief).issue();
    let refused = rotating.announce(&thief, &rotating.another(10, None)).await;
    assert_eq!(refusal(refused), (Code::InvalidArgument, "SUCCESSOR_OTHER_IDENTITY".to_owned()));
}

#[tokio::test]
async fn a_revoked_certificate_neither_succeeds_nor_is_succeeded() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let (next, more) = (rotating.another(10, None), rotating.another(20, None));
    rotating.announce(&rotating.first, &next).await.unwrap();
    let target =
        lanyard::proto::revoke_token_request::Target::CertificateThumbprint(next.thumbprint().as_bytes().to_vec());
    let request = lanyard::proto::RevokeTokenRequest { target: Some(target), ..Default::default() };
    rotating.server.tokens(&rotating.server.svid("/admin")).revoke_token(request).await.unwrap();
    assert_eq!(rotating.verdict(certificate_of(&next)).await, Err(DenyReason::CertificateRevoked));
    assert!(rotating.announce(&next, &more).await.is_err());
    assert_eq!(rotating.verdict(certificate_of(&rotating.first)).await, Ok((Match::Exact, 0)));
}

#[tokio::test]
async fn a_revoked_certificate_in_the_middle_cuts_the_lineage() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let [second, third, fourth] = [10, 20, 30].map(|later| rotating.another(later, None));
    rotating.announce(&rotating.first, &second).await.unwrap();
    rotating.announce(&second, &third).await.unwrap();
    rotating.announce(&third, &fourth).await.unwrap();
    let from_second = rotating.server.token(&second).await;
    let from_third = rotating.server.token(&third).await;
    assert_eq!(rotating.verdict(certificate_of(&third)).await, Ok((Match::Lineage, 2)));
    let target =
        lanyard::proto::revoke_token_request::Target::CertificateThumbprint(second.thumbprint().as_bytes().to_vec());
    let request = lanyard::proto::RevokeTokenRequest { target: Some(target), ..Default::default() };
    let mut admin = rotating.server.tokens(&rotating.server.svid("/admin"));
    admin.revoke_token(request.clone()).await.unwrap();
    for beyond in [&second, &third, &fourth] {
        for evidence in [certificate_of(beyond), hash_of(beyond)] {
            assert_eq!(rotating.verdict(evidence).await, Err(DenyReason::CertificateRevoked));
        }
    }
    // What was issued before it, or after it, goes on with the certificates on its own side.
    assert_eq!(rotating.verdict(certificate_of(&rotating.first)).await, Ok((Match::Exact, 0)));
    let reason =
        async |token: &str, leaf: &Leaf| rotating.server.validate(token, certificate_of(leaf)).await.unwrap().reason();
    assert_eq!(reason(&from_second, &third).await, DenyReason::CertificateRevoked);
    assert_eq!(reason(&from_third, &fourth).await, DenyReason::Unspecified);
    let lift = lanyard::proto::RevokeTokenRequest { lift: true, ..request };
    admin.revoke_token(lift).await.unwrap();
    assert_eq!(rotating.verdict(certificate_of(&third)).await, Ok((Match::Lineage, 2)));
}

#[tokio::test]
async fn successions_are_forgotten_once_they_matter_no_longer() {
    let rotating = Rotating::new("lineage", "thumbprint").await;
    let next = rotating.another(10, None);
    rotating.announce(&rotating.first, &next).await.unwrap();
    let authority = rotating.server.server.authority();
    rotating.server.advance(Duration::from_mins(30));
    authority.sweep_lineages().await.unwrap();
    // Kept while the predecessor is valid, or it could be given another successor.
    let refused = rotating.announce(&rotating.first, &rotating.another(20, None)).await;
    assert_eq!(refusal(refused), (Code::Aborted, "SUCCESSOR_TAKEN".to_owned()));
    rotating.server.advance(Duration::from_mins(31));
    authority.sweep_lineages().await.unwrap();
    assert_eq!(authority.successions(), 0);
}
