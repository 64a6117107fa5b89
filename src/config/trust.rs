//! Signature policies, as they are configured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::units::Span;
use super::{Fault, positive_span, some_path};
use crate::registry::gate::SweepOptions;

/// `[trust]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrustSettings {
    /// File with the signature policies (YAML or JSON); the files that it names lie beside it. It is read again when it
    /// changes. At the start it has to be sound; later one that is not leaves the policies before it in force.
    pub policy: Option<PathBuf>,
    /// Images judged again in a second, by one node for all, to find those that satisfied the policies and do not any more;
    /// 0: none ever, so that only a pull finds them.
    pub sweep_rate: u32,
    /// How often all of them are judged again. It is done at once as well when the policies change.
    pub sweep_every: Span,
}

impl Default for TrustSettings {
    fn default() -> Self {
        let SweepOptions { rate, every } = SweepOptions::default();
        Self { policy: None, sweep_rate: rate, sweep_every: Span(every) }
    }
}

impl Settings {
    pub(super) fn policy_file(&self) -> Result<Option<PathBuf>, Fault> {
        self.trust.policy.as_deref().map(|path| some_path("trust.policy", path)).transpose()
    }

    /// How fast and how often what passed is judged again.
    pub(super) fn verdict_sweep(&self) -> Result<SweepOptions, Fault> {
        let every = positive_span("trust.sweep_every", self.trust.sweep_every)?;
        Ok(SweepOptions { rate: self.trust.sweep_rate, every })
    }
}
