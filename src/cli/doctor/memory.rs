//! The memory that the limits allow callers to take.

use crate::cli::doctor::fault::Fault;
use crate::cli::doctor::report::Report;
use crate::config::Config;
use crate::limits::Machine;

const CHECK: &str = "memory";

const MEBIBYTE: u64 = 1024 * 1024;

/// Checks that connections and buffers at their limits fit into the memory of this process's cgroup.
pub(in crate::cli::doctor) fn check(config: &Config, machine: Machine, report: &mut Report) {
    let buffers = u64::try_from(config.limits.buffered_bytes).unwrap_or(u64::MAX);
    let most = Machine::most_bytes(config.tls.max_connections, buffers) / MEBIBYTE;
    let memory = machine.memory_bytes / MEBIBYTE;
    let text = format!("connections and requests at their limits take {most} MiB of {memory}");
    if most > memory {
        report.fault(CHECK, "tls.max_connections, limits.buffered_bytes", Fault::LimitsBeyondMemory, text);
    } else {
        report.ok(CHECK, "", text);
    }
}
