//! How far a verb is: a bar or a line on a terminal, and of long ones a line for each stage and each tenth elsewhere.
//!
//! Progress goes to standard error and findings to standard output, one line each.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

use super::print;
use crate::transfer::{Amount, Watch};

/// Whoever looks at standard error.
pub(super) fn watch() -> Arc<dyn Watch> {
    if std::io::stderr().is_terminal() { Arc::new(Bar::default()) } else { Arc::new(Lines::default()) }
}

/// A bar that counts bytes.
#[derive(Debug, Default)]
struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Watch for Bar {
    fn stage(&self, what: &str, amount: Amount) {
        let bar = if amount.bytes > 0 {
            ProgressBar::new(amount.bytes)
                .with_style(style("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left"))
        } else {
            ProgressBar::new(amount.blobs).with_style(style("{bar:30} {pos}/{len}"))
        };
        bar.set_message(what.to_owned());
        if let Some(before) = lock(&self.bar).replace(bar) {
            before.finish_and_clear();
        }
    }

    fn moved(&self, amount: Amount) {
        if let Some(bar) = lock(&self.bar).as_ref() {
            let counts_bytes = bar.length().is_some_and(|length| length > 0) && amount.bytes > 0;
            bar.inc(if counts_bytes { amount.bytes } else { 0 });
        }
    }

    fn finding(&self, line: String) {
        match lock(&self.bar).as_ref() {
            Some(bar) => bar.suspend(|| print(format_args!("{line}\n"))),
            None => print(format_args!("{line}\n")),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = lock(&self.bar).take() {
            bar.finish_and_clear();
        }
    }
}

/// What a verb is at that takes a moment: a line on a terminal, which is written over and gone in the end; nothing elsewhere.
#[derive(Debug)]
pub(super) struct Steps(ProgressBar);

impl Steps {
    /// At nothing yet.
    pub(super) fn new() -> Self {
        // It draws on standard error, and only if that is a terminal.
        let line = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self(ProgressBar::new_spinner().with_style(line))
    }

    /// Says what comes next.
    pub(super) fn next(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(rest: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("{{msg}} {rest}")).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Lines, for files and pipes.
#[derive(Debug, Default)]
struct Lines {
    stage: Mutex<Stage>,
}

#[derive(Debug, Default)]
struct Stage {
    what: String,
    total: Amount,
    done: Amount,
    tenths: u64,
}

impl Watch for Lines {
    fn stage(&self, what: &str, amount: Amount) {
        let size = match amount {
            Amount { blobs: 0, .. } => String::new(),
            Amount { blobs, bytes: 0 } => format!(": {blobs}"),
            Amount { blobs, bytes } => format!(": {blobs} blobs, {}", BinaryBytes(bytes)),
        };
        say(&format!("{what}{size}"));
        *lock(&self.stage) = Stage { what: what.to_owned(), total: amount, ..Stage::default() };
    }

    fn moved(&self, amount: Amount) {
        let mut stage = lock(&self.stage);
        stage.done.blobs += amount.blobs;
        stage.done.bytes += amount.bytes;
        let tenths = (stage.done.bytes * 10).checked_div(stage.total.bytes).unwrap_or_default();
        if tenths > stage.tenths {
            stage.tenths = tenths;
            say(&format!("{}: {}%, {}", stage.what, (tenths * 10).min(100), BinaryBytes(stage.done.bytes)));
        }
    }

    fn finding(&self, line: String) {
        print(format_args!("{line}\n"));
    }
}

fn say(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is shown may be a little off after a panic elsewhere, and no more.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
