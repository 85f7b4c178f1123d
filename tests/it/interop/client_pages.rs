//! The programs of docs/clients, run as they are written: each gets a token from a running `lanyard dev` and uses it at a
//! protected resource. Then the same program with another workload's certificate gets none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::bound_resource::BoundResource;
use crate::support::dev::Dev;
use crate::support::process::Finished;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

const INVALID_CLIENT: &str = "invalid_client";

/// A folder with the files that a page names, beside a running `lanyard dev`.
struct Page {
    folder: TempDir,
    dev: Dev,
    _orders: Option<BoundResource>,
}

impl Page {
    /// With the protected resource of the page, or with the port at which the page itself serves it.
    fn of(name: &str, orders: Option<u16>) -> Self {
        let (folder, dev) = (TempDir::new().unwrap(), Dev::start());
        symlink(&dev.files.dir, folder.path().join(".lanyard-dev")).unwrap();
        let resource = orders.is_none().then(|| BoundResource::start(&dev.files.dir));
        let port_of = |url: &str| url.rsplit(':').next().unwrap().to_owned();
        let public = dev
            .printed
            .iter()
            .flat_map(|line| line.split_whitespace())
            .find(|word| word.starts_with("https://localhost:") && !word.starts_with(&dev.files.server));
        let public = public.unwrap().trim_end_matches("/oauth2/jwks").to_owned();
        let orders = orders.or_else(|| resource.as_ref().map(|resource| resource.port)).unwrap().to_string();
        let ports = [("8443", port_of(&dev.files.server)), ("8444", port_of(&public)), ("9443", orders)];
        let text = fs::read_to_string(in_crate("docs/clients").join(name)).unwrap();
        for block in text.split("\n```").skip(1).step_by(2) {
            let (kind, program) = block.split_once('\n').unwrap();
            let Some((_, file)) = kind.split_once(' ').filter(|(language, _)| *language != "sh") else { continue };
            let program = ports.iter().fold(format!("{program}\n"), |program, (written, here)| {
                program.replace(&format!("localhost:{written}"), &format!("localhost:{here}"))
            });
            // The one place where a page configures the port itself.
            let program = program.replace("port: 9443", &format!("port: {}", ports[2].1));
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, program).unwrap();
        }
        Self { folder, dev, _orders: resource }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the program present the certificate of another workload, under the same `client_id`.
    fn with_another_certificate(&self, file: &str) {
        let path = self.path().join(file);
        let program = fs::read_to_string(&path).unwrap();
        let other = program.replace("workload.pem", "thief.pem").replace("workload-key.pem", "thief-key.pem");
        assert_ne!(program, other);
        fs::write(path, other).unwrap();
    }

    /// Runs the program twice: with its own certificate, and with another's, which it then reports in these words.
    fn holds(&self, file: &str, refusal: &str, command: impl Fn() -> Command) {
        let finished = run(command().current_dir(self.path()));
        assert_eq!(status(finished), 200);
        self.with_another_certificate(file);
        let refused = run(command().current_dir(self.path()));
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!((refused.stdout.clone() + &refused.stderr).contains(refusal), "{refused:?}");
    }
}

/// The status that a program printed, between the lines of its log if it has one.
#[track_caller]
fn status(finished: Finished) -> u16 {
    // Maven ends its colours, of which there are none.
    let printed = finished.ok().replace("\u{1b}[0m", "");
    let status = printed.lines().rev().find_map(|line| line.split_whitespace().next()?.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {printed}"))
}

#[test]
fn the_go_page_is_as_written() {
    if tools::skipped("go") {
        return;
    }
    let page = Page::of("go.md", None);
    for file in ["go.mod", "go.sum"] {
        fs::copy(in_crate("tests/it/interop/clients").join(file), page.path().join(file)).unwrap();
    }
    page.holds("main.go", INVALID_CLIENT, || {
        let mut go = tools::go_in(page.path()).unwrap();
        go.args(["run", "."]);
        go
    });
}

#[test]
fn the_page_for_httpx_with_authlib_is_as_written() {
    let Some(python) = tools::python_clients() else { return };
    let page = Page::of("httpx-authlib.md", None);
    page.holds("client.py", INVALID_CLIENT, || {
        let mut command = Command::new(&python);
        command.arg("client.py");
        command
    });
}

#[test]
fn the_page_for_requests_oauthlib_is_as_written() {
    let Some(python) = tools::python_clients() else { return };
    let page = Page::of("requests-oauthlib.md", None);
    page.holds("client.py", INVALID_CLIENT, || {
        let mut command = Command::new(&python);
        command.arg("client.py");
        command
    });
}

#[test]
fn the_page_for_oauth4webapi_is_as_written() {
    if tools::skipped("node") {
        return;
    }
    let page = Page::of("oauth4webapi.md", None);
    let Some(_) = tools::node_in(page.path(), "client.mjs") else { return };
    page.holds("client.mjs", "WWWAuthenticateChallengeError", || {
        let mut command = Command::new("node");
        command.arg("client.mjs");
        command
    });
}

#[test]
fn the_page_for_nimbus_is_as_written() {
    let Some(_) = tools::maven(Path::new(".")) else { return };
    let page = Page::of("nimbus.md", None);
    page.holds("Client.java", INVALID_CLIENT, || {
        let mut maven = tools::maven(page.path()).unwrap();
        maven.args(["compile", "exec:java"]);
        maven
    });
}

/// Runs a class of the project for Spring Security.
fn spring(page: &Page, class: &str, more: &[&str]) -> Command {
    let mut maven = tools::maven(page.path()).unwrap();
    maven.args(["exec:java", &format!("-Dexec.mainClass={class}")]).args(more);
    maven
}

#[test]
fn the_page_for_spring_security_is_as_written_and_refuses_a_thief_whom_spring_alone_lets_in() {
    let (Some(_), Some(curl)) = (tools::maven(Path::new(".")), tools::curl()) else { return };
    let [port] = free_ports();
    let page = Page::of("spring-security.md", Some(port));
    let serve = || {
        run(tools::maven(page.path()).unwrap().arg("compile")).ok();
        let server = Process::start(&mut spring(&page, "orders.Orders", &[]));
        server.until("Started Orders");
        server
    };
    let server = serve();
    let client = run(&mut spring(&page, "cart.Cart", &["-Dspring.profiles.active=cart"]));
    assert_eq!(status(client), 200);

    let token = page.dev.files.token("workload", &[]);
    let ask = |who: &str, token: Option<&str>| {
        let mut command = Command::new(curl);
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
        for (flag, file) in
            [("--cacert", "ca.pem".to_owned()), ("--cert", format!("{who}.pem")), ("--key", format!("{who}-key.pem"))]
        {
            command.arg(flag).arg(page.dev.files.path(&file));
        }
        if let Some(token) = token {
            command.args(["-H", &format!("authorization: Bearer {token}")]);
        }
        run(command.arg(format!("https://localhost:{port}/orders"))).ok()
    };
    assert_eq!(ask("workload", Some(&token)), "200");
    // RFC 8705 section 3: the same token over a connection with another certificate of the same CA.
    assert_eq!(ask("thief", Some(&token)), "401");
    assert_eq!(ask("workload", None), "401");
    assert_eq!(ask("thief", Some(&page.dev.files.token("thief", &[]))), "200");
    drop(server);

    // Why the page adds the last validator: without it, Spring accepts the token over the thief's connection.
    let source = page.path().join("orders/Orders.java");
    let program = fs::read_to_string(&source).unwrap();
    let plain = program.replace("validators.put(\"cnf\", boundToConnection());", "");
    assert_ne!(plain, program);
    fs::write(&source, plain).unwrap();
    let _server = serve();
    assert_eq!(ask("thief", Some(&token)), "200");
    assert_eq!(ask("thief", None), "401");
}
