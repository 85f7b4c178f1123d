//! The commands of README.md and docs/, run as they are written: a reader goes through a page from its top in one shell,
//! beside a running `lanyard dev`.
//!
//! Of a block of commands the word after `sh` says what is special about it: `exits N` is its code, `python`, `go` and `java` need
//! these, `helm` needs Helm, `after dev` is for when that has ended, `elsewhere` for another place than a test's (a cluster, a
//! shell of its own).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::dev::ANY;
use crate::support::dev::LAST_LINE;
use crate::support::dev::dev;
use crate::support::process::Process;
use crate::support::process::lanyard;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;

/// The pages with commands, in the order in which a reader goes through them; each list by a reader of its own.
const READERS: [&[&str]; 8] = [
    &["README.md", "docs/registrations.md", "docs/oauth.md"],
    &["docs/developers.md", "docs/offline-verification.md"],
    &["docs/checks.md", "docs/configuration.md", "docs/operations.md"],
    &["docs/doctor.md", "docs/upgrade-and-backup.md"],
    &["docs/revocations.md"],
    &["docs/keys.md"],
    &["docs/exchange.md"],
    &["docs/install.md"],
];

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

/// Whether a test can run the block, and its kind does not exclude it.
fn is_run(block: &Block) -> bool {
    match block.kind.as_str() {
        "elsewhere" => false,
        "go" => tools::go_in(&in_crate("examples/clients/go")).is_some() && tools::protoc().is_some(),
        "java" => tools::maven(&in_crate("examples/clients/java")).is_some(),
        "python" => tools::protoc().is_some(),
        "helm" => tools::helm().is_some(),
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
    for shared in ["deploy", "examples", "helm", "proto"] {
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
    let ports: Vec<&str> = urls.filter_map(|url| url.rsplit(':').next()).collect();

    // Who is asking, the README has said first.
    let mut exports = blocks("README.md");
    exports.retain(|block| block.commands.contains("export PATH"));
    assert_eq!(exports.len(), 1);
    let blocks: Vec<Block> = exports.into_iter().chain(pages.iter().flat_map(|page| blocks(page))).collect();
    assert!(blocks.len() > 1, "{pages:?} has no commands");
    let (after, beside): (Vec<_>, Vec<_>) =
        blocks.iter().enumerate().filter(|(_, block)| is_run(block)).partition(|(_, block)| block.kind == "after dev");
    let script = |blocks: &[(usize, &Block)]| {
        let steps = blocks.iter().map(|(number, block)| step(*number, block)).collect::<String>();
        let here = ["8443", "8444", "9464"].iter().zip(&ports);
        here.fold(steps, |steps, (written, here)| steps.replace(&format!(":{written}"), &format!(":{here}")))
    };
    let path = tools::helm().map(|helm| format!("export PATH={}:$PATH\n", helm.parent().unwrap().display()));
    let contexts = folder.path().join("contexts.yaml");
    let contexts = format!("export LANYARD_CONTEXTS={}\n", contexts.display());
    let begin = format!("set -m -e -o pipefail\n{contexts}{}{}", path.unwrap_or_default(), script(&beside[..1]));
    let go = |blocks: &[(usize, &Block)]| {
        let script = format!("{begin}{}", script(blocks));
        run(Command::new("bash").current_dir(folder.path()).arg("-c").arg(script)).ok();
    };
    go(&beside[1..]);
    if !after.is_empty() {
        server.end_by("TERM");
        go(&after);
    }
}

#[test]
fn the_readme_its_registrations_and_oauth_are_as_written() {
    holds(READERS[0]);
}

#[test]
fn the_page_for_developers_is_as_written() {
    holds(READERS[1]);
}

#[test]
fn the_pages_for_checks_configuration_and_operations_are_as_written() {
    holds(READERS[2]);
}

#[test]
fn the_pages_for_doctor_and_upgrade_are_as_written() {
    holds(READERS[3]);
}

#[test]
fn the_page_for_revocations_is_as_written() {
    holds(READERS[4]);
}

#[test]
fn the_page_for_keys_is_as_written() {
    holds(READERS[5]);
}

#[test]
fn the_page_for_exchange_is_as_written() {
    holds(READERS[6]);
}

#[test]
fn the_page_for_installation_is_as_written_as_far_as_it_needs_no_cluster() {
    holds(READERS[7]);
}

#[test]
fn no_page_with_commands_is_left_out_and_no_table_is_cut_in_two() {
    for page in pages() {
        let path = page.strip_prefix(in_crate("")).unwrap().to_str().unwrap();
        let runs = blocks(path).iter().any(|block| block.kind != "elsewhere");
        assert!(!runs || READERS.concat().contains(&path), "{path} has commands that nothing runs");
        let text = fs::read_to_string(&page).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, pair) in lines.windows(3).enumerate() {
            let begins = pair[0].is_empty() && pair[1].starts_with('|');
            assert!(!begins || pair[2].starts_with("|-"), "{path}, line {}: a table without its head", number + 2);
        }
    }
}

#[test]
fn each_command_of_a_page_names_commands_and_flags_that_there_are() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            if !fenced && !line.starts_with("    ") {
                continue;
            }
            let Some((before, command)) = line.trim().split_once("lanyard ") else { continue };
            if !(before.is_empty() || before.ends_with("bin/") && before.contains("exec")) {
                continue;
            }
            let words: Vec<&str> =
                command.split(' ').take_while(|word| !["|", ">", "&", "#", "("].contains(word)).collect();
            let named = words.iter().take(2).take_while(|word| {
                word.chars().all(|one| one.is_ascii_lowercase() || one == '-') && !word.starts_with('-')
            });
            let named: Vec<&str> = named.copied().collect();
            // A sentence that begins with the name.
            let commands = [
                "client",
                "config",
                "context",
                "dev",
                "doctor",
                "explain",
                "keys",
                "resource",
                "revocation",
                "serve",
                "store",
                "token",
                "validate",
            ];
            if !commands.contains(named.first().unwrap_or(&"")) {
                continue;
            }
            let help = run(lanyard().args(&named).arg("--help"));
            assert_eq!(help.code, Some(0), "{}: {line}", page.display());
            let flags = words.iter().filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
            for flag in flags.filter(|flag| *flag != "--") {
                assert!(help.stdout.contains(flag), "{}: no {flag} in: {line}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn each_test_that_the_page_for_reviewers_names_is_there() {
    let page = fs::read_to_string(in_crate("docs/security.md")).unwrap();
    let names: Vec<&str> =
        page.split('`').filter(|text| text.contains("::") && !text.contains(char::is_uppercase)).collect();
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        let (module, test) = name.rsplit_once("::").unwrap();
        let file = in_crate("tests/it").join(module.replace("::", "/")).with_extension("rs");
        let source = fs::read_to_string(file).unwrap_or_default();
        let (_, after) = source.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{name} is not there"));
        let before = &source[..source.len() - after.len()];
        let attributes = before.rsplit("\n\n").next().unwrap();
        assert!(attributes.contains("test]") || attributes.contains("test("), "{name} is no test");
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            if path.starts_with("http") {
                continue;
            }
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !heading.is_empty() {
                let anchors = fs::read_to_string(&target).unwrap();
                let anchors = anchors.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(anchors.into_iter().any(|anchor| anchor == heading), "{}: {link}", page.display());
            }
        }
    }
}

/// The name by which a heading is linked to, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// All pages.
fn pages() -> Vec<PathBuf> {
    let mut pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "deploy/README.md",
        "deploy/OPERATORS.md",
        "helm/README.md",
    ]
    .map(in_crate)
    .to_vec();
    for folder in ["docs", "docs/clients", "docs/decisions", "docs/runbooks"] {
        let files = fs::read_dir(in_crate(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}
