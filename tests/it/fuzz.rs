//! The targets of `tests/fuzz` over damaged samples: the same damage in each run, so that a failure can be run again.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::sources;

#[path = "../fuzz/targets.rs"]
mod targets;

/// How often each sample is damaged.
const ROUNDS: usize = 300;

/// Marsaglia's xorshift: numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).expect("less than a length")
    }

    /// One to four changes: a byte, a piece that goes, comes again elsewhere or comes from another sample, or a cut.
    fn damage(&mut self, sample: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = sample.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let piece = |dice: &mut Self, of: &[u8]| {
                let from = dice.below(of.len() + 1);
                of[from..of.len().min(from + 1 + dice.below(64))].to_vec()
            };
            let end = bytes.len().min(at + 1 + self.below(32));
            match self.below(6) {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let piece = piece(self, &bytes);
                    drop(bytes.splice(at..at, piece));
                }
                2 => {
                    let piece = piece(self, other);
                    drop(bytes.splice(at..end, piece));
                }
                3 if self.below(8) == 0 => bytes.truncate(at),
                _ => {
                    let byte = u8::try_from(self.below(256)).expect("a byte");
                    if let Some(at) = bytes.get_mut(at) {
                        *at = byte;
                    }
                }
            }
        }
        bytes
    }
}

fn run(samples: &[Vec<u8>], target: fn(&[u8])) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    assert!(!samples.is_empty());
    for sample in samples {
        target(sample);
        for _ in 0..ROUNDS {
            let other = &samples[dice.below(samples.len())];
            target(&dice.damage(sample, other));
        }
    }
}

fn bundles() -> Vec<Vec<u8>> {
    let folder = sources::root().join("tests/data/signing");
    let mut folders: Vec<_> =
        fs::read_dir(folder).expect("samples").map(|entry| entry.expect("a sample").path()).collect();
    folders.sort();
    folders.iter().filter_map(|folder| fs::read(folder.join("bundle-0.sigstore.json")).ok()).collect()
}

#[test]
fn damaged_bundles_are_refused() {
    run(&bundles(), targets::bundle);
}

#[test]
fn damaged_policies_are_refused_with_a_reason() {
    let page = fs::read_to_string(sources::root().join("docs/how-to/signature-policy.md")).expect("a page");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let documents: Vec<_> = blocks.map(|block| block.as_bytes().to_vec()).collect();
    run(&documents, targets::policy);
}

#[test]
fn damaged_certificates_are_refused() {
    let der = |bundle: &Vec<u8>| {
        let bundle: Value = serde_json::from_slice(bundle).expect("JSON");
        let text = bundle.pointer("/verificationMaterial/certificate/rawBytes").and_then(Value::as_str)?.to_owned();
        STANDARD.decode(text).ok()
    };
    let certificates: Vec<_> = bundles().iter().filter_map(der).collect();
    run(&certificates, targets::certificate);
}
