//! A real Redis server that keeps nothing on disk.

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::process::Launch;
use super::programs::{Programs, free_port};
use super::restartable::{Probe, Restartable};

/// A Redis server for tests.
#[derive(Debug)]
pub struct Redis {
    server: Restartable,
    /// Dropped last, after the process.
    _folder: TempDir,
}

impl Redis {
    /// Starts an empty server, which asks for [`password`](Self::password).
    pub fn start() -> Result<Self> {
        let program = Programs::from_environment().find("redis-server").context("redis-server is not installed")?;
        let folder = tempfile::Builder::new().prefix("bonded-redis-").tempdir()?;
        let port = free_port()?;
        let arguments = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--requirepass",
            PASSWORD,
        ];
        let arguments = arguments.map(str::to_owned).to_vec();
        let launch = Launch { program, arguments, folder: folder.path().to_owned(), user: None, last_signal: "KILL" };
        Ok(Self { server: Restartable::start(launch, port, PROBE)?, _folder: folder })
    }

    /// `redis://:password@127.0.0.1:port/0`.
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.server.port)
    }

    /// What clients have to show.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Kills the server and starts it again, empty, on the same port.
    pub fn restart(&self) -> Result<()> {
        self.server.restart()
    }

    /// Kills the server; [`Self::restart`] starts it again.
    pub fn stop(&self) -> Result<()> {
        self.server.stop()
    }
}

/// Without the password the answer is that there must be one.
const PROBE: Probe = Probe { say: "PING\r\n", hear: "-NOAUTH" };

const PASSWORD: &str = "conformance-secret";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_port_over_restarts_and_goes_with_its_folder() {
        let server = Redis::start().unwrap();
        let port = server.server.port;
        server.stop().unwrap();
        assert!(PROBE.answers(port).is_err());
        server.restart().unwrap();
        assert!(PROBE.answers(port).unwrap());
        let folder = server.server.launch.folder.clone();
        drop(server);
        assert!(!folder.exists() && PROBE.answers(port).is_err());
    }
}
