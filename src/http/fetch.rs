//! Documents of others, fetched within limits.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, StatusCode};

use crate::auth::{Fetch, FetchError};
use crate::telemetry;

/// Longest time for a request and its answer.
const TIME_MAX: Duration = Duration::from_secs(5);

/// A client that is led nowhere else. It goes by the proxies of the environment, and is made when it is needed: most
/// processes need none.
#[derive(Debug, Default)]
pub struct HttpFetch {
    outward: OnceLock<Client>,
    /// For this machine itself, to which no proxy leads.
    inward: OnceLock<Client>,
}

impl HttpFetch {
    /// The client for an address; without TLS only this machine is asked.
    fn client(&self, url: &str) -> reqwest::Result<&Client> {
        let is_inward = url.starts_with("http://");
        let place = if is_inward { &self.inward } else { &self.outward };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let builder = Client::builder().redirect(Policy::none()).timeout(TIME_MAX).pool_max_idle_per_host(0);
        let client = if is_inward { builder.no_proxy() } else { builder };
        let client = ClientBuilder::build(client)?;
        Ok(place.get_or_init(|| client))
    }
}

#[async_trait]
impl Fetch for HttpFetch {
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let failed = |error: reqwest::Error| FetchError::Failed(telemetry::chain(&error));
        let mut answer = self.client(url).map_err(failed)?.get(url).send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > bytes_max {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
