//! The one secret: a file that the operator keeps, or one in the data folder of a server that only this machine reaches.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{AppError, stores};
use crate::auth::seal::{SECRET_BYTES_MAX, Secret};
use crate::auth::{AuthOptions, Issuers};
use crate::clock::Entropy;
use crate::config::Config;
use crate::http::fetch::HttpFetch;

/// Its name in the data folder.
const FILE: &str = "secret";

/// What this registry is called in tokens when it has no `public_url`.
const SERVICE: &str = "bonded";

/// What follows for accounts from the configuration. Only a server (`serves`) makes a secret, and only a server cannot do
/// without one that is configured: most of what the command line does needs none.
pub(super) fn auth_options(config: &Config, serves: bool, entropy: &dyn Entropy) -> Result<AuthOptions, AppError> {
    let service = config.public_url.as_ref().map_or_else(|| SERVICE.to_owned(), |public| public.host.clone());
    let (secret, buckets) = (secret(config, serves, entropy)?, stores::shared_buckets(config)?);
    let limits = config.client_limits.clone();
    let issuers = Issuers::new(config.oidc_hosts.clone(), Arc::new(HttpFetch::default()));
    Ok(AuthOptions { service, secret, open: config.insecure_anonymous, limits, buckets, issuers })
}

/// Whether a server makes no secret of its own: other nodes, or whoever reaches it from elsewhere, have to trust the same one.
pub(super) fn must_be_named(config: &Config) -> bool {
    config.database.is_some() || !config.listen.ip().to_canonical().is_loopback()
}

fn secret(config: &Config, serves: bool, entropy: &dyn Entropy) -> Result<Option<Secret>, AppError> {
    if let Some(path) = &config.secret_file {
        return if serves { read(path).map(Some) } else { Ok(read(path).ok()) };
    }
    if must_be_named(config) {
        return Ok(None);
    }
    let path = config.data.join(FILE);
    if !serves {
        return Ok(read(&path).ok());
    }
    make(&path, entropy).map_err(|error| unusable(&path, &error))?;
    read(&path).map(Some)
}

fn read(path: &Path) -> Result<Secret, AppError> {
    let size = fs::metadata(path).map_err(|error| unusable(path, &error))?.len();
    if size > SECRET_BYTES_MAX as u64 {
        return Err(unusable(path, &format!("it has more than {SECRET_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| unusable(path, &error))?;
    Secret::new(&bytes).map_err(|error| unusable(path, &error))
}

/// Makes the file unless it is there. It has its whole content before it has its name.
fn make(path: &Path, entropy: &dyn Entropy) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let text = STANDARD.encode([entropy.bytes16(), entropy.bytes16(), entropy.bytes16()].concat());
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> AppError {
    AppError::Secret { path: path.display().to_string(), why: why.to_string() }
}
