//! `[api]`: who may call `/api/v1` from where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;
use super::settings::Settings;
use crate::access::WebOrigin;

/// `[api]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// Origins of web pages that may call `/api/v1` and read `/openapi.json` from a browser (CORS), such as
    /// `https://console.example.com`: exact ones, no wildcards. Without any, no page of another origin may. Pages send a
    /// token in `Authorization`; browsers are never told to send credentials of their own.
    pub allowed_origins: Vec<String>,
}

/// Most origins.
const ORIGINS_MAX: usize = 100;

impl Settings {
    /// Web pages of other origins that may call.
    pub(super) fn pages(&self) -> Result<Vec<WebOrigin>, Fault> {
        let fault = |what: String| Fault::new("api.allowed_origins", what);
        let given = &self.api.allowed_origins;
        if given.len() > ORIGINS_MAX {
            return Err(fault(format!("there are more than {ORIGINS_MAX} origins; serve pages from fewer")));
        }
        given
            .iter()
            .map(|text| text.parse().map_err(|error: crate::access::WebOriginError| fault(error.to_string())))
            .collect()
    }
}
