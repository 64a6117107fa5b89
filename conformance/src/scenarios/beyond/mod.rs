//! What the official suite does not test and real clients depend on.

use crate::runner::Scenario;

pub(crate) fn all() -> Vec<Scenario> {
    Vec::new()
}
