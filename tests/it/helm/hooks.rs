//! What the hook Job and the pod of `helm test` run, as rendered, against the server that runs as rendered.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::helm;
use crate::support::helm::list;
use crate::support::helm_pod::Pod;
use crate::support::helm_pod::Site;
use crate::support::helm_pod::connection_flags;
use crate::support::helm_server::Server;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::yaml;

/// Runs the container of a Job's pod, which must end well.
pub fn job(pod: &Pod<'_>) -> Vec<String> {
    run(&mut pod.command(container(pod))).ok().lines().map(ToOwned::to_owned).collect()
}

/// The only container of a Job's pod.
pub fn container<'a>(pod: &Pod<'a>) -> &'a Value {
    let ([], [container]) = (pod.init_containers(), pod.containers()) else { panic!("one container") };
    container
}

/// A command of the admin, in the place of the Job's container.
pub fn as_admin(pod: &Pod<'_>, arguments: &[&str]) -> Finished {
    let container = &pod.containers()[0];
    let flags = connection_flags(container);
    run(&mut pod.other_command(container, [arguments, &flags].concat()))
}

/// The names of all that is registered.
pub fn registered(pod: &Pod<'_>, kind: &str, key: &str) -> BTreeSet<String> {
    let found = as_admin(pod, &[kind, "list", "-o", "json"]).json(0);
    list(&found).iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}

/// The names of all that the values register.
fn wanted(values: &Path, kind: &str, key: &str) -> BTreeSet<String> {
    let values = yaml::value(&std::fs::read_to_string(values).unwrap());
    let documents = values["registrations"][kind].as_object().into_iter().flatten();
    documents.map(|(_, document)| document[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_job_registers_what_the_values_say_and_a_second_run_changes_nothing() {
    let mut jobs = 0;
    for example in &helm::examples() {
        let Some(site) = Site::of(example, &[]) else { return };
        let Some(pod) = site.registrations() else {
            assert!(wanted(example, "clients", "client_id").is_empty(), "{}", site.rendered.name);
            assert!(wanted(example, "resources", "audience").is_empty(), "{}", site.rendered.name);
            assert!(wanted(example, "grants", "name").is_empty(), "{}", site.rendered.name);
            continue;
        };
        let _server = Server::start(&site);
        assert!(registered(&pod, "client", "client_id").is_empty());
        let mut clients = wanted(example, "clients", "client_id");
        clients.extend(site.test().map(|test| site.identity("test", &test)));
        let resources = wanted(example, "resources", "audience");
        let grants = wanted(example, "grants", "name");

        let first = job(&pod);
        assert!(first.iter().all(|line| line.ends_with(" created")), "{}: {first:?}", site.rendered.name);
        assert_eq!(first.len(), clients.len() + resources.len() + grants.len(), "{}: {first:?}", site.rendered.name);
        assert_eq!(registered(&pod, "client", "client_id"), clients);
        assert_eq!(registered(&pod, "grant", "name"), grants);
        assert_eq!(registered(&pod, "resource", "audience"), resources);

        let second = job(&pod);
        assert!(second.iter().all(|line| line.ends_with(" unchanged")), "{}: {second:?}", site.rendered.name);
        assert_eq!(second.len(), first.len());
        jobs += 1;
    }
    assert!(jobs >= 5, "{jobs}");
}

#[test]
fn the_job_fails_when_its_identity_is_no_admin_or_a_document_is_refused() {
    let example = helm::example("registrations");
    // The identity that the values name is an admin; the certificate is of another one.
    let Some(site) = Site::of(&example, &["--set", "registrations.admin.spiffeId=spiffe://prod.example/else"]) else {
        return;
    };
    let _server = Server::start(&site);
    let pod = site.registrations().unwrap();
    let refused = run(&mut pod.command(&pod.containers()[0]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("WRONG_ROLE"), "{refused:?}");

    let wrong = ["--set", "registrations.clients.checkout.access_token_ttl=2h"];
    let Some(site) = Site::of(&example, &wrong) else { return };
    let _server = Server::start(&site);
    let pod = site.registrations().unwrap();
    let refused = run(&mut pod.command(&pod.containers()[0]));
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("access_token_ttl"), "{refused:?}");
    assert!(registered(&pod, "client", "client_id").is_empty());
}

#[test]
fn the_test_pod_gets_a_token_and_has_it_validated() {
    let mut tests = 0;
    for example in &helm::examples() {
        let Some(site) = Site::of(example, &[]) else { return };
        let Some(test) = site.test() else { continue };
        let _server = Server::start(&site);
        job(&site.registrations().unwrap());
        token_got(&test);
        let said = run(&mut test.command(&test.containers()[0])).ok();
        assert!(said.starts_with("decision     ALLOW\n"), "{}: {said}", site.rendered.name);
        tests += 1;
    }
    assert!(tests >= 4, "{tests}");
}

#[test]
fn the_test_pod_fails_when_its_client_is_gone_and_when_it_never_was() {
    for name in ["secret", "cert-manager", "spiffe-csi"] {
        let Some(site) = Site::of(&helm::example(name), &[]) else { return };
        let _server = Server::start(&site);
        let (admin, test) = (site.registrations().unwrap(), site.test().unwrap());
        let (getter, validate) = (&test.init_containers()[0], &test.containers()[0]);

        // Never registered: no token comes, so the pod's container is never begun.
        let refused = run(&mut test.command(getter));
        assert_eq!(refused.code, Some(1), "{name}: {refused:?}");
        assert!(refused.stderr.contains("INVALID_CLIENT"), "{name}: {refused:?}");
        let without = run(&mut test.command(validate));
        assert_eq!(without.code, Some(1), "{name}: {without:?}");

        // A token that was good, and is no more.
        job(&admin);
        token_got(&test);
        run(&mut test.command(validate)).ok();
        as_admin(&admin, &["client", "delete", &site.identity("test", &test)]).ok();
        let denied = run(&mut test.command(validate));
        assert_eq!(denied.code, Some(3), "{name}: {denied:?}");
        assert!(denied.stdout.contains("CLIENT_UNKNOWN"), "{name}: {denied:?}");
    }
}

/// Runs the container that gets the token.
fn token_got(test: &Pod<'_>) {
    let [getter] = test.init_containers() else { panic!("one init container") };
    assert!(getter["restartPolicy"].is_null(), "it is over when the next one begins");
    run(&mut test.command(getter)).ok();
}
