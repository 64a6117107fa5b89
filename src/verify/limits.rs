//! Bounds on everything that a signature may bring along, checked before work is spent on it.
//!
//! Whoever may push may attach signatures, so each number here is what an attacker gets at most: tokens, log entries and
//! certificates are parsed and checked one by one, and an honest bundle has one or two of each.

/// Most bytes of a signature: a simple signing payload, or a bundle whose statement is a signature.
pub const SIGNATURE_BYTES_MAX: usize = 4 << 20;

/// Most bytes of an attestation: a DSSE envelope, or a bundle around one. Bills of materials are long.
pub const ATTESTATION_BYTES_MAX: usize = 16 << 20;

/// Most layers of one signature artifact, each of which is a signature.
pub const LAYERS_MAX: usize = 64;

/// Most bytes of the config of a signature artifact.
pub const CONFIG_BYTES_MAX: usize = 16 << 10;

/// Most manifests in an index behind a fallback tag that still counts as a list of signatures.
pub const FALLBACK_CHILDREN_MAX: usize = 1024;

/// Most bytes of the manifest of a signature artifact.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// Deepest nesting of JSON, which is as deep as `serde_json` reads.
pub const JSON_DEPTH_MAX: usize = 127;

/// Most entries of transparency logs in one bundle.
pub const LOG_ENTRIES_MAX: usize = 8;

/// Most bytes of the body of one log entry.
pub const LOG_BODY_BYTES_MAX: usize = 1 << 20;

/// Most hashes of an inclusion proof: the height of a tree with 2^64 leaves.
pub const PROOF_HASHES_MAX: usize = 64;

/// Most bytes of the checkpoint of a log.
pub const CHECKPOINT_BYTES_MAX: usize = 16 << 10;

/// Most lines of the checkpoint of a log; all but the first few are signatures that are tried against every log key.
pub const CHECKPOINT_LINES_MAX: usize = 32;

/// Most RFC 3161 timestamps in one bundle.
pub const TIMESTAMPS_MAX: usize = 8;

/// Most bytes of one RFC 3161 timestamp, certificates of its authority included.
pub const TIMESTAMP_BYTES_MAX: usize = 16 << 10;

/// Deepest nesting of DER: timestamps are about a dozen deep.
pub const DER_DEPTH_MAX: usize = 32;

/// Most members of one SET in DER: sorting it takes the square of that.
pub const DER_SET_MAX: usize = 32;

/// Most JSON values of a statement: bills of materials have hundreds of thousands, and each takes some 50 bytes of memory.
pub const STATEMENT_VALUES_MAX: usize = 1 << 20;

/// Most subjects of a statement.
pub const SUBJECTS_MAX: usize = 1024;

/// Most bytes of a certificate (DER).
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// Most certificates of a chain, its leaf included.
pub const CHAIN_MAX: usize = 6;

/// Most bytes of a signature value: RSA with 8192 bits has 1024.
pub const SIGNATURE_VALUE_BYTES_MAX: usize = 4 << 10;

/// Fewest bits of an RSA key.
pub const RSA_BITS_MIN: usize = 2048;

/// Most bits of an RSA key: the time that a check takes grows with the square.
pub const RSA_BITS_MAX: usize = 8192;

/// Most bytes of a public key, as PEM or DER.
pub const KEY_BYTES_MAX: usize = 16 << 10;

/// Most bytes of a short text: a hint, a key identifier, a kind, a version, a media type.
pub const TEXT_BYTES_MAX: usize = 1 << 10;

/// Most bytes of a trusted root.
pub const ROOT_BYTES_MAX: usize = 1 << 20;

/// Most logs, and most authorities, of one kind in a trusted root.
pub const ROOT_ENTRIES_MAX: usize = 64;
