//! Signature policies, as they are configured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::{Fault, some_path};

/// `[trust]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrustSettings {
    /// File with the signature policies (YAML or JSON); the files that it names lie beside it. It is read again when it
    /// changes. At the start it has to be sound; later one that is not leaves the policies before it in force.
    pub policy: Option<PathBuf>,
}

impl Settings {
    pub(super) fn policy_file(&self) -> Result<Option<PathBuf>, Fault> {
        self.trust.policy.as_deref().map(|path| some_path("trust.policy", path)).transpose()
    }
}
