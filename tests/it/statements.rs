//! The SQL as text: it prepares, it uses its indexes, and the migrations built in are those in the folder.

use std::collections::BTreeMap;
use std::path::Path;

use bonded::metadata::MetadataError;
use bonded::metadata::MetadataStore;
use bonded::metadata::dump::{Kind, SCHEMA, TABLES};
use bonded::metadata::postgres::{self, PLANNING};
use bonded::metadata::sql::{STATEMENTS, Statement};
use bonded::metadata::sqlite::{MIGRATIONS, SqliteOptions, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};
use tempfile::TempDir;

use crate::postgres::Database as PostgresDatabase;

/// Statements that may read a whole table, because they ask about all of it.
const WHOLE_TABLE: &[&str] = &[
    "checks::LOST_BLOBS",
    "checks::LOST_CHILDREN",
    "checks::LOST_TAGS",
    "checks::FOREIGN_KEYS",
    "checks::COUNT_DELETIONS",
    "checks::COUNT_GARBAGE",
    "garbage::USAGE_OF_ALL",
    "checks::COUNT_UPLOADS",
    "dump::INSTANCE",
    "dump::COPY_BEGIN",
    "dump::COPY_END",
    "dump::SERVE_COPY",
    "dump::DOOM_BLOBS",
    "dump::DOOM_UPLOADS",
    "dump::CLEAR_UPLOADS",
    "dump::UNDOOM_BLOBS",
    "dump::UNSIGN",
];

/// The same of tables that are emptied or whose last id is asked for.
const WHOLE_TABLES: &[&str] = &["facts::clear_", "facts::sequence_"];

fn reads_a_whole_table(name: &str) -> bool {
    WHOLE_TABLE.contains(&name) || WHOLE_TABLES.iter().any(|begin| name.starts_with(begin))
}

/// On Postgres, statements of which a part may read a small table at once instead of asking its index for each row; the
/// planner decides by how large it is.
const BY_SIZE: &[&str] = &["collect::PICK_MANIFESTS", "collect::GARBAGE_BLOBS", "checks::KNOWN_KEYS", "checks::PING"];

/// Beginnings of the names of statements that may read all rows of a repository, because they end it or are about all of
/// it.
const WHOLE_REPOSITORY: &[&str] = &[
    "repositories::",
    "tags::EVENTS_OF_REPOSITORY",
    "garbage::USAGE",
    "limits::USAGE",
    "trust::FORGET_VERDICTS",
    "facts::insert_repositories",
];

/// SQLite plans a look for rows whose foreign key was broken so far into an insert, and takes it only while there are any
/// in the transaction, which there never are. Where there is no index for it, it is this step.
const FOREIGN_KEYS: &[(&str, &str)] =
    &[("repositories::INSERT", "SCAN uploads"), ("facts::insert_repositories", "SCAN uploads")];

struct Database {
    _folder: TempDir,
    options: SqliteOptions,
}

impl Database {
    async fn migrated() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteOptions::new(folder.path().join("bonded.db"));
        SqliteStore::open(&options).await.expect("a store").close().await;
        Self { _folder: folder, options }
    }

    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(&self.options.path).connect().await.expect("a connection")
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.connect().await).await.expect(sql);
    }
}

/// Name and text of every statement that a database needs.
fn statements(text: fn(&Statement) -> &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = STATEMENTS.iter().copied().flatten();
    all.map(move |statement| (statement.name, text(statement))).filter(|(_, text)| !text.is_empty())
}

#[tokio::test]
async fn every_statement_prepares() {
    let database = Database::migrated().await;
    let mut conn = database.connect().await;
    for (name, sql) in statements(|statement| statement.sqlite) {
        let prepared = conn.prepare(sqlx::SqlSafeStr::into_sql_str(sql)).await;
        assert!(prepared.is_ok(), "{name}: {:?}\n{sql}", prepared.err());
    }
}

#[tokio::test]
async fn every_statement_prepares_on_postgres() {
    let database = PostgresDatabase::migrated();
    let mut conn = PgConnection::connect(database.url()).await.expect("a connection");
    for (name, sql) in statements(|statement| statement.postgres) {
        let prepared = conn.prepare(sqlx::SqlSafeStr::into_sql_str(sql)).await;
        assert!(prepared.is_ok(), "{name}: {:?}\n{sql}", prepared.err());
    }
}

/// Every way to read a table must go by a condition on an index. A planner that may not read a table from end to end shows
/// whether there is an index, however few rows there are.
#[tokio::test]
async fn statements_find_their_rows_by_index_on_postgres() {
    let database = PostgresDatabase::migrated();
    let mut conn = PgConnection::connect(database.url()).await.expect("a connection");
    let settings = PLANNING.into_iter().chain([("plan_cache_mode", "force_generic_plan")]);
    for (name, value) in settings {
        conn.execute(AssertSqlSafe(format!("SET {name} = {value}"))).await.expect("a setting");
    }
    let mut findings = Vec::new();
    for (at, (name, sql)) in statements(|statement| statement.postgres).enumerate() {
        if reads_a_whole_table(name) || BY_SIZE.contains(&name) {
            continue;
        }
        let parameters = (1..20).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0);
        let nulls = if parameters == 0 { String::new() } else { format!("({})", vec!["NULL"; parameters].join(",")) };
        // The texts are our own constants between fixed words.
        conn.execute(AssertSqlSafe(format!("PREPARE s{at} AS {sql}"))).await.expect(name);
        let plan = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN EXECUTE s{at}{nulls}")));
        let lines: Vec<String> = plan.fetch_all(&mut conn).await.expect(name);
        for (line, text) in lines.iter().enumerate() {
            let by_index = text.contains("Index Scan") || text.contains("Index Only Scan");
            let conditional = lines.get(line + 1).is_some_and(|next| next.trim_start().starts_with("Index Cond"));
            let found = !text.contains("Seq Scan") && (!by_index || conditional);
            if !found {
                findings.push(format!("{name}: {text}\n{}\n{sql}", lines.join("\n")));
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
}

#[tokio::test]
async fn statements_find_their_rows_by_index() {
    let database = Database::migrated().await;
    let mut conn = database.connect().await;
    for (name, sql) in statements(|statement| statement.sqlite).filter(|(name, _)| !reads_a_whole_table(name)) {
        // The text is one of our own constants behind a fixed prefix.
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        let steps: Vec<String> =
            plan.fetch_all(&mut conn).await.expect(name).iter().map(|row| row.get("detail")).collect();
        for step in &steps {
            let scans = step.starts_with("SCAN") && !step.contains("VIRTUAL TABLE") && !step.contains("CONSTANT ROW");
            let ordered = scans && step.contains("USING") && sql.contains("LIMIT");
            // What a step before has found is no table.
            let found = step.strip_prefix("SCAN ").is_some_and(|rows| {
                ["CO-ROUTINE", "MATERIALIZE"].iter().any(|how| steps.contains(&format!("{how} {rows}")))
            });
            let ordered = ordered || FOREIGN_KEYS.contains(&(name, step)) || found;
            assert!(!scans || ordered || name == "checks::PING", "{name}: {step}\n{steps:#?}\n{sql}");
            // A page may: it goes on where the last one ended, in the order of the index.
            let ends = sql.contains("LIMIT") || WHOLE_REPOSITORY.iter().any(|begin| name.starts_with(begin));
            assert!(ends || !step.ends_with("(repo_id=?)"), "{name}: {step}\n{steps:#?}\n{sql}");
        }
    }
}

/// A column of facts that is not listed would be lost by a copy and by a backup.
#[tokio::test]
async fn facts_are_listed_with_all_their_columns() {
    /// About one store's objects, one server's sessions, or the database itself.
    const NO_FACTS: &[&str] = &[
        "uploads",
        "upload_tail",
        "object_deletions",
        "purge_holds",
        "instance",
        "access_state",
        "audit_sealer",
        "signing_keys",
        "outbox",
        "login_attempts",
        "rate_buckets",
        "downloads",
        "publisher_uses",
        "verdicts",
        "verdict_sweep",
        "scrub",
        "_sqlx_migrations",
    ];
    let listed: BTreeMap<String, Vec<(String, Kind)>> = TABLES
        .iter()
        .map(|table| {
            let mut columns: Vec<_> =
                table.columns.iter().map(|column| (column.name.to_owned(), column.kind)).collect();
            columns.sort_by(|one, other| one.0.cmp(&other.0));
            (table.name.to_owned(), columns)
        })
        .collect();
    let sqlite = "SELECT t.name, c.name, c.type FROM pragma_table_list t JOIN pragma_table_info(t.name) c \
        WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.name";
    let database = Database::migrated().await;
    let on_sqlite: Vec<(String, String, String)> =
        sqlx::query_as(sqlite).fetch_all(&mut database.connect().await).await.expect("columns");
    let postgres = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), CAST(data_type AS TEXT) \
        FROM information_schema.columns WHERE table_schema = 'public'";
    let database = PostgresDatabase::migrated();
    let mut conn = PgConnection::connect(database.url()).await.expect("a connection");
    let on_postgres: Vec<(String, String, String)> =
        sqlx::query_as(postgres).fetch_all(&mut conn).await.expect("columns");
    for (place, found) in [("SQLite", on_sqlite), ("Postgres", on_postgres)] {
        let mut tables: BTreeMap<String, Vec<(String, Kind)>> = BTreeMap::new();
        for (table, column, kind) in found.into_iter().filter(|(table, ..)| !NO_FACTS.contains(&table.as_str())) {
            let kind = match (kind.to_lowercase().as_str(), column.as_str()) {
                // SQLite holds yes and no as a number.
                ("boolean", _) | ("integer", "adopted" | "public" | "admin" | "login" | "active") => Kind::Flag,
                ("integer" | "bigint", _) => Kind::Integer,
                ("text", _) => Kind::Text,
                ("blob" | "bytea", _) => Kind::Bytes,
                other => panic!("{place}: {table}.{other:?} is of a kind that copies do not know"),
            };
            tables.entry(table).or_default().push((column, kind));
        }
        for columns in tables.values_mut() {
            columns.sort_by(|one, other| one.0.cmp(&other.0));
        }
        assert_eq!(tables, listed, "{place}");
    }
}

#[test]
fn the_newest_migration_is_that_of_the_listed_columns() {
    for migrations in [MIGRATIONS, postgres::MIGRATIONS] {
        assert_eq!(migrations.iter().map(|(version, ..)| *version).max(), Some(SCHEMA));
    }
}

#[test]
fn the_migrations_built_in_are_those_in_the_folder() {
    for (database, migrations) in [("sqlite", MIGRATIONS), ("postgres", postgres::MIGRATIONS)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
        let in_folder: BTreeMap<String, String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                (name, std::fs::read_to_string(&path).expect("a migration"))
            })
            .collect();
        let file = |(version, name, sql): &(i64, &str, &str)| (format!("{version}_{name}.sql"), (*sql).to_owned());
        let built_in: BTreeMap<String, String> = migrations.iter().map(file).collect();
        assert_eq!(built_in, in_folder, "{database}");
    }
}

#[tokio::test]
async fn a_database_from_a_newer_program_is_refused() {
    let database = Database::migrated().await;
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (99990101000000, 'later', TRUE, x'00', 0)",
        )
        .await;
    let refused = SqliteStore::open(&database.options).await;
    assert!(matches!(refused, Err(MetadataError::Newer { found: 99_990_101_000_000, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_changed_migration_is_noticed() {
    let database = Database::migrated().await;
    database.execute("UPDATE _sqlx_migrations SET checksum = x'00'").await;
    assert!(matches!(SqliteStore::open(&database.options).await, Err(MetadataError::Driver(_))));
}

#[tokio::test]
async fn a_command_neither_makes_nor_migrates_a_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteOptions { create: false, ..SqliteOptions::new(folder.path().join("bonded.db")) };
    assert!(matches!(SqliteStore::open(&options).await, Err(MetadataError::Absent)));
    assert!(!options.path.exists());
    std::fs::write(&options.path, b"").expect("an empty database");
    assert!(matches!(SqliteStore::open(&options).await, Err(MetadataError::Absent)));
}

#[tokio::test]
async fn a_value_that_cannot_be_read_names_its_place() {
    let database = Database::migrated().await;
    database
        .execute("INSERT INTO blobs (id, digest, size, object_key, created_at) VALUES (7, 'sha256:zz', 1, 'k', 0)")
        .await;
    let store = SqliteStore::open(&database.options).await.expect("a store");
    let scanned = store.blob_scan(bonded::metadata::model::BlobId(0), 10).await;
    match scanned {
        Err(MetadataError::Inconsistent { table: "blobs", column: "digest", row, .. }) => assert_eq!(row, "7"),
        other => panic!("{other:?}"),
    }
}
