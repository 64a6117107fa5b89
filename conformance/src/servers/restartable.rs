//! A server on a port of its own that can be killed and started again there.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::process::{Launch, Process};

/// Whether the server on a port answers.
pub(super) type Answers = fn(u16) -> std::io::Result<bool>;

/// The process, while there is one.
#[derive(Debug)]
pub(super) struct Restartable {
    pub(super) port: u16,
    pub(super) launch: Launch,
    answers: Answers,
    process: Mutex<Option<Process>>,
}

impl Restartable {
    /// Starts the server and waits until it answers.
    pub(super) fn start(launch: Launch, port: u16, answers: Answers) -> Result<Self> {
        let server = Self { port, launch, answers, process: Mutex::new(None) };
        server.restart()?;
        Ok(server)
    }

    /// Kills the server, if it runs, and starts it again on the same port.
    pub(super) fn restart(&self) -> Result<()> {
        self.stop()?;
        let mut process = Process::start(&self.launch)?;
        process.wait_until(|| (self.answers)(self.port).unwrap_or(false))?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    /// Kills the server; [`Self::restart`] starts it again.
    pub(super) fn stop(&self) -> Result<()> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.map_or(Ok(()), |process| process.end("KILL").map(drop))
    }
}
