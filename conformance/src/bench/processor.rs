//! What a request costs the server: time on a processor, whatever the machine does meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use super::client::Connection;
use crate::server::Server;

/// Microseconds of processor time that the server takes for one of many equal requests, which are all answered with 200.
pub(super) async fn micros_each(server: &Server, request: &str, connections: u32, requests: u32) -> Result<f64> {
    ask(server, request, connections, connections * 20).await?;
    let before = nanos(server.pid()?)?;
    ask(server, request, connections, requests).await?;
    let spent = nanos(server.pid()?)?.saturating_sub(before);
    Ok(Duration::from_nanos(spent).as_secs_f64() * 1e6 / f64::from(requests))
}

async fn ask(server: &Server, request: &str, connections: u32, requests: u32) -> Result<()> {
    let authority = server.url().replacen("http://", "", 1);
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (request, mut connection) = (request.to_owned(), Connection::new(&authority));
        clients.spawn(async move {
            for _ in 0..requests / connections {
                let answer = connection.exchange(false, &[request.as_bytes()]).await?;
                ensure!(answer.status == 200, "the manifest came with {}", answer.status);
            }
            Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// Time that all threads of a process have spent on a processor (first field of `schedstat`).
fn nanos(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).context("schedstat")?;
    }
    Ok(sum)
}
