//! What a run prints, and the same for machines.

use anyhow::Result;
use serde::Serialize;

use super::args::{BenchArgs, Known};
use super::goals::{limit_goal, peer_goal};
use super::load::Turn;
use super::stats::{Ratio, median};
use super::target::{Category, Target};
use super::workload::Workload;

/// What one target did in all rounds of one workload.
pub(crate) struct Figures {
    /// The target.
    pub(crate) name: String,
    /// What it is compared with.
    pub(crate) category: Category,
    /// The kind, if that is known.
    pub(crate) known: Option<Known>,
    /// One for each round.
    pub(crate) turns: Vec<Turn>,
    /// Its largest peak of memory.
    pub(crate) peak_bytes: Option<u64>,
    /// Why there are no more rounds of it.
    pub(crate) left_out: Option<String>,
}

impl Figures {
    /// None yet.
    pub(crate) fn new(target: &Target) -> Self {
        let (name, category, known) = (target.name.clone(), target.category, target.known);
        Self { name, category, known, turns: Vec::new(), peak_bytes: None, left_out: None }
    }

    /// Operations that failed.
    pub(crate) fn errors(&self) -> u64 {
        self.turns.iter().map(|turn| turn.errors).sum()
    }

    /// A figure of each round.
    fn each(&self, figure: impl Fn(&Turn) -> f64) -> Vec<f64> {
        self.turns.iter().map(figure).collect()
    }

    fn rates(&self) -> Vec<f64> {
        self.each(|turn| turn.operations_rate)
    }
}

/// A line of the report: medians over the rounds.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    target: String,
    is_limit: bool,
    durability: Option<&'static str>,
    operations_per_second: f64,
    megabytes_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_memory_mb: Option<f64>,
    rounds_operations_per_second: Vec<f64>,
    errors: u64,
    first_error: Option<String>,
    left_out: Option<String>,
    comparisons: Vec<Comparison>,
}

/// How one of our rows compares with another target.
#[derive(Debug, PartialEq, Serialize)]
struct Comparison {
    with: String,
    ratio: Ratio,
    goal: Option<f64>,
    is_met: Option<bool>,
}

/// All of one workload.
#[derive(Debug, Serialize)]
struct Section {
    workload: String,
    rows: Vec<Row>,
}

/// Everything that is said about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    seconds: f64,
    rounds: u16,
    connections: u16,
    topology: bool,
    nodes: u8,
    targets: Vec<TargetLine>,
    missing: Vec<String>,
    workloads: Vec<Section>,
}

#[derive(Debug, Serialize)]
struct TargetLine {
    name: String,
    version: String,
    durability: Option<&'static str>,
}

impl Report {
    /// Prints what takes part.
    pub(crate) fn begin(args: &BenchArgs, targets: &[Target], missing: Vec<String>) -> Self {
        let line = |target: &Target| {
            let durability = durability(target.known);
            TargetLine { name: target.name.clone(), version: target.version.clone(), durability }
        };
        let targets: Vec<TargetLine> = targets.iter().map(line).collect();
        for target in &targets {
            let durability = target.durability.map_or_else(String::new, |mode| format!(", durability {mode}"));
            println!("{:<16} {}{durability}", target.name, target.version);
        }
        for line in &missing {
            println!("{line}");
        }
        let kind = if args.topology { format!(", on S3, {} node(s) of bonded", args.nodes) } else { String::new() };
        println!("{} rounds of {} s, {} connections{kind}\n", args.rounds, args.seconds, args.connections);
        let (seconds, rounds, connections) = (args.seconds, args.rounds, args.connections);
        let (topology, nodes) = (args.topology, args.nodes);
        Self { seconds, rounds, connections, topology, nodes, targets, missing, workloads: Vec::new() }
    }

    /// Prints the figures of a workload.
    pub(crate) fn add(&mut self, workload: Workload, all: &[Figures]) {
        println!("{}: {}", workload.name(), workload.description());
        println!(
            "  {:<16} {:>10} {:>8} {:>9} {:>9} {:>8}  ratio of rounds: median (min..max)",
            "", "ops/s", "MB/s", "p50 ms", "p99 ms", "peak MB"
        );
        let rows: Vec<Row> = all.iter().map(|figures| row(workload, figures, all, self.topology)).collect();
        // What only shows a limit has nothing to say about most workloads.
        let is_shown = |row: &Row| !row.is_limit || !row.rounds_operations_per_second.is_empty();
        rows.iter().filter(|row| is_shown(row)).for_each(Row::print);
        println!();
        self.workloads.push(Section { workload: workload.name(), rows });
    }

    /// The same for machines.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

fn row(workload: Workload, figures: &Figures, all: &[Figures], is_topology: bool) -> Row {
    let middle = |figure: fn(&Turn) -> f64| median(&figures.each(figure)).unwrap_or_default();
    Row {
        target: figures.name.clone(),
        is_limit: figures.category == Category::Limit,
        durability: durability(figures.known),
        operations_per_second: middle(|turn| turn.operations_rate),
        megabytes_per_second: middle(|turn| turn.bytes_rate / 1e6),
        p50_ms: middle(|turn| f64::from(turn.p50_us) / 1e3),
        p99_ms: middle(|turn| f64::from(turn.p99_us) / 1e3),
        peak_memory_mb: figures.peak_bytes.map(megabytes),
        rounds_operations_per_second: figures.rates(),
        errors: figures.errors(),
        first_error: figures.turns.iter().find_map(|turn| turn.first_error.clone()),
        left_out: figures.left_out.clone(),
        comparisons: comparisons(workload, figures, all, is_topology),
    }
}

/// With the fastest peer, and with the fastest of what shows the limit.
fn comparisons(workload: Workload, own: &Figures, all: &[Figures], is_topology: bool) -> Vec<Comparison> {
    if own.category != Category::Own {
        return Vec::new();
    }
    let goal = |category| {
        let known = own.known?;
        match category {
            Category::Limit => limit_goal(workload, known),
            _ => peer_goal(workload, known, is_topology),
        }
    };
    let compare = |category| {
        let other = fastest(all, category)?;
        let ratio = Ratio::of_rounds(&own.rates(), &other.rates())?;
        let goal = goal(category);
        let is_met = goal.map(|goal| ratio.meets(goal));
        Some(Comparison { with: other.name.clone(), ratio, goal, is_met })
    };
    [Category::Peer, Category::Limit].into_iter().filter_map(compare).collect()
}

fn fastest(all: &[Figures], category: Category) -> Option<&Figures> {
    let rate = |figures: &Figures| median(&figures.rates()).unwrap_or_default();
    let candidates = all.iter().filter(|figures| figures.category == category && !figures.turns.is_empty());
    candidates.max_by(|one, other| rate(one).total_cmp(&rate(other)))
}

impl Row {
    fn print(&self) {
        if self.rounds_operations_per_second.is_empty() {
            println!("  {:<16} not measured: {}", self.target, self.left_out.as_deref().unwrap_or("no rounds"));
            return;
        }
        let peak = self.peak_memory_mb.map_or_else(|| "-".to_owned(), |peak| format!("{peak:.0}"));
        let decimals = if self.operations_per_second < 100.0 { 2 } else { 0 };
        print!(
            "  {:<16} {:>10.decimals$} {:>8.0} {:>9.2} {:>9.2} {:>8}",
            self.target, self.operations_per_second, self.megabytes_per_second, self.p50_ms, self.p99_ms, peak
        );
        self.comparisons.iter().for_each(|comparison| print!("  {comparison}"));
        println!();
        if let Some(reason) = &self.left_out {
            println!("    only {} rounds: {reason}", self.rounds_operations_per_second.len());
        }
        if let Some(error) = &self.first_error {
            println!("    FAILED {} operations, the first: {error}", self.errors);
        }
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ratio { median, min, max } = self.ratio;
        write!(f, "{median:.2}x {} ({min:.2}..{max:.2})", self.with)?;
        if let (Some(goal), Some(is_met)) = (self.goal, self.is_met) {
            write!(f, " {} {goal}x", if is_met { "met" } else { "MISSED" })?;
        }
        Ok(())
    }
}

fn durability(known: Option<Known>) -> Option<&'static str> {
    match known? {
        Known::Bonded => Some("strict"),
        Known::BondedRelaxed => Some("relaxed"),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str, category: Category, known: Option<Known>, rates: &[f64]) -> Figures {
        let turn = |rate: &f64| Turn { operations_rate: *rate, ..Turn::default() };
        let turns = rates.iter().map(turn).collect();
        Figures { name: name.into(), category, known, turns, peak_bytes: None, left_out: None }
    }

    #[test]
    fn ours_are_compared_with_the_fastest_peer_and_the_limit_and_never_with_each_other() {
        let all = [
            figures("bonded", Category::Own, Some(Known::Bonded), &[30.0, 30.0, 33.0]),
            figures("bonded-relaxed", Category::Own, Some(Known::BondedRelaxed), &[90.0, 90.0, 90.0]),
            figures("slow", Category::Peer, None, &[10.0, 100.0, 10.0]),
            figures("fast", Category::Peer, None, &[20.0, 20.0, 20.0]),
            figures("write-hash", Category::Limit, None, &[60.0, 60.0, 60.0]),
        ];
        let found = comparisons(Workload::PushTiny, &all[0], &all, false);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1.50x fast (1.50..1.65) met 1.5x", "0.50x write-hash (0.50..0.55)"]);
        assert!(comparisons(Workload::PushTiny, &all[3], &all, false).is_empty());
        let relaxed = comparisons(Workload::Push10Put, &all[1], &all, false);
        assert_eq!(relaxed[1].is_met, Some(true));
    }
}
