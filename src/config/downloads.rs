//! `[downloads]`: what is written down of downloads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::units::Span;
use super::{Fault, positive_span};
use crate::registry::{ClientDetail, DownloadOptions};

/// `[downloads]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DownloadSettings {
    /// What is written down of those who download: `off`: nothing, and no download either; `network`: the account, and the
    /// network of the address (`/24` of IPv4, `/48` of IPv6); `address`: the account and the address.
    pub clients: ClientsWord,
    /// For how long it is kept.
    pub keep: Span,
}

/// What is written down of those who download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientsWord {
    /// Nothing.
    Off,
    /// The account and the network.
    Network,
    /// The account and the address.
    Address,
}

impl Default for DownloadSettings {
    fn default() -> Self {
        Self { clients: ClientsWord::Off, keep: Span(DownloadOptions::default().keep) }
    }
}

impl Settings {
    /// What is written down of downloads.
    pub(super) fn download_options(&self) -> Result<DownloadOptions, Fault> {
        let clients = match self.downloads.clients {
            ClientsWord::Off => ClientDetail::Off,
            ClientsWord::Network => ClientDetail::Network,
            ClientsWord::Address => ClientDetail::Address,
        };
        Ok(DownloadOptions { clients, keep: positive_span("downloads.keep", self.downloads.keep)? })
    }
}
