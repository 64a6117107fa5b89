//! `[scrub]`: reading again what is stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::units::{Size, Span};
use super::{Fault, positive_span};
use crate::registry::ScrubOptions;

/// `[scrub]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScrubSettings {
    /// Bytes read in a second, by one node for all; 0: none ever. A store that is paid by the byte is better read slowly, or
    /// not at all.
    pub rate: Size,
    /// How often everything is read: a pass begins this long after the last one began, or once that has ended.
    pub every: Span,
}

impl Default for ScrubSettings {
    fn default() -> Self {
        let ScrubOptions { rate, every } = ScrubOptions::default();
        Self { rate: Size(rate), every: Span(every) }
    }
}

impl Settings {
    /// How fast and how often everything is read again.
    pub(super) fn scrub_options(&self) -> Result<ScrubOptions, Fault> {
        Ok(ScrubOptions { rate: self.scrub.rate.0, every: positive_span("scrub.every", self.scrub.every)? })
    }
}
