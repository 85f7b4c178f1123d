//! The configuration in each example's rendered `ConfigMap`, and a real server started from it as its container would be.

use crate::support::helm;
use crate::support::helm::list;
use crate::support::helm_pod::Site;
use crate::support::helm_server::Server;
use crate::support::helm_server::in_its_place;
use crate::support::process::run;

#[test]
fn config_check_finds_every_examples_configuration_sound() {
    for example in &helm::examples() {
        let Some(site) = Site::of(example, &[]) else { return };
        let pod = site.server();
        let config = config_path(&pod.containers()[0]["args"]);
        let checked = run(&mut in_its_place(&pod, &["config", "check", "--config", &config]));
        assert_eq!(checked.stdout, "the configuration is valid\n", "{}: {checked:?}", site.rendered.name);
    }
}

#[test]
fn a_server_started_as_rendered_gets_ready_with_every_example_and_stops_when_told() {
    // Without etcd, a server that needs one does not start: `replicas` has those.
    for example in helm::examples().iter().filter(|example| !example.ends_with("etcd.yaml")) {
        let Some(site) = Site::of(example, &[]) else { return };
        let (code, said) = Server::start(&site).process.end_by("TERM");
        assert_eq!(code, Some(0), "{}: {said}", site.rendered.name);
    }
}

#[test]
fn config_check_and_the_server_refuse_a_configuration_that_the_chart_lets_through() {
    let another_source = "[{\"trust_domain\": \"prod.example\", \"bundle_endpoint\": \"https://b.example/\", \"profile\": \"https_web\"}]";
    let another_source = format!("config.federation={another_source}");
    for flags in [
        ["--set-json", &another_source],
        ["--set", "config.jwks_uri.allowed_hosts[0]=a.example,config.jwks_uri.ca=/nowhere/ca.pem"],
    ] {
        let Some(site) = Site::of(&helm::example("minimal"), &flags) else { return };
        let pod = site.server();
        let [container] = pod.containers() else { panic!("one container") };
        let checked = run(&mut in_its_place(&pod, &["config", "check", "--config", &config_path(&container["args"])]));
        assert_eq!(checked.code, Some(1), "{flags:?}: {checked:?}");
        let served = run(&mut pod.command(container));
        assert_eq!(served.code, Some(1), "{flags:?}: {served:?}");
    }
}

#[test]
fn a_server_whose_secrets_are_not_what_they_should_be_does_not_start() {
    let Some(site) = Site::of(&helm::example("minimal"), &[]) else { return };
    let pod = site.server();
    let [container] = pod.containers() else { panic!("one container") };
    let mut files = Vec::new();
    for mount in list(&container["volumeMounts"]).iter().filter(|mount| mount["name"] != "config") {
        let folder = pod.path(mount["mountPath"].as_str().unwrap());
        files.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let right = std::fs::read(&file).unwrap();
        std::fs::write(&file, "not what it should be").unwrap();
        let served = run(&mut pod.command(container));
        assert_eq!(served.code, Some(1), "{}: {served:?}", file.display());
        std::fs::write(&file, right).unwrap();
    }
    drop(Server::start(&site));
}

/// The path behind `--config`, as rendered.
fn config_path(arguments: &serde_json::Value) -> String {
    let arguments = list(arguments);
    let flag = arguments.iter().position(|argument| argument == "--config").unwrap();
    arguments[flag + 1].as_str().unwrap().to_owned()
}
