//! The examples for a mesh go together with the folder of `deploy/` that they are for, and nothing in either fails open.

use std::fs;

use serde_json::Value;

use crate::deploy::examples::file;
use crate::deploy::examples::read;
use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::helm::list;
use crate::support::yaml;

const MESHES: [&str; 3] = ["envoy", "envoy-gateway", "istio"];

fn documents(text: &str) -> Vec<Value> {
    let mut documents: Vec<Value> = yaml::documents(text);
    documents.sort_by_key(ToString::to_string);
    documents
}

#[test]
fn what_an_example_registers_is_what_the_folder_of_its_mesh_registers() {
    for mesh in MESHES {
        let Some(rendered) = Rendered::of(&helm::example(mesh), &["--set", "test.enabled=false"]) else { return };
        let map = rendered.named("ConfigMap", "lanyard-registrations").unwrap();
        for name in ["clients.yaml", "resources.yaml"] {
            let registered = documents(map["data"][name].as_str().unwrap());
            assert_eq!(registered, documents(&read(&format!("{mesh}/{name}"))), "{mesh}");
        }
        let config =
            documents(rendered.named("ConfigMap", "lanyard").unwrap()["data"]["lanyard.yaml"].as_str().unwrap());
        let [alone] = documents(&read(&format!("{mesh}/lanyard.yaml"))).try_into().unwrap();
        assert_eq!(config[0]["roles"]["proxies"], alone["roles"]["proxies"], "{mesh}");
        assert_eq!(config[0]["trust"]["trust_domain"], alone["trust"]["trust_domain"], "{mesh}");
    }
}

#[test]
fn the_service_is_where_the_proxies_of_each_mesh_look_for_it() {
    for mesh in MESHES {
        let Some(rendered) = Rendered::of(&helm::example(mesh), &[]) else { return };
        let service = rendered.named("Service", "lanyard").unwrap();
        assert_eq!(service["metadata"]["namespace"], "lanyard", "{mesh}");
        let ports = list(&service["spec"]["ports"]);
        assert!(ports.iter().any(|port| port["port"] == 8443 && port["targetPort"] == "mtls"), "{mesh}: {ports:?}");
        let looks =
            |text: &str| text.contains("lanyard.lanyard.svc") || text.contains("{name: lanyard, namespace: lanyard");
        let texts = fs::read_dir(file(mesh)).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        assert!(texts.into_iter().any(|text| looks(&text)), "{mesh}");
    }
}

#[test]
fn no_proxy_lets_a_request_through_that_nobody_has_evaluated() {
    for mesh in MESHES {
        let mut said = 0;
        let example = fs::read_to_string(helm::example(mesh)).unwrap();
        let texts = fs::read_dir(file(mesh)).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        for text in texts.chain([example]) {
            for line in text.lines().map(|line| line.split('#').next().unwrap()) {
                for key in ["failure_mode_allow:", "failOpen:"] {
                    if let Some((_, value)) = line.split_once(key) {
                        assert!(value.trim_start().starts_with("false"), "{mesh}: {line}");
                        said += 1;
                    }
                }
            }
        }
        assert!(said > 0, "{mesh} says nothing of it");
    }
}
