//! oras-go: a small program of this folder, built against the library that oras, helm and notation share.

use std::path::Path;

use anyhow::Result;

use super::Tool;
use crate::runner::Context;

pub(crate) async fn run(context: &Context) -> Result<()> {
    let client = build(context).await?;
    let (repo, copy) = (context.repo("oras"), context.repo("oras-copy"));
    client.run(&["exercise", context.wire.authority(), &repo, &copy]).await.map(drop)
}

/// The program, in a home of its own.
pub(super) async fn build(context: &Context) -> Result<Tool> {
    let mut go = Tool::find(context, "go")?;
    // The compiler keeps its caches in the caller's home, so that a second run builds in no time.
    go.environment.clear();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/oras-go");
    let binary = go.path("oras-client");
    let source = source.display().to_string();
    go.run(&["build", "-C", &source, "-o", &binary, "."]).await?;
    Ok(Tool { program: binary.into(), folder: go.folder, arguments: Vec::new(), environment: Vec::new() })
}
