//! examples/verifier: programs in other languages that verify tokens themselves, run as a reader would, beside a real server.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;

use super::example_clients::go_program;
use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::door::within;
use crate::support::mint::part;
use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::tools;

/// A program that answers each line with one.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill().is_err();
        let _waited = self.child.wait().is_ok();
    }
}

impl Program {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    async fn until(&mut self, line: &str, expected: &str) {
        within(async {
            while self.ask(line) != expected {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

/// Follows `lanyard dev` with an example, which gets its arguments, and `bound` of them: three seconds in its language.
async fn holds(bound: &str, example: impl FnOnce(&[&str]) -> Command) {
    const ALLOWED: &str = "allowed spiffe://dev.internal/workload";
    let dev = Dev::start();
    let files = &dev.files;
    let [first, second] = [(); 2].map(|()| files.token("workload", &[]));
    // They outlive the server.
    let certificates = TempDir::new().unwrap();
    let [own, other] = ["workload.pem", "admin.pem"].map(|name| {
        fs::copy(files.path(name), certificates.path().join(name)).unwrap();
        text(&certificates.path().join(name)).to_owned()
    });
    let [ca, cert, key] = ["ca.pem", "proxy.pem", "proxy-key.pem"].map(|name| files.path(name));
    let issuer = part(&first, 1)["iss"].as_str().unwrap().to_owned();
    let server = files.server.strip_prefix("https://").unwrap();
    let mut program = Program::start(example(&[server, text(&ca), text(&cert), text(&key), &issuer, bound]));

    let first_use = format!("{first} {own} {AUDIENCE} orders.read");
    let second_use = format!("{second} {own} {AUDIENCE} orders.read orders.write");
    program.until(&first_use, ALLOWED).await;
    let signature = first.rfind('.').unwrap();
    for (line, refused) in [
        (format!("{first} {other} {AUDIENCE} orders.read"), "CERTIFICATE_MISMATCH"),
        (format!("{first} {own} {AUDIENCE}/ orders.read"), "WRONG_AUDIENCE"),
        (format!("{first} {own} {AUDIENCE} orders.admin"), "INSUFFICIENT_SCOPE"),
        (
            format!("{}{} {own} {AUDIENCE} ", &first[..signature], &second[second.rfind('.').unwrap()..]),
            "BAD_SIGNATURE",
        ),
        (format!("{} {own} {AUDIENCE} ", &first[..signature]), "TOKEN_MALFORMED"),
    ] {
        assert_eq!(program.ask(&line), format!("refused {refused}"));
    }
    files.run("admin", &["token", "revoke", &first]).ok();
    program.until(&first_use, "refused REVOKED").await;
    assert_eq!(program.ask(&second_use), ALLOWED);
    let client = ["token", "revoke", "--client", "spiffe://dev.internal/workload"];
    files.run("admin", &client).ok();
    program.until(&second_use, "refused REVOKED").await;
    // With the server the stream ends.
    drop(dev);
    program.until(&second_use, "refused SNAPSHOT_STALE").await;
}

#[tokio::test]
async fn the_go_example_verifies_tokens_and_learns_of_revocations() {
    let folder = TempDir::new().unwrap();
    let protos = ["lanyard/v1/snapshot.proto"];
    let Some(program) = go_program(folder.path(), "examples/verifier/go", "verify", &protos) else { return };
    holds("3s", |arguments| {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    })
    .await;
}

#[tokio::test]
async fn the_java_example_verifies_tokens_and_learns_of_revocations() {
    let folder = TempDir::new().unwrap();
    for file in fs::read_dir(in_crate("examples/verifier/java")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let protos = format!("-Dprotos={}", in_crate("proto").display());
    let Some(mut maven) = tools::maven(folder.path()) else { return };
    run(maven.args([&protos, "compile"])).ok();
    holds("PT3S", |arguments| {
        let mut maven = tools::maven(folder.path()).unwrap();
        maven.args([&protos, "exec:java", &format!("-Dexec.args={}", arguments.join(" "))]);
        maven
    })
    .await;
}
