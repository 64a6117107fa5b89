//! The `bonded` binary.

fn main() {}
