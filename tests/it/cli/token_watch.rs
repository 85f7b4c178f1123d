//! `lanyard token get --watch`: what a reader of the file sees while certificates are replaced.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::clock::Timestamp;
use lanyard::proto::Decision;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use tokio::task::spawn_blocking;
use tonic::transport::Channel;

use crate::support::calls::opened;
use crate::support::leaf::Leaf;
use crate::support::process::Process;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::ORDERS;
use crate::support::server::certificate_of;
use crate::support::workload::CHECKOUT;
use crate::support::workload::Workload;
use crate::support::workload::serve;
use crate::support::workload::stopped;
use crate::support::workload::verdict;

fn watch(workload: &Workload) -> Command {
    let mut command = lanyard();
    command.args(["token", "get", "--watch", "--server", &workload.server]);
    for (flag, file) in [("--out", "token"), ("--ca", "ca.pem"), ("--cert", "svid.pem"), ("--key", "svid-key.pem")] {
        command.arg(flag).arg(workload.path(file));
    }
    command
}

/// The command at work, waited for off this thread, which the server and its clients need.
struct Watching(Option<Process>);

impl Watching {
    fn start(workload: &Workload) -> Self {
        Self(Some(Process::start(&mut watch(workload))))
    }

    /// What it says up to and with the line that contains `mark`.
    async fn until(&mut self, mark: &str) -> Vec<String> {
        let (process, mark) = (self.0.take().unwrap(), mark.to_owned());
        let waited = spawn_blocking(move || {
            let said = process.until(&mark);
            (process, said)
        });
        let (process, said) = waited.await.unwrap();
        self.0 = Some(process);
        said
    }

    async fn end_by(self, signal: &'static str) -> (Option<i32>, String) {
        spawn_blocking(move || self.0.unwrap().end_by(signal)).await.unwrap()
    }
}

/// The certificates that the workload may be showing now: one, and while it is being replaced, two.
type Shown = Arc<Mutex<Vec<Leaf>>>;

type Done = Arc<AtomicBool>;

/// Reads the file over and over. Whatever is read must be whole, not expired, and good with a certificate that is shown.
async fn read_on(path: PathBuf, mut bindings: BindingServiceClient<Channel>, shown: Shown, done: Done) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let mut reads = 0;
    while !done.load(Ordering::SeqCst) {
        let before = shown.lock().unwrap().clone();
        let token = fs::read_to_string(&path).expect("the file is there all the time");
        let now = SystemClock.now();
        let after = shown.lock().unwrap().clone();
        let (_, claims) = opened(&token);
        assert!(Timestamp(claims["exp"].as_u64().unwrap()) > now, "expired at {now:?}: {claims}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let mut refusals = Vec::new();
        // Those after the read first: most often one is enough.
        for leaf in after.iter().rev().chain(&before) {
            let request = ValidateBindingRequest {
                access_token: token.clone(),
                evidence: certificate_of(leaf),
                audience: ORDERS.to_owned(),
                scope: String::new(),
                receipt: false,
            };
            let evaluated = bindings.validate_binding(request).await.unwrap().into_inner();
            if evaluated.decision() == Decision::Allow {
                refusals.clear();
                break;
            }
            refusals.push(evaluated.reason());
        }
        assert!(refusals.is_empty(), "{refusals:?}: {claims}");
        reads += 1;
        if seen.last() != Some(&token) {
            seen.push(token);
        }
    }
    assert!(reads > seen.len(), "{reads} reads of {} tokens", seen.len());
    seen
}

/// Replaces the certificate so often, with a pause in between, while a reader reads. Returns how many tokens it saw.
async fn rotated(rotation: &str, ttl: Duration, rotations: u32, pause: Duration) -> usize {
    let (server, workload, first) = Workload::start(rotation, ttl).await;
    let mut process = Watching::start(&workload);
    process.until(&format!("renewed: bound to {}", first.thumbprint())).await;
    let (shown, done) = (Shown::new(Mutex::new(vec![first])), Done::default());
    let bindings = server.bindings(&server.svid("/proxy"));
    let reader = tokio::spawn(read_on(workload.path("token"), bindings, Arc::clone(&shown), Arc::clone(&done)));
    for _ in 0..rotations {
        tokio::time::sleep(pause).await;
        let now = SystemClock.now();
        let next = server.setup.ca.svid(CHECKOUT).between(Timestamp(now.0 - 1), now.after(pause * 3 + ttl)).issue();
        shown.lock().unwrap().push(next.clone());
        workload.hold(&next);
        if rotation == "lineage" {
            // From here on the previous certificate is gone: the previous token, too, must be valid with the next one.
            let announced = "announced: tokens of the certificate before pass with";
            process.until(&format!("{announced} {}", next.thumbprint())).await;
            shown.lock().unwrap().remove(0);
        }
        process.until(&format!("renewed: bound to {}", next.thumbprint())).await;
        if rotation != "lineage" {
            shown.lock().unwrap().remove(0);
        }
    }
    // The last token read is validated against the last certificate alone.
    tokio::time::sleep(pause).await;
    done.store(true, Ordering::SeqCst);
    let seen = reader.await.unwrap();
    let (code, said) = process.end_by("TERM").await;
    assert_eq!(code, Some(0), "{said}");
    for token in &seen {
        assert!(!said.contains(token.as_str()));
    }
    assert!(!workload.path("token").exists(), "nobody renews it any more");
    seen.len()
}

#[tokio::test]
async fn a_reader_never_sees_a_bad_token_while_certificates_are_replaced() {
    for rotation in ["strict", "identity", "lineage"] {
        let seen = rotated(rotation, Duration::from_mins(5), 3, Duration::from_millis(50)).await;
        assert!(seen >= 4, "{rotation}: {seen}");
    }
}

#[tokio::test]
#[ignore = "long: a minute for each rotation; .ci/run-long runs it"]
async fn long_a_reader_never_sees_a_bad_token_in_a_minute_of_replaced_certificates() {
    for rotation in ["strict", "lineage"] {
        let seen = rotated(rotation, Duration::from_secs(6), 20, Duration::from_secs(3)).await;
        println!("{rotation}: {seen} tokens");
        assert!(seen >= 21, "{rotation}: {seen}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_removed_and_comes_back() {
    let (server, workload, first) = Workload::start("strict", Duration::from_secs(4)).await;
    let mut process = Watching::start(&workload);
    process.until("renewed:").await;
    let setup = stopped(server).await;
    let said = process.until("removed: the token is at its end").await;
    assert!(!workload.path("token").exists());
    let complaints = said.iter().filter(|line| line.contains("cannot reach the server")).count();
    assert_eq!(complaints, 1, "{said:?}");
    let server = serve(setup).await;
    process.until("renewed:").await;
    let token = fs::read_to_string(workload.path("token")).unwrap();
    assert!(verdict(&server, &token, &first).await.is_ok());
    let (code, _) = process.end_by("INT").await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn what_cannot_be_had_is_told_at_the_start_and_nothing_stale_stays() {
    let (server, workload, _) = Workload::start("strict", Duration::from_mins(5)).await;
    fs::write(workload.path("token"), "stale").unwrap();
    fs::write(workload.path(".token.unfinished"), "stale").unwrap();
    let mut other = watch(&workload);
    other.args(["--scope", "stock.write"]);
    spawn_blocking(move || run(&mut other)).await.unwrap().refused("INVALID_SCOPE", "--scope");
    assert!(!workload.path("token").exists() && !workload.path(".token.unfinished").exists());
    let stranger = server.setup.other_ca.svid(CHECKOUT).issue();
    workload.hold(&stranger);
    let mut refused = watch(&workload);
    spawn_blocking(move || run(&mut refused)).await.unwrap().refused("refused your certificate", "--cert");
}

/// A terminal that is closed sends SIGHUP.
#[tokio::test]
async fn a_hangup_ends_it_and_no_token_is_left() {
    let (_server, workload, _) = Workload::start("strict", Duration::from_mins(5)).await;
    let mut process = Watching::start(&workload);
    process.until("renewed:").await;
    let (code, said) = process.end_by("HUP").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!workload.path("token").exists());
}

/// `nohup` starts a command that ignores SIGHUP.
#[tokio::test]
async fn what_was_started_to_ignore_a_hangup_renews_after_one() {
    let (server, workload, _) = Workload::start("strict", Duration::from_mins(5)).await;
    let watch = watch(&workload);
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(watch.get_program()).args(watch.get_args());
    let mut process = Watching(Some(Process::start(&mut ignoring)));
    process.until("renewed:").await;
    process.0.as_ref().unwrap().signal("HUP");
    let next = server.setup.ca.svid(CHECKOUT).issue();
    workload.hold(&next);
    process.until(&format!("renewed: bound to {}", next.thumbprint())).await;
    assert!(workload.path("token").exists());
    let (code, said) = process.end_by("TERM").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!workload.path("token").exists());
}

#[test]
fn watching_needs_a_file() {
    let mut command = lanyard();
    command.args(["token", "get", "--watch", "--ca", "a", "--cert", "b", "--key", "c"]);
    assert_eq!(run(&mut command).code, Some(2));
}
