//! What a run prints: a heading per group, a line per scenario, and one closing line that machines read.

use std::time::Duration;

use anyhow::Error;

/// How a scenario ended.
pub(crate) enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected, and why.
    Failed(String),
    /// Not run, and why.
    Skipped(String),
}

/// The error by which a scenario says that it cannot run here.
#[derive(Debug)]
pub(crate) struct NotRun(pub(crate) String);

impl std::fmt::Display for NotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRun {}

/// Ends a scenario as not run.
pub(crate) fn not_run(reason: impl Into<String>) -> Error {
    Error::new(NotRun(reason.into()))
}

impl From<anyhow::Result<()>> for Outcome {
    fn from(result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => match error.downcast_ref::<NotRun>() {
                Some(NotRun(reason)) => Self::Skipped(reason.clone()),
                None => Self::Failed(format!("{error:#}")),
            },
        }
    }
}

/// Counts and prints outcomes.
#[derive(Default)]
pub(crate) struct Report {
    group: String,
    passed: usize,
    failures: Vec<String>,
    skipped: usize,
}

impl Report {
    /// Prints the line of one scenario.
    pub(crate) fn add(&mut self, group: &str, name: &str, outcome: Outcome, took: Duration, notes: &str) {
        if self.group != group {
            println!("{group}");
            group.clone_into(&mut self.group);
        }
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                let separator = if notes.is_empty() { "" } else { "; " };
                println!("  ok       {name} ({} ms{separator}{notes})", took.as_millis());
            }
            Outcome::Failed(reason) => {
                let reason = one_line(&reason);
                println!("  FAILED   {name}: {reason}");
                self.failures.push(format!("{group} / {name}"));
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                println!("  not run: {name}: {}", one_line(&reason));
            }
        }
    }

    /// Prints the failures once more and the closing line; whether nothing failed.
    pub(crate) fn close(self) -> bool {
        if !self.failures.is_empty() {
            println!("\nfailures:");
            self.failures.iter().for_each(|failure| println!("  {failure}"));
        }
        println!("\n{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skipped);
        self.failures.is_empty()
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= REASON_CHARS_MAX {
        return line;
    }
    line.chars().take(REASON_CHARS_MAX).chain("...".chars()).collect()
}

const REASON_CHARS_MAX: usize = 900;
