//! Faults on purpose: the table of points at which a test may kill, and stores that fail under a client on the wire.

mod flows;
mod points;
mod sweep;
mod wire;
