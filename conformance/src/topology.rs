//! `conformance topology`: the production set-up on loopback, to look at and to play with.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Environment, TopologyArgs};
use crate::deployment::{Backends, Deployment, Setup, Stores};
use crate::server::Server;

/// Starts everything, says where it is, and ends everything on SIGINT or SIGTERM.
pub(crate) async fn run(args: &TopologyArgs, environment: &Environment) -> Result<bool> {
    let binary = args.server.clone().map_or_else(Server::default_binary, Ok)?;
    // Taken before anything runs, so that nothing is left behind by an early one.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let setup = Setup::Topology(Backends::start()?, args.nodes.into());
    let mut deployment = Deployment::start(&setup, &binary, environment, &args.config).await?;
    print(&deployment);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("\nstopping");
    deployment.stop().await?;
    Ok(true)
}

fn print(deployment: &Deployment) {
    let url = deployment.url();
    let authority = url.trim_start_matches("http://");
    println!("registry    {url}   each request goes to the next node");
    for (at, node) in deployment.nodes().iter().enumerate() {
        println!("node {at}      {}   configuration {}", node.url(), node.config_file().display());
    }
    if let Stores::Shared(stores) = deployment.first().stores() {
        println!("Postgres    {}", stores.database);
        println!("S3          {}/{}", stores.endpoint, stores.bucket);
        println!("bucket      {}", stores.bucket_folder().display());
    }
    let config = deployment.first().config_file();
    println!(
        "\nTry:\n  crane copy --insecure debian:12 {authority}/demo/debian:12\n  \
         echo hello >hello.txt && oras push --plain-http {authority}/demo/hello:v1 hello.txt:text/plain\n  \
         curl {url}/v2/_catalog\n  curl {}/health/ready\n  bonded fsck --rehash --config {}\n\n\
         Ctrl-C ends it all and removes what was stored.",
        deployment.first().url(),
        config.display()
    );
}
