//! `lanyard preview` and `lanyard tail`.

use serde_json::Value;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::process::Process;

#[test]
fn a_preview_says_which_registrations_a_pattern_meets_and_which_identities_it_matches() {
    let Dev { files, .. } = &Dev::start();
    files.token("workload", &[]);
    let text = files.run("admin", &["preview", "spiffe://dev.internal/*"]).ok();
    for expected in [
        "registrations with SPIFFE IDs in common with it",
        "narrower  spiffe://dev.internal/workload",
        "stays the one that applies to what it matches",
        "identities that it matches, of those that this replica has seen since 2",
        "spiffe://dev.internal/admin",
        "no registration applies now",
    ] {
        assert!(text.contains(expected), "not '{expected}': {text}");
    }
    let answer = files.run("admin", &["preview", "spiffe://dev.internal/workload", "-o", "json"]).json(0);
    assert_eq!(answer["registrations"][0]["overlap"], "same");
    assert_eq!(answer["identities"][0]["client_id"], "spiffe://dev.internal/workload");
    let none = files.run("admin", &["preview", "spiffe://dev.internal/nobody"]).ok();
    assert!(none.contains("no registration has") && none.contains("it matches no identity"), "{none}");
    files.run("admin", &["preview", "spiffe://dev.internal/*/a"]).refused("INVALID_REQUEST", "correct what");
    files.run("workload", &["preview", "spiffe://dev.internal/*"]).refused("WRONG_ROLE", "role Admin");
}

#[test]
fn each_decision_that_is_asked_for_is_a_line_until_a_signal() {
    let Dev { files, .. } = &Dev::start();
    let all = Process::start(&mut files.command("admin", &["tail"]));
    let arguments = ["tail", "--outcome", "denied", "--resource", AUDIENCE, "-o", "json"];
    let denied = Process::start(&mut files.command("admin", &arguments));
    all.until("following");
    denied.until("following");
    let token = files.token("workload", &[]);
    files.validate(&token, "workload.pem");
    files.validate(&token, "thief.pem");
    let printed = all.until("CERTIFICATE_MISMATCH");
    let lines: Vec<&String> = printed.iter().filter(|line| line.contains("binding decided")).collect();
    let [allowed, refused] = lines[..] else { panic!("{printed:?}") };
    assert!(allowed.contains("allowed") && allowed.contains("client spiffe://dev.internal/workload"), "{allowed}");
    assert!(refused.contains(&format!("at {AUDIENCE}")) && refused.contains("reference "), "{refused}");
    assert!(printed.iter().any(|line| line.contains("token issued")), "{printed:?}");
    let last = denied.until("CERTIFICATE_MISMATCH");
    let [only] = &last[..] else { panic!("{last:?}") };
    let decision: Value = serde_json::from_str(only).unwrap();
    assert_eq!((&decision["outcome"], &decision["event"]), (&"denied".into(), &"binding_decided".into()));
    assert_eq!(all.end_by("INT").0, None);
    files.run("workload", &["tail"]).refused("WRONG_ROLE", "role Admin");
}
