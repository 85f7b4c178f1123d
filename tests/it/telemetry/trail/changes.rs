//! What is kept of changes in the transaction of each: from which state to which, by whom and why.

use std::time::Duration;

use lanyard::authority::decision::ClientAssertion;
use lanyard::authority::decision::LastAdmin;
use lanyard::authority::decision::RevokeRequest;
use lanyard::authority::keys::KEYS;
use lanyard::authority::records::HISTORY;
use lanyard::authority::registration::ClientId;
use lanyard::authority::state::Revoked;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use serde_json::Value;
use serde_json::json;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::CHECKOUT;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::process::Finished;
use crate::telemetry::trail::Trail;
use crate::telemetry::trail::heads::cli;
use crate::telemetry::trail::records;
use crate::telemetry::trail::stop;

/// The revisions of what is kept of a record, and of the record itself.
fn revisions(fixture: &TestAuthority, key: &str) -> (Vec<Revision>, Option<Revision>) {
    let prefix = format!("{}{}:", HISTORY.trim_end_matches('/'), key.replace(':', "%3A"));
    let kept = ready(fixture.store.list(&prefix)).unwrap().entries;
    let present = ready(fixture.store.get(key)).unwrap().map(|stored| stored.revision);
    (kept.into_iter().map(|(_, stored)| stored.revision).collect(), present)
}

#[test]
fn what_becomes_of_a_signing_key_is_kept_in_the_transaction_of_the_change() {
    let keeping = |history| TestAuthority::with(|policy| policy.history = history, TestAuthority::keys());
    for (history, is_kept) in [(Duration::from_hours(24), true), (Duration::ZERO, false)] {
        let fixture = keeping(history);
        let authority = &fixture.authority;
        let by = authority.as_caller(&fixture.svid(ADMIN));
        let next = ready(authority.rotate_signing_key(&by)).unwrap().next.key_id().to_string();
        ready(authority.revoke_signing_key(&by, &next, "it leaked")).unwrap();
        let changes = ready(authority.signing_key_history(&next)).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|one| (&*one.change, one.before.as_deref(), one.after.as_deref(), &*one.by, one.reason.as_deref()))
            .collect();
        let (kept, present) = revisions(&fixture, &format!("{KEYS}{next}"));
        if is_kept {
            let published = ("published", None, Some("next"), ADMIN, None);
            assert_eq!(told, [published, ("revoked", Some("next"), Some("revoked"), ADMIN, Some("it leaked"))]);
            // One revision is one transaction.
            assert_eq!((kept.len(), kept.last().copied()), (2, present));
        } else {
            assert_eq!((told.len(), kept.len()), (0, 0));
        }
    }
}

#[test]
fn who_lifted_a_revocation_is_kept_with_what_was_lifted_in_the_transaction_that_deletes_it() {
    let fixture = TestAuthority::with(|policy| policy.history = Duration::from_hours(24), TestAuthority::keys());
    let authority = &fixture.authority;
    let admin = fixture.svid(ADMIN);
    let caller = authority.as_caller(&admin);
    let requester = authority.requester(&caller, None, &ClientAssertion::default()).unwrap();
    let client = ClientId::parse(CHECKOUT).unwrap();
    let request = || RevokeRequest::Client(client.clone(), None);
    ready(authority.revoke(&caller, &requester, request(), LastAdmin::Stays)).unwrap();
    let revoked = Revoked::Client(client.clone());
    assert_eq!(ready(authority.revocation_history(&revoked)).unwrap().len(), 0, "its record says it");
    ready(authority.lift_revocation(&authority.as_caller(&admin), &requester, request())).unwrap();
    let changes = ready(authority.revocation_history(&revoked)).unwrap();
    let [lifted] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((&*lifted.change, &*lifted.by, lifted.number), ("lifted", ADMIN, 1));
    assert_eq!(lifted.before.as_ref().map(|before| &*before.revoked_by), Some(ADMIN));
    let (kept, present) = revisions(&fixture, &revoked.store_key());
    assert_eq!(kept.len(), 1);
    // What is left of it, if anything, is of the same transaction.
    assert!(present.is_none_or(|present| present == kept[0]), "{present:?}");
    // Another one's is another's.
    let other = Revoked::Client(ClientId::parse("spiffe://prod.example/other").unwrap());
    assert_eq!(ready(authority.revocation_history(&other)).unwrap().len(), 0);
}

#[tokio::test]
async fn one_command_says_from_what_to_what_a_key_and_a_revocation_were_changed() {
    let trail = Trail::new("");
    let serve = trail.serve();
    trail.use_it(&serve, 0).await;
    let admin = |arguments: &[&str]| -> Finished { cli(&trail, &serve, "/admin", arguments) };
    let rotated = admin(&["keys", "rotate", "-o", "json"]).json(0);
    let kid = rotated["key"]["kid"].as_str().unwrap().to_owned();
    let told = admin(&["history", "key", &kid]).ok();
    assert!(told.contains("published by spiffe://prod.example/admin"), "{told}");
    assert!(told.contains("  none -> next"), "{told}");
    admin(&["token", "revoke", "--client", "spiffe://prod.example/checkout"]).ok();
    admin(&["token", "revoke", "--client", "spiffe://prod.example/checkout", "--lift"]).ok();
    // The name is that of the record in the trail.
    while !records(&trail.path("audit.jsonl")).iter().any(|record| record["change"] == "lifted") {
        tokio::task::yield_now().await;
    }
    let all = records(&trail.path("audit.jsonl"));
    let lifted = all.iter().find(|record| record["change"] == "lifted").unwrap();
    let name = lifted["revoked"].as_str().unwrap();
    let told: Value = admin(&["history", "revocation", name, "-o", "json"]).json(0);
    assert_eq!((&told[0]["change"], &told[0]["after"], &told[1]), (&json!("lifted"), &Value::Null, &Value::Null));
    assert!(told[0]["before"].as_str().unwrap().contains("spiffe://prod.example/admin"), "{told}");
    let refused = cli(&trail, &serve, "/checkout", &["history", "key", &kid]);
    refused.refused("WRONG_ROLE", "role Admin");
    admin(&["history", "revocation", "/clients/checkout"]).refused("revoked", "");
    stop(serve);
}
