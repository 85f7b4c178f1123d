//! The command line against a running server: what it prints, its exit codes, and what it says when something is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lanyard::authority::clock::Timestamp;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::support::ca::self_signed;
use crate::support::dev::AUDIENCE;
use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::free_ports;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::process::run_with;
use crate::support::process::text;

fn document(client_id: &str, more: &str) -> String {
    format!(
        "client_id: {client_id}\ntoken_endpoint_auth_method: spiffe_x509\n\
         spiffe_id: spiffe://dev.internal/{client_id}\nscope: orders.read\naudience: [{AUDIENCE}]\n{more}"
    )
}

fn results(applied: &Value) -> Vec<(&str, &str)> {
    let of = |entry: &'_ Value, name: &str| entry[name].as_str().unwrap().to_owned().leak() as &str;
    applied.as_array().unwrap().iter().map(|entry| (of(entry, "client_id"), of(entry, "result"))).collect()
}

#[test]
fn apply_creates_updates_and_leaves_alone_and_says_which() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("both.yaml");
    let both = |owner: &str| format!("{}---\n{}", document("one", ""), document("two", &format!("owner: {owner}\n")));
    let apply = |flags: &[&str]| files.run("admin", &[&["client", "apply", "-f", text(&file)], flags].concat());
    fs::write(&file, both("a")).unwrap();

    assert_eq!(apply(&["--dry-run"]).ok(), "one would be created\ntwo would be created\n");
    assert_eq!(files.run("admin", &["client", "get", "one"]).code, Some(1));
    assert_eq!(apply(&[]).ok(), "one created\ntwo created\n");
    assert_eq!(apply(&[]).ok(), "one unchanged\ntwo unchanged\n");
    fs::write(&file, both("b")).unwrap();
    assert_eq!(apply(&["--dry-run"]).ok(), "one unchanged\ntwo would be updated\n");
    let shown = files.run("admin", &["client", "get", "two", "-o", "json"]).json(0);
    assert_eq!(shown["owner"], "a");
    let applied = apply(&["-o", "json"]).json(0);
    assert_eq!(results(&applied), [("one", "unchanged"), ("two", "updated")]);
    let shown = files.run("admin", &["client", "get", "two", "-o", "json"]).json(0);
    assert_eq!(shown["owner"], "b");

    // A folder, in the order of its names, without what is not YAML.
    fs::write(folder.path().join("third.yml"), document("three", "")).unwrap();
    fs::write(folder.path().join("notes.txt"), "not: a client").unwrap();
    let applied = files.run("admin", &["client", "apply", "-f", text(folder.path()), "-o", "json"]).json(0);
    assert_eq!(results(&applied), [("one", "unchanged"), ("two", "unchanged"), ("three", "created")]);

    // From stdin.
    let applied = run_with(&mut files.command("admin", &["client", "apply", "-f", "-"]), &document("four", ""));
    assert_eq!(applied.ok(), "four created\n");
}

#[test]
fn what_get_prints_can_be_applied_again_and_what_is_deleted_is_gone() {
    let Dev { files, .. } = &Dev::start();
    files.apply(&document("one", "owner: team-one\naccess_token_ttl: 90s\n")).ok();
    let printed = files.run("admin", &["client", "get", "one"]).ok();
    assert!(printed.contains("owner: team-one"), "{printed}");
    assert_eq!(files.apply(&printed).ok(), "one unchanged\n");
    assert_eq!(files.apply(&files.run("admin", &["client", "get", "selfsigned"]).ok()).ok(), "selfsigned unchanged\n");

    let list = files.run("admin", &["client", "list"]).ok();
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[0].starts_with("CLIENT_ID") && lines.len() == 6, "{list}");
    let list = files.run("admin", &["client", "list", "-o", "json"]).json(0);
    let names: Vec<&Value> = list.as_array().unwrap().iter().map(|client| &client["client_id"]).collect();
    assert_eq!(
        names,
        [
            "one",
            "selfsigned",
            "spiffe://dev.internal/relay",
            "spiffe://dev.internal/thief",
            "spiffe://dev.internal/workload"
        ]
    );
    assert_eq!(list[0], files.run("admin", &["client", "get", "one", "-o", "json"]).json(0));

    let etag = list[0]["etag"].as_str().unwrap();
    let delete = |flags: &[&str]| files.run("admin", &[&["client", "delete", "one"], flags].concat());
    delete(&["--etag", "1"]).refused("one: ", "client get");
    assert_eq!(delete(&["--etag", etag, "-o", "json"]).json(0), json!({"client_id": "one", "result": "deleted"}));
    for again in [delete(&[]), files.run("admin", &["client", "get", "one"])] {
        again.refused("one: no client with this client_id is registered (CLIENT_NOT_FOUND)", "client list");
    }
}

#[test]
fn a_document_that_is_wrong_is_named_and_spoils_the_whole_file() {
    let Dev { files, .. } = &Dev::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("clients.yaml");
    let good = document("good", "");
    let apply = |text: &str| {
        fs::write(&file, text).unwrap();
        files.run("admin", &["client", "apply", "-f", file.to_str().unwrap()])
    };
    let shape = "lanyard client get";
    apply(&format!("{good}---\n{}", document("bad", "onwer: me\n")))
        .refused("clients.yaml: unknown field `onwer`", shape);
    let unknown = apply(&format!("{good}---\n{}", document("bad", "onwer: me\n")));
    assert!(unknown.stderr.contains(" at line 12 "), "{unknown:?}");
    let missing = apply(&format!("{good}---\nclient_id: bad\n"));
    missing.refused("clients.yaml: missing field `token_endpoint_auth_method` at line 7", shape);
    apply(&format!("{good}---\n- bad\n")).refused("expected a mapping, with the fields of a client", shape);
    apply(&format!("{good}---\nclient_id: [bad\n")).refused("clients.yaml: ", shape);
    apply(&format!("{good}---\n{good}")).refused("client_id 'good' appears twice", "leave one of the two out");
    apply("").refused("no client in ", "client_id");

    // What only the server can tell.
    let contradiction = document("bad", "tls_client_auth_san_dns: a.example\n");
    apply(&format!("{good}---\n{contradiction}")).refused("bad: ", "correct the named field");
    let taken = document("bad", "").replace("dev.internal/bad", "dev.internal/workload");
    apply(&format!("{good}---\n{taken}")).refused("(IDENTITY_TAKEN)", "first delete or change");

    files.run("admin", &["client", "get", "good"]).refused("CLIENT_NOT_FOUND", "");
    let nowhere = folder.path().join("nowhere.yaml");
    let nowhere = files.run("admin", &["client", "apply", "-f", text(&nowhere)]);
    nowhere.refused("nowhere.yaml: No such file", "whether the path is right");
}

#[test]
fn a_token_goes_into_a_file_for_its_owner_or_nowhere() {
    let Dev { files, .. } = &Dev::start();
    let out = files.path("out");
    assert_eq!(files.run("workload", &["token", "get", "--out", text(&out)]).ok(), "");
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    run(lanyard().args(["token", "inspect", &format!("@{}", text(&out))])).ok();
    let refused = files.run("admin", &["token", "get", "--out", text(&files.path("none"))]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(!files.path("none").exists());
    let unwritable = files.run("workload", &["token", "get", "--out", text(&files.path("missing/out"))]);
    assert!(unwritable.stderr.contains("cannot write"), "{unwritable:?}");
}

#[test]
fn a_token_is_had_looked_into_and_evaluated() {
    let Dev { files, .. } = &Dev::start();
    let issued = files.run("workload", &["token", "get", "-o", "json"]).json(0);
    assert_eq!(issued["token_type"], "Bearer");
    assert_eq!(issued["expires_in"], 300);
    assert_eq!(issued["scope"], "orders.read orders.write relay.call");
    let narrow =
        files.run("workload", &["token", "get", "--scope", "orders.read", "--audience", AUDIENCE, "-o", "json"]);
    assert_eq!(narrow.json(0)["scope"], "orders.read");

    let token = issued["access_token"].as_str().unwrap();
    let file = files.path("the token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let at_file = format!("@{}", file.display());
    let (own, thief) = (files.path("workload.pem"), files.path("thief.pem"));

    // Given as it is, from a file, through a pipe, or by nothing, which means the pipe.
    let inspect = |given: &[&str]| {
        let mut command = lanyard();
        command.args(["token", "inspect", "-o", "json", "--cert"]).arg(&own).args(given);
        run_with(&mut command, token).json(0)
    };
    let inspected = inspect(&[token]);
    assert_eq!(inspected["verified"], false);
    assert_eq!(inspected["claims"]["sub"], "spiffe://dev.internal/workload");
    assert_eq!(inspected["certificate"]["matches"], true);
    assert_eq!(inspected["bound_to"]["x5t#S256"], inspected["claims"]["cnf"]["x5t#S256"]);
    for given in [&[at_file.as_str()][..], &["-"], &[]] {
        assert_eq!(inspect(given), inspected, "{given:?}");
    }
    let shown = run(lanyard().args(["token", "inspect", token, "--cert"]).arg(&thief));
    assert!(shown.stderr.contains("not verified"), "{shown:?}");
    assert!(shown.ok().contains("NOT the one"));

    let mut validate = ["validate", "-", "--audience", AUDIENCE, "--certificate", text(&own), "-o", "json"];
    let mut evaluate = |given, certificate| {
        (validate[1], validate[5]) = (given, certificate);
        run_with(&mut files.command("proxy", &validate), token)
    };
    for given in [token, at_file.as_str(), "-"] {
        let allowed = evaluate(given, text(&own)).json(0);
        assert_eq!(allowed["decision"], "DECISION_ALLOW");
        // Of the scopes those that count at the resource.
        let mut claims = inspected["claims"].clone();
        claims["scope"] = "orders.read orders.write".into();
        assert_eq!(allowed["claims"], claims);
        let denied = evaluate(given, text(&thief)).json(3);
        assert_eq!(denied["reason"], "CERTIFICATE_MISMATCH");
    }
    for spelling in ["x5t#S256", "hex"] {
        let thumbprint = inspected["certificate"][spelling].as_str().unwrap();
        files.run("proxy", &["validate", token, "--audience", AUDIENCE, "--thumbprint", thumbprint]).ok();
    }
    files.run("workload", &["validate", token, "--audience", AUDIENCE, "--own-connection"]).ok();
    let stolen = files.run("thief", &["validate", token, "--audience", AUDIENCE, "--own-connection"]);
    assert_eq!(stolen.code, Some(3), "{stolen:?}");
    let scope = ["validate", token, "--audience", AUDIENCE, "--own-connection", "--scope", "orders.delete"];
    let beyond = files.run("workload", &scope);
    assert_eq!(beyond.code, Some(3), "{beyond:?}");
    assert!(beyond.stdout.contains("INSUFFICIENT_SCOPE"), "{beyond:?}");
}

#[test]
fn no_decision_is_neither_allow_nor_deny() {
    let Dev { files, .. } = &Dev::start();
    let token = files.token("workload", &[]);
    let own = files.path("workload.pem");
    let without_audience = files.run("proxy", &["validate", &token, "--certificate", text(&own)]);
    without_audience.refused("(AUDIENCE_MISSING)", "--audience");
    let not_a_proxy = ["validate", &token, "--audience", AUDIENCE, "--certificate", text(&own)];
    files.run("workload", &not_a_proxy).refused("(NOT_A_PROXY)", "--own-connection");
    let without_evidence = files.run("proxy", &["validate", &token, "--audience", AUDIENCE]);
    assert_eq!(without_evidence.code, Some(2), "{without_evidence:?}");
    let mut empty = files.command("proxy", &["validate", "-", "--audience", AUDIENCE, "--own-connection"]);
    run_with(&mut empty, "\n").refused("no token from stdin", "@FILE");
    let nowhere = files.run("proxy", &["validate", "@nowhere", "--audience", AUDIENCE, "--own-connection"]);
    nowhere.refused("no token from nowhere", "@FILE");
}

#[test]
fn what_a_client_may_not_have_is_refused_with_a_way_out() {
    let Dev { files, .. } = &Dev::start();
    let get = |who: &str, flags: &[&str]| files.run(who, &[&["token", "get"], flags].concat());
    get("admin", &[]).refused("(INVALID_CLIENT)", "lanyard whoami");
    get("workload", &["--client-id", "selfsigned"]).refused("(INVALID_CLIENT)", "--client-id");
    get("workload", &["--scope", "orders.delete"]).refused("(INVALID_SCOPE)", "--scope");
    get("workload", &["--audience", "https://stock.dev.internal"]).refused("(INVALID_TARGET)", "--audience");
    get("selfsigned", &[]).refused("(INVALID_REQUEST)", "--client-id");
    get("selfsigned", &["--client-id", "selfsigned"]).ok();
    files.run("workload", &["client", "list"]).refused("(WRONG_ROLE)", "role Admin");
    run(lanyard().args(["token", "inspect", "Bearer abc"])).refused("not a JWT", "without 'Bearer'");
}

#[test]
fn no_connection_is_said_with_what_to_look_at() {
    let Dev { files, printed, .. } = &Dev::start();
    let foreign = Files { dir: TempDir::new().unwrap().keep(), server: files.server.clone() };
    let write = |name: &str, contents: &str| fs::write(foreign.path(name), contents).unwrap();
    let read = |name: &str| fs::read_to_string(files.path(name)).unwrap();
    let list = |who: &str| foreign.run(who, &["client", "list"]);
    let forever = (Timestamp(0), Timestamp(4_000_000_000));
    let [unknown, expired] =
        [forever, (Timestamp(0), Timestamp(86_400))].map(|(from, to)| self_signed("unknown").between(from, to).issue());
    write("ca.pem", &read("ca.pem"));
    let known = [("unknown", &unknown, "must be registered first"), ("expired", &expired, "--cert renewed")];
    for (name, leaf, next) in known {
        write(&format!("{name}.pem"), &leaf.pem());
        write(&format!("{name}-key.pem"), &leaf.key_pem());
        list(name).refused("refused your certificate", next);
    }
    write("mixed.pem", &read("admin.pem"));
    write("mixed-key.pem", &read("proxy-key.pem"));
    list("mixed").refused("do not go together", "name the key");
    write("keyless.pem", &read("admin.pem"));
    list("keyless").refused("keyless-key.pem: No such file", "whether the path is right");
    write("keyless-key.pem", &read("admin.pem"));
    list("keyless").refused("holds no private key", "--key");
    write("certless.pem", "nothing\n");
    write("certless-key.pem", &read("admin-key.pem"));
    list("certless").refused("holds no certificate", "BEGIN CERTIFICATE");

    write("admin.pem", &read("admin.pem"));
    write("admin-key.pem", &read("admin-key.pem"));
    list("admin").ok();
    write("ca.pem", &unknown.pem());
    list("admin").refused("UnknownIssuer", "was not issued by a CA in --ca");

    let [nobody] = free_ports();
    let at =
        |server: &str| Files { dir: files.dir.clone(), server: server.to_owned() }.run("admin", &["client", "list"]);
    at(&format!("https://localhost:{nobody}")).refused("cannot reach the server", "whether the server runs");
    at("https://lanyard.invalid").refused("cannot reach the server at lanyard.invalid:443", "--server");
    let word = |position| printed[0].split_whitespace().nth(position).unwrap();
    at(word(4)).refused("", "mTLS listener");
    at(&word(6).replace("http:", "https:")).refused("no TLS connection", "mTLS listener");
    let plain = at("http://localhost:8443");
    assert_eq!(plain.code, Some(2), "{plain:?}");
    assert!(plain.stderr.contains("must be https://HOST:PORT"), "{plain:?}");
    fs::remove_dir_all(&foreign.dir).unwrap();
}

#[test]
fn the_environment_may_say_what_the_connection_flags_say() {
    let Dev { files, .. } = &Dev::start();
    let mut command = lanyard();
    command.args(["client", "list", "-o", "json"]).env("LANYARD_SERVER", &files.server);
    command.env("LANYARD_CA", files.path("ca.pem")).env("LANYARD_CERT", files.path("admin.pem"));
    let incomplete = run(&mut command);
    assert_eq!(incomplete.code, Some(2), "{incomplete:?}");
    assert!(incomplete.stderr.contains("--key"), "{incomplete:?}");
    assert_eq!(run(command.env("LANYARD_KEY", files.path("admin-key.pem"))).json(0).as_array().unwrap().len(), 4);
}

#[test]
fn config_check_tells_a_sound_configuration_from_one_that_would_not_start() {
    let Dev { files, .. } = &Dev::start();
    let check = |file: &str, flags: &[&str]| {
        run(lanyard().args(["config", "check", "--config"]).arg(files.path(file)).args(flags))
    };
    let serve = |file: &str| run(lanyard().args(["serve", "--config"]).arg(files.path(file)));
    assert_eq!(check("lanyard.yaml", &[]).ok(), "the configuration is valid\n");
    assert_eq!(check("lanyard.yaml", &["-o", "json"]).json(0), json!({"valid": true, "problem": null, "warnings": []}));
    // Valid, but its ports are already in use.
    serve("lanyard.yaml").refused("cannot listen on", "listeners");
    let sound = fs::read_to_string(files.path("lanyard.yaml")).unwrap();
    let on_any_ports = sound.lines().map(|line| match line.split_once(": 127.0.0.1:") {
        Some((listener, _)) => format!("{listener}: 127.0.0.1:0\n"),
        None => format!("{line}\n"),
    });
    let sound: String = on_any_ports.collect();
    fs::write(files.path("second.yaml"), &sound).unwrap();
    let second = serve("second.yaml");
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.ends_with("next: stop that process first: one server at a time may use a store\n"));

    for (from, to, problem) in [
        ("listeners:", "lisseners:", "unknown field `lisseners`"),
        ("certificate: server.pem", "certificate: nowhere.pem", "nowhere.pem: No such file"),
        ("key: server-key.pem", "key: admin-key.pem", "server.pem"),
        ("dev.internal: ca.pem", "dev.internal: key-encryption-key", "key-encryption-key"),
        ("issuer: https:", "issuer: http:", "issuer: must be an https URL"),
        ("spiffe://dev.internal/admin", "spiffe://dev.internal/*", "roles.admins"),
        ("path: data", "directory: data", "line "),
    ] {
        fs::write(files.path("unsound.yaml"), sound.replace(from, to)).unwrap();
        check("unsound.yaml", &[]).refused(problem, "check again");
        let reported = check("unsound.yaml", &["-o", "json"]).json(1);
        assert_eq!(reported["valid"], false);
        assert!(reported["problem"].as_str().unwrap().contains(problem), "{reported}");
        serve("unsound.yaml").refused(problem, "lanyard config check");
    }
    check("nowhere.yaml", &[]).refused("nowhere.yaml: No such file", "--config");
    serve("nowhere.yaml").refused("nowhere.yaml: No such file", "--config");
}
