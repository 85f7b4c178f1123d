//! Documents that a program applies through the library.

use lanyard::apply::Applied;
use lanyard::apply::Conditions;
use lanyard::apply::Document;
use lanyard::apply::Journal;
use lanyard::apply::Mode;
use lanyard::apply::Outcome;
use lanyard::apply::Registry;
use lanyard::apply::apply;
use lanyard::apply::undo;
use lanyard::apply::write;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use tonic::transport::Channel;

use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::reason_of;

fn client(client_id: &str) -> ClientMetadata {
    ClientMetadata {
        client_id: client_id.to_owned(),
        token_endpoint_auth_method: "spiffe_x509".to_owned(),
        spiffe_id: Some(format!("spiffe://prod.example/{client_id}")),
        audience: vec![ORDERS.to_owned()],
        ..ClientMetadata::default()
    }
}

fn resource(audience: &str) -> ResourceMetadata {
    ResourceMetadata { audience: audience.to_owned(), ..ResourceMetadata::default() }
}

/// What became of each document, in a word or the reason of its refusal.
async fn applied<D: Document>(registry: &mut Registry<Channel>, documents: &[D], mode: Mode) -> Vec<String> {
    let word = |Applied { name, outcome, .. }: &Applied| match outcome {
        Outcome::Created => format!("{name} created"),
        Outcome::Updated => format!("{name} updated"),
        Outcome::Unchanged => format!("{name} unchanged"),
        Outcome::Proposed(id) => format!("{name} proposed as {id}"),
        Outcome::Refused(status) => format!("{name} {}", reason_of(status)),
    };
    apply(registry, documents, mode).await.iter().map(word).collect()
}

async fn started() -> (TestServer, Registry<Channel>) {
    let server = TestServer::start().await;
    let registry = server.registry(&server.svid("/admin"));
    (server, registry)
}

#[tokio::test]
async fn documents_are_created_updated_or_left_as_they_are() {
    let (server, mut registry) = started().await;
    let mut documents = [client("a"), client("b")];
    let created = ["a created", "b created"];
    // A check says the same, and writes nothing.
    for mode in [Mode::Check, Mode::Check, Mode::Write] {
        assert!(server.server.authority().clients(None, 9).is_empty());
        assert_eq!(applied(&mut registry, &documents, mode).await, created, "{mode:?}");
    }
    for mode in [Mode::Check, Mode::Write] {
        assert_eq!(applied(&mut registry, &documents, mode).await, ["a unchanged", "b unchanged"], "{mode:?}");
    }
    documents[1].owner = Some("team-shop".to_owned());
    for mode in [Mode::Check, Mode::Write] {
        assert_eq!(server.server.authority().client("b").unwrap().registration.metadata().owner, None);
        assert_eq!(applied(&mut registry, &documents, mode).await, ["a unchanged", "b updated"], "{mode:?}");
    }
    assert_eq!(applied(&mut registry, &documents, Mode::Write).await, ["a unchanged", "b unchanged"]);
    let resources = [resource(ORDERS)];
    for word in ["created", "unchanged"] {
        assert_eq!(applied(&mut registry, &resources, Mode::Write).await, [format!("{ORDERS} {word}")]);
    }
}

#[tokio::test]
async fn one_that_is_refused_is_the_last_and_says_why() {
    let (server, mut registry) = started().await;
    let bad = ClientMetadata { scope: "two  spaces".to_owned(), ..client("b") };
    let outcomes = applied(&mut registry, &[client("a"), bad, client("c")], Mode::Write).await;
    assert_eq!(outcomes, ["a created", "b INVALID_CLIENT_METADATA"]);
    assert!(server.server.authority().client("c").is_err());
    let mut others = server.registry(&server.svid("/checkout"));
    assert_eq!(applied(&mut others, &[resource(ORDERS)], Mode::Write).await, [format!("{ORDERS} WRONG_ROLE")]);
    assert_eq!(applied::<ClientMetadata>(&mut registry, &[], Mode::Write).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_written_is_undone_and_what_another_has_changed_since_is_kept() {
    let (server, mut registry) = started().await;
    let authority = server.server.authority();
    let client = |client_id: &str, owner: &str| ClientMetadata { owner: Some(owner.to_owned()), ..client(client_id) };
    let owner = |client_id: &str| authority.client(client_id).unwrap().registration.metadata().owner.clone();
    applied(&mut registry, &[client("a", "before"), client("b", "before")], Mode::Write).await;

    let all =
        [client("a", "after"), client("b", "after"), client("c", "after"), client("d", "after"), client("e", "after")];
    let mut journal = Journal::default();
    let written = write(&mut registry, &all, ("", &Conditions::default()), &mut journal).await;
    assert_eq!(written.len(), all.len());
    // One that was not changed is not in the journal.
    write(&mut registry, &[client("e", "after")], ("", &Conditions::default()), &mut journal).await;
    // Another writer changes one that was updated and one that was created, and deletes a third.
    applied(&mut registry, &[client("b", "another"), client("d", "another")], Mode::Write).await;
    ClientMetadata::delete(&mut registry, "e".to_owned(), String::new(), "").await.unwrap();

    assert_eq!(undo(&mut registry, journal).await, ["d", "b"]);
    assert_eq!(owner("a").as_deref(), Some("before"));
    assert_eq!(owner("b").as_deref(), Some("another"));
    assert!(authority.client("c").is_err());
    assert_eq!(owner("d").as_deref(), Some("another"));
    assert!(authority.client("e").is_err());
}

#[tokio::test]
async fn where_the_server_is_gone_everything_keeps_its_change_and_is_named() {
    let (server, mut registry) = started().await;
    let mut journal = Journal::default();
    write(&mut registry, &[client("a"), client("b")], ("", &Conditions::default()), &mut journal).await;
    server.server.stop().await;
    assert_eq!(undo(&mut registry, journal).await, ["b", "a"]);
}

#[tokio::test]
async fn report_over_enforce_is_refused_by_every_way_to_apply_unless_it_is_allowed() {
    let (server, mut registry) = started().await;
    let in_mode = |mode: &str| {
        let mode = Some(mode).filter(|mode| !mode.is_empty()).map(str::to_owned);
        [ResourceMetadata { mode, ..resource(ORDERS) }]
    };
    let mode = || server.server.authority().resource(ORDERS).unwrap().registration.metadata.mode.clone().unwrap();
    let refused = [format!("{ORDERS} REPORT_OVER_ENFORCE")];
    // A new one may begin in report mode, stay in it, and leave it.
    for (written, word) in [("report", "created"), ("report", "unchanged"), ("", "unchanged"), ("enforce", "updated")] {
        assert_eq!(applied(&mut registry, &in_mode(written), Mode::Write).await, [format!("{ORDERS} {word}")]);
    }
    for mode in [Mode::Check, Mode::Write] {
        assert_eq!(applied(&mut registry, &in_mode("report"), mode).await, refused, "{mode:?}");
        assert_eq!(applied(&mut registry, &in_mode(""), mode).await, [format!("{ORDERS} unchanged")], "{mode:?}");
    }
    assert_eq!(mode(), "enforce");
    let conditions = Conditions { allow_report: true, ..Conditions::default() };
    let mut journal = Journal::default();
    write(&mut registry, &in_mode("report"), ("", &conditions), &mut journal).await;
    assert_eq!(mode(), "report");
    // And what was allowed is undone, as is the way back.
    assert_eq!(undo(&mut registry, journal).await, Vec::<String>::new());
    assert_eq!(mode(), "enforce");
}
