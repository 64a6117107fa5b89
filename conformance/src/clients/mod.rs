//! Real clients, each against the registry under test.

use crate::runner::Scenario;

/// The clients that the command line names.
pub(crate) fn selected(_names: &str) -> anyhow::Result<Vec<Scenario>> {
    Ok(Vec::new())
}
