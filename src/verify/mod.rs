//! Signatures: what they prove, and what a policy asks for.
//!
//! Pure functions over bytes: no HTTP, no SQL, no runtime. The way of a signature:
//!
//! ```text
//!   manifest --artifact--> layers --proof::check--> Proof
//!                                     |
//!        bundle  <-- legacy (.sig, .att)      the form of everything, within limits, as strict JSON
//!           |  \-- certificate, dsse, text
//!           v
//!        key (bare keys)    sigstore (roots: certificates, logs, timestamps)
//!           |
//!           v
//!        statement                            what was signed, compared with the digest
//! ```
//!
//! [`policy`] says whose proofs are asked for and judges a digest by them; [`verdict`] is what comes of that.
//!
//! # Stricter than `cosign verify`
//!
//! What cosign 3.1 takes and this does not, each with a test: an attestation that stands in for a signature; a simple
//! signing payload of another `type`; members that stand twice, or twice but for their case; members that nobody knows;
//! a timestamp that does not verify, beside a log entry that does; a certificate with a second name; a bundle of version 0.1
//! without a proof of inclusion; a checkpoint by a log that was closed by then; a log entry from the future, be it a second;
//! a trusted root in whose chains a certificate is none of an authority, or is not signed by the next one.
//!
//! What cosign makes or takes and this does not verify: Ed25519ph; certificates of a public key infrastructure of one's own, or without any
//! witness of their time; log entries and timestamps of P-521 keys; the timestamps of `.att` layers; log entries of Rekor 2
//! for keys other than P-256, and of Rekor 1 over another hash than SHA-256; timestamps by RSA and P-521 keys, or over SHA-512;
//! certificates of an authority that is limited to some names, or below one.

pub mod artifact;
pub mod blob;
pub mod bundle;
pub mod certificate;
mod der;
pub mod discovery;
pub mod dsse;
mod evidence;
pub mod failure;
mod json;
pub mod key;
pub mod legacy;
pub mod limits;
pub mod policy;
pub mod proof;
pub mod roots;
mod sigstore;
pub mod statement;
mod text;
pub mod verdict;
pub mod warning;

#[cfg(test)]
mod tests;
