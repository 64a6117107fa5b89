//! A bucket of a real S3 server, reached through a proxy that counts calls and injects faults.

use std::time::Duration;

use bonded::storage::s3::{S3Credentials, S3Options};
use conformance::servers::{FaultProxy, Versitygw};

/// A bucket of its own on the server that all tests share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) proxy: FaultProxy,
    bucket: String,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let server = server();
        let bucket = server.create_any_bucket("bonded").expect("a bucket");
        let proxy = FaultProxy::start(&server.endpoint(), 7).expect("a proxy");
        Self { proxy, bucket }
    }

    /// Options that reach the bucket through the proxy, with little patience.
    pub(crate) fn options(&self) -> S3Options {
        let server = server();
        S3Options {
            endpoint: Some(self.proxy.endpoint()),
            path_style: true,
            region: Some(server.region().to_owned()),
            credentials: S3Credentials::Static {
                access_key: server.access_key().to_owned(),
                secret_key: server.secret_key().to_owned(),
                session_token: None,
            },
            request_timeout: Duration::from_secs(10),
            attempts_max: 3,
            ..S3Options::new(self.bucket.clone())
        }
    }

    /// Keys of finished objects, as the disk has them.
    pub(crate) fn objects(&self) -> Vec<String> {
        server().objects(&self.bucket).expect("a list")
    }

    /// How many multipart uploads are unfinished.
    pub(crate) fn uploads(&self) -> usize {
        server().uploads(&self.bucket).expect("a count")
    }
}

fn server() -> &'static Versitygw {
    Versitygw::shared().expect("versitygw is installed (`.ci/run` does so)")
}
