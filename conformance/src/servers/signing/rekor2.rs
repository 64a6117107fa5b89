//! A real Rekor 2 over a folder.

use anyhow::{Context as _, Result};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::super::process::Launch;
use super::super::programs::{Programs, free_port};
use super::super::restartable::{Probe, Restartable};
use super::described_log;

/// A Rekor 2 for tests, with a key of its own.
#[derive(Debug)]
pub struct Rekor2 {
    server: Restartable,
    key: KeyPair,
    /// Dropped last, after the process.
    _folder: TempDir,
}

impl Rekor2 {
    /// Starts an empty log.
    pub fn start() -> Result<Self> {
        let program =
            Programs::from_environment().find(PROGRAM).with_context(|| format!("{PROGRAM} is not installed"))?;
        let folder = tempfile::Builder::new().prefix("bonded-rekor-").tempdir()?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem())?;
        let port = free_port()?;
        let text = "serve --signer-filepath key.pem --storage-dir log --checkpoint-interval 1s --hostname";
        let mut arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        arguments.push(ORIGIN.to_owned());
        for (option, port) in
            [("--http-port", port), ("--grpc-port", free_port()?), ("--http-metrics-port", free_port()?)]
        {
            arguments.extend([option.to_owned(), port.to_string()]);
        }
        let launch = Launch { program, arguments, folder: folder.path().to_owned(), user: None, last_signal: "KILL" };
        Ok(Self { server: Restartable::start(launch, port, PROBE)?, key, _folder: folder })
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{ORIGIN}:{}", self.server.port)
    }

    /// The log as it stands among the `tlogs` of a sigstore `TrustedRoot`.
    pub fn log(&self) -> Value {
        // C2SP signed-note: what an Ed25519 key that signs notes is called by.
        let id = Sha256::digest([ORIGIN.as_bytes(), b"\n\x01", self.key.der_bytes()].concat());
        described_log(&self.url(), &self.key.subject_public_key_info(), "PKIX_ED25519", &id)
    }
}

/// An HTTP answer, whatever it says.
const PROBE: Probe =
    Probe { say: "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", hear: "HTTP/" };

const PROGRAM: &str = "rekor-server-posix";
/// The name in checkpoints, which clients expect to be the host of its address.
const ORIGIN: &str = "127.0.0.1";
