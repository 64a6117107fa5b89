//! What is driven: one node with a folder of its own, or several nodes on one Postgres and one S3 server, behind a proxy
//! that sends each request to the next of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use conformance::servers::{PostgresCluster, PostgresOptions, RoundRobinProxy, Versitygw};

use crate::cli::Environment;
use crate::server::Server;

/// The servers that nodes share.
pub(crate) struct Backends {
    /// The facts.
    pub(crate) postgres: PostgresCluster,
    /// The bytes.
    pub(crate) s3: Versitygw,
}

impl Backends {
    /// Starts both.
    pub(crate) fn start() -> Result<Arc<Self>> {
        // Scenarios kill servers and expect to find what was acknowledged, so commits are real.
        let options = PostgresOptions { fsync: true, ..PostgresOptions::default() };
        Ok(Arc::new(Self { postgres: PostgresCluster::start(&options)?, s3: Versitygw::start()? }))
    }
}

/// Where a node keeps facts and bytes.
#[derive(Clone)]
pub(crate) enum Stores {
    /// In a folder of its own.
    Folder,
    /// In a database and a bucket.
    Shared(SharedStores),
}

/// A database and a bucket that belong together.
#[derive(Clone)]
pub(crate) struct SharedStores {
    backends: Arc<Backends>,
    /// Address of the database.
    pub(crate) database: String,
    /// Address of the S3 server.
    pub(crate) endpoint: String,
    /// Name of the bucket.
    pub(crate) bucket: String,
}

impl SharedStores {
    /// Creates an empty database and an empty bucket.
    pub(crate) fn create(backends: &Arc<Backends>) -> Result<Self> {
        let database = backends.postgres.create_any_database("bonded", None)?;
        let bucket = backends.s3.create_any_bucket("bonded")?;
        Ok(Self { backends: Arc::clone(backends), database, endpoint: backends.s3.endpoint(), bucket })
    }

    /// The servers behind.
    pub(crate) fn backends(&self) -> Arc<Backends> {
        Arc::clone(&self.backends)
    }

    /// Name of the database.
    pub(crate) fn database_name(&self) -> &str {
        self.database.rsplit('/').next().unwrap_or_default()
    }

    /// The same stores, seen through proxies at these authorities.
    pub(crate) fn through(&self, postgres: &str, s3: &str) -> Self {
        let database = self.database.replacen(self.backends.postgres.authority(), postgres, 1);
        Self { database, endpoint: format!("http://{s3}"), ..self.clone() }
    }

    /// The configuration (TOML) that leads a node here, with `config` for everything else. The keys of S3 are written into
    /// `folder`.
    pub(crate) fn config(&self, folder: &Path, config: &str) -> Result<String> {
        let s3 = &self.backends.s3;
        let (access, secret) = (folder.join("access-key"), folder.join("secret-key"));
        std::fs::write(&access, s3.access_key())?;
        std::fs::write(&secret, s3.secret_key())?;
        let mut text = format!("database = \"{}\"\nstorage.s3.path_style = true\n", self.database);
        let rows = [
            ("bucket", self.bucket.as_str()),
            ("region", s3.region()),
            ("endpoint", &self.endpoint),
            ("access_key_file", &access.display().to_string()),
            ("secret_key_file", &secret.display().to_string()),
        ];
        for (key, value) in rows {
            writeln!(text, "storage.s3.{key} = \"{value}\"")?;
        }
        text.push_str(config);
        Ok(text)
    }

    /// The folder that is the bucket.
    pub(crate) fn bucket_folder(&self) -> PathBuf {
        self.backends.s3.bucket_folder(&self.bucket)
    }
}

/// How new nodes are set up.
#[derive(Clone)]
pub(crate) enum Setup {
    /// One node with a folder.
    Single,
    /// So many nodes on the same stores.
    Topology(Arc<Backends>, usize),
}

impl Setup {
    /// Empty stores for one more registry.
    pub(crate) fn stores(&self) -> Result<Stores> {
        match self {
            Self::Single => Ok(Stores::Folder),
            Self::Topology(backends, _) => Ok(Stores::Shared(SharedStores::create(backends)?)),
        }
    }

    fn nodes(&self) -> usize {
        match self {
            Self::Single => 1,
            Self::Topology(_, nodes) => *nodes,
        }
    }
}

/// A running registry: its nodes, and what stands before them.
pub(crate) struct Deployment {
    /// At least one.
    nodes: Vec<Server>,
    /// Where more than one node is.
    proxy: Option<RoundRobinProxy>,
}

impl Deployment {
    /// Starts a registry with empty stores.
    pub(crate) async fn start(setup: &Setup, binary: &Path, environment: &Environment, config: &str) -> Result<Self> {
        let stores = setup.stores()?;
        let mut nodes = Vec::new();
        for _ in 0..setup.nodes() {
            nodes.push(Server::start_on(binary, environment, config, stores.clone()).await?);
        }
        let urls: Vec<String> = nodes.iter().map(Server::url).collect();
        let proxy = (urls.len() > 1).then(|| RoundRobinProxy::start(&urls)).transpose()?;
        Ok(Self { nodes, proxy })
    }

    /// Where clients go.
    pub(crate) fn url(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.first().url(), RoundRobinProxy::url)
    }

    /// The first node.
    pub(crate) fn first(&self) -> &Server {
        self.nodes.first().expect("a registry has at least one node")
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// How many requests each node got from the proxy, if there is one.
    pub(crate) fn requests(&self) -> Option<Vec<usize>> {
        self.proxy.as_ref().map(RoundRobinProxy::counts)
    }

    /// Ends all nodes in order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            node.stop().await.with_context(|| format!("node {at}"))?;
        }
        Ok(())
    }

    /// The end of what each node printed.
    pub(crate) fn log_tail(&self) -> String {
        let tails = self.nodes.iter().enumerate().map(|(at, node)| format!("node {at}:\n{}", node.log_tail()));
        tails.collect::<Vec<_>>().join("\n")
    }
}
