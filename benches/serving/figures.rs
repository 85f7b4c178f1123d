//! Ratios of interleaved rounds.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value;

use crate::support::Failure;
use crate::support::client::Measured;

/// One server's part of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    rps: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
}

impl Round {
    /// A round that took these seconds, and of the server these seconds of CPU time. Every call must have been served.
    #[expect(clippy::cast_precision_loss, reason = "counts of calls, and microseconds")]
    pub(crate) fn new(measured: &Measured, time: f64, cpu: f64) -> Result<Self, Failure> {
        if measured.refused.len() + measured.failed > 0 {
            return Err(format!("{} calls refused, {} failed", measured.refused.len(), measured.failed).into());
        }
        let calls = measured.served.len() as f64;
        let quantile = |quantile| measured.served.value_at_quantile(quantile) as f64;
        Ok(Self {
            rps: calls / time,
            cpu_us: cpu * 1e6 / calls,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
        })
    }

    /// What its calls took beyond those of another round.
    pub(crate) fn beyond(self, other: Self) -> Self {
        Self {
            p50_us: self.p50_us - other.p50_us,
            p99_us: self.p99_us - other.p99_us,
            p999_us: self.p999_us - other.p999_us,
            ..self
        }
    }
}

/// The median and the 99th percentile of its times.
impl fmt::Display for Round {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.0}, {:.0}", self.p50_us, self.p99_us)
    }
}

/// What is compared of two rounds.
#[derive(Clone, Copy, Debug)]
enum Compared {
    Throughput,
    MedianTime,
    CpuTime,
}

/// A figure: ours beside another, round by round.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    compared: Compared,
    rounds: Vec<(Round, Round)>,
    /// What the other would need besides for each call, in microseconds.
    more: f64,
}

impl Figure {
    pub(crate) fn throughput() -> Self {
        Self { compared: Compared::Throughput, rounds: Vec::new(), more: 0.0 }
    }

    pub(crate) fn median_time() -> Self {
        Self { compared: Compared::MedianTime, rounds: Vec::new(), more: 0.0 }
    }

    pub(crate) fn cpu_time() -> Self {
        Self { compared: Compared::CpuTime, rounds: Vec::new(), more: 0.0 }
    }

    pub(crate) fn add(&mut self, ours: Round, other: Round) {
        self.rounds.push((ours, other));
    }

    /// The same beside a server that would need so many microseconds more for each call.
    pub(crate) fn beside_more(self, more: f64) -> Self {
        Self { more, ..self }
    }

    /// The rounds' ratios, in their order.
    fn ratios(&self) -> Vec<f64> {
        let ratio = |(ours, other): &(Round, Round)| match self.compared {
            Compared::Throughput => ours.rps * (1.0 / other.rps + self.more / 1e6),
            Compared::MedianTime => ours.p50_us / (other.p50_us + self.more),
            Compared::CpuTime => ours.cpu_us / (other.cpu_us + self.more),
        };
        let mut ratios: Vec<f64> = self.rounds.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn ours(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(|(ours, _)| value(ours)).collect())
    }

    fn other(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(|(_, other)| value(other)).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The 95 % interval of a median from sorted values: the order statistics that a binomial distribution gives. With fewer
/// than six values there is none, and the whole range is given.
fn interval(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len();
    let (mut below, mut probability, mut cumulated) = (0, 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX)), 0.0);
    for at in 0..count / 2 {
        cumulated += probability;
        if cumulated > 0.025 {
            break;
        }
        below = at;
        #[expect(clippy::cast_precision_loss, reason = "a count of rounds")]
        let factor = (count - at) as f64 / (at + 1) as f64;
        probability *= factor;
    }
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(below), at(count.saturating_sub(below + 1)))
}

/// All figures by name, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<(&'static str, Figure)>);

impl Figures {
    pub(crate) fn add(&mut self, name: &'static str, figure: Figure) {
        self.0.push((name, figure));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn print(&self) {
        println!(
            "| figure | ratio [95 %] | calls a second | p50, p99, p99.9 us | CPU us a call | beside: calls a second | p50, p99 us | CPU us a call |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (name, figure) in &self.0 {
            let ratios = figure.ratios();
            let (low, high) = interval(&ratios);
            println!(
                "| {name} | {:.3} [{low:.3}, {high:.3}] | {:.0} | {:.0}, {:.0}, {:.0} | {:.1} | {:.0} | {:.0}, {:.0} | {:.1} |",
                median(ratios),
                figure.ours(|round| round.rps),
                figure.ours(|round| round.p50_us),
                figure.ours(|round| round.p99_us),
                figure.ours(|round| round.p999_us),
                figure.ours(|round| round.cpu_us),
                figure.other(|round| round.rps),
                figure.other(|round| round.p50_us),
                figure.other(|round| round.p99_us),
                figure.other(|round| round.cpu_us),
            );
        }
    }

    /// Writes `bench/serving.json` under cargo's target directory. What it has of other sections stays.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        // The bench is in TARGET/release/deps.
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(3).ok_or("not in a target directory")?;
        let folder: PathBuf = target.join("bench");
        fs::create_dir_all(&folder)?;
        let file = folder.join("serving.json");
        let mut figures: Map<String, Value> = match fs::read(&file) {
            Ok(earlier) => serde_json::from_slice(&earlier)?,
            Err(_) => Map::new(),
        };
        for (name, figure) in &self.0 {
            let ratios = figure.ratios();
            let (low, high) = interval(&ratios);
            let values = serde_json::json!({
                "ratio": median(ratios),
                "interval": [low, high],
                "rps": figure.ours(|round| round.rps),
                "p50_us": figure.ours(|round| round.p50_us),
                "p99_us": figure.ours(|round| round.p99_us),
                "cpu_us": figure.ours(|round| round.cpu_us),
                "beside_p50_us": figure.other(|round| round.p50_us),
                "beside_p99_us": figure.other(|round| round.p99_us),
            });
            figures.insert((*name).to_owned(), values);
        }
        Ok(fs::write(file, serde_json::to_vec_pretty(&figures)?)?)
    }
}
