//! The document's form: every member, what it may be, and what it means.
//!
//! The sentences are those of the reference page and of the JSON Schema.

use super::shape::Presence::{Default, Needed, Optional};
use super::shape::{Field, Presence, Shape};

/// The one version there is.
pub(super) const API_VERSION: &str = "trust/v1";
/// The type that a cosign signature has as a bundle.
pub(super) const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// Most policies, and most entries of any list that has no other limit.
const POLICIES_MAX: usize = 256;
const ENTRIES_MAX: usize = 64;
/// Most entries of lists that grow over the years.
const REVOKED_MAX: usize = 4096;

/// Names of the claims that certificates carry (Fulcio, OIDs 1.3.6.1.4.1.57264.1.9 to .22), as policies write them.
pub const CLAIMS: [&str; 14] = [
    "buildSignerURI",
    "buildSignerDigest",
    "runnerEnvironment",
    "sourceRepositoryURI",
    "sourceRepositoryDigest",
    "sourceRepositoryRef",
    "sourceRepositoryIdentifier",
    "sourceRepositoryOwnerURI",
    "sourceRepositoryOwnerIdentifier",
    "buildConfigURI",
    "buildConfigDigest",
    "buildTrigger",
    "runInvocationURI",
    "sourceRepositoryVisibilityAtSigning",
];

const fn field(name: &'static str, presence: Presence, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, presence, about }
}

const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, least: 0, most: ENTRIES_MAX }
}

const fn some(of: &'static Shape) -> Shape {
    Shape::List { of, least: 1, most: ENTRIES_MAX }
}

const NEED: Shape = Shape::Word(&["require", "ignore"]);

/// The document as a whole.
pub(super) const DOCUMENT: Shape = Shape::Table(&[
    field("apiVersion", Needed, Shape::Word(&[API_VERSION]), "The version of this form."),
    field(
        "trustRoots",
        Default("{}"),
        Shape::Names(&TRUST_ROOT),
        "Trusted roots by the names that authorities use: whose certificates, logs and timestamps count.",
    ),
    field(
        "policies",
        Needed,
        Shape::List { of: &POLICY, least: 0, most: POLICIES_MAX },
        "The policies. Each that matches has to be satisfied, so another one can only tighten.",
    ),
]);

const TRUST_ROOT: Shape = Shape::Table(&[
    field("file", Optional, Shape::Text, "A sigstore TrustedRoot (JSON), relative to the folder of the document."),
    field("json", Optional, Shape::File, "The same as a text in the document, which needs no file; one of the two."),
]);

const POLICY: Shape = Shape::Table(&[
    field("name", Needed, Shape::Text, "Its name in answers and logs: small letters, digits, `.`, `_` and `-`."),
    field("match", Needed, MATCH, "What it is about."),
    field(
        "mode",
        Needed,
        Shape::Word(&["off", "warn", "enforce"]),
        "`enforce` refuses what does not satisfy it, `warn` only says so, `off` does nothing.",
    ),
    field(
        "on",
        Default(r#"["push", "pull"]"#),
        some(&Shape::Word(&["push", "pull", "tag"])),
        "`push` judges signatures as they come, `pull` guards reads, `tag` guards what a tag may point at.",
    ),
    field("authorities", Needed, some(&AUTHORITY), "Who may sign."),
    field("signature", Optional, SIGNATURE, "Which signatures are asked for. Left out: none, only attestations."),
    field("attestations", Default("[]"), list(&ATTESTATION), "Which attestations are asked for; all of them."),
    field(
        "children",
        Default(r#""inherit""#),
        Shape::Word(&["inherit", "each"]),
        "`inherit`: what a passing index names passes with it, unless it names more than 512. `each`: every manifest needs its \
         own signature.",
    ),
    field(
        "unverifiedReaders",
        Default(r#""pushers""#),
        Shape::Either(&Shape::Word(&["nobody", "pushers"]), &some(&Shape::Text)),
        "Who may read what does not pass yet, as one must to sign it: who may push, nobody, or a list of roles \
         (`write`, `admin`, `owner`) and networks (`10.0.0.0/8`).",
    ),
    field(
        "blobs",
        Default(r#""gate""#),
        Shape::Word(&["gate", "open"]),
        "`gate`: a blob can be read only through a manifest that passes. `open`: blobs are not guarded.",
    ),
    field("revoke", Optional, REVOKE, "Whom and what it does not trust any more."),
]);

const MATCH: Shape = Shape::Table(&[
    field(
        "repositories",
        Needed,
        some(&Shape::Text),
        "Globs over whole names: `*` is (part of) one segment, `**` any number of segments. `prod/**` is not about `prod` \
         itself.",
    ),
    field("exclude", Default("[]"), list(&Shape::Text), "Globs over the names that it is not about after all."),
    field(
        "tags",
        Default(r#"["*"]"#),
        some(&Shape::Text),
        "Globs over the tags that `on: tag` guards. Reads are judged by digest, whatever tag leads there.",
    ),
    field(
        "excludeArtifactTypes",
        Default("[]"),
        list(&Shape::Text),
        "Types of referrers, such as `application/spdx+json`, that may be read without a signature of their own.",
    ),
]);

const AUTHORITY: Shape = Shape::Table(&[
    field("name", Needed, Shape::Text, "Its name in this policy: small letters, digits, `.`, `_` and `-`."),
    field("key", Optional, KEY, "A public key. Either this or `keyless`."),
    field("keyless", Optional, KEYLESS, "Certificates that are given to an identity for a signature."),
    field("tlog", Default(r#""ignore""#), NEED, "With `key`: whether a transparency log must have the signature."),
    field("timestamp", Default(r#""ignore""#), NEED, "With `key`: whether a timestamp authority must have signed it."),
    field("trustRoot", Optional, Shape::Text, "With `key`: the root with the logs and timestamp authorities."),
    field("notBefore", Optional, Shape::Text, "Only signatures count whose proved time is not earlier (RFC 3339)."),
    field("notAfter", Optional, Shape::Text, "Only signatures count whose proved time is not later (RFC 3339)."),
]);

const KEY: Shape = Shape::Table(&[
    field(
        "pem",
        Optional,
        Shape::Text,
        "The key itself, `-----BEGIN PUBLIC KEY-----` and so on. Either this or `file`.",
    ),
    field("file", Optional, Shape::Text, "A file with the key in PEM, relative to the folder of the document."),
    field(
        "hash",
        Default(r#""auto""#),
        Shape::Word(&["auto", "sha256", "sha384", "sha512"]),
        "The hash it signs; `auto` takes the natural one of the key, then SHA-256. Log entries and timestamps are verified with \
         the natural one alone, and not those of P-521.",
    ),
]);

const KEYLESS: Shape = Shape::Table(&[
    field("trustRoot", Needed, Shape::Text, "The name of the trusted root."),
    field("sct", Default(r#""require""#), NEED, "Whether the certificate must be in a certificate log."),
    field("tlog", Default(r#""require""#), NEED, "Whether a transparency log must have the signature."),
    field("identities", Needed, some(&IDENTITY), "Who counts; one of them suffices."),
    field("claims", Default("{}"), Shape::Names(&Shape::Text), "What the certificate must say besides, exactly."),
]);

const IDENTITY: Shape = Shape::Table(&[
    field("issuer", Optional, Shape::Text, "The OIDC issuer, exactly. Either this or `issuerRegExp`."),
    field("issuerRegExp", Optional, Shape::Text, "A regular expression that matches the whole issuer."),
    field("subject", Optional, Shape::Text, "The identity, exactly. Either this or `subjectRegExp`."),
    field("subjectRegExp", Optional, Shape::Text, "A regular expression that matches the whole identity."),
]);

const OF: Field =
    field("of", Optional, some(&Shape::Text), "The authorities that count, by name. Left out: all of them.");

const SIGNATURE: Shape = Shape::Table(&[
    field(
        "threshold",
        Default("1"),
        Shape::Count,
        "How many different keys or identities (issuer and subject together) must have signed.",
    ),
    OF,
    field(
        "formats",
        Default(r#"["bundle", "legacy"]"#),
        some(&Shape::Word(&["bundle", "legacy"])),
        "`bundle`: sigstore bundles. `legacy`: the simple signing of cosign before version 3.",
    ),
    field(
        "predicateTypes",
        Default(r#"["https://sigstore.dev/cosign/sign/v1"]"#),
        some(&Shape::Text),
        "Which signed statements of bundles are a signature of the image, rather than something said about it.",
    ),
    field(
        "annotations",
        Default("{}"),
        Shape::Names(&Shape::Text),
        "What must be among the signed annotations, exactly.",
    ),
    field(
        "dockerReference",
        Default(r#""ignore""#),
        Shape::Word(&["ignore", "repository"]),
        "`repository`: the signed name must be this repository. Its host is not compared, since a registry has several; so a \
         signature of the same path in another registry counts. Bundles have no name.",
    ),
]);

const ATTESTATION: Shape = Shape::Table(&[
    field("predicateType", Needed, Shape::Text, "The type of the signed predicate, exactly."),
    OF,
    field("conditions", Default("[]"), list(&CONDITION), "What has to hold for the predicate; all of it."),
    field("maxAge", Optional, Shape::Text, "How long ago it may have been signed, such as `90d` or `12h`."),
]);

const CONDITION: Shape = Shape::Table(&[
    field("pointer", Needed, Shape::Text, "What to look at, as a JSON pointer (RFC 6901) into the predicate."),
    field("equals", Optional, Shape::Scalar, "It is this."),
    field("in", Optional, some(&Shape::Scalar), "It is one of these."),
    field("contains", Optional, Shape::Scalar, "It is a list, and this is in it."),
    field("matches", Optional, Shape::Text, "It is a text, and this regular expression matches the whole of it."),
    field("atMost", Optional, Shape::Number, "It is a number, and not larger."),
    field("exists", Optional, Shape::Truth, "`true`: it is there. `false`: it is not."),
]);

const REVOKE: Shape = Shape::Table(&[
    field(
        "digests",
        Default("[]"),
        Shape::List { of: &Shape::Text, least: 0, most: REVOKED_MAX },
        "Digests of images that do not pass whoever signs them, and of manifests with signatures that do not count.",
    ),
    field(
        "keys",
        Default("[]"),
        Shape::List { of: &Shape::Text, least: 0, most: REVOKED_MAX },
        "Fingerprints of keys, bare ones and those of certificates: `sha256:` and the digest of the key in DER.",
    ),
    field(
        "identities",
        Default("[]"),
        Shape::List { of: &REVOKED_IDENTITY, least: 0, most: REVOKED_MAX },
        "Identities that do not count any more.",
    ),
]);

const REVOKED_IDENTITY: Shape = Shape::Table(&[
    field("issuer", Optional, Shape::Text, "The OIDC issuer, exactly. Either this or `issuerRegExp`."),
    field("issuerRegExp", Optional, Shape::Text, "A regular expression that matches the whole issuer."),
    field(
        "subject",
        Optional,
        Shape::Text,
        "The identity, exactly, but for the case of an e-mail address's host. Either this or `subjectRegExp`.",
    ),
    field("subjectRegExp", Optional, Shape::Text, "A regular expression that matches the whole identity."),
    field("signedAfter", Optional, Shape::Text, "Only signatures from this time on are revoked (RFC 3339)."),
]);
