//! Which artifacts may carry signatures of a digest: the whole list of its referrers, or an error. Of a part nobody knows
//! what the rest says.

use reqwest::header::{HeaderMap, LINK};

use super::remote::{Answer, Image, Remote, RemoteError};
use crate::oci::digest::Digest;
use crate::oci::media_type::OCI_IMAGE_INDEX;
use crate::oci::referrers::{fallback_tag, index_entries, is_index};
use crate::verify::artifact::is_signature_type;

/// Most signature artifacts that are fetched for one digest.
const ARTIFACTS_MAX: usize = 64;
/// Most pages of a list. Other referrers, such as SBOMs, are in it too.
const PAGES_MAX: usize = 100;

/// Digests of the referrers that may carry signatures (distribution-spec, "Listing Referrers").
///
/// # Errors
/// Those of the registry, and that there are more than are read.
pub(super) async fn signatures_of(remote: &Remote, image: &Image, digest: &Digest) -> Result<Vec<Digest>, RemoteError> {
    let mut found = Vec::new();
    let mut path = format!("/v2/{}/referrers/{digest}", image.repository);
    for page in 0..PAGES_MAX {
        let answer = match remote.get(&path, OCI_IMAGE_INDEX).await {
            // A registry without that list has it under a tag, if anybody refers to the digest.
            Err(RemoteError::Unknown(_)) if page == 0 => return by_tag(remote, image, digest).await,
            Err(RemoteError::Unknown(why)) => return Err(incomplete(&format!("a page of it is missing ({why})"))),
            answer => answer?,
        };
        collect(&answer, &mut found)?;
        let Some(link) = next(&answer.headers) else { return Ok(found) };
        let elsewhere = || incomplete(&format!("it goes on elsewhere, at {link}"));
        path = remote.own_path(&path, link).ok_or_else(elsewhere)?;
    }
    Err(incomplete(&format!("it has more than {PAGES_MAX} pages")))
}

/// The list that clients keep where the registry has none ("Referrers Tag Schema").
async fn by_tag(remote: &Remote, image: &Image, digest: &Digest) -> Result<Vec<Digest>, RemoteError> {
    let path = format!("/v2/{}/manifests/{}", image.repository, fallback_tag(digest));
    let mut found = Vec::new();
    match remote.get(&path, OCI_IMAGE_INDEX).await {
        Ok(answer) => collect(&answer, &mut found)?,
        Err(RemoteError::Unknown(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// Adds what a page lists and may carry signatures.
fn collect(page: &Answer, found: &mut Vec<Digest>) -> Result<(), RemoteError> {
    if !is_index(&page.body) {
        return Err(incomplete("what the registry gives is no index"));
    }
    for entry in index_entries(&page.body) {
        let may_sign = entry.artifact_type.is_some_and(|kind| is_signature_type(&kind));
        if !may_sign || found.contains(&entry.digest) {
            continue;
        }
        if found.len() == ARTIFACTS_MAX {
            return Err(incomplete(&format!("it names more than {ARTIFACTS_MAX} artifacts that may be signatures")));
        }
        found.push(entry.digest);
    }
    Ok(())
}

/// What a list that cannot be read whole may hide is no small matter.
fn incomplete(why: &str) -> RemoteError {
    RemoteError::Failed(format!(
        "the list of signatures cannot be read to its end, and what says otherwise may stand there: {why}"
    ))
}

/// The target of the link to the next page (RFC 8288, `rel="next"`).
fn next(headers: &HeaderMap) -> Option<&str> {
    let mut links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| {
        // A target has no angle brackets, so what stands between two of them belongs to the first.
        value.split('<').skip(1).filter_map(|link| link.split_once('>'))
    });
    let is_next = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let mut kinds = value.trim().trim_matches('"').split(' ');
        name.trim().eq_ignore_ascii_case("rel") && kinds.any(|kind| kind.eq_ignore_ascii_case("next"))
    };
    links.find(|(_, parameters)| parameters.split([';', ',']).any(is_next)).map(|(target, _)| target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_what_a_link_calls_so() {
        for (links, expected) in [
            (&[r#"</v2/a?n=1&last=x>; rel="next""#][..], Some("/v2/a?n=1&last=x")),
            (&["<?page=2>;rel=next"], Some("?page=2")),
            (&[r#"</1>; rel="prev", </3>; title="a b"; REL="last Next""#], Some("/3")),
            (&[r#"</1>; rel="prev""#, r#"</3>; rel="next""#], Some("/3")),
            (&[r#"</1>; rel="prev""#], None),
            (&[r#"</1>; title="next""#], None),
            (&["next", "<", "</1"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for link in links {
                headers.append(LINK, link.parse().expect("a header"));
            }
            assert_eq!(next(&headers), expected, "{links:?}");
        }
    }
}
