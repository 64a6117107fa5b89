//! What happens when the server is killed, and how much memory it takes.

pub(crate) mod memory;

use crate::runner::Scenario;

pub(crate) fn all() -> Vec<Scenario> {
    Vec::new()
}
