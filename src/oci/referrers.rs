//! The referrers list (distribution-spec, "Listing Referrers") and the tags that stood in for it before there was an API.

use crate::oci::digest::Digest;
use crate::oci::json;
use crate::oci::media_type::OCI_IMAGE_INDEX;
use crate::oci::name::Tag;

/// Longest part of a fallback tag that comes from the digest's value (distribution-spec, "Referrers Tag Schema").
const ENCODED_CHARS_MAX: usize = 64;

/// Deepest nesting that is read in the index behind a fallback tag.
const DEPTH_MAX: usize = 64;

/// An entry of the index behind a fallback tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// What it names.
    pub digest: Digest,
    /// Its `artifactType`.
    pub artifact_type: Option<String>,
    /// The descriptor as JSON text.
    pub json: String,
}

/// The tag under which clients without the referrers API list the referrers of `digest`: algorithm and value joined by a
/// dash, the value cut at 64 characters. A [`Digest`] holds nothing that would have to be replaced.
pub fn fallback_tag(digest: &Digest) -> Tag {
    let hex = digest.hex();
    let encoded = &hex[..hex.len().min(ENCODED_CHARS_MAX)];
    format!("{}-{encoded}", digest.algorithm()).parse().expect("an algorithm, a dash and hexadecimal digits make a tag")
}

/// The descriptors of an index, for merging what a fallback tag lists. What is no index lists nothing, and an entry
/// without a usable digest is left out.
pub fn index_entries(payload: &[u8]) -> Vec<IndexEntry> {
    let document = json::parse(payload, DEPTH_MAX).unwrap_or_default();
    let manifests = document.get("manifests").and_then(|manifests| manifests.as_array());
    let entries = manifests.into_iter().flatten().filter_map(|entry| {
        Some(IndexEntry {
            digest: entry.get("digest")?.as_str()?.parse().ok()?,
            artifact_type: entry.get("artifactType").and_then(|text| text.as_str()).map(str::to_owned),
            json: entry.to_string(),
        })
    });
    entries.collect()
}

/// Whether these bytes are an index: an object with a list of manifests.
pub fn is_index(payload: &[u8]) -> bool {
    json::parse(payload, DEPTH_MAX)
        .is_ok_and(|document| document.get("manifests").is_some_and(serde_json::Value::is_array))
}

/// The answer of the referrers API: an index of these descriptors (JSON, with commas between them).
pub fn referrers_index(descriptors: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_IMAGE_INDEX}","manifests":[{descriptors}]}}"#)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::digest::Algorithm;

    #[test]
    fn fallback_tags_are_cut() {
        let sha256 = Digest::of(Algorithm::Sha256, b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(fallback_tag(&sha256).as_str(), format!("sha256-{hex}"));
        let sha512 = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(fallback_tag(&sha512).as_str(), format!("sha512-{}", &sha512.hex()[..64]));
    }

    #[test]
    fn what_an_index_lists_comes_out_again() {
        let digest = Digest::of(Algorithm::Sha512, b"");
        let first = format!(r#"{{"artifactType":"a/b","digest":"{digest}","mediaType":"c/d","size":1}}"#);
        let second = format!(r#"{{"digest":"{digest}","mediaType":"c/d","size":2}}"#);
        let index = referrers_index(&[first.as_str(), second.as_str(), r#"{"digest":"x"}"#, "7"].join(","));
        let entries = index_entries(index.as_bytes());
        let expected = [
            IndexEntry { digest: digest.clone(), artifact_type: Some("a/b".to_owned()), json: first },
            IndexEntry { digest, artifact_type: None, json: second },
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn an_index_is_an_object_with_a_list() {
        assert!(is_index(referrers_index("").as_bytes()) && is_index(br#"{"manifests":[7]}"#));
        for other in ["", "[]", "7", "<html>", r#"{"manifests":{}}"#, r#"{"manifests":[]"#, "{}"] {
            assert!(!is_index(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_empty_list_is_an_index() {
        assert_eq!(
            referrers_index(""),
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(junk: Vec<u8>) {
            prop_assert!(index_entries(&junk).is_empty());
        }

        #[test]
        fn every_digest_has_a_fallback_tag(data: Vec<u8>, long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            prop_assert!(fallback_tag(&Digest::of(algorithm, &data)).as_str().len() <= 7 + 64);
        }
    }
}
