//! Transaction tokens on the command line: asked for by hand, read, and what of documents is probably not meant.

use std::fs;

use serde_json::json;

use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::dev::Files;
use crate::support::mint::part;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::process::text;
use crate::support::server::Setup;
use crate::support::server::TRUST_DOMAIN;

const JOB: &str = "client_id: spiffe://prod.example/job\ntoken_endpoint_auth_method: spiffe_x509\n\
    audience: [https://ledger.test]\n\
    grant_types: [client_credentials, 'urn:ietf:params:oauth:grant-type:token-exchange']\n\
    txn: [{subjects: [self], scope: 'nightly.settle nightly.report', details: [batch], context: [req_ip]}]\n";

fn with_code(finished: Finished, code: i32) -> (String, String) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    (finished.stdout, finished.stderr)
}

#[test]
fn a_job_gets_a_transaction_token_for_itself_by_hand_and_narrows_it() {
    let exchange = "{enabled: true}\ntxn_tokens: {trust_domain: prod.example}".to_owned();
    let setup = Setup { exchange, ..real_time() };
    setup.write();
    fs::write(setup.path("ca.pem"), setup.ca.pem()).unwrap();
    for name in ["admin", "job"] {
        let leaf = setup.ca.svid(&format!("spiffe://{TRUST_DOMAIN}/{name}")).issue();
        fs::write(setup.path(&format!("{name}.pem")), leaf.pem()).unwrap();
        fs::write(setup.path(&format!("{name}-key.pem")), leaf.key_pem()).unwrap();
    }
    let serve = Serve::start(&setup, 1024);
    let server = format!("https://localhost:{}", serve.mtls.port());
    let files = Files { dir: setup.path("ca.pem").parent().unwrap().to_owned(), server };
    let document = files.path("job.yaml");
    fs::write(&document, JOB).unwrap();
    files.run("admin", &["client", "apply", "-f", text(&document)]).ok();
    let ask = |more: &[&str]| {
        let common = ["token", "exchange", "--txn", "--audience", "prod.example"];
        files.run("job", &[&common, more].concat())
    };
    let own = ["--for", "spiffe://prod.example/job", "--scope"];
    let details = files.path("details.json");
    fs::write(&details, r#"{"batch":["a",7]}"#).unwrap();
    let at = format!("@{}", text(&details));
    let whole = [
        &own[..],
        &["nightly.settle nightly.report", "--request-details", &at, "--request-context", r#"{"req_ip":"192.0.2.7"}"#],
    ];
    let token = ask(&whole.concat()).ok();
    let claims = part(token.trim(), 1);
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("spiffe://prod.example/job"), &json!("prod.example")));
    assert_eq!((&claims["tctx"], &claims["rctx"]), (&json!({ "batch": ["a", 7] }), &json!({ "req_ip": "192.0.2.7" })));
    let kept = files.path("txn");
    fs::write(&kept, &token).unwrap();
    let kept = format!("@{}", text(&kept));
    let narrowed = ask(&["--txn-token", &kept, "--scope", "nightly.report", "-o", "json"]).json(0);
    assert_eq!((&narrowed["token_type"], &narrowed["scope"]), (&json!("N_A"), &json!("nightly.report")));
    assert_eq!(narrowed["issued_token_type"], "urn:ietf:params:oauth:token-type:txn_token");
    assert_eq!(part(narrowed["access_token"].as_str().unwrap(), 1)["txn"], claims["txn"]);
    let (shown, _) = with_code(run(lanyard().args(["token", "inspect", &kept])), 0);
    assert!(shown.contains("a transaction token: it is bound to no certificate"), "{shown}");
    assert!(shown.contains(r#"{"batch":["a",7]}"#), "{shown}");
    // What no rule lists, and what is no object.
    let other = [&own[..], &["nightly.settle", "--request-details", r#"{"amount":1}"#]].concat();
    let refused = ask(&other);
    assert!(refused.code != Some(0) && refused.stderr.contains("request_details"), "{refused:?}");
    for bad in ["[]", "{\"a\":1,\"a\":2}", "x"] {
        let refused = ask(&[&own[..], &["nightly.settle", "--request-details", bad]].concat());
        assert!(refused.code != Some(0) && refused.stderr.contains("--request-details"), "{bad}: {refused:?}");
    }
}

#[test]
fn what_documents_say_of_transactions_is_compared() {
    let lint = |documents: &[&str]| run_with(lanyard().args(["lint", "-f", "-"]), &documents.join("---\n"));
    let edge = "audience: https://edge.test\nscope: edge.write\ntxn_token: strip\nroutes:\n- {path: '/orders/{id}', scope: edge.write, \
                txn: {scope: order.cancel, details: {order: '{id}'}}}\n";
    let ledger = "audience: https://ledger.test\nscope: ledger.write\ntxn_token: require\nroutes:\n- {path: /, scope: ledger.write, \
                  txn_scope: order.cancel}\n";
    let (shown, said) = with_code(lint(&[edge, ledger]), 0);
    assert!(shown.is_empty() && said.contains("remarks: 0"), "{shown}{said}");
    let open = edge.replace("txn_token: strip\n", "");
    let (shown, _) = with_code(lint(&[&open, ledger]), 1);
    assert!(shown.contains("resource https://edge.test: its checks mint transaction tokens on some routes"), "{shown}");
    let other = ledger.replace("txn_scope: order.cancel", "txn_scope: order.pay");
    let (shown, _) = with_code(lint(&[edge, &other]), 1);
    assert!(shown.contains("its route / needs a transaction for order.pay, which no document allows"), "{shown}");
    // A rule of a client gives it too.
    let asking = "client_id: spiffe://prod.example/edge\ntoken_endpoint_auth_method: spiffe_x509\n\
        audience: [https://ledger.test]\n\
        grant_types: [client_credentials, 'urn:ietf:params:oauth:grant-type:token-exchange']\n\
        txn: [{subjects: ['spiffe://prod.example/*'], presented_at: https://edge.test, grants: [{needs: edge.write, gives: order.pay}]}]\n";
    let leaving = format!("{edge}receipts: {{exchangers: [spiffe://prod.example/edge]}}\n");
    let (shown, said) = with_code(lint(&[asking, &leaving, &other]), 0);
    assert!(shown.is_empty() && said.contains("remarks: 0"), "{shown}{said}");
    for (documents, expected) in [
        ([asking, edge, &other], "comes to nothing: it takes a receipt, and that resource leaves none"),
        (
            [&asking.replace("edge.write", "edge.read"), &leaving, &other],
            "needs edge.read, which that resource does not define",
        ),
        (
            [&asking.replace("https://edge.test", "https://x.test"), &leaving, &other],
            "a place that no document registers",
        ),
    ] {
        let (shown, _) = with_code(lint(&documents), 1);
        assert!(
            shown.contains("its rule for transaction tokens at https://") && shown.contains(expected),
            "{expected}: {shown}"
        );
    }
}
