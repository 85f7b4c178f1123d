//! The Secrets that cert-manager writes for the chart: never one that somebody else made. What is there already comes from a
//! substitute for an API server.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use serde_json::Value;
use serde_json::json;

use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::helm::list;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

/// An API server with one Secret, on plain HTTP; returns its URL. It ends with the tests.
fn api_server(secret: Value) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, secret) = (stream.unwrap(), secret.clone());
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                while let Some(request) = lines.next() {
                    lines.by_ref().find(String::is_empty);
                    let path = request.split(' ').nth(1).unwrap();
                    let body = answer(path.split('?').next().unwrap(), &secret);
                    let status = if body["kind"] == "Status" { "404 Not Found" } else { "200 OK" };
                    let body = body.to_string();
                    let head = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}",
                        body.len()
                    );
                    if stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

fn answer(path: &str, secret: &Value) -> Value {
    let name = secret["metadata"]["name"].as_str().unwrap();
    match path {
        "/version" => json!({"major": "1", "minor": "33", "gitVersion": "v1.33.13"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1" => json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
            {"name": "secrets", "singularName": "secret", "namespaced": true, "kind": "Secret", "verbs": ["get", "list"]}]}),
        path if path == format!("/api/v1/namespaces/identity/secrets/{name}") => secret.clone(),
        _ => json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}),
    }
}

/// Renders the example for cert-manager beside a Secret of this name with these annotations.
fn beside(name: &str, annotations: &Value) -> Option<Finished> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "identity",
        "annotations": annotations}, "data": {}});
    let url = api_server(secret);
    let folder = tempfile::tempdir().unwrap();
    let cluster = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{"name": "a", "user": {}}],
        "clusters": [{"name": "a", "cluster": {"server": url}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]});
    let kubeconfig = folder.path().join("kubeconfig");
    fs::write(&kubeconfig, cluster.to_string()).unwrap();
    let mut command = Command::new(tools::helm()?);
    command.args(["template", helm::RELEASE]).arg(in_crate("helm/lanyard")).args([
        "--dry-run=server",
        "--namespace",
        "identity",
    ]);
    // The definitions of custom resources are not in this API server.
    command.arg("--disable-openapi-validation").arg("--values").arg(helm::example("cert-manager"));
    Some(run(command.env("KUBECONFIG", kubeconfig).env("HOME", folder.path())))
}

#[test]
fn a_secret_that_cert_manager_did_not_write_is_refused_and_its_own_is_taken() {
    for (certificate, secret) in [
        ("lanyard", "lanyard-certificate"),
        ("lanyard-admin", "lanyard-admin-certificate"),
        ("lanyard-test", "lanyard-test-certificate"),
    ] {
        let Some(refused) = beside(secret, &json!({})) else { return };
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let complaint = format!(
            "the Secret {secret} in identity is not one that cert-manager wrote for the Certificate {certificate}"
        );
        assert!(refused.stderr.contains(&complaint), "{refused:?}");
        assert_eq!(beside(secret, &json!({"cert-manager.io/certificate-name": "other"})).unwrap().code, Some(1));
        beside(secret, &json!({"cert-manager.io/certificate-name": certificate})).unwrap().ok();
    }
    beside("lanyard-tls", &json!({})).unwrap().ok();
}

#[test]
fn what_the_examples_have_users_make_is_never_what_cert_manager_writes() {
    let Some(all) = helm::all_rendered() else { return };
    let mut written = BTreeSet::new();
    let mut made = BTreeSet::new();
    for rendered in &all {
        let secrets = |rendered: &Rendered| {
            let names = rendered.all("Certificate").map(|one| one["spec"]["secretName"].as_str().unwrap().to_owned());
            names.collect::<BTreeSet<String>>()
        };
        let text = fs::read_to_string(helm::example(&rendered.name)).unwrap();
        let commands = text.lines().filter_map(|line| line.split_once(" create secret ")?.1.split(' ').nth(1));
        written.extend(secrets(rendered));
        made.extend(commands.map(ToOwned::to_owned));
    }
    assert!(written.len() >= 3 && made.len() >= 4, "{written:?} {made:?}");
    assert_eq!(written.intersection(&made).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_certificate_may_be_used_for_both_ends_of_a_connection() {
    let Some(all) = helm::all_rendered() else { return };
    let certificates: Vec<&Value> = all.iter().flat_map(|rendered| rendered.all("Certificate")).collect();
    assert!(certificates.len() >= 9, "{}", certificates.len());
    for certificate in certificates {
        // X509-SVID 4.4: with extended key usages there are both.
        let usages: Vec<&str> =
            list(&certificate["spec"]["usages"]).iter().map(|usage| usage.as_str().unwrap()).collect();
        assert_eq!(usages, ["digital signature", "server auth", "client auth"], "{certificate}");
    }
}
