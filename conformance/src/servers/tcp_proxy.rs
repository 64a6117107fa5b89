//! A proxy for any protocol over TCP, whose connections can be cut, stalled and refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::forward::Listening;

/// A proxy in front of a server.
#[derive(Debug)]
pub struct TcpProxy {
    listening: Listening,
    state: watch::Sender<State>,
    accepted: Arc<AtomicU64>,
}

/// What connections are to do; they live as long as `generation` stays the same.
#[derive(Clone, Debug, Default)]
struct State {
    generation: u64,
    refuse: bool,
    stall: bool,
    delay: Duration,
}

impl TcpProxy {
    /// Listens on a free loopback port; `upstream` is `host:port`.
    pub fn start(upstream: &str) -> Result<Self> {
        let (upstream, accepted) = (upstream.to_owned(), Arc::new(AtomicU64::new(0)));
        let (state, watched) = watch::channel(State::default());
        let counted = Arc::clone(&accepted);
        let listening = Listening::start(move |stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            pass(stream, upstream.clone(), watched.clone())
        })?;
        Ok(Self { listening, state, accepted })
    }

    /// `127.0.0.1:port`.
    pub fn authority(&self) -> String {
        self.listening.authority()
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Cuts all connections, whatever is under way on them; new ones are taken.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Whether new connections are closed as soon as they come.
    pub fn refuse(&self, refuse: bool) {
        self.state.send_modify(|state| state.refuse = refuse);
    }

    /// Whether bytes stay in the proxy, both ways, as behind a network that has lost its route.
    pub fn stall(&self, stall: bool) {
        self.state.send_modify(|state| state.stall = stall);
    }

    /// How long each piece of bytes is held back, both ways.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }
}

async fn pass(client: TcpStream, upstream: String, mut state: watch::Receiver<State>) {
    let born = state.borrow_and_update().clone();
    if born.refuse {
        return;
    }
    let Ok(server) = TcpStream::connect(&upstream).await else { return };
    if server.set_nodelay(true).is_err() {
        return;
    }
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    let (up, down) = (copy(client_in, server_out, state.clone()), copy(server_in, client_out, state.clone()));
    tokio::select! {
        // Each direction ends on its own, as a half-closed connection does.
        _ = async { tokio::join!(up, down) } => {}
        // An error here means that the proxy itself ends.
        _ = state.wait_for(|now| now.generation != born.generation) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut piece = vec![0_u8; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let delay = match state.wait_for(|now| !now.stall).await {
            Ok(now) => now.delay,
            Err(_) => return,
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown().await;
}

const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Listening {
        let serve = |mut stream: TcpStream| async move {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        };
        Listening::start(serve).unwrap()
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_u8(7).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn connections_are_passed_on_cut_and_refused() {
        let server = echo();
        let proxy = TcpProxy::start(&server.authority()).unwrap();
        let mut first = TcpStream::connect(proxy.authority()).await.unwrap();
        assert_eq!(ask(&mut first).await.unwrap(), 7);
        proxy.cut();
        assert!(first.read_u8().await.is_err());
        let mut second = TcpStream::connect(proxy.authority()).await.unwrap();
        assert_eq!(ask(&mut second).await.unwrap(), 7);
        proxy.refuse(true);
        let mut third = TcpStream::connect(proxy.authority()).await.unwrap();
        assert!(ask(&mut third).await.is_err());
        assert_eq!(ask(&mut second).await.unwrap(), 7);
        assert_eq!(proxy.accepted(), 3);
    }

    #[tokio::test]
    async fn a_stalled_connection_goes_on_later() {
        let server = echo();
        let proxy = TcpProxy::start(&server.authority()).unwrap();
        let mut stream = TcpStream::connect(proxy.authority()).await.unwrap();
        proxy.stall(true);
        let early = tokio::time::timeout(Duration::from_millis(50), ask(&mut stream)).await;
        assert!(early.is_err());
        proxy.stall(false);
        assert_eq!(stream.read_u8().await.unwrap(), 7);
    }
}
