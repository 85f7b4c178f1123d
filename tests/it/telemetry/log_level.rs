//! `log.level`: which texts are levels, at every door; and what every level leaves in the log.

use std::fs;

use lanyard::proto::IssueTokenRequest;
use lanyard::proto::token_service_client::TokenServiceClient;

use crate::support::child::Serve;
use crate::support::child::real_time;
use crate::support::doctor::DoctorFixture;
use crate::support::helm;
use crate::support::process::Finished;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::Setup;
use crate::support::server::channel;

/// What is not a level, and what is said of it.
const REFUSED: [(&str, &str); 22] = [
    ("warning", "'warning' is not a level, did you mean warn?"),
    ("Warning", "'Warning' is not a level, did you mean warn?"),
    ("information", "did you mean info?"),
    ("notice", "did you mean info?"),
    ("err", "did you mean error?"),
    ("wran", "did you mean warn?"),
    ("debugg", "did you mean debug?"),
    ("loud", "'loud' is not a level: expected error, warn, info, debug or trace"),
    ("lanyard", "'lanyard' is not a level"),
    ("3", "'3' is not a level"),
    ("off", "it matches nothing of this server"),
    ("lanyard=off", "it matches nothing of this server"),
    ("hyper=debug", "it matches nothing of this server"),
    ("off,hyper=info", "it matches nothing of this server"),
    ("lanyard=loud", "'loud' is not a level"),
    ("info,lanyard::audit=warning", "did you mean warn?"),
    ("info,lanyrad=debug", "'lanyrad' is no target of this server, did you mean lanyard?"),
    ("info,lanyard::audti=debug", "did you mean lanyard::audit?"),
    ("info,lanyard::sever::trust=debug", "did you mean lanyard::server?"),
    ("info,lanyard::audit=warn", "lanyard::audit is always logged from info on"),
    ("info,lanyard::audit=off", "lanyard::audit is always logged from info on"),
    ("info,lanyard[request]=debug", "is not a directive: expected TARGET=LEVEL"),
];

const ACCEPTED: [&str; 14] = [
    "error",
    "warn",
    "info",
    "debug",
    "trace",
    "INFO",
    "Warn",
    "lanyard=debug",
    "info,lanyard=debug",
    "warn,lanyard::audit=debug",
    "info, lanyard::server::trust=debug",
    "info,hyper=warn",
    "off,lanyard::audit=info",
    "info,hyper=off",
];

fn with(level: &str) -> Setup {
    let setup = Setup::default();
    setup.write();
    let path = setup.path("lanyard.yaml");
    let yaml = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{yaml}log: {{level: '{level}'}}\n")).unwrap();
    setup
}

fn check(setup: &Setup) -> Finished {
    run(lanyard().args(["config", "check", "--config"]).arg(setup.path("lanyard.yaml")))
}

#[test]
fn what_is_no_level_is_refused_by_its_key_with_the_near_name() {
    for (level, problem) in REFUSED {
        let setup = with(level);
        let checked = check(&setup);
        let file = setup.path("lanyard.yaml").display().to_string();
        assert!(checked.stderr.contains(problem), "{level}: {checked:?}");
        checked.refused(&format!("error: {file}: log.level: "), "");
    }
    for level in ACCEPTED {
        assert_eq!(check(&with(level)).ok(), "the configuration is valid\n", "{level}");
    }
}

#[test]
fn doctor_refuses_what_the_check_of_the_configuration_refuses() {
    for (level, _) in [REFUSED[0], REFUSED[10], REFUSED[16]] {
        let fixture = DoctorFixture::new();
        fixture.add(&format!("log: {{level: '{level}'}}"));
        fixture.seen().only("CONFIGURATION_INVALID");
    }
    let fixture = DoctorFixture::new();
    fixture.add("log: {level: 'warn,lanyard::audit=debug'}");
    fixture.seen().healthy();
}

#[test]
fn the_chart_refuses_what_the_server_would_refuse() {
    let set = |level: &str| format!("log.level={}", level.replace(',', "\\,").replace('[', "\\["));
    // A template does not compare words by their distance.
    for (level, _) in REFUSED.into_iter().filter(|(level, _)| !level.contains("lanyrad")) {
        let Some(finished) = helm::template(&helm::example("minimal"), &["--set-string", &set(level)]) else { return };
        assert_eq!(finished.code, Some(1), "{level}: {finished:?}");
        assert!(
            finished.stderr.contains("log/level") || finished.stderr.contains("log.level"),
            "{level}: {finished:?}"
        );
    }
    for level in ACCEPTED {
        let finished = helm::template(&helm::example("minimal"), &["--set-string", &set(level)]).unwrap();
        assert_eq!(finished.code, Some(0), "{level}: {finished:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_logged_at_every_level() {
    let setup = real_time();
    setup.write();
    let path = setup.path("lanyard.yaml");
    // The line with the addresses, which this test reads, is of the server.
    let level = "log: {level: 'error,lanyard::server=info'}\n";
    fs::write(&path, fs::read_to_string(&path).unwrap() + level).unwrap();
    let serve = Serve::start(&setup, 1024);
    let leaf = setup.ca.svid("spiffe://prod.example/checkout").issue();
    let mut tokens = TokenServiceClient::new(channel(serve.mtls, setup.tls(&leaf)));
    tokens.issue_token(IssueTokenRequest::default()).await.unwrap_err();
    let lines = serve.lines_until("token refused");
    assert!(lines.last().unwrap().contains("spiffe://prod.example/checkout"), "{lines:?}");
    serve.signal("TERM");
    assert!(serve.finish());
}
