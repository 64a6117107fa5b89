//! Bonded: an OCI registry where nothing unproven can be pulled.
//!
//! # Layers
//!
//! ```text
//!         main -> cli -> app -> config            may name everything; nothing below names them
//!                         |
//!    L4   frontends/{oci,ops}      jobs           translate a dialect or a schedule; decide nothing
//!             |        |             |
//!    L3       |      http (kit) -----+            sockets, TLS, limits, what every request passes
//!             v        v             v
//!    L2      transfer -> registry     verify      moving everything; the rules of the domain; know no HTTP, no SQL
//!                    |      |
//!    L1        metadata    storage                traits and drivers; never import each other
//!                    |      |
//!    L0         oci  clock  telemetry  faults     pure: no async, no I/O (telemetry: names, and the start of the log)
//! ```
//!
//! Imports go down only; `tests/it/layering.rs` fails the build otherwise. `sqlx` stands only under [`metadata`], `axum`
//! only in [`http`], [`frontends`] and [`app`]; concrete drivers are named in [`app`] alone.
//!
//! # Invariants
//!
//! What `bonded fsck` checks, and what holds after every crash:
//!
//! - **I1** every blob row has its bytes, in a file or in the row, with the right size and digest;
//! - **I2** every object in the store is known to an upload session, a blob, or the list of objects to delete;
//! - **I3** the blobs and children that a manifest names exist in its repository, unless it was allowed to do without;
//! - **I4** the manifest of every tag exists.
//!
//! Bytes come before facts: an object's key is written down before its first byte is stored, its bytes are on disk before
//! the row that makes them a blob, and its row is gone before its bytes go.
//!
//! # Modules
//!
//! - [`oci`]: digests, names, references, routes, ranges, manifests, the table of errors;
//! - [`clock`]: time and randomness as arguments; [`telemetry`]: the names in logs and metrics; [`faults`]: where a test
//!   may kill;
//! - [`storage`]: bytes under keys; [`metadata`]: facts; [`registry`]: what may be pushed, pulled, moved and deleted;
//! - [`audit`]: the record of what happened; [`verify`]: what signatures prove, and which ones a policy asks for;
//! - [`transfer`]: copies of a whole store, backups, and the storage of another registry taken over;
//! - [`http`]: the kit of servers; [`frontends`]: the distribution API and the operator's endpoints; [`jobs`]: what runs
//!   beside requests;
//! - [`config`]: file, environment and flags; [`app`]: the parts put together; [`cli`]: the verbs of `bonded`.
#![forbid(unsafe_code)]

pub mod access;
pub mod app;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod faults;
pub mod frontends;
pub mod hooks;
pub mod http;
pub mod jobs;
pub mod metadata;
pub mod oci;
pub mod registry;
pub mod storage;
pub mod telemetry;
pub mod transfer;
pub mod verify;
