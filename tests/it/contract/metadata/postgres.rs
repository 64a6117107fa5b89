//! The contract on Postgres.

use bonded::metadata::MetadataStore;
use bonded::metadata::postgres::PostgresStore;

use crate::postgres::Database;

struct Opened {
    store: PostgresStore,
    _database: Database,
}

impl Opened {
    fn store(&self) -> &dyn MetadataStore {
        &self.store
    }
}

async fn open() -> Opened {
    let database = Database::migrated();
    Opened { store: database.open().await, _database: database }
}

super::contract!(super::open);
