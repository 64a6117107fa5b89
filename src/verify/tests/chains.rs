//! Chains of certificates: which authorities a trusted root vouches for, and that no others are believed.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P521_SHA512,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::lab::{Authority, Lab, NOW, Wish, in_bundle, keyless, signature_of, some_digest};
use super::samples::code;
use super::tsa::TimestampAuthority;
use crate::verify::proof::Failure;
use crate::verify::roots::Root;
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

fn root_of(json: &Value) -> Result<Root, String> {
    Root::from_json(json.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// A root with this chain, the certificate that issues first.
fn root_with(lab: &Lab, chain: &[&Authority]) -> Result<Root, String> {
    let mut root = lab.root_json();
    let chain: Vec<Value> = chain.iter().map(|authority| authority.json()).collect();
    root["certificateAuthorities"][0]["certChain"]["certificates"] = json!(chain);
    root_of(&root)
}

fn valid(params: &mut CertificateParams, from: i64, until: i64) {
    params.not_before = OffsetDateTime::from_unix_timestamp(from).expect("a time");
    params.not_after = OffsetDateTime::from_unix_timestamp(until).expect("a time");
}

/// What a root with this chain says of a signer of its first certificate.
fn by_first(lab: &Lab, chain: &[&Authority]) -> Result<(), Failure> {
    let subject = some_digest("an image");
    let root = root_with(lab, chain).expect("a trusted root");
    let alice = lab.person_of(chain[0], &Wish::default());
    keyless(&root, in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW))), &subject).map(drop)
}

/// Row 20: an authority counts while it and all above it are valid.
#[test]
fn an_authority_counts_while_its_chain_is_valid() {
    let lab = Lab::new();
    let below = |from, until| lab.authority.below("below", |params| valid(params, from, until));
    for (from, until) in [(NOW - 10, NOW + 10), (NOW, NOW + 10), (NOW - 10, NOW)] {
        assert_eq!(by_first(&lab, &[&below(from, until), &lab.authority]), Ok(()));
    }
    for (from, until) in [(NOW - 10, NOW - 1), (NOW + 1, NOW + 10)] {
        let outside =
            by_first(&lab, &[&below(from, until), &lab.authority]).expect_err("an authority outside its time");
        assert_eq!(outside.code, ReasonCode::CertUntrusted);
        // What it stands on counts all the same.
        let (root, subject) = (root_with(&lab, &[&below(from, until), &lab.authority]), some_digest("an image"));
        let alice = lab.person(&Wish::default());
        let material = in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW)));
        assert!(keyless(&root.expect("a trusted root"), material, &subject).is_ok());
    }
    let (middle, first) = {
        let middle = lab.authority.below("middle", |params| valid(params, NOW - 10, NOW - 1));
        let first = middle.below("first", |_| {});
        (middle, first)
    };
    assert!(by_first(&lab, &[&first, &middle, &lab.authority]).is_err(), "the one above it is over");
    let early = lab.authority.below("early", |params| valid(params, NOW - 20, NOW - 10));
    let late = early.below("late", |params| valid(params, NOW, NOW + 10));
    assert!(by_first(&lab, &[&late, &early, &lab.authority]).is_err(), "they never meet");
    let root = root_with(&lab, &[&late, &early, &lab.authority]).expect("the others count all the same");
    let never = &root.warnings()[0];
    assert!(never.starts_with("certificateAuthorities[0].certChain.certificates[0] never counts"), "{never}");
}

/// Row 20: every certificate of a chain is an anchor, so each has to be what its place asks for.
#[test]
fn a_root_has_authorities_in_its_chains() {
    let lab = Lab::new();
    let refused = |change: &dyn Fn(&mut CertificateParams), why: &str| {
        let below = lab.authority.below("below", |params| change(params));
        let error = root_with(&lab, &[&below, &lab.authority]).expect_err(why);
        assert!(error.contains(&format!("certificateAuthorities[0].certChain.certificates[0]: {why}")), "{error}");
    };
    refused(&|params| params.is_ca = IsCa::ExplicitNoCa, "it is no certificate of an authority");
    refused(&|params| params.is_ca = IsCa::NoCa, "it is no certificate of an authority");
    refused(&|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature], "its key is not for signing");
    let server = vec![ExtendedKeyUsagePurpose::ServerAuth];
    refused(&|params| params.extended_key_usages.clone_from(&server), "it is not for signing code");
    for usages in [vec![], vec![ExtendedKeyUsagePurpose::Any], vec![ExtendedKeyUsagePurpose::CodeSigning]] {
        let below = lab.authority.below("below", |params| params.extended_key_usages = usages);
        assert_eq!(by_first(&lab, &[&below, &lab.authority]), Ok(()));
    }
    let (other, below) = (Authority::new("other"), lab.authority.below("below", |_| {}));
    let namesake = Authority::new("lab");
    for (issuer, why) in [(&other, "is not that of its issuer"), (&namesake, "it is not signed by the next")] {
        let error = root_with(&lab, &[&below, issuer]).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    let short = lab.authority.below("short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    assert_eq!(by_first(&lab, &[&short, &lab.authority]), Ok(()));
    assert_eq!(by_first(&lab, &[&below]), Ok(()), "where a chain ends is for the root to say");
    let long = short.below("long", |_| {});
    let error = root_with(&lab, &[&long, &short, &lab.authority]).expect_err("a way that is too long");
    assert!(error.contains("certificates[1]: more authorities stand below it than it allows"), "{error}");
}

/// Row 20: the same for those who sign times.
#[test]
fn a_timestamp_authority_has_a_chain_that_holds() {
    let (lab, tsa, other) = (Lab::new(), TimestampAuthority::new(), TimestampAuthority::new());
    let with = |chain: &[Value]| {
        let mut root = lab.root_json();
        root["timestampAuthorities"] = json!([tsa.json()]);
        root["timestampAuthorities"][0]["certChain"]["certificates"] = json!(chain);
        root_of(&root).map(drop)
    };
    let of = |tsa: &TimestampAuthority| tsa.json()["certChain"]["certificates"].as_array().cloned().expect("a chain");
    let (mine, theirs) = (of(&tsa), of(&other));
    assert_eq!(with(&mine), Ok(()));
    assert_eq!(with(&mine[..1]), Ok(()));
    for (chain, why) in [
        (vec![mine[0].clone(), theirs[1].clone()], "certificates[0]: it is not signed by the next"),
        (vec![mine[1].clone()], "certificates[0]: it is not for timestamps"),
        (vec![lab.authority.json()], "certificates[0]: it is not for timestamps"),
        (vec![mine[0].clone(), mine[0].clone()], "certificates[0]: the next certificate of the chain is not"),
    ] {
        let error = with(&chain).expect_err(why);
        assert!(error.contains(&format!("timestampAuthorities[0].certChain.{why}")), "{error}");
    }
}

/// `cosign trusted-root create` leaves out what it is not told.
#[test]
fn a_root_needs_no_addresses() {
    let (lab, subject) = (Lab::new(), some_digest("an image"));
    let alice = lab.person(&Wish::default());
    let material = in_bundle(&lab.bundle(&alice, &signature_of(&subject), Some(NOW)));
    for missing in [None, Some(Value::Null)] {
        let mut root = lab.root_json();
        for (kind, member) in
            [("tlogs", "baseUrl"), ("ctlogs", "baseUrl"), ("tlogs", "hashAlgorithm"), ("certificateAuthorities", "uri")]
        {
            let entry = root[kind][0].as_object_mut().expect("an entry");
            assert!(entry.remove(member).is_some());
            entry.extend(missing.clone().map(|value| (member.to_owned(), value)));
        }
        let root = root_of(&root).expect("a trusted root");
        assert!(keyless(&root, material.clone(), &subject).is_ok());
    }
    let mut root = lab.root_json();
    root["tlogs"][0]["hashAlgorithm"] = json!("SHA3_512");
    assert!(root_of(&root).is_err(), "what stands there counts");
}

/// The library does not understand names in constraints, and does not look above an anchor: so nobody below counts.
#[test]
fn authorities_of_some_names_do_not_count_and_the_root_says_so() {
    let lab = Lab::new();
    let of = |subtree: GeneralSubtree| {
        lab.authority.below("some", |params| {
            let permitted_subtrees = vec![subtree];
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        })
    };
    let (mail, host) = (of(GeneralSubtree::Rfc822Name("example.org".into())), of(GeneralSubtree::DnsName("x".into())));
    for (limited, counts) in [(&mail, false), (&host, true)] {
        let below = limited.below("below", |_| {});
        for chain in [vec![limited, &lab.authority], vec![&below, limited, &lab.authority]] {
            let root = root_with(&lab, &chain).expect("a trusted root");
            let verdict = by_first(&lab, &chain).map_err(|failure| failure.code);
            if counts {
                assert_eq!((verdict, root.warnings()), (Ok(()), [].as_slice()));
            } else {
                assert_eq!(verdict, Err(ReasonCode::CertUntrusted));
                let place = format!("certificateAuthorities[0].certChain.certificates[{}]", chain.len() - 2);
                assert!(root.warnings()[0].starts_with(&place), "{:?}", root.warnings());
            }
        }
    }
}

#[test]
fn a_timestamp_authority_of_another_kind_of_key_is_warned_of() {
    let lab = Lab::new();
    for (algorithm, warnings) in [(&PKCS_ECDSA_P256_SHA256, 0), (&PKCS_ECDSA_P521_SHA512, 1)] {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        let leaf = params.self_signed(&KeyPair::generate_for(algorithm).expect("a key")).expect("a certificate");
        let mut root = lab.root_json();
        let chain = json!({ "certificates": [{ "rawBytes": to_base64(leaf.der()) }] });
        root["timestampAuthorities"] = json!([{ "certChain": chain }]);
        assert_eq!(root_of(&root).expect("a trusted root").warnings().len(), warnings);
    }
}
