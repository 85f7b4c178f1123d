//! The permissions of the files with private keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Inspected;

const CHECK: &str = "key_file";

/// The read permission of other users (inode(7)).
const READABLE_BY_OTHERS: u32 = 0o004;

/// Checks the permissions of each file. Another check reports a file that cannot be read.
pub(in crate::cli::doctor) fn check(inspected: &Inspected, report: &mut Report) {
    let key = inspected.config.tls.certificate.as_ref().map(|files| &files.key);
    for path in key.into_iter().chain(&inspected.key_encryption_key_files).chain(&inspected.pin_file) {
        let subject = path.display().to_string();
        let Ok(metadata) = fs::metadata(path) else {
            report.not_checked(CHECK, subject, "the file's permissions cannot be read");
            continue;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & READABLE_BY_OTHERS == 0 {
            report.ok(CHECK, subject, format!("only its user and group may read it (mode {mode:04o})"));
        } else {
            let problem = format!("every user of this machine may read it (mode {mode:04o})");
            report.fault(CHECK, subject, Fault::KeyFileReadableByOthers, problem);
        }
    }
}
