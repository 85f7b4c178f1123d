//! The file system of the store.

use std::path::Path;

use rustix::fs::Access;

use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Config;

const CHECK: &str = "disk";

const MEBIBYTE: u64 = 1024 * 1024;

/// Checks its free space, and whether it can be written to, without writing.
pub(in crate::cli::doctor) fn check(config: &Config, min_free: u64, report: &mut Report) {
    let Some(directory) = config.store.directory() else { return };
    let subject = directory.display().to_string();
    // A server creates the directory if it does not exist.
    let Some(there) = directory.ancestors().find(|ancestor| present(ancestor)) else {
        report.not_checked(CHECK, subject, "neither the directory nor a parent of it exists");
        return;
    };
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    if let Err(error) = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let problem = format!("this user cannot write into {}: {error}", there.display());
        report.fault(CHECK, subject, Fault::StoreUnwritable, problem);
        return;
    }
    let statistics = match rustix::fs::statvfs(there) {
        Ok(statistics) => statistics,
        Err(error) => {
            report.not_checked(CHECK, subject, format!("its file system cannot be measured: {error}"));
            return;
        }
    };
    let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    let least = min_free.saturating_mul(MEBIBYTE);
    // Some file systems do not report the number of their files.
    let no_files_left = statistics.f_files > 0 && statistics.f_favail == 0;
    let free_space = format!("{} MiB are free", free / MEBIBYTE);
    if no_files_left {
        report.fault(CHECK, subject, Fault::DiskFull, "its file system has no room for another file (inodes)");
    } else if free < least {
        report.fault(CHECK, subject, Fault::DiskFull, format!("{free_space}, less than {min_free}"));
    } else if free < least.saturating_mul(4) {
        let problem = format!("{free_space}, less than {}", min_free.saturating_mul(4));
        report.fault(CHECK, subject, Fault::DiskFilling, problem);
    } else {
        report.ok(CHECK, subject, free_space);
    }
}

fn present(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}
