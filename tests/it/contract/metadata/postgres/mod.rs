//! The contract on Postgres, and what is particular to it: many writers at once, and a server that goes away.

mod concurrent;
mod faults;
mod nodes;
mod schema;
mod storm;

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
