//! The protected resources in the store that requests do not find: what `lanyard doctor`, `resource list` and `resource
//! apply` say about them.

use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::store::Expected;
use lanyard::authority::store::Store as _;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;

use crate::support::authority::TestAuthority;
use crate::support::authority::ready;
use crate::support::doctor::DoctorFixture;
use crate::support::doctor::Seen;
use crate::support::process::lanyard;
use crate::support::process::run_with;
use crate::support::resources::at;

/// Writes resources into the store of a stopped server, as an earlier version wrote them.
async fn write(fixture: &DoctorFixture, resources: &[ResourceMetadata]) {
    let store = SledStore::open(&fixture.path("volume/data"), SledOptions::default()).unwrap();
    for metadata in resources {
        let other = TestAuthority::new();
        other.protect(metadata.clone());
        let key = format!("/resources/{}", metadata.audience);
        let value = ready(other.store.get(&key)).unwrap().unwrap().value;
        store.put(&key, value.to_vec(), Expected::Any).await.unwrap();
    }
}

fn subjects<'a>(seen: &'a Seen, code: &str) -> Vec<&'a str> {
    seen.lines().filter(|line| line["code"] == code).map(|line| line["subject"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn resources_that_no_host_finds_or_that_share_an_authority_are_listed() {
    const A: &str = "spiffe://prod.example/a";
    let fixture = DoctorFixture::new().served();
    write(&fixture, &[at("urn:a", &[A], &[]), at("urn:open", &[], &["open.test"])]).await;
    let seen = fixture.seen();
    seen.healthy();
    assert!(seen.checks("ok").contains(&"resource"), "{seen:#?}");
    write(&fixture, &[at("urn:a", &[A], &["a.test"])]).await;
    let seen = fixture.seen();
    seen.only_warns("RESOURCE_NOT_FOUND_BY_HOST");
    assert_eq!(subjects(&seen, "RESOURCE_NOT_FOUND_BY_HOST"), ["urn:a"]);
    write(&fixture, &[at("urn:a", &[A], &[]), at("urn:other", &[], &["open.test"])]).await;
    let seen = fixture.seen();
    seen.only_warns("RESOURCE_AUTHORITY_SHARED");
    assert_eq!(subjects(&seen, "RESOURCE_AUTHORITY_SHARED"), ["open.test"]);
    let text = seen.report.to_string();
    assert!(text.contains("urn:open and urn:other"), "{text}");
}

#[tokio::test]
async fn a_running_server_reports_a_stored_collision_to_those_who_list_or_apply_it() {
    let fixture = DoctorFixture::new();
    fixture.add("roles: {admins: [{spiffe_id: 'spiffe://prod.example/admin'}]}");
    fixture.present(&fixture.certificate().dns("localhost").issue());
    let fixture = fixture.served();
    let admin = fixture.ca.svid("spiffe://prod.example/admin").issue();
    fixture.write("admin.pem", &admin.pem());
    fixture.write("admin-key.pem", &admin.key_pem());
    write(&fixture, &[at("urn:a", &[], &["o.test"]), at("urn:b", &[], &["o.test"])]).await;
    write(&fixture, &[at("urn:c", &[], &["c.test"]), at("urn:d", &["spiffe://prod.example/d"], &["d.test"])]).await;
    let _server = fixture.serve();
    let resource = |arguments: &[&str], stdin: &str| {
        let mut command = lanyard();
        command.arg("resource").args(arguments).args(["--server", &format!("https://localhost:{}", fixture.ports[0])]);
        for (flag, file) in [("--ca", "ca.pem"), ("--cert", "admin.pem"), ("--key", "admin-key.pem")] {
            command.arg(flag).arg(fixture.path(file));
        }
        run_with(&mut command, stdin)
    };
    let listed = resource(&["list"], "");
    let shared = "note: urn:a, urn:b share the authority o.test";
    assert!(listed.stderr.contains(shared), "{listed:?}");
    assert!(listed.stderr.contains("note: urn:d has authorities and destination_principals"), "{listed:?}");
    assert_eq!(listed.ok().lines().count(), 5);
    let seen = fixture.seen();
    assert!(seen.checks("not_checked").contains(&"resource"), "{seen:#?}");
    // What collides can still be applied, and is named; what does not is not.
    let apply = |audience: &str, more: &str| {
        resource(&["apply", "-f", "-"], &format!("audience: '{audience}'\nscope: a\nroutes: [{{path: '/**'}}]\n{more}"))
    };
    let applied = apply("urn:b", "authorities: [o.test]\nowner: team\n");
    assert!(applied.stderr.contains(shared) && !applied.stderr.contains("urn:d"), "{applied:?}");
    assert_eq!(applied.ok(), "urn:b updated\n");
    let applied = apply("urn:c", "authorities: [c.test]\nowner: team\n");
    assert_eq!((applied.stderr.as_str(), applied.stdout.as_str()), ("", "urn:c updated\n"));
    let applied = apply("urn:b", "");
    assert_eq!((applied.stderr.as_str(), applied.stdout.as_str()), ("", "urn:b updated\n"));
}
