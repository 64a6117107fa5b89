//! The SDK's client: who we are, how long we wait, how often we try.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use tokio::time::Instant;

use crate::storage::s3::options::{S3Credentials, S3Options};

/// First pause before a call is tried again; it doubles each time, and chance shortens it.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Bytes a second below which a body is too slow for its call.
const BODY_RATE_MIN: u64 = 128 << 10;

/// How long credentials from files are used before the files are looked at again.
const FILES_KEPT: Duration = Duration::from_secs(10);

/// Region of a store that has none.
const REGION: &str = "us-east-1";

/// Makes the client. Nothing is asked of the store yet.
pub(super) async fn connect(options: &S3Options) -> Client {
    let region = options.region.clone().map(Region::new);
    let (builder, chain_region) = match &options.credentials {
        S3Credentials::Chain => {
            let mut loader = aws_config::defaults(BehaviorVersion::latest());
            if let Some(region) = &region {
                loader = loader.region(region.clone());
            }
            let shared = loader.load().await;
            (Builder::from(&shared), shared.region().cloned())
        }
        S3Credentials::Static { access_key, secret_key, session_token } => {
            let credentials = Credentials::new(access_key, secret_key, session_token.clone(), None, "configuration");
            (Builder::new().behavior_version(BehaviorVersion::latest()).credentials_provider(credentials), None)
        }
        S3Credentials::Files { access_key_file, secret_key_file } => {
            let builder = Builder::new()
                .behavior_version(BehaviorVersion::latest())
                // The provider keeps what it has read by itself, so that a changed file is seen soon.
                .identity_cache(IdentityCache::no_cache())
                .credentials_provider(CredentialFiles::new(access_key_file, secret_key_file, FILES_KEPT));
            (builder, None)
        }
    };
    let stalls = StalledStreamProtectionConfig::enabled()
        .upload_enabled(true)
        // Downloads are watched and taken up again by `download`.
        .download_enabled(false)
        .grace_period(options.stall_timeout)
        .build();
    let builder = match &options.endpoint {
        Some(endpoint) => builder.endpoint_url(endpoint),
        None => builder,
    };
    let retries =
        RetryConfig::standard().with_max_attempts(options.attempts_max.max(1)).with_initial_backoff(RETRY_PAUSE);
    let builder = builder
        .region(region.or(chain_region).unwrap_or(Region::from_static(REGION)))
        .force_path_style(options.path_style)
        .timeout_config(timeouts(options, 0))
        .stalled_stream_protection(stalls)
        .retry_config(retries)
        .request_checksum_calculation(if options.checksums {
            RequestChecksumCalculation::WhenSupported
        } else {
            RequestChecksumCalculation::WhenRequired
        })
        .response_checksum_validation(if options.checksums {
            ResponseChecksumValidation::WhenSupported
        } else {
            ResponseChecksumValidation::WhenRequired
        });
    Client::from_conf(builder.build())
}

/// How long one attempt at a call with a body of so many bytes may take.
pub(super) fn timeouts(options: &S3Options, body: usize) -> TimeoutConfig {
    let for_body = Duration::from_secs(body as u64 / BODY_RATE_MIN);
    TimeoutConfig::builder()
        .connect_timeout(options.connect_timeout)
        .operation_attempt_timeout(options.request_timeout + for_body)
        .build()
}

/// Credentials in two files, which somebody may exchange while we run.
#[derive(Clone, Debug)]
struct CredentialFiles {
    access_key: PathBuf,
    secret_key: PathBuf,
    kept_for: Duration,
    read: Arc<Mutex<Option<(Instant, Credentials)>>>,
}

impl CredentialFiles {
    fn new(access_key: &Path, secret_key: &Path, kept_for: Duration) -> Self {
        Self { access_key: access_key.to_owned(), secret_key: secret_key.to_owned(), kept_for, read: Arc::default() }
    }

    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let read = async |path: &Path| {
            let text = tokio::fs::read_to_string(path).await;
            let text =
                text.map_err(|error| CredentialsError::provider_error(format!("{}: {error}", path.display())))?;
            Ok::<_, CredentialsError>(text.trim().to_owned())
        };
        let (access_key, secret_key) = (read(&self.access_key).await?, read(&self.secret_key).await?);
        let credentials = Credentials::new(access_key, secret_key, None, None, "files");
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), credentials.clone()));
        Ok(credentials)
    }

    fn kept(&self) -> Option<Credentials> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.as_ref().filter(|(at, _)| at.elapsed() < self.kept_for).map(|(_, credentials)| credentials.clone())
    }
}

impl ProvideCredentials for CredentialFiles {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_follow_their_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let (access, secret) = (folder.path().join("access"), folder.path().join("secret"));
        for (kept_for, second) in [(Duration::ZERO, "two"), (Duration::MAX, "one")] {
            let files = CredentialFiles::new(&access, &secret, kept_for);
            for (name, expected) in [("one", "one"), ("two", second)] {
                std::fs::write(&access, format!("{name}\n")).expect("written");
                std::fs::write(&secret, format!(" {name}-secret\n")).expect("written");
                let read = files.credentials().await.expect("read");
                let secret = format!("{expected}-secret");
                assert_eq!((read.access_key_id(), read.secret_access_key()), (expected, secret.as_str()));
            }
        }
        std::fs::remove_file(&secret).expect("removed");
        let error = CredentialFiles::new(&access, &secret, FILES_KEPT).credentials().await.expect_err("no file");
        assert!(crate::storage::s3::error::chain(&error).contains("secret"), "{error:?}");
    }
}
