//! The name of the host, for people who read the names of replicas and of chains of the audit trail.

/// The name of the host, which in Kubernetes is that of the pod: letters, digits and hyphens.
pub(super) fn host_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    host.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(63).collect()
}
