//! A real S3 server: versitygw over a folder.
//!
//! Buckets are folders and objects are files, so a test can also look at what is really there. Multipart uploads under
//! way stand below a folder of their own in the bucket.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::process::Launch;
use super::programs::{Programs, free_port};
use super::restartable::{Probe, Restartable};
use crate::random::Random;

/// An S3 server for tests.
#[derive(Debug)]
pub struct Versitygw {
    buckets: PathBuf,
    server: Restartable,
    /// Dropped last, after the process.
    _folder: TempDir,
}

impl Versitygw {
    /// Starts the server with no bucket.
    pub fn start() -> Result<Self> {
        let program = Programs::from_environment().find("versitygw").context("versitygw is not installed")?;
        let folder = tempfile::Builder::new().prefix("bonded-s3-").tempdir()?;
        let (buckets, sidecar) = (folder.path().join("buckets"), folder.path().join("sidecar"));
        std::fs::create_dir(&buckets)?;
        let port = free_port()?;
        let mut arguments = vec!["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION, "--keep-alive"];
        arguments.push("--quiet");
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        arguments.extend(["--port".to_owned(), format!("127.0.0.1:{port}"), "posix".to_owned()]);
        if !has_attributes(&buckets) {
            std::fs::create_dir(&sidecar)?;
            arguments.extend(["--sidecar".to_owned(), sidecar.display().to_string()]);
        }
        arguments.push(buckets.display().to_string());
        let folder_path = folder.path().to_owned();
        let launch = Launch { program, arguments, folder: folder_path, user: None, last_signal: "KILL" };
        Ok(Self { buckets, server: Restartable::start(launch, port, PROBE)?, _folder: folder })
    }

    /// The one server of this process, started by whoever asks first.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Versitygw, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow::anyhow!("the shared S3 server could not be had: {error}"))
    }

    /// `http://127.0.0.1:port`; buckets are addressed by path.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.authority())
    }

    /// `127.0.0.1:port`, for a proxy in front.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    /// The access key that may do everything.
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// Its secret.
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// The region that signatures name.
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) -> Result<()> {
        std::fs::create_dir(self.buckets.join(name)).with_context(|| format!("the bucket {name} could not be made"))
    }

    /// Makes a bucket under a name that begins with `prefix` and is not taken; gives the name.
    pub fn create_any_bucket(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{}", Random::new(Random::any_seed()).word());
        self.create_bucket(&name)?;
        Ok(name)
    }

    /// The folder that is a bucket.
    pub fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.buckets.join(bucket)
    }

    /// The keys of the objects in a bucket, in order, as the disk has them.
    pub fn objects(&self, bucket: &str) -> Result<Vec<String>> {
        let folder = self.bucket_folder(bucket);
        let mut keys = Vec::new();
        collect_files(&folder, &folder, &mut keys)?;
        keys.retain(|key| !key.starts_with(TEMPORARY));
        keys.sort_unstable();
        Ok(keys)
    }

    /// The multipart uploads under way in a bucket: how many folders of parts there are.
    pub fn uploads(&self, bucket: &str) -> Result<usize> {
        let folder = self.bucket_folder(bucket).join(TEMPORARY).join("multipart");
        let mut count = 0;
        // One folder for each key, in it one for each upload.
        for key in subfolders(&folder)? {
            count += subfolders(&key)?.len();
        }
        Ok(count)
    }

    /// Kills the server and starts it again on the same port and buckets.
    pub fn restart(&self) -> Result<()> {
        self.server.restart()
    }

    /// Kills the server; [`Self::restart`] starts it again.
    pub fn stop(&self) -> Result<()> {
        self.server.stop()
    }
}

/// An HTTP answer, whatever it says.
const PROBE: Probe = Probe { say: "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", hear: "HTTP/" };

/// Whether files in this folder can have extended attributes, where versitygw keeps what it knows of an object.
fn has_attributes(folder: &Path) -> bool {
    rustix::fs::setxattr(folder, "user.bonded-probe", b"1", rustix::fs::XattrFlags::empty()).is_ok()
}

fn collect_files(root: &Path, folder: &Path, keys: &mut Vec<String>) -> Result<()> {
    for entry in entries(folder)? {
        if entry.is_dir() {
            collect_files(root, &entry, keys)?;
        } else {
            keys.push(entry.strip_prefix(root)?.display().to_string());
        }
    }
    Ok(())
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What stands in a folder; nothing when the folder is not there, as another request may be removing it.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

const ACCESS_KEY: &str = "conformance";
const SECRET_KEY: &str = "conformance-secret";
const REGION: &str = "us-east-1";
/// Where versitygw keeps what is not yet an object.
const TEMPORARY: &str = ".sgwtmp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_port_over_restarts_and_goes_with_its_folder() {
        let server = Versitygw::start().unwrap();
        server.create_bucket("first").unwrap();
        let port = server.server.port;
        server.stop().unwrap();
        assert!(PROBE.answers(port).is_err());
        server.restart().unwrap();
        assert!(PROBE.answers(port).unwrap());
        assert_eq!((server.objects("first").unwrap(), server.uploads("first").unwrap()), (Vec::new(), 0));
        let folder = server.server.launch.folder.clone();
        drop(server);
        assert!(!folder.exists() && PROBE.answers(port).is_err());
    }
}
