//! Colours: of marks, at a terminal, and nowhere else.

use std::fs;
use std::process::Command;

use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::process::run;
use crate::support::process::run_at_a_terminal;
use crate::support::process::text;

/// What a command prints at a terminal, and that it is the same without the colours in a pipe and with `NO_COLOR`.
#[track_caller]
fn coloured(command: &mut Command) -> String {
    let printed = run_at_a_terminal(command, &[], "").stdout;
    let plain = run_at_a_terminal(command, &[("NO_COLOR", "1")], "").stdout;
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let piped = run(command.env("TERM", "xterm")).stdout;
    assert!(!piped.contains('\u{1b}') && plain.replace('\r', "").contains(&piped), "{piped:?} {plain:?}");
    printed
}

#[test]
fn marks_have_colours_at_a_terminal_alone() {
    let Dev { files, .. } = &Dev::start();
    let doctor = coloured(&mut files.command("workload", &["doctor", "--client"]));
    assert!(doctor.contains("\u{1b}[32mok\u{1b}[0m          caller_files"), "{doctor:?}");
    let stranger = coloured(&mut files.command("admin", &["doctor", "--client"]));
    assert!(stranger.contains("\u{1b}[31mERROR\u{1b}[0m       caller_registration"), "{stranger:?}");

    let file = files.path("new.yaml");
    let document = format!(
        "client_id: new\ntoken_endpoint_auth_method: spiffe_x509\nspiffe_id: spiffe://dev.internal/new\n\
         scope: orders.read\naudience: [{AUDIENCE}]\n"
    );
    fs::write(&file, document).unwrap();
    let diff = coloured(&mut files.command("admin", &["diff", "-f", text(&file)]));
    assert!(diff.contains("\u{1b}[32m+\u{1b}[0m scope"), "{diff:?}");
}
