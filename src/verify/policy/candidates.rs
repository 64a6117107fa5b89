//! What is known of signatures before their bytes are read, and in which order to look at them.

use std::collections::HashSet;

use crate::oci::digest::Digest;
use crate::verify::proof::{Candidate, Format};

/// A signature that is there, and whose bytes nobody has read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateRef {
    /// The manifest that carries it.
    pub artifact: Digest,
    /// Which of its layers.
    pub layer: usize,
    /// The format.
    pub format: Format,
    /// How many bytes there are to look at: those of the layer, and of its annotations where the format has any.
    pub size: u64,
}

impl CandidateRef {
    /// What was known of a candidate that has been read.
    pub fn of(candidate: &Candidate) -> Self {
        let Candidate { artifact, layer, format, material } = candidate;
        Self { artifact: artifact.clone(), layer: *layer, format: *format, size: material.size() as u64 }
    }
}

impl AsRef<Self> for CandidateRef {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The order in which to look: the manifests in `known`, which counted before, and then the smaller ones first.
///
/// So a pass stays a pass whatever is pushed beside it, and large ones, of which few fill the budget, hide nobody. The order
/// is the same however they were found.
pub fn order<T: AsRef<CandidateRef>>(known: &[Digest], mut found: Vec<T>) -> Vec<T> {
    let known: HashSet<&Digest> = known.iter().collect();
    found.sort_by(|a, b| {
        let key = |one: &CandidateRef| (!known.contains(&one.artifact), one.size);
        let (a, b) = (a.as_ref(), b.as_ref());
        key(a).cmp(&key(b)).then_with(|| (&a.artifact, a.layer).cmp(&(&b.artifact, b.layer)))
    });
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::digest::Algorithm;

    fn found(artifact: u8, layer: usize, size: u64) -> CandidateRef {
        let artifact = Digest::of(Algorithm::Sha256, &[artifact]);
        CandidateRef { artifact, layer, format: Format::Bundle, size }
    }

    #[test]
    fn what_counted_before_comes_first_and_small_before_large() {
        let known = [found(3, 0, 0).artifact];
        let ordered = order(&known, vec![found(1, 0, 900), found(2, 0, 7), found(3, 1, 5000), found(3, 0, 5000)]);
        assert_eq!(ordered, [found(3, 0, 5000), found(3, 1, 5000), found(2, 0, 7), found(1, 0, 900)]);
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_how_they_were_found(
            (few, other) in prop::collection::vec((0_u8..5, 0_usize..3, 0_u64..4), 0..12)
                .prop_flat_map(|few| (Just(few.clone()), Just(few).prop_shuffle())),
            known in 0_u8..5,
        ) {
            let ordered = |few: Vec<(u8, usize, u64)>| {
                let few = few.into_iter().map(|(artifact, layer, size)| found(artifact, layer, size)).collect();
                order(&[found(known, 0, 0).artifact], few)
            };
            prop_assert_eq!(ordered(few), ordered(other));
        }
    }
}
