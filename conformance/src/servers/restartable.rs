//! A server on a port of its own that can be killed and started again there.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::process::{Launch, Process};

/// How to see that a server answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// What is sent to it.
    pub(super) say: &'static str,
    /// How its answer begins.
    pub(super) hear: &'static str,
}

impl Probe {
    /// Whether the server on a port answers so.
    pub(super) fn answers(self, port: u16) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(self.say.as_bytes())?;
        let mut begin = vec![0_u8; self.hear.len()];
        stream.read_exact(&mut begin)?;
        Ok(begin == self.hear.as_bytes())
    }
}

/// The process, while there is one.
#[derive(Debug)]
pub(super) struct Restartable {
    pub(super) port: u16,
    pub(super) launch: Launch,
    probe: Probe,
    process: Mutex<Option<Process>>,
}

impl Restartable {
    /// Starts the server and waits until it answers.
    pub(super) fn start(launch: Launch, port: u16, probe: Probe) -> Result<Self> {
        let server = Self { port, launch, probe, process: Mutex::new(None) };
        server.restart()?;
        Ok(server)
    }

    /// Kills the server, if it runs, and starts it again on the same port.
    pub(super) fn restart(&self) -> Result<()> {
        self.stop()?;
        let mut process = Process::start(&self.launch)?;
        process.wait_until(|| self.probe.answers(self.port).unwrap_or(false))?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    /// Kills the server; [`Self::restart`] starts it again.
    pub(super) fn stop(&self) -> Result<()> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.map_or(Ok(()), |process| process.end("KILL").map(drop))
    }
}
