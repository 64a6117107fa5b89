//! Times by operation and size, and the table of their medians.

use std::fmt::Write as _;
use std::future::Future;
use std::time::{Duration, Instant};

/// What was measured: columns are sizes, rows are operations in the order in which they were first measured.
#[derive(Debug, Default)]
pub(crate) struct Curve {
    sizes: Vec<u64>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    operation: &'static str,
    /// For each size the times of all repetitions.
    times: Vec<Vec<Duration>>,
}

impl Curve {
    /// A new column.
    pub(crate) fn begin(&mut self, size: u64) {
        self.sizes.push(size);
    }

    /// Measures one repetition of an operation.
    pub(crate) async fn time<T>(&mut self, operation: &'static str, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.add(operation, began.elapsed());
        done
    }

    fn add(&mut self, operation: &'static str, time: Duration) {
        let at = self.rows.iter().position(|row| row.operation == operation).unwrap_or_else(|| {
            self.rows.push(Row { operation, times: Vec::new() });
            self.rows.len() - 1
        });
        let times = &mut self.rows[at].times;
        times.resize_with(self.sizes.len(), Vec::new);
        if let Some(times) = times.last_mut() {
            times.push(time);
        }
    }

    /// Medians in microseconds as Markdown, with the last one as a multiple of the first.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| median in µs, at manifests |");
        for size in &self.sizes {
            let _ = write!(text, " {size} |");
        }
        let _ = write!(text, " growth |\n|---|{}---|\n", "---:|".repeat(self.sizes.len()));
        for row in &self.rows {
            let medians: Vec<Option<f64>> = row.times.iter().map(|times| median(times)).collect();
            let _ = write!(text, "| {} |", row.operation);
            for median in &medians {
                let _ = write!(text, " {} |", median.map_or_else(|| "-".to_owned(), |micros| format!("{micros:.0}")));
            }
            let growth = medians.first().copied().flatten().zip(medians.last().copied().flatten());
            let growth = growth.map_or_else(|| "-".to_owned(), |(first, last)| format!("{:.1}x", last / first));
            let _ = writeln!(text, " {growth} |");
        }
        text
    }
}

fn median(times: &[Duration]) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1e6)
}
