//! The git commit that documents are applied from.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// `git` and the commit of the first file or directory, with `and uncommitted changes` where there are some. `None` outside of
/// a repository, or without git.
pub(in crate::cli::documents) fn of(paths: &[PathBuf]) -> Option<String> {
    let first = paths.iter().find(|path| *path != Path::new("-"))?;
    let folder = if first.is_dir() { first } else { first.parent()? };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let commit = git(folder, &["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(folder, &["status", "--porcelain", "--", "."])?;
    let more = if changes.is_empty() { "" } else { " and uncommitted changes" };
    Some(format!("git {commit}{more}"))
}

/// What git prints.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
