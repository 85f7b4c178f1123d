//! The git commit that documents are applied from.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// `git` and the commit of all files and directories, with `and uncommitted changes` where they have some. `None` where they
/// are not all in one repository, without git, and for stdin.
pub(in crate::cli::documents) fn of(paths: &[PathBuf]) -> Option<String> {
    let mut all = paths.iter().map(|path| commit(path));
    let (first, mut is_changed) = all.next()??;
    for other in all {
        let (other, is_other_changed) = other?;
        if other != first {
            return None;
        }
        is_changed |= is_other_changed;
    }
    Some(format!("git {first}{}", if is_changed { " and uncommitted changes" } else { "" }))
}

/// The commit of one path, and whether it has changes that are not in it.
fn commit(path: &Path) -> Option<(String, bool)> {
    if path == Path::new("-") {
        return None;
    }
    let folder = if path.is_dir() { path } else { path.parent()? };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = if path.is_dir() { "." } else { path.file_name()?.to_str()? };
    let commit = git(folder, &["rev-parse", "--short=12", "HEAD"])?;
    // A file that git ignores is in no commit.
    let changes = git(folder, &["status", "--porcelain", "--ignored", "--", names])?;
    Some((commit, !changes.is_empty()))
}

/// What git prints.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
