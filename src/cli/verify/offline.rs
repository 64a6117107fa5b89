//! Judging here: the signatures are fetched from the registry, which is believed in nothing.
//!
//! What the registry refuses to give, or gives in another form than a signature has, is a miss like any signature that does
//! not count: whoever may push could else turn every pass into a fail.

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::listing::signatures_of;
use super::policies::Asked;
use super::remote::{Answer, Image, Remote, RemoteError};
use super::{Finding, VerifyArgs};
use crate::cli::progress::Steps;
use crate::clock::SystemClock;
use crate::oci::digest::Digest;
use crate::oci::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST};
use crate::oci::reference::Reference;
use crate::verify::discovery::{Found, signature_tags};
use crate::verify::policy::{Budget, Judgement, Policy, combine, order};
use crate::verify::verdict::{Reason, ReasonCode, Verdict};

/// What there is to look at.
#[derive(Default)]
struct Candidates {
    found: Vec<Found>,
    /// Those that cannot be looked at.
    misses: Vec<Reason>,
    /// Why the registry could not say just now what there is.
    troubled: Option<RemoteError>,
}

/// Judges the signatures of an artifact by the policies that the options give.
pub(super) async fn verify(
    remote: &Remote,
    image: &Image,
    args: &VerifyArgs,
    steps: &Steps,
) -> Result<Finding, RemoteError> {
    let asked = Asked::read(args).map_err(RemoteError::Usage)?;
    let applying = asked.applying(&image.repository).map_err(RemoteError::Usage)?;
    let digest = resolve(remote, image).await?;
    let clock = SystemClock;
    let mut judgement = Judgement::new(applying.iter().copied(), &image.repository, &digest, &clock, Budget::default());
    let mut candidates = find(remote, image, &digest, steps).await?;
    steps.next(format!("checking the signatures of {digest}"));
    for found in order(&[], std::mem::take(&mut candidates.found)) {
        if judgement.is_decided() {
            break;
        }
        if !judgement.admits(found.as_ref()) {
            continue;
        }
        let (layer, artifact) = (found.layer(), &found.as_ref().artifact);
        let path = format!("/v2/{}/blobs/{}", image.repository, layer.digest);
        match candidates.take(remote.get(&path, "*/*").await)? {
            Ok(answer) if Digest::of(layer.digest.algorithm(), &answer.body) == layer.digest => {
                judgement.offer(&found.with(Bytes::from(answer.body)));
            }
            Ok(_) => judgement.miss(&miss(Some(artifact), "its bytes have another digest".to_owned())),
            Err(why) => judgement.miss(&miss(Some(artifact), why)),
        }
    }
    // Behind all that can be read: they fill the room for others too.
    candidates.misses.iter().for_each(|reason| judgement.miss(reason));
    let finding = told(&applying, judgement.finish(), image, digest);
    match candidates.troubled {
        // What was not seen may count.
        Some(error) if !finding.is_clean() => Err(error),
        _ => Ok(finding),
    }
}

fn told(applying: &[&Policy], verdicts: Vec<Verdict>, image: &Image, digest: Digest) -> Finding {
    let combined = combine(applying.iter().map(|policy| policy.mode).zip(verdicts));
    let verdict = combined.verdict;
    let place = format!("{}/{}@{digest}", image.host, image.repository);
    let own = applying.iter().find(|policy| policy.name == verdict.policy && *policy.revision == *verdict.revision);
    let help = own.and_then(|policy| policy.help(&verdict, &place));
    let mut body = verdict.to_json(&digest, help.as_deref());
    body["refused"] = Value::from(combined.refuses);
    body["warnings"] = combined.warnings.iter().map(|warning| warning.to_json(&digest, None)).collect();
    Finding { digest, body }
}

impl Candidates {
    /// What came of asking for a part of an artifact: it, or why nothing can be said of it.
    ///
    /// # Errors
    /// That there is no registry to ask.
    fn take(&mut self, asked: Result<Answer, RemoteError>) -> Result<Result<Answer, String>, RemoteError> {
        match asked {
            Ok(answer) => Ok(Ok(answer)),
            Err(RemoteError::Unknown(message)) => Ok(Err(format!("it is not there: {message}"))),
            Err(RemoteError::Refused(status, message)) => {
                let why = format!("the registry does not give it: {message}");
                if status != StatusCode::FORBIDDEN {
                    self.troubled.get_or_insert(RemoteError::Refused(status, message));
                }
                Ok(Err(why))
            }
            Err(error) => Err(error),
        }
    }

    /// Looks for signatures in a manifest.
    fn read(&mut self, subject: &Digest, reference: &Reference, manifest: &[u8]) {
        let named = digest_in(reference);
        let artifact = Digest::of(named.unwrap_or(subject).algorithm(), manifest);
        if let Some(named) = named.filter(|named| **named != artifact) {
            return self.misses.push(miss(Some(named), "its bytes have another digest".to_owned()));
        }
        let found = Found::in_manifest(subject, &artifact, manifest);
        if found.is_empty() {
            let message = format!("{reference} has not the form of signatures of this digest");
            self.misses.push(miss(Some(&artifact), message));
        }
        self.found.extend(found);
    }
}

fn digest_in(reference: &Reference) -> Option<&Digest> {
    match reference {
        Reference::Digest(digest) => Some(digest),
        Reference::Tag(_) => None,
    }
}

fn miss(artifact: Option<&Digest>, message: String) -> Reason {
    Reason { authority: None, artifact: artifact.cloned(), code: ReasonCode::Malformed, message }
}

/// The digest that a reference stands for; the bytes behind it are checked by whoever pulls them.
async fn resolve(remote: &Remote, image: &Image) -> Result<Digest, RemoteError> {
    let headers = head(remote, image).await?;
    if let Reference::Digest(digest) = &image.reference {
        return Ok(digest.clone());
    }
    let digest = headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
    let digest = digest.and_then(|text| text.parse().ok());
    digest.ok_or_else(|| RemoteError::Failed("the registry does not tell the digest of the tag".to_owned()))
}

/// Asks for the manifest; one that is not there is an error, and one that a policy refuses is none.
pub(super) async fn head(remote: &Remote, image: &Image) -> Result<HeaderMap, RemoteError> {
    let accept = [OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST].join(", ");
    let path = format!("/v2/{}/manifests/{}", image.repository, image.reference);
    remote.head(&path, &accept).await
}

/// Signatures by tag and by reference.
async fn find(remote: &Remote, image: &Image, digest: &Digest, steps: &Steps) -> Result<Candidates, RemoteError> {
    steps.next(format!("looking for signatures of {digest}"));
    let mut references: Vec<Reference> = signature_tags(digest).into_iter().map(Reference::Tag).collect();
    references.extend(signatures_of(remote, image, digest).await?.into_iter().map(Reference::Digest));
    let mut candidates = Candidates::default();
    for (at, reference) in references.iter().enumerate() {
        steps.next(format!("reading what may be signatures: {} of {}", at + 1, references.len()));
        let path = format!("/v2/{}/manifests/{reference}", image.repository);
        let asked = match remote.get(&path, OCI_IMAGE_MANIFEST).await {
            Err(RemoteError::Unknown(_)) => continue,
            asked => asked,
        };
        match candidates.take(asked)? {
            Ok(answer) => candidates.read(digest, reference, &answer.body),
            Err(why) => candidates.misses.push(miss(digest_in(reference), format!("{reference}: {why}"))),
        }
    }
    Ok(candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_miss_and_trouble_is_remembered() {
        let mut candidates = Candidates::default();
        let refused = |status| Err(RemoteError::Refused(status, "no".to_owned()));
        for asked in [refused(StatusCode::FORBIDDEN), Err(RemoteError::Unknown("no".to_owned()))] {
            assert!(matches!(candidates.take(asked), Ok(Err(why)) if why.ends_with(": no")));
        }
        assert!(candidates.troubled.is_none(), "more of it would say nothing else");
        assert!(matches!(candidates.take(refused(StatusCode::SERVICE_UNAVAILABLE)), Ok(Err(_))));
        assert!(matches!(candidates.troubled, Some(RemoteError::Refused(StatusCode::SERVICE_UNAVAILABLE, _))));
        let broken = Err(RemoteError::Failed("nobody answers".to_owned()));
        assert!(matches!(candidates.take(broken), Err(RemoteError::Failed(_))));
    }
}
