//! How cost grows: what each call of a `MetadataStore` takes in registries of different sizes, as one table.
//!
//! `cargo bench --bench growth -- --sizes 1000,10000,100000`, `--postgres` for Postgres. It is no part of CI: the largest
//! registry has more than a million blobs. The claim it is to show: no request's time grows with the size of the registry
//! beyond a look into an index.
//!
//! Durability is relaxed, and each call waits for the one before, so that what is measured is the work of statements and
//! not that of the disk or of a queue.

mod backlog;
mod collection;
mod curve;
mod facts;
mod requests;
mod target;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;

use curve::Curve;
use facts::Shape;
use target::Target;

/// Measures how the cost of each operation grows with the registry.
#[derive(Debug, Parser)]
struct Arguments {
    /// Manifests of each registry, smallest first; each has ten blobs of its own.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    sizes: Vec<u64>,
    /// Postgres instead of SQLite.
    #[arg(long)]
    postgres: bool,
    /// How often each operation is measured.
    #[arg(long, default_value_t = 200)]
    repeat: u64,
    /// Where SQLite's files go, and stay; without it they go with the process.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// What cargo says to a bench that is to run. Without it (`cargo test --benches`) nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("nothing is measured without `cargo bench`");
        return Ok(());
    }
    let mut curve = Curve::default();
    for manifests in &arguments.sizes {
        curve.begin(*manifests);
        measure(&arguments, Shape::of(*manifests), &mut curve).await?;
    }
    println!("\n{}", curve.table());
    Ok(())
}

/// One column of the table.
async fn measure(arguments: &Arguments, shape: Shape, curve: &mut Curve) -> Result<()> {
    let target = Target::open(arguments.postgres, arguments.folder.as_deref(), shape.manifests).await?;
    let store = target.store.as_ref();
    let began = Instant::now();
    facts::load(store, shape).await?;
    let (loaded, began) = (began.elapsed(), Instant::now());
    backlog::make(store, shape).await?;
    target.settle()?;
    eprintln!(
        "{} manifests, {} blobs: loaded in {:.1} s, sessions and objects to remove in {:.1} s",
        shape.manifests,
        shape.blobs(),
        loaded.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    let began = Instant::now();
    requests::reads(store, shape, arguments.repeat, curve).await?;
    requests::writes(store, shape, arguments.repeat, curve).await?;
    collection::passes(store, curve).await?;
    eprintln!("  measured in {:.1} s", began.elapsed().as_secs_f64());
    store.close().await;
    Ok(())
}
