//! Metrics as plain values: one snapshot, which each exporter formats in its own way.
//!
//! The series of each family are fixed by the build and the configuration, never by what callers send.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Reads all metrics. It may access the disk, so it must not run on the threads that serve requests.
#[derive(Clone)]
pub struct MetricsReader(Arc<dyn Fn() -> Vec<Family> + Send + Sync>);

impl MetricsReader {
    /// Creates a reader of all metrics.
    pub fn new(read: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The current values of all metrics.
    pub fn read(&self) -> Vec<Family> {
        (self.0)()
    }
}

impl fmt::Debug for MetricsReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MetricsReader")
    }
}

/// All series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The Prometheus name, with its unit; a counter's without `_total`.
    pub name: &'static str,
    /// The help text, one sentence without a full stop.
    pub help: &'static str,
    /// The series.
    pub samples: Samples,
}

/// The series of a family, which are all of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Monotonic counts since the start.
    Counters(Vec<Sample<u64>>),
    /// Current values.
    Gauges(Vec<Sample<u64>>),
    /// Durations.
    Histograms(Vec<Sample<Distribution>>),
}

/// One series and its current value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<V> {
    /// The names and values of its labels.
    pub labels: Labels,
    /// The current value.
    pub value: V,
}

/// Label names and values, which distinguish the series of a family.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// Labels with these fixed values.
pub fn labels<const COUNT: usize>(labels: [(&'static str, &'static str); COUNT]) -> Labels {
    labels.into_iter().map(|(name, value)| (name, Cow::Borrowed(value))).collect()
}

impl Family {
    /// A family of counters.
    pub fn counters(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, u64)>) -> Self {
        Self { name, help, samples: Samples::Counters(collected(samples)) }
    }

    /// A family of gauges.
    pub fn gauges(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, u64)>) -> Self {
        Self { name, help, samples: Samples::Gauges(collected(samples)) }
    }

    /// A family of histograms.
    pub fn histograms(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, Distribution)>,
    ) -> Self {
        Self { name, help, samples: Samples::Histograms(collected(samples)) }
    }
}

fn collected<V>(samples: impl IntoIterator<Item = (Labels, V)>) -> Vec<Sample<V>> {
    samples.into_iter().map(|(labels, value)| Sample { labels, value }).collect()
}

/// The upper bounds of the buckets, in seconds, inclusive. A check takes some 50 µs.
pub const BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A distribution of durations: counts by bucket, and the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// The number of durations in each bucket of [`BOUNDS`].
    pub counts: [u64; BOUNDS.len()],
    /// The number of durations above the last bound.
    pub overflow: u64,
    /// The sum of all durations.
    pub sum: Duration,
}

impl Distribution {
    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.overflow
    }
}

/// A lock-free histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    counts: [AtomicU64; BOUNDS.len()],
    overflow: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Durations {
    /// Records one duration.
    pub fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.counts.get(BOUNDS.partition_point(|bound| *bound < seconds));
        bucket.unwrap_or(&self.overflow).fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The distribution so far.
    pub fn read(&self) -> Distribution {
        let mut counts = [0; BOUNDS.len()];
        for (count, counted) in counts.iter_mut().zip(&self.counts) {
            *count = counted.load(Ordering::Relaxed);
        }
        let overflow = self.overflow.load(Ordering::Relaxed);
        Distribution { counts, overflow, sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)) }
    }
}
