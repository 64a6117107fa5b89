//! HTTP/1.1 written by hand over a socket, for what a client library would never send.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest head of an answer.
const HEAD_MAX: usize = 64 << 10;

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// Status line and headers of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    /// Status code.
    pub(crate) status: u16,
    /// The head as it came.
    pub(crate) text: String,
}

impl Head {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(authority: &str) -> Result<Self> {
        let stream = TcpStream::connect(authority).await.with_context(|| format!("no connection to {authority}"))?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads the next head.
    pub(crate) async fn head(&mut self) -> Result<Head> {
        loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                let text = String::from_utf8(std::mem::replace(&mut self.read, rest))?;
                let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
                let status = status.with_context(|| format!("not a status line: {text:?}"))?;
                return Ok(Head { status, text });
            }
            ensure!(self.read.len() < HEAD_MAX, "the head of the answer does not end");
            self.fill().await?;
        }
    }

    /// Reads exactly this many bytes of a body.
    pub(crate) async fn body(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.read.len() < length {
            self.fill().await?;
        }
        let rest = self.read.split_off(length);
        Ok(std::mem::replace(&mut self.read, rest))
    }

    async fn fill(&mut self) -> Result<()> {
        let mut piece = vec![0_u8; 16 << 10];
        match timeout(PATIENCE, self.stream.read(&mut piece)).await {
            Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
            Ok(Ok(0)) => bail!("the connection ended after {:?}", String::from_utf8_lossy(&self.read)),
            Ok(Ok(length)) => self.read.extend_from_slice(&piece[..length]),
            Ok(Err(error)) => return Err(error.into()),
        }
        Ok(())
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
