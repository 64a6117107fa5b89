//! Faults on purpose: the table of points at which a test may kill.

mod points;
