//! Who may read the files that hold keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Inspected;

const CHECK: &str = "key_file";

/// The right of everybody else to read (inode(7)).
const READABLE_BY_OTHERS: u32 = 0o004;

/// Looks at the rights on each file. One that cannot be looked at is for another check to tell of.
pub(in crate::cli::doctor) fn check(inspected: &Inspected, report: &mut Report) {
    let key = inspected.config.tls.certificate.as_ref().map(|files| &files.key);
    for path in key.into_iter().chain(&inspected.key_encryption_key_file) {
        let subject = path.display().to_string();
        let Ok(metadata) = fs::metadata(path) else {
            report.not_checked(CHECK, subject, "the file cannot be looked at");
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
