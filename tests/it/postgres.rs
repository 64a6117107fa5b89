//! A migrated database of its own for each test, in the one Postgres cluster of the test process.

use std::sync::OnceLock;

use bonded::metadata::postgres::{MIGRATIONS, PostgresOptions, PostgresStore};
use bonded::metadata::{MetadataStore, Result};
use bonded::oci::digest::{Algorithm, Digest};
use conformance::random::Random;
use conformance::servers::PostgresCluster;

/// A database that goes with the value.
#[derive(Debug)]
pub(crate) struct Database {
    name: String,
    url: String,
}

impl Database {
    /// With the schema of this program.
    pub(crate) fn migrated() -> Self {
        Self::create(Some(template()))
    }

    /// Without anything.
    pub(crate) fn empty() -> Self {
        Self::create(None)
    }

    fn create(template: Option<&str>) -> Self {
        let name = format!("bonded_{}", Random::new(Random::any_seed()).word());
        let url = cluster().create_database(&name, template).expect("a database");
        Self { name, url }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Options for a store of few connections, since many tests run at once.
    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions { connections_max: 4, ..PostgresOptions::new(&self.url) }
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.options()).await.expect("a store")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = cluster().drop_database(&self.name) {
            eprintln!("{} stays: {error:#}", self.name);
        }
    }
}

pub(crate) fn cluster() -> &'static PostgresCluster {
    PostgresCluster::shared().expect("a Postgres server")
}

/// The name of a migrated database that is only copied. It is made once for a server and this schema, and whole before it
/// has its name, so that several test processes may share the server.
fn template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let texts: String = MIGRATIONS.iter().map(|(_, _, text)| *text).collect();
        let name = format!("bonded_template_{}", &Digest::of(Algorithm::Sha256, texts.as_bytes()).hex()[..16]);
        let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        if cluster().sql("postgres", &count).expect("a count") != "0" {
            return name;
        }
        let Database { name: draft, url } = &*std::mem::ManuallyDrop::new(Database::empty());
        migrate(url).expect("a migrated database");
        let renamed = cluster().sql("postgres", &format!("ALTER DATABASE {draft} RENAME TO {name}"));
        if renamed.is_err() {
            // Another test process was quicker.
            cluster().drop_database(draft).expect("an end of the draft");
        }
        name
    })
}

/// Tests run on runtimes of their own, and whoever needs the template first may be on any of them.
fn migrate(url: &str) -> Result<()> {
    std::thread::scope(|scope| {
        let migrated = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                PostgresStore::open(&PostgresOptions::new(url)).await?.close().await;
                Ok(())
            })
        });
        migrated.join().expect("a thread")
    })
}
