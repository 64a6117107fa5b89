//! `bonded verify-bundle`: signatures of files, checked without a server.
//!
//! The arguments are those of the protocol for clients of sigstore-conformance
//! (<https://github.com/sigstore/sigstore-conformance/blob/main/docs/cli_protocol.md>), so that its tests can be run.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Failure;
use super::output::{Format, plain};
use crate::app::files::read_at_most;
use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::verify::blob::{Blob, BlobProof, check_blob};
use crate::verify::key::{HashChoice, Hashes, Hashing, PublicKey};
use crate::verify::limits::{ATTESTATION_BYTES_MAX, KEY_BYTES_MAX, ROOT_BYTES_MAX};
use crate::verify::proof::{Claim, Need, Signer, Trust};
use crate::verify::roots::Root;

/// Longest file that is held in memory; of longer ones there are only the hashes.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Most bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 16;

/// Which file, which signature, and who is believed.
#[derive(Debug, Args)]
pub(super) struct VerifyBundleArgs {
    /// The file, or its digest: `sha256:` and 64 hexadecimal digits.
    #[arg(value_name = "FILE_OR_DIGEST")]
    subject: String,
    /// The bundle with the signature.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Who signed, as the certificate names them: an e-mail address or a URI, the whole of it.
    #[arg(long, value_name = "IDENTITY", requires = "certificate_oidc_issuer", required_unless_present = "key")]
    certificate_identity: Option<String>,
    /// Who vouched for that: the URL of an OIDC issuer.
    #[arg(long, value_name = "URL", requires = "certificate_identity", required_unless_present = "key")]
    certificate_oidc_issuer: Option<String>,
    /// The public key (PEM) that signed, in place of an identity. With a trusted root the signature has to be in a log.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate_identity", "certificate_oidc_issuer"])]
    key: Option<PathBuf>,
    /// The authorities and logs that are believed (Sigstore `TrustedRoot` JSON). Without it identities are believed by the
    /// root of Sigstore's public-good instance that this program carries; none is fetched.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// For the staging instance of Sigstore, whose trusted root has to be given.
    #[arg(long, requires = "trusted_root")]
    staging: bool,
    /// `text` for people, `json` for one object a line.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What is checked.
enum Subject {
    Digest(Digest),
    Bytes(Vec<u8>),
    Hashes(Hashes),
}

/// Does it.
pub(super) fn run(args: &VerifyBundleArgs) -> Result<ExitCode, Failure> {
    let root = root(args)?;
    let key = args.key.as_deref().map(key).transpose()?;
    let bundle = read(&args.bundle, ATTESTATION_BYTES_MAX)?;
    let subject = subject(&args.subject)?;
    let blob = match &subject {
        Subject::Digest(digest) => Blob::Digest(digest),
        Subject::Bytes(bytes) => Blob::Bytes(bytes),
        Subject::Hashes(hashes) => Blob::Hashed(hashes),
    };
    let trust = trust(key.as_ref(), root.as_ref())?;
    let proof = check_blob(&bundle, blob, &trust).map_err(|failure| {
        let (subject, bundle) = (&args.subject, args.bundle.display());
        let why = plain(&failure.to_string());
        Failure::failed(format!("{bundle} does not prove who signed {subject}: {} ({why})", failure.code))
    })?;
    check_identity(args, &proof)?;
    args.output.line(|| text(&proof), || object(&proof));
    Ok(ExitCode::SUCCESS)
}

fn trust<'a>(key: Option<&'a PublicKey>, root: Option<&'a Root>) -> Result<Trust<'a>, Failure> {
    match (key, root) {
        (Some(key), root) => {
            let tlog = if root.is_some() { Need::Require } else { Need::Ignore };
            Ok(Trust::Key { key, hash: HashChoice::Auto, tlog, timestamp: Need::Ignore, root })
        }
        (None, Some(root)) => Ok(Trust::Keyless { root, sct: Need::Require, tlog: Need::Require }),
        (None, None) => Err(Failure::usage("give `--certificate-identity` or `--key`: nobody is believed unasked")),
    }
}

/// The whole of both is compared: an identity that begins alike is another.
fn check_identity(args: &VerifyBundleArgs, proof: &BlobProof) -> Result<(), Failure> {
    let Signer::Identity { issuer, subject, .. } = &proof.signer else { return Ok(()) };
    let is_wanted =
        args.certificate_oidc_issuer.as_ref() == Some(issuer) && args.certificate_identity.as_ref() == Some(subject);
    if is_wanted {
        return Ok(());
    }
    let (bundle, subject, issuer) = (args.bundle.display(), plain(subject), plain(issuer));
    Err(Failure::failed(format!(
        "{bundle} was signed by `{subject}`, for whom `{issuer}` vouched, and not by whom it should be"
    )))
}

/// A digest or the name of a file, whichever it has the form of.
fn subject(text: &str) -> Result<Subject, Failure> {
    // Other tools write its digits in upper case.
    let digest = text.strip_prefix("sha256:").map(|digits| format!("sha256:{}", digits.to_ascii_lowercase()));
    let digest = digest.and_then(|digest| digest.parse::<Digest>().ok());
    if let Some(digest) = digest {
        return Ok(Subject::Digest(digest));
    }
    let path = Path::new(text);
    File::open(path).and_then(|file| hold(file, HELD_BYTES_MAX)).map_err(|error| unreadable(path, error))
}

/// Reads all there is, and keeps no more than `held_max` bytes of it.
fn hold(mut file: impl Read, held_max: usize) -> io::Result<Subject> {
    let mut bytes = Vec::new();
    file.by_ref().take(held_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() <= held_max {
        return Ok(Subject::Bytes(bytes));
    }
    let mut hashing = Hashing::default();
    while !bytes.is_empty() {
        hashing.update(&bytes);
        bytes.clear();
        file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
    }
    Ok(Subject::Hashes(hashing.finish()))
}

/// The root that is given; for an identity without one, that of the public-good instance.
fn root(args: &VerifyBundleArgs) -> Result<Option<Root>, Failure> {
    let read = match &args.trusted_root {
        Some(path) => Root::from_json(&read(path, ROOT_BYTES_MAX)?).map_err(|error| unusable(path, error)),
        None if args.key.is_some() => return Ok(None),
        None => Root::public_good().map_err(Failure::failed),
    };
    read.map(Some)
}

fn key(path: &Path) -> Result<PublicKey, Failure> {
    let pem = read(path, KEY_BYTES_MAX)?;
    let pem = String::from_utf8(pem).map_err(|_| unusable(path, "it is not text"))?;
    PublicKey::from_pem(&pem).map_err(|error| unusable(path, error))
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    read_at_most(path, bytes_max).map_err(|why| unreadable(path, why))
}

fn unreadable(path: &Path, why: impl Display) -> Failure {
    Failure::failed(format!("{} cannot be read: {why}", path.display()))
}

fn unusable(path: &Path, why: impl Display) -> Failure {
    Failure::failed(format!("{} cannot be used: {why}", path.display()))
}

fn text(proof: &BlobProof) -> String {
    let by = match &proof.signer {
        Signer::Key { fingerprint } => format!("by the key {fingerprint}"),
        Signer::Identity { issuer, subject, .. } => {
            format!("by {}, for whom {} vouched", plain(subject), plain(issuer))
        }
    };
    let what = match predicate_type(proof) {
        Some(kind) => format!("a statement of the type {}", plain(kind)),
        None => "signed".to_owned(),
    };
    let when = match proof.signed_at {
        Some(at) => format!(", {}", at.to_rfc3339()),
        None => String::new(),
    };
    let log = if proof.tlog { "in a log" } else { "no log was looked at" };
    format!("ok: {what} {by}{when}, {log}")
}

fn object(proof: &BlobProof) -> serde_json::Value {
    let signer = match &proof.signer {
        Signer::Key { fingerprint } => json!({ "key": fingerprint }),
        Signer::Identity { issuer, subject, claims } => {
            json!({ "issuer": issuer, "subject": subject, "claims": claims })
        }
    };
    json!({
        "ok": true, "signer": signer, "predicateType": predicate_type(proof), "tlog": proof.tlog, "sct": proof.sct,
        "timestamp": proof.timestamp, "signedAt": proof.signed_at.map(Timestamp::to_rfc3339),
    })
}

fn predicate_type(proof: &BlobProof) -> Option<&str> {
    match proof.claim.as_ref()? {
        Claim::Attestation { predicate_type, .. } => Some(predicate_type),
        Claim::Signature { predicate_type, .. } => predicate_type.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Certificates and statements are written by others, and what moves the cursor or the order of letters could make a
    /// terminal show another signer.
    #[test]
    fn texts_of_others_do_nothing_to_a_terminal() {
        let signer = Signer::Identity {
            issuer: "https://issuer\u{1b}[2K".to_owned(),
            subject: "mallory\ralice\u{202e}ecila".to_owned(),
            claims: BTreeMap::new(),
        };
        let claim = Claim::Attestation { predicate_type: "type\n\u{9b}".to_owned(), predicate: json!({}) };
        let proof = BlobProof { signer, claim: Some(claim), tlog: true, sct: true, timestamp: false, signed_at: None };
        let expected =
            "ok: a statement of the type type?? by mallory?alice?ecila, for whom https://issuer?[2K vouched, in a log";
        assert_eq!(text(&proof), expected);
    }
}
