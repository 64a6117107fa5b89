//! Drives a spawned registry with wire-level scenarios and real clients.

fn main() {}
