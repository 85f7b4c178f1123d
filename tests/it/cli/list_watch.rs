//! `list --watch`: the list, and a line for each change.

use serde_json::Value;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::process::Process;

fn client(name: &str, owner: &str) -> String {
    format!(
        "client_id: {name}\ntoken_endpoint_auth_method: spiffe_x509\nspiffe_id: spiffe://dev.internal/{name}\n\
         scope: orders.read\naudience: [{AUDIENCE}]\nowner: {owner}\n"
    )
}

#[test]
fn each_change_of_what_is_asked_for_is_a_line() {
    let Dev { files, .. } = &Dev::start();
    files.apply(&client("one-here", "a")).ok();
    let watch = Process::start(&mut files.command("admin", &["client", "list", "one*", "--owner", "a", "--watch"]));
    watch.until("one-here");
    files.apply(&client("other", "a")).ok();
    files.apply(&client("one-more", "a")).ok();
    let printed = watch.until("one-more");
    assert!(printed.last().unwrap().contains("added    one-more  by spiffe://dev.internal/admin"), "{printed:?}");
    assert!(printed.iter().all(|line| !line.contains("other")), "{printed:?}");
    files.apply(&client("one-more", "a").replace("orders.read", "orders.write")).ok();
    watch.until("changed  one-more");
    // It is no longer one of those that are asked for.
    files.apply(&client("one-more", "b")).ok();
    watch.until("removed  one-more");
    files.run("admin", &["client", "delete", "one-here"]).ok();
    watch.until("removed  one-here");
    // By a signal.
    assert_eq!(watch.end_by("INT").0, None);
}

#[test]
fn a_change_is_a_document_on_a_line_for_programs() {
    let Dev { files, .. } = &Dev::start();
    let watch = Process::start(&mut files.command("admin", &["resource", "list", "--watch", "-o", "json"]));
    watch.until("]");
    files.run("admin", &["resource", "delete", AUDIENCE, "--yes"]).ok();
    let printed = watch.until("removed");
    let change: Value = serde_json::from_str(printed.last().unwrap()).unwrap();
    assert_eq!((&change["change"], &change["audience"]), (&"removed".into(), &AUDIENCE.into()));
    assert_eq!(change["record"], Value::Null);
    drop(watch);
    let refused = files.run("admin", &["client", "list", "--watch", "-o", "name"]);
    refused.refused("a change is no document", "-o text");
    files.run("workload", &["client", "list", "--watch"]).refused("WRONG_ROLE", "role Admin");
}
