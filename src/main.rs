//! The `bonded` binary.

use std::process::ExitCode;

/// Memory that is given back: with the system's allocator a burst of uploads would stay resident for ever.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    bonded::cli::run()
}
