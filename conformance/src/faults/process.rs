//! The process as its operator sees it: it ends gracefully, refuses to start where it cannot, and heals damage.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use conformance::servers::free_port;
use tokio::process::Command;
use tokio::time::{Duration, timeout};

use crate::content::Blob;
use crate::deployment::Stores;
use crate::raw::Connection;
use crate::runner::Context;
use crate::scenarios::push::{self, OCTETS, Way, blob_path};
use crate::server::Server;
use crate::wire::{Wire, with_query};

/// SIGTERM in the middle of an upload: the upload is finished and acknowledged, then the process ends with 0.
pub(crate) async fn graceful_stop(context: &Context) -> Result<()> {
    let mut server = context.start_server("").await?;
    let wire = Wire::new(&server.url())?;
    let blob = Blob::random(&context.random, 1 << 20);
    let location = push::begin(&wire, "stop/a").await?;
    let target = with_query(&location, &format!("digest={}", blob.digest));
    let authority = wire.authority();
    let mut connection = Connection::open(authority).await?;
    let head = format!(
        "PUT {target} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {OCTETS}\r\nContent-Length: {}\r\n\r\n",
        blob.len()
    );
    connection.send(head).await?;
    connection.send(&blob.bytes[..1000]).await?;
    // The answer to another request shows that the server is past accepting the upload.
    wire.get("/v2/").expect(200).await?;
    let finish = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        connection.send(&blob.bytes[1000..]).await?;
        connection.head().await
    };
    let (stopped, head) = tokio::join!(server.stop(), finish);
    let head = head.context("the upload was cut off")?;
    ensure!(head.status == 201, "the upload was answered by {}", head.text);
    let status = stopped?;
    ensure!(status.success(), "after SIGTERM the process ended with {status}");
    server.restart().await?;
    push::read_back(&wire, "stop/a", &blob).await?;
    server.stop().await?;
    Ok(())
}

/// What cannot be served is refused with one sentence and exit status 2.
pub(crate) async fn refused_starts(context: &Context) -> Result<()> {
    let binary = context.binary()?;
    let server = Server::start_on(binary, &context.environment, "", Stores::Folder).await?;
    let folder = tempfile::tempdir()?;
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "no_such_key = 1\n")?;
    let unwritable = folder.path().join("file/data");
    std::fs::write(folder.path().join("file"), "not a folder")?;
    let (own, free) = (server.url().replacen("http://", "", 1), format!("127.0.0.1:{}", free_port()?));
    let elsewhere = folder.path().join("data");
    let data = server.data();
    let cases: [(&str, Vec<&str>); 5] = [
        ("a folder in use", vec!["--listen", &free, "--data", text(&data)?]),
        ("a port in use", vec!["--listen", &own, "--data", text(&elsewhere)?]),
        ("a broken configuration", vec!["--config", text(&broken)?, "--data", text(&elsewhere)?]),
        ("no configuration where one is named", vec!["--config", "none.toml", "--data", text(&elsewhere)?]),
        ("a folder that cannot be", vec!["--listen", &free, "--data", text(&unwritable)?]),
    ];
    for (what, arguments) in cases {
        let mut command = Command::new(binary);
        for name in &context.environment.server_variables {
            command.env_remove(name);
        }
        command.arg("serve").args(&arguments).current_dir(folder.path()).kill_on_drop(true);
        let output = timeout(Duration::from_secs(20), command.output()).await;
        let output = output.with_context(|| format!("{what}: the server runs all the same"))??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{what}: ended with {}: {said}", output.status);
        ensure!(!said.contains("panicked") && !said.trim().is_empty(), "{what}: said {said:?}");
    }
    Wire::new(&server.url())?.get("/v2/").expect(200).await?;
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// A blob whose file is gone is an error, never wrong bytes; a pusher is told to push again, and that heals it.
pub(crate) async fn damage_heals(context: &Context) -> Result<()> {
    const SIZE: usize = 3_333_333;
    let mut server = context.start_server("").await?;
    let wire = Wire::new(&server.url())?;
    let blob = Blob::random(&context.random, SIZE);
    push::push(&wire, "damage/a", &blob, Way::PostPut).await?;
    let file = find_file(&server.bytes_folder(), SIZE as u64)?.context("no file has the blob's size")?;
    std::fs::remove_file(&file)?;
    ensure!(server.fsck().await.is_err(), "fsck does not find that a file is gone");
    let path = blob_path("damage/a", &blob.digest);
    wire.get(&path).expect_error(503, "BLOB_UNKNOWN").await?;
    wire.head(&path).expect(404).await?;
    push::push(&wire, "damage/a", &blob, Way::PostPut).await?;
    push::read_back(&wire, "damage/a", &blob).await?;
    server.stop().await?;
    server.fsck().await
}

pub(super) fn find_file(folder: &Path, size: u64) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            if let Some(found) = find_file(&entry.path(), size)? {
                return Ok(Some(found));
            }
        } else if metadata.len() == size {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
