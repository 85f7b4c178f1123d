//! Keys that are published and cannot be used: each is named in a warning, with what is wrong with it.

use std::slice;

use lanyard::authority::trust::BundleDocument;
use serde_json::Value;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

use crate::published_jwks::jwks_uri::publishing;
use crate::published_jwks::jwks_uri::server;
use crate::support::bundle::Federated;
use crate::support::bundle::root;
use crate::support::ca::TestCa;
use crate::support::ca::self_signed;
use crate::support::logged::logged;
use crate::support::publisher::jwks;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Every way in which reports say that `x5c` is written wrongly, and a part of what is said about it.
fn wrong(good: &Value) -> Vec<(Value, &'static str)> {
    let text = good["x5c"][0].as_str().unwrap();
    let (start, end) = text.split_at(64);
    let with = |x5c: Value| {
        let mut key = good.clone();
        key["x5c"] = x5c;
        key
    };
    let without = |member: &str| {
        let mut key = good.clone();
        key.as_object_mut().unwrap().remove(member);
        key
    };
    vec![
        (with(json!([format!("{start}\n{end}")])), "line breaks or spaces"),
        (with(json!([format!("{start} {end}")])), "line breaks or spaces"),
        (with(json!([text.replace('+', "-").replace('/', "_").trim_end_matches('=')])), "base64url"),
        (with(json!([format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")])), "PEM"),
        (with(json!(text)), "not an array of texts"),
        (with(json!(["!"])), "not standard base64"),
        (with(json!([good["x"]])), "it lacks"),
        (without("x5c"), "it has no x5c"),
        (without("x"), "it lacks the member x of its key"),
        (without("kty"), "it lacks the member kty of its key"),
        (with(root(&TestCa::new("other"))["x5c"].clone()), "not the one that the other members describe"),
    ]
}

#[test]
fn each_key_of_a_bundle_that_is_skipped_is_named_with_what_is_wrong_with_it() {
    let good = root(&TestCa::new("prod.example"));
    for (key, why) in wrong(&good) {
        let text = json!({"keys": [good, key]}).to_string();
        let document = BundleDocument::parse(text.as_bytes()).unwrap();
        let [skipped] = document.skipped.0.as_slice() else { panic!("{text}") };
        assert_eq!((skipped.number, document.bundle.x509.len()), (2, 1));
        // What is no certificate at all has no key to compare.
        assert!(skipped.why.contains(why) || why == "it lacks" && skipped.why.contains("x5c"), "{skipped}: {why}");
    }
    let none = BundleDocument::parse(json!({"keys": [good]}).to_string().as_bytes()).unwrap();
    assert_eq!(none.skipped.to_string(), "");
}

#[test]
fn a_federation_document_of_which_keys_are_skipped_is_one_warning_with_the_counts() {
    let runtime = runtime();
    let federated = runtime.block_on(Federated::by_web());
    let good = root(&federated.partner);
    let publish = |keys: &[Value]| {
        let document = json!({ "keys": keys }).to_string();
        let ((), lines) = logged(|| runtime.block_on(federated.publish(document.as_bytes())));
        lines.into_iter().filter(|line| line.contains("skipped")).collect::<Vec<_>>()
    };
    assert_eq!(publish(slice::from_ref(&good)), [""; 0]);
    let mut broken = good.clone();
    broken["x5c"] = json!([good["x5c"][0].as_str().unwrap().to_owned() + "\n"]);
    let lines = publish(&[broken.clone(), broken.clone()]);
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in ["WARN", "partner.example", "roots=0", "skipped=2", "key number 1", "key number 2", "line breaks"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // The same is no news.
    assert_eq!(publish(&[broken.clone(), broken.clone()]), [""; 0]);
    assert_eq!(publish(&[good, broken]).len(), 1);
}

#[test]
fn a_jwks_uri_document_of_which_keys_are_skipped_is_one_warning_with_the_counts() {
    let runtime = runtime();
    let (server, publisher) = runtime.block_on(server(""));
    runtime.block_on(server.register(publishing(&publisher.uri()))).unwrap();
    let leaf = self_signed("billing").issue();
    let good: Value = serde_json::from_slice(&jwks(&[&leaf])).unwrap();
    let poll = |document: &[u8]| {
        publisher.answer(200, "", document);
        server.advance(std::time::Duration::from_secs(1));
        let ((), lines) = logged(|| runtime.block_on(server.server.poll_jwks_uris()));
        lines.into_iter().filter(|line| line.contains("publishes")).collect::<Vec<_>>()
    };
    assert_eq!(poll(good.to_string().as_bytes()), [""; 0]);
    let mut both = good.clone();
    let mut broken = good["keys"][0].clone();
    broken["x5c"] = json!([format!("{}\n", broken["x5c"][0].as_str().unwrap())]);
    broken["kid"] = json!("next");
    both["keys"].as_array_mut().unwrap().push(broken);
    let lines = poll(both.to_string().as_bytes());
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in ["WARN", "billing", "used=1", "skipped=1", "key number 2 with kid \"next\"", "line breaks"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert_eq!(poll(both.to_string().as_bytes()), [""; 0]);
    for (document, what) in [
        (&b"\x1f\x8b\x08\x00"[..], "gzip"),
        (b"[]", "is an array"),
        (b"\xef\xbb\xbf{\"keys\":[]}", "byte order mark"),
        (b"<html>", "not JSON"),
        (b"{}", "lacks the array"),
    ] {
        let lines = poll(document);
        assert!(matches!(lines.as_slice(), [line] if line.contains(what)), "{what}: {lines:?}");
    }
}

#[test]
fn a_root_that_is_not_used_is_logged_once_with_its_reason() {
    let runtime = runtime();
    let (server, _publisher) = runtime.block_on(server(""));
    let file = server.setup.path("ca.pem");
    let leaf = server.svid("/a");
    let reload = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let ((), lines) = logged(|| server.server.reload());
        lines.into_iter().filter(|line| line.contains("is not used")).collect::<Vec<_>>()
    };
    let good = server.setup.ca.pem();
    assert_eq!(reload(&format!("{good}\n")), [""; 0]);
    let lines = reload(&format!("{good}{}", leaf.pem()));
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in ["ERROR", "prod.example", &leaf.thumbprint().to_string(), "not a CA certificate"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert_eq!(reload(&format!("{}{good}", leaf.pem())), [""; 0], "in another order");
    assert!(server.server.authority().admit(leaf.chain).is_ok());
}
