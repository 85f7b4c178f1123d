//! What the command line takes, and what it refuses.

use super::*;

const CONNECTION: [&str; 6] = ["--ca", "ca.pem", "--cert", "me.pem", "--key", "me-key.pem"];

fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(["lanyard"].iter().chain(line))
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn connection_flags_and_the_format_may_follow_every_command() {
    let commands: [&[&str]; 25] = [
        &["apply", "-f", "registrations", "-f", "more"],
        &["diff", "-f", "registrations"],
        &["export", "--owner", "team-shop"],
        &["history", "client", "checkout"],
        &["show", "resource", "urn:a@7"],
        &["rollback", "client", "a@b@7", "--reason", "it was better"],
        &["client", "apply", "-f", "clients.yaml"],
        &["client", "get", "checkout"],
        &["client", "list"],
        &["client", "delete", "checkout"],
        &["resource", "apply", "-f", "resources.yaml"],
        &["resource", "get", "https://orders.shop.internal"],
        &["resource", "list"],
        &["resource", "delete", "https://orders.shop.internal"],
        &["token", "get"],
        &["token", "revoke", "-"],
        &["revocation", "list", "--kind", "trust-domain"],
        &["validate", "--token", "-", "--own-connection"],
        &["whoami"],
        &["why", "3xk-5w2m9r7kd0qa"],
        &["why", "--resource", "urn:a", "--since", "1h", "--caller", "spiffe://a.example/*"],
        &["keys", "list"],
        &["keys", "rotate"],
        &["keys", "revoke", "-kid", "--reason", "it leaked"],
        &["keys", "reseal"],
    ];
    for command in commands {
        let line = [command, &CONNECTION, &["-o", "json"]].concat();
        assert!(parse(&line).is_ok(), "{line:?}");
    }
}

#[test]
fn validate_takes_exactly_one_kind_of_evidence() {
    let none = [&["validate", "--token", "-"][..], &CONNECTION].concat();
    assert!(parse(&none).is_err());
    let two = [&none[..], &["--own-connection", "--spiffe-id", "spiffe://a.example/b"]].concat();
    assert!(parse(&two).is_err());
    let one = [&none[..], &["--spiffe-id", "spiffe://a.example/b"]].concat();
    assert!(parse(&one).is_ok());
}

#[test]
fn a_token_is_named_once() {
    let twice = [&["validate", "a.b.c", "--token", "-", "--own-connection"][..], &CONNECTION].concat();
    assert!(parse(&twice).is_err());
    let positional = [&["validate", "-", "--own-connection"][..], &CONNECTION].concat();
    assert!(parse(&positional).is_ok());
}

#[test]
fn exactly_one_target_is_revoked() {
    let revoke = |flags: &[&str]| parse(&[&["token", "revoke"][..], flags, &CONNECTION].concat());
    let targets: [&[&str]; 9] = [
        &["a.b.c"],
        &["--jti", "x"],
        &["--client", "x"],
        &["--certificate", "x.pem"],
        &["--thumbprint", "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"],
        &["--issued-to", "x"],
        &["--identity", "spiffe://a.example/*"],
        &["--trust-domain", "a.example"],
        &["--role", "proxy"],
    ];
    for (place, one) in targets.iter().enumerate() {
        assert!(revoke(one).is_ok(), "{one:?}");
        for other in &targets[place + 1..] {
            assert!(revoke(&[*one, *other].concat()).is_err(), "{one:?} {other:?}");
        }
    }
    assert!(revoke(&[]).is_err());
}

#[test]
fn only_revocations_of_anything_but_tokens_may_expire_or_be_lifted() {
    let revoke = |flags: &[&str]| parse(&[&["token", "revoke"][..], flags, &CONNECTION].concat());
    for more in [&["--for", "1h"][..], &["--until", "2100-01-01T00:00:00Z"], &["--lift"]] {
        for target in [
            ["--client", "x"],
            ["--certificate", "x.pem"],
            ["--identity", "spiffe://a.example/*"],
            ["--trust-domain", "a.example"],
            ["--role", "admin"],
        ] {
            assert!(revoke(&[&target, more].concat()).is_ok(), "{target:?} {more:?}");
        }
        for final_one in [["--jti", "x"], ["--issued-to", "x"], ["--", "a.b.c"]] {
            assert!(revoke(&[more, &final_one].concat()).is_err(), "{final_one:?} {more:?}");
        }
    }
    assert!(revoke(&["--client", "x", "--for", "1h", "--until", "2100-01-01T00:00:00Z"]).is_err());
    assert!(revoke(&["--client", "x", "--for", "1h", "--lift"]).is_err());
    assert!(revoke(&["--client", "x", "--until", "tomorrow"]).is_err());
}

#[test]
fn lifting_in_the_store_takes_the_configuration_and_one_target_that_can_be_lifted() {
    let unrevoke = |flags: &[&str]| parse(&[&["store", "unrevoke", "--config", "x.yaml"][..], flags].concat());
    for one in [["--client", "x"], ["--role", "admin"], ["--trust-domain", "a.example"]] {
        assert!(unrevoke(&one).is_ok(), "{one:?}");
        assert!(unrevoke(&[&one[..], &["--identity", "spiffe://a.example/*"]].concat()).is_err(), "{one:?}");
    }
    for bad in [&[][..], &["--jti", "x"], &["--issued-to", "x"], &["--identity", "spiffe://a.example/b"]] {
        assert!(unrevoke(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn converting_a_certificate_needs_no_connection() {
    assert!(parse(&["client", "convert-jwks", "billing.pem", "-o", "json"]).is_ok());
    assert!(parse(&["client", "convert-jwks"]).is_err());
    assert!(parse(&["client", "convert-jwks", "billing.pem", "--server", "https://localhost:8443"]).is_err());
}

#[test]
fn a_key_is_revoked_by_its_kid_and_with_a_reason() {
    let revoke = |flags: &[&str]| parse(&[&["keys", "revoke"][..], flags, &CONNECTION].concat());
    assert!(revoke(&["kid", "--reason", "it leaked"]).is_ok());
    assert!(revoke(&["kid"]).is_err());
    assert!(revoke(&["--reason", "it leaked"]).is_err());
}

#[test]
fn inspecting_a_token_needs_no_connection() {
    assert!(parse(&["token", "inspect", "-"]).is_ok());
    assert!(parse(&["token", "inspect", "--server", "https://localhost:8443"]).is_err());
}
