//! `[limits.rate]` and `[limits.logins]`: how much clients may send.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::settings::Settings;
use super::units::{DatabaseUrl, Span, positive};
use super::{Fault, positive_span};
use crate::access::{ClientLimits, LoginLimits, RateLimits, Rates};

/// `[limits.rate]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateSettings {
    /// Requests to `/v2` without an account, by address (`/64` for IPv6): `600/m`, several that all hold such as
    /// `50/h,200/d`, or `none`.
    pub v2_anonymous: RateText,
    /// Requests to `/v2`, by account.
    pub v2_authenticated: RateText,
    /// Requests to `/api/v1` without an account, by address.
    pub api_anonymous: RateText,
    /// Requests to `/api/v1`, by account.
    pub api_authenticated: RateText,
    /// Where nodes share what they let through, such as `redis://user:password@host:6379/0`, or `rediss://` for TLS; without
    /// it they do so in the Postgres database.
    pub redis: Option<DatabaseUrl>,
}

/// `[limits.logins]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoginSettings {
    /// Most failed logins to one account from one address in `window`.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub per_account: u32,
    /// Most failed logins from one address in `window`.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub per_address: u32,
    /// Most failed logins to one account in `window` from all addresses together. It does not bind an address from which
    /// somebody has logged in to the account in the last 30 days.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub per_account_everywhere: u32,
    /// How long failures count, from the first one on.
    pub window: Span,
}

/// Rates as an operator writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateText(pub Rates);

impl fmt::Display for RateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for RateText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for RateText {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(none|[0-9]+/[smhd](,[0-9]+/[smhd])*)$" })
    }
}

impl Default for RateSettings {
    fn default() -> Self {
        let RateLimits { v2_anonymous, v2_authenticated, api_anonymous, api_authenticated } = RateLimits::default();
        Self {
            v2_anonymous: RateText(v2_anonymous),
            v2_authenticated: RateText(v2_authenticated),
            api_anonymous: RateText(api_anonymous),
            api_authenticated: RateText(api_authenticated),
            redis: None,
        }
    }
}

impl Default for LoginSettings {
    fn default() -> Self {
        let LoginLimits { per_account, per_address, per_account_everywhere, window } = LoginLimits::default();
        Self { per_account, per_address, per_account_everywhere, window: Span(window) }
    }
}

impl Settings {
    /// What bounds clients.
    pub(super) fn client_limits(&self) -> Result<ClientLimits, Fault> {
        let RateSettings { v2_anonymous, v2_authenticated, api_anonymous, api_authenticated, redis } =
            self.limits.rate.clone();
        let rates = RateLimits {
            v2_anonymous: v2_anonymous.0,
            v2_authenticated: v2_authenticated.0,
            api_anonymous: api_anonymous.0,
            api_authenticated: api_authenticated.0,
        };
        let LoginSettings { per_account, per_address, per_account_everywhere, window } = self.limits.logins;
        let window = positive_span("limits.logins.window", window)?;
        let logins = LoginLimits { per_account, per_address, per_account_everywhere, window };
        Ok(ClientLimits { rates, logins, shared: self.database.is_some() || redis.is_some() })
    }

    /// Where nodes share what they let through, if not in the database.
    pub(super) fn redis(&self) -> Result<Option<DatabaseUrl>, Fault> {
        let Some(url) = &self.limits.rate.redis else { return Ok(None) };
        if url.expose().starts_with("redis://") || url.expose().starts_with("rediss://") {
            return Ok(Some(url.clone()));
        }
        let what = "it is not the address of a Redis server; write it like \"redis://user:password@host:6379/0\"";
        Err(Fault::new("limits.rate.redis", what))
    }
}
