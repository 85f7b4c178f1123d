//! What the process may use of its machine.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

/// The memory and the cores that this process may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Machine {
    /// Bytes of memory: the limit of the cgroup, or else all that the machine has.
    pub memory_bytes: u64,
    /// The number of cores, by the cgroup's quota where it has one.
    pub cores: usize,
}

/// What is assumed where nothing can be read: the chart's limit.
const ASSUMED_BYTES: u64 = 512 * 1024 * 1024;

/// What an idle connection takes, in bytes: its TLS, its HTTP/2 and its task. Measured from outside on 10,000 of them,
/// where the kernel gives huge pages; else it is a quarter less.
const CONNECTION_BYTES: u64 = 51 * 1024;

impl Machine {
    /// The default of connections on a listener: idle ones take at most half of the memory.
    pub fn max_connections(self) -> usize {
        usize::try_from(self.memory_bytes / 2 / CONNECTION_BYTES).unwrap_or(usize::MAX).clamp(256, 10_000)
    }

    /// What so many idle connections take, in bytes.
    pub fn connection_bytes(connections: usize) -> u64 {
        u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(CONNECTION_BYTES)
    }

    /// The most memory that callers can make the server take, in bytes, with so many connections and so many bytes that
    /// are buffered for all of them. A buffer that grows is up to twice as large as what is in it.
    pub fn most_bytes(connections: usize, buffered: u64) -> u64 {
        Self::connection_bytes(connections).saturating_add(buffered.saturating_mul(2))
    }

    /// Reads the limits of this process.
    pub fn detect() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let information = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let read = |path: &Path| fs::read_to_string(path).ok();
        let memory_bytes = limit_of(root, &own, read).into_iter().chain(total(&information)).min();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { memory_bytes: memory_bytes.unwrap_or(ASSUMED_BYTES), cores }
    }
}

/// The smallest `memory.max` of the process's cgroup and of those above it (cgroup v2). A container sees its own as the
/// root.
fn limit_of(root: &Path, own: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let below = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = root.join(below.trim_end());
    let folders = folder.ancestors().take_while(|folder| folder.starts_with(root));
    folders.filter_map(|folder| read(&folder.join("memory.max"))?.trim().parse().ok()).min()
}

/// `MemTotal` of /proc/meminfo.
fn total(information: &str) -> Option<u64> {
    let line = information.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(files: &[(&str, &str)], own: &str) -> Option<u64> {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new("/cg").join(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        limit_of(Path::new("/cg"), own, read)
    }

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let files = [("a/b/memory.max", "max\n"), ("a/memory.max", "1000\n"), ("memory.max", "2000\n")];
        assert_eq!(limit(&files, "0::/a/b\n"), Some(1000));
        assert_eq!(limit(&files, "0::/\n"), Some(2000));
        assert_eq!(limit(&files[..1], "0::/a/b\n"), None);
        // cgroup v1 alone.
        assert_eq!(limit(&files, "9:memory:/a\n"), None);
    }

    #[test]
    fn the_memory_of_a_machine_is_read_in_bytes() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 * 1024 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }
}
