//! The commands of README.md and docs/, run as they are written: a reader goes through a page from its top in one shell,
//! beside a running `lanyard dev`.
//!
//! Of a block of commands the word after `sh` says what is special about it: `exits N` is its code, `python`, `go` and `java` need
//! these, `elsewhere` is for another place than a test's (a cluster, a shell of its own).

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use tempfile::TempDir;

use crate::support::dev::ANY;
use crate::support::dev::LAST_LINE;
use crate::support::dev::dev;
use crate::support::process::Process;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

/// A block of commands.
struct Block {
    page: String,
    kind: String,
    commands: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(in_crate(page)).unwrap();
    let fenced = text.split("\n```").skip(1).step_by(2);
    let commands = fenced.filter_map(|block| {
        let (kind, commands) = block.split_once('\n')?;
        let kind = kind.strip_prefix("sh")?.trim().to_owned();
        Some(Block { page: page.to_owned(), kind, commands: commands.to_owned() })
    });
    commands.collect()
}

/// Whether a test can run it, and is not told to leave it out.
fn is_run(block: &Block) -> bool {
    match block.kind.as_str() {
        "elsewhere" => false,
        "go" => tools::go_in(&in_crate("examples/clients/go")).is_some() && tools::protoc().is_some(),
        "java" => tools::maven(&in_crate("examples/clients/java")).is_some(),
        "python" => tools::protoc().is_some(),
        _ => true,
    }
}

/// The lines that make a shell run a block, and end at the first command that fails.
fn step(number: usize, block: &Block) -> String {
    let Block { page, kind, commands } = block;
    let commands = match kind.strip_prefix("exits ") {
        Some(code) => format!("set +e\n{commands}\n[ $? = {code} ] || exit 99\nset -e"),
        None => commands.clone(),
    };
    format!("echo '== {page}, block {number}'\n{commands}\n")
}

/// Goes through the pages, one after the other, as a reader does who has just started `lanyard dev`.
#[track_caller]
fn holds(pages: &[&str]) {
    let folder = TempDir::new().unwrap();
    for shared in ["examples", "proto"] {
        run(Command::new("cp").arg("-r").args([in_crate(shared), folder.path().join(shared)])).ok();
    }
    let built = folder.path().join("target/release");
    fs::create_dir_all(&built).unwrap();
    symlink(env!("CARGO_BIN_EXE_lanyard"), built.join("lanyard")).unwrap();
    let server = Process::start(&mut dev(&folder.path().join(".lanyard-dev"), ANY));
    let printed = server.until(LAST_LINE).join("\n");
    let urls = printed
        .split_whitespace()
        .filter(|word| word.starts_with("https://localhost:") || word.starts_with("http://127"));
    let ports = urls.filter_map(|url| url.rsplit(':').next());

    // Who is asking, the README has said first.
    let mut exports = blocks("README.md");
    exports.retain(|block| block.commands.contains("export PATH"));
    assert_eq!(exports.len(), 1);
    let blocks: Vec<Block> = exports.into_iter().chain(pages.iter().flat_map(|page| blocks(page))).collect();
    assert!(blocks.len() > 1, "{pages:?} has no commands");
    let steps = blocks.iter().enumerate().filter(|(_, block)| is_run(block)).map(|(number, block)| step(number, block));
    let script = steps.fold(String::from("set -m -e -o pipefail\n"), |script, step| script + &step);
    let script = ["8443", "8444", "9464"]
        .iter()
        .zip(ports)
        .fold(script, |script, (written, here)| script.replace(&format!(":{written}"), &format!(":{here}")));
    run(Command::new("bash").current_dir(folder.path()).arg("-c").arg(script)).ok();
}

#[test]
fn the_readme_its_registrations_and_oauth_are_as_written() {
    holds(&["README.md", "docs/registrations.md", "docs/oauth.md"]);
}

#[test]
fn the_page_for_developers_is_as_written() {
    holds(&["docs/developers.md"]);
}

#[test]
fn the_pages_for_checks_and_configuration_are_as_written() {
    holds(&["docs/checks.md", "docs/configuration.md"]);
}

#[test]
fn each_test_that_the_page_for_reviewers_names_is_there() {
    let page = fs::read_to_string(in_crate("docs/security.md")).unwrap();
    let names: Vec<&str> =
        page.split('`').filter(|text| text.contains("::") && !text.contains(char::is_uppercase)).collect();
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        let (module, test) = name.split_once("::").unwrap();
        let source = fs::read_to_string(in_crate(&format!("tests/it/{module}.rs"))).unwrap_or_default();
        let (_, after) = source.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{name} is not there"));
        let before = &source[..source.len() - after.len()];
        let attributes = before.rsplit("\n\n").next().unwrap();
        assert!(attributes.contains("test]"), "{name} is no test");
    }
}
