//! Chains of certificates: which authorities a trusted root vouches for, and that no others are believed.

use serde_json::{Value, json};

use super::lab::{Lab, NOW, Wish, in_bundle, signature_of, some_digest};
use super::samples::code;
use crate::verify::text::to_base64;
use crate::verify::verdict::ReasonCode;

/// Row 20: an authority below that of the root, or beside it, sent along by who signs. Bundles of old had room for one.
#[test]
fn no_authority_comes_along_with_a_signature() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let below = lab.authority.below("below", |_| {});
    let (alice, mallory) = (lab.person(&Wish::default()), lab.person_of(&below, &Wish::default()));
    for version in ["0.1", "0.2"] {
        for (person, authority, expected) in
            [(&alice, &lab.authority, None), (&mallory, &below, Some(ReasonCode::CertUntrusted))]
        {
            let mut bundle = lab.bundle(person, &signature_of(&subject), Some(NOW));
            let leaf = to_base64(person.certificate.as_deref().expect("a certificate"));
            bundle["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
            let material = bundle["verificationMaterial"].as_object_mut().expect("material");
            material.remove("certificate");
            let chain: Value = json!({ "certificates": [{ "rawBytes": leaf }, authority.json()] });
            material.insert("x509CertificateChain".to_owned(), chain);
            let verdict = lab.keyless(in_bundle(&bundle), &subject);
            assert_eq!(verdict.err().map(|failure| failure.code), expected, "{version}");
        }
    }
    let bundle = lab.bundle(&mallory, &signature_of(&subject), Some(NOW));
    assert_eq!(code(lab.keyless(in_bundle(&bundle), &subject)), ReasonCode::CertUntrusted);
}
