//! Errors about a connection say which flag, and which variable, set the value that is wrong.

use std::fs;
use std::process::Command;

use lanyard::authority::clock::Timestamp;

use crate::support::ca::self_signed;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::text;

/// The connection flags, their variables, and the values for an admin.
fn settings(files: &Files) -> [(&'static str, &'static str, String); 4] {
    let path = |name| text(&files.path(name)).to_owned();
    [
        ("--server", "LANYARD_SERVER", files.server.clone()),
        ("--ca", "LANYARD_CA", path("ca.pem")),
        ("--cert", "LANYARD_CERT", path("admin.pem")),
        ("--key", "LANYARD_KEY", path("admin-key.pem")),
    ]
}

/// How a command gets the values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Flags,
    Variables,
}

/// A command with these values, one of which is replaced.
fn command(line: &[&str], files: &Files, by: By, (flag, value): (&str, &str)) -> Command {
    let mut command = lanyard();
    command.args(line);
    for (name, variable, right) in settings(files) {
        let value = if name == flag { value } else { &right };
        match by {
            By::Flags => command.args([name, value]),
            By::Variables => command.env(variable, value),
        };
    }
    command
}

/// Runs `client list` with one value replaced, from the environment and from the flags: both are refused alike, and only
/// the first names the variable.
#[track_caller]
fn refused(files: &Files, (flag, value): (&str, &str), problem: &str, [before, after]: [&str; 2]) {
    let list = |by| run(&mut command(&["client", "list"], files, by, (flag, value)));
    let variable = settings(files).into_iter().find(|(name, ..)| *name == flag).unwrap().1;
    list(By::Variables).refused(problem, &format!("{before}{flag} (from {variable}){after}"));
    let by_flag = list(By::Flags);
    assert!(!by_flag.stderr.contains("LANYARD_"), "{by_flag:?}");
    by_flag.refused(problem, &format!("{before}{flag}{after}"));
}

#[test]
fn a_wrong_value_is_reported_with_the_variable_that_it_came_from() {
    let Dev { files, .. } = &Dev::start();
    let stranger = self_signed("stranger").between(Timestamp(0), Timestamp(4_000_000_000)).issue();
    let expired = self_signed("expired").between(Timestamp(0), Timestamp(86_400)).issue();
    for (name, contents) in [
        ("nothing.pem", "nothing"),
        ("stranger.pem", &stranger.pem()),
        ("expired.pem", &expired.pem()),
        ("expired-key.pem", &expired.key_pem()),
    ] {
        fs::write(files.path(name), contents).unwrap();
    }
    let file = |name: &str| text(&files.path(name)).to_owned();
    let nowhere = file("nowhere.pem");
    for flag in ["--ca", "--cert", "--key"] {
        refused(files, (flag, &nowhere), "nowhere.pem: No such file", ["", " names it: see whether the path is right"]);
    }
    for flag in ["--ca", "--cert"] {
        refused(files, (flag, &file("nothing.pem")), "holds no certificate", ["", " names it: name a file"]);
    }
    refused(files, ("--key", &file("nothing.pem")), "holds no private key", ["and ", " differ"]);
    refused(
        files,
        ("--cert", &file("proxy.pem")),
        "do not go together",
        ["; in ", ", your own certificate comes first"],
    );
    refused(files, ("--ca", &file("stranger.pem")), "UnknownIssuer", ["was not issued by a CA in ", ": name"]);
    let [nobody] = free_ports();
    let nobody = format!("https://localhost:{nobody}");
    refused(files, ("--server", &nobody), "cannot reach the server", ["and whether ", " names its host and port"]);

    let mut refused = command(&["client", "list"], files, By::Variables, ("--cert", &file("expired.pem")));
    refused.env("LANYARD_KEY", files.path("expired-key.pem"));
    run(&mut refused).refused("it expired at 1970-01-02T00:00:00Z", "in --cert (from LANYARD_CERT) renewed");
}

#[test]
fn every_command_that_connects_says_it() {
    let Dev { files, .. } = &Dev::start();
    fs::write(files.path("client.yaml"), "{client_id: a, token_endpoint_auth_method: spiffe_x509}").unwrap();
    let (file, token) = (files.path("client.yaml"), files.path("token"));
    let commands: [&[&str]; 10] = [
        &["apply", "-f", text(&file)],
        &["client", "apply", "-f", text(&file)],
        &["client", "get", "checkout"],
        &["resource", "list"],
        &["token", "get"],
        &["token", "get", "--watch", "--out", text(&token)],
        &["token", "revoke", "--jti", "x"],
        &["revocation", "list"],
        &["validate", "--token", "a.b.c", "--own-connection"],
        &["whoami"],
    ];
    for line in commands {
        let finished: Finished = run(&mut command(line, files, By::Variables, ("--key", "/nowhere.pem")));
        finished.refused("/nowhere.pem: No such file", "--key (from LANYARD_KEY) names it");
    }
}

#[test]
fn what_is_missing_is_reported_with_the_variables_that_set_it() {
    let listed = |arguments: &[&str], (variable, value): (&str, &str)| {
        run(lanyard().args(["client", "list"]).args(arguments).env(variable, value))
    };
    let missing = listed(&["--cert", "me.pem"], ("LANYARD_CA", "ca.pem"));
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("tip: the environment may set it: LANYARD_KEY\n"), "{missing:?}");
    let missing = listed(&[], ("LANYARD_CA", "ca.pem"));
    assert!(missing.stderr.contains("tip: the environment may set them: LANYARD_CERT, LANYARD_KEY\n"), "{missing:?}");
    let missing = run(lanyard().arg("serve"));
    assert!(missing.stderr.contains("tip: the environment may set it: LANYARD_CONFIG\n"), "{missing:?}");
    // No variable sets this one.
    let missing = run(lanyard().args(["token", "get", "--watch", "--ca", "a", "--cert", "b", "--key", "c"]));
    assert!(missing.code == Some(2) && !missing.stderr.contains("tip:"), "{missing:?}");

    let invalid = listed(&[], ("LANYARD_SERVER", "localhost:8443"));
    assert_eq!(invalid.code, Some(2), "{invalid:?}");
    assert!(invalid.stderr.contains("must be https://HOST:PORT"), "{invalid:?}");
    assert!(invalid.stderr.contains("tip: the value is that of LANYARD_SERVER\n"), "{invalid:?}");
    let invalid = listed(&["--server=localhost:8443"], ("LANYARD_SERVER", "https://localhost:8443"));
    assert!(invalid.code == Some(2) && !invalid.stderr.contains("tip:"), "{invalid:?}");
}

/// Beside it, what a watch reports on its way.
#[test]
fn a_watch_names_the_variable_when_it_cannot_go_on() {
    let Dev { files, .. } = &Dev::start();
    let (cert, token) = (files.path("copy.pem"), files.path("kept"));
    fs::copy(files.path("workload.pem"), &cert).unwrap();
    let line = ["token", "get", "--watch", "--out", text(&token)];
    let mut watch = command(&line, files, By::Variables, ("--cert", text(&cert)));
    let process = Process::start(watch.env("LANYARD_KEY", files.path("workload-key.pem")));
    process.until("renewed:");
    fs::write(&cert, "nothing").unwrap();
    process.until("the previous certificate stays in use");
    process.until("next: --cert (from LANYARD_CERT) names it");
}
