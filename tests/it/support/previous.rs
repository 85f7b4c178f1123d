//! The version before records of resources got their second schema, as a binary.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::support::server::in_crate;
use crate::support::tools::built;
use crate::support::tools::done;
use crate::support::tools::skipped;

/// Its commit.
const COMMIT: &str = "ae35dd8a30dc50a45bc8e57170afa050e2c3c990";

/// Its `lanyard`, built once from the history of git; `None` if it is to be skipped. The build takes minutes.
pub fn binary() -> Option<PathBuf> {
    (!skipped("previous")).then(|| built(&format!("lanyard-{COMMIT}"), build).join("lanyard"))
}

fn build(folder: &Path) {
    let (archive, source, target) = (folder.join("source.tar"), folder.join("source"), folder.join("target"));
    fs::create_dir_all(&source).unwrap();
    let history = format!(
        "it takes git and the history of this repository with the commit {COMMIT}, which a shallow clone lacks (`git fetch \
         --unshallow`); or leave it out with LANYARD_SKIP=previous"
    );
    let mut git = Command::new("git");
    git.arg("-C").arg(in_crate(".")).args(["archive", "--output"]).arg(&archive).arg(COMMIT);
    done(&mut git, &history);
    done(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&source), &history);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--bin", "lanyard"]).current_dir(&source).env("CARGO_TARGET_DIR", &target);
    done(
        &mut cargo,
        "its crates come from crates.io, which must be in reach once; or leave it out with LANYARD_SKIP=previous",
    );
    fs::rename(target.join("debug/lanyard"), folder.join("lanyard")).unwrap();
    for made in [source, target] {
        fs::remove_dir_all(made).unwrap();
    }
    fs::remove_file(archive).unwrap();
}
