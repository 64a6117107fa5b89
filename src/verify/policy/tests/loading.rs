//! What a document may say, and how it is told what is wrong with it.

use super::*;

/// Every member there is.
const FULL: &str = r#"
apiVersion: trust/v1
trustRoots: { lab: {file: root.json} }
policies:
- name: prod
  match: {repositories: ["prod/**"], exclude: ["prod", "prod/scratch/*"], tags: ["*"], excludeArtifactTypes: [application/spdx+json]}
  mode: enforce
  on: [push, pull, tag]
  authorities:
  - {name: release, key: {file: keys/release.pub, hash: auto}, tlog: ignore, timestamp: ignore, notBefore: null, notAfter: null}
  - name: logged
    key:
      pem: |
        PEM
      hash: sha256
    tlog: require
    timestamp: require
    trustRoot: lab
    notBefore: 2026-01-01T00:00:00Z
    notAfter: 2027-01-01T00:00:00+01:00
  - name: ci
    keyless: {trustRoot: lab, sct: require, tlog: require,
      identities: [
        {issuer: "https://token.actions.githubusercontent.com", subjectRegExp: "https://github\\.com/acme/app/\\.github/workflows/release\\.yml@refs/tags/.*"},
        {issuerRegExp: "https://issuer[.]example/[a-z]+", subject: "ci@example.com"}],
      claims: {sourceRepositoryURI: "https://github.com/acme/app", runnerEnvironment: github-hosted}}
  signature: {threshold: 1, of: [release, ci, logged], formats: [bundle, legacy], predicateTypes: ["https://sigstore.dev/cosign/sign/v1"],
              annotations: {env: prod}, dockerReference: ignore}
  attestations:
  - predicateType: "https://slsa.dev/provenance/v1"
    of: [ci]
    conditions:
    - {pointer: /buildDefinition/buildType, equals: "https://actions.github.io/buildtypes/workflow/v1"}
    - {pointer: /a, in: [1, x]}
    - {pointer: /b, contains: x}
    - {pointer: /c, matches: "x+"}
    - {pointer: /d, atMost: 0}
    - {pointer: /e, exists: true}
    maxAge: 90d
  children: inherit
  unverifiedReaders: [write, 10.0.0.0/8, "::1"]
  blobs: gate
  revoke:
    digests: ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    keys: ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    identities: [{issuer: "https://issuer.example", subject: "evil@example.com", signedAfter: "2026-10-01T00:00:00Z"}]
"#;

fn full() -> String {
    FULL.replace("PEM", &pem(1).replace('\n', "\n        "))
}

fn faults(text: &str) -> Vec<String> {
    load(text).expect_err("a fault").0.iter().map(Finding::to_string).collect()
}

fn faults_of(policy: &Value) -> Vec<String> {
    faults(&document(std::slice::from_ref(policy)).to_string())
}

fn warnings_of(policy: &Value) -> Vec<String> {
    let loaded = load(&document(std::slice::from_ref(policy)).to_string());
    loaded.expect("a sound document").warnings.iter().map(Finding::to_string).collect()
}

#[track_caller]
fn assert_one(findings: &[String], expected: &str) {
    assert!(findings.len() == 1 && findings[0].contains(expected), "{expected}: {findings:#?}");
}

#[test]
fn everything_that_there_is_can_be_said() {
    let loaded = load(&full()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, []);
    let policy = loaded.policies.get("prod").expect("a policy");
    assert_eq!(policy.mode, Mode::Enforce);
    assert_eq!(policy.gates, Gate::ALL);
    assert_eq!(
        policy
            .authorities
            .iter()
            .map(|by| by.signers().as_ref().map(std::collections::BTreeSet::len))
            .collect::<Vec<_>>(),
        [Some(1), Some(1), None]
    );
    assert_eq!(policy.authorities[1].not_after, Timestamp::parse_rfc3339("2026-12-31T23:00:00Z"));
    assert_eq!(policy.signature.as_ref().map(|rule| rule.of.clone()), Some(vec![0, 1, 2]));
    assert_eq!(policy.attestations[0].of, [2]);
    assert_eq!(policy.attestations[0].max_age, Some(std::time::Duration::from_hours(90 * 24)));
    assert!(policy.scope.excludes_artifact_type("application/spdx+json"));
    let Readers::Listed { roles, networks } = &policy.readers else { panic!("{:?}", policy.readers) };
    assert_eq!((roles.len(), networks.len()), (1, 2));
    assert!(policy.revoked.has_digest(&digest("")));
    assert!(policy.revoked.has_key(&digest("").to_string()));
}

#[test]
fn the_schema_knows_every_member_and_no_other() {
    fn agree(schema: &Value, value: &Value, place: &str) {
        let schema = schema.get("anyOf").map_or(schema, |any| {
            let fits = |schema: &&Value| match value {
                Value::Array(_) => schema["type"] == "array",
                Value::Object(_) => schema["type"] == "object",
                _ => true,
            };
            any.as_array().expect("a list").iter().find(fits).expect("a form")
        });
        match value {
            Value::Object(members) if schema.get("properties").is_some() => {
                for (name, value) in members {
                    let known = schema["properties"].get(name);
                    agree(known.unwrap_or_else(|| panic!("{place}.{name}")), value, &format!("{place}.{name}"));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| agree(&schema["items"], item, place)),
            _ => {}
        }
    }
    fn names(value: &Value, found: &mut std::collections::BTreeSet<String>) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            found.extend(properties.keys().cloned());
        }
        match value {
            Value::Object(members) => members.values().for_each(|value| names(value, found)),
            Value::Array(items) => items.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }
    let value = text::read(full().as_bytes()).expect("YAML").value;
    agree(&schema(), &value, "");
    let mut known = std::collections::BTreeSet::new();
    names(&schema(), &mut known);
    let written = value.to_string();
    // `json` stands in the place of `file`.
    let is_told = |name: &str| name == "json" || written.contains(&format!("\"{name}\":"));
    let missing: Vec<_> = known.iter().filter(|name| !is_told(name)).collect();
    assert!(missing.is_empty(), "the example says nothing of {missing:?}");
    let rows = reference_rows();
    assert!(known.iter().all(|name| rows.contains(&format!("{name}`"))), "{rows}");
}

#[test]
fn all_faults_are_named_at_once_with_their_lines() {
    let text = r#"apiVersion: trust/v2
trustRoots: {lab: {file: ../etc/root.json}, other: {file: broken.json}, gone: {file: gone.json}}
policies:
- name: Prod
  match: {repositories: ["prod/*a**", "Prod/*"], tags: ["a/b"], repos: []}
  mode: strict
  authorities:
  - name: a
    key: {pem: nonsense}
    tlog: require
  - name: a
    keyless: {trustRoot: nobody, identities: [{issuer: x, subjectRegExp: "("}, {subject: y}], claims: {color: red}}
  signature: {of: [b], thresold: 2}
  attestations:
  - {predicateType: 5, maxAge: 1 year, conditions: [{pointer: a}]}
  unverifiedReaders: [read]
  revoke: {digests: [x], keys: [y], identities: [{issuer: a}]}
extra: 1
"#;
    let found = faults(text);
    let expected = [
        "error: apiVersion (line 1): `trust/v2` is none of `trust/v1`",
        "error: extra (line 18): nothing is called `extra` here; there are",
        "error: trustRoots.lab.file (line 2): a file is named relative to",
        "error: trustRoots.other.file (line 2): this is no trusted root",
        "error: trustRoots.gone.file (line 2): `gone.json` cannot be read: there is no such file",
        "error: policies[0].name (line 4): `Prod` cannot be a name",
        "error: policies[0].match.repositories[0] (line 5): `prod/*a**`: `**` stands alone",
        "error: policies[0].match.repositories[1] (line 5): `Prod/*` matches nothing: no name has a `P`",
        "error: policies[0].match.tags[0] (line 5): `a/b` matches nothing",
        "error: policies[0].match.repos (line 5): nothing is called `repos` here; did you mean `repositories`?",
        "error: policies[0].mode (line 6): `strict` is none of `off`, `warn` and `enforce`",
        "error: policies[0].authorities[0].key.pem (line 9): this key cannot be used",
        "error: policies[0].authorities[0] (line 8): `trustRoot` is missing",
        "error: policies[0].authorities[1].name (line 11): policies[0].authorities[0] has this name already",
        "error: policies[0].authorities[1].keyless.trustRoot (line 12): no trusted root is called `nobody`",
        "error: policies[0].authorities[1].keyless.identities[0].subjectRegExp (line 12): this is not a regular expression",
        "error: policies[0].authorities[1].keyless.identities[1] (line 12): `issuer` is missing",
        "error: policies[0].authorities[1].keyless.claims.color (line 12): no certificate has a claim `color`",
        "error: policies[0].signature.of[0] (line 13): no authority is called `b`; there are",
        "error: policies[0].signature.thresold (line 13): nothing is called `thresold` here; did you mean `threshold`?",
        "error: policies[0].attestations[0].predicateType (line 15): this is a number, and has to be a text",
        "error: policies[0].attestations[0].maxAge (line 15): `1 year` is not a length of time",
        "error: policies[0].attestations[0].conditions[0] (line 15): this condition says nothing",
        "error: policies[0].attestations[0].conditions[0].pointer (line 15): `a` is not a JSON pointer",
        "error: policies[0].unverifiedReaders[0] (line 16): `read` is neither one of the roles",
        "error: policies[0].revoke.digests[0] (line 17): `x`: a digest is written",
        "error: policies[0].revoke.keys[0] (line 17): write `sha256:`",
        "error: policies[0].revoke.identities[0] (line 17): `subject` is missing",
    ];
    for expected in expected {
        assert!(found.iter().any(|finding| finding.starts_with(expected)), "{expected}\n{found:#?}");
    }
    let errors = found.iter().filter(|finding| finding.starts_with("error")).count();
    assert_eq!(errors, expected.len(), "{found:#?}");
}

#[test]
fn what_is_no_document_is_refused_in_one_sentence() {
    assert_one(&faults("a: [1"), "error: line ");
    assert_one(
        &faults("- 1"),
        "this is a list, and has to be a mapping with `apiVersion`, `trustRoots` and `policies`",
    );
    for nothing in ["", "\n \n", "# nothing yet\n", "---\n", "null"] {
        assert_one(&faults(nothing), "the document is empty; one that ends all policies says");
    }
    assert_eq!(load("apiVersion: trust/v1\npolicies: []").expect("an empty document").policies.iter().count(), 0);
}

/// What is read besides takes as long as the lists are long, each times another.
#[test]
fn of_lists_that_are_too_long_nothing_else_is_said() {
    let with = |count: usize| {
        let authorities: Vec<_> = (0..count).map(|n| key(&format!("k{n}"), 0)).collect();
        let mut policy = policy("a", &authorities);
        policy["signature"]["of"] = json!(["nobody"]);
        faults_of(&policy)
    };
    assert_one(&with(65), "there are 65 entries here, and 64 at most may be");
    let faults = with(64);
    let unknown = faults.iter().find(|fault| fault.contains("no authority is called `nobody`")).expect("a fault");
    assert!(unknown.ends_with("`k18`, `k19` and 44 more"), "{unknown}");
}

#[test]
fn what_can_never_be_satisfied_is_an_error() {
    let two = policy("p", &[key("a", 0), key("b", 0)]);
    assert_one(&faults_of(&with(two, "/signature/threshold", json!(2)))[..1], "there can be 1 at most");
    let nothing = with(policy("p", &[key("a", 0)]), "/signature", Value::Null);
    assert_one(&faults_of(&nothing), "asks for nothing");
    let never = with(policy("p", &[key("a", 0)]), "/match", json!({"repositories": ["a/**"], "exclude": ["**"]}));
    assert_one(&faults_of(&never), "about nothing");
    let never = with(policy("p", &[key("a", 0)]), "/match", json!({"repositories": ["a/b"], "exclude": ["a/*"]}));
    assert_one(&faults_of(&never), "about nothing");
    let timeless = with(policy("p", &[key("a", 0)]), "/authorities/0/notAfter", json!("2027-01-01T00:00:00Z"));
    assert_one(&faults_of(&timeless), "nothing proves it here");
    let old = json!([{"predicateType": SLSA, "maxAge": "1d"}]);
    assert_one(&faults_of(&with(policy("p", &[key("a", 0)]), "/attestations", old)), "ever young enough");
    let one_of_two = json!([{"predicateType": SLSA, "maxAge": "1d"}]);
    let mixed = with(policy("p", &[key("a", 0), keyless("b", ISSUER, "x")]), "/attestations", one_of_two);
    assert_one(&faults_of(&mixed), "nothing proves when `a` signed");
    assert!(load(&document(&[with(mixed, "/attestations/0/of", json!(["b"]))]).to_string()).is_ok());
    let twice = policy("p", &[keyless("a", ISSUER, "x@Y.example"), keyless("b", ISSUER, "x@y.example")]);
    assert_one(&faults_of(&with(twice, "/signature/threshold", json!(2))), "there can be 1 at most");
    never_signed_so();
    let both = with(policy("p", &[key("a", 0)]), "/authorities/0/keyless", json!({}));
    assert!(faults_of(&both).iter().any(|fault| fault.contains("`key` and `keyless` are both here")));
    let apart = with(policy("p", &[keyless("a", "i", "s")]), "/authorities/0/tlog", json!("ignore"));
    assert_one(&faults_of(&apart), "goes with `key`");
    assert_one(
        &faults(&document(&[policy("p", &[key("a", 0)]), policy("p", &[key("a", 0)])]).to_string()),
        "policies[0] has this name already",
    );
}

/// Keys whose signatures the verifier cannot take.
fn never_signed_so() {
    let of = |name: &str, hash: &str, needed: Option<&str>| {
        let pem = super::samples::pem_of(name);
        let mut authority = json!({"name": "a", "key": {"pem": pem, "hash": hash}});
        if let Some(needed) = needed {
            authority[needed] = json!("require");
            authority["trustRoot"] = json!("lab");
        }
        policy("p", &[authority])
    };
    for needed in ["tlog", "timestamp"] {
        for hash in ["auto", "sha256", "sha384", "sha512"] {
            assert_one(&faults_of(&of("k-p521", hash, Some(needed))), "of P-521 keys are not verified, so that none");
        }
        for (name, hash) in [
            ("key-p256", "sha384"),
            ("key-p256", "sha512"),
            ("k-p384", "sha256"),
            ("k-p384", "sha512"),
            ("k-rsa", "sha384"),
            ("k-rsa", "sha512"),
        ] {
            assert!(load(&document(&[of(name, hash, None)]).to_string()).is_ok(), "{name} {hash}");
            assert_one(&faults_of(&of(name, hash, Some(needed))), "not verified with this hash");
        }
        for (name, hash) in
            [("key-p256", "sha256"), ("k-p384", "sha384"), ("k-rsa", "sha256"), ("k-ed", "auto"), ("k-p384", "auto")]
        {
            assert!(load(&document(&[of(name, hash, Some(needed))]).to_string()).is_ok(), "{name} {hash}");
        }
    }
    assert!(load(&document(&[of("k-p521", "sha512", None)]).to_string()).is_ok());
    for hash in ["sha256", "sha384", "sha512"] {
        for needed in [None, Some("tlog")] {
            assert_one(&faults_of(&of("k-ed", hash, needed)), "have their hash built in");
        }
    }
    assert!(load(&document(&[of("k-ed", "auto", None)]).to_string()).is_ok());
}

#[test]
fn what_was_probably_not_meant_is_a_warning() {
    let expression = |pattern: &str| {
        let mut authority = keyless("ci", ISSUER, "");
        authority["keyless"]["identities"][0] = json!({"issuer": ISSUER, "subjectRegExp": pattern});
        policy("p", &[authority])
    };
    assert_one(&warnings_of(&expression("https://github.com/acme/.*")), "a dot stands for any character");
    assert_one(&warnings_of(&expression(".*")), "matches everybody");
    assert_one(&warnings_of(&expression(".*/acme/app")), "begins with anything");
    assert_one(&warnings_of(&with(expression("https://x/.*"), "/signature/threshold", json!(2))), "several identities");
    let mut mixed = expression("https://x/.*");
    mixed["authorities"].as_array_mut().expect("a list").push(key("key", 0));
    assert_one(&warnings_of(&with(mixed, "/signature/threshold", json!(2))), "each of which counts");
    assert_one(&warnings_of(&policy("p", &[keyless("ci", "https://issuer.example/", "s")])), "no slash at the end");
    let unused = with(policy("p", &[key("a", 0), key("b", 1)]), "/signature/of", json!(["a"]));
    assert_one(&warnings_of(&unused), "no `of` names `b`");
    assert_one(&warnings_of(&policy("p", &[key("a", 0), key("b", 0)])), "count as one signer");
    let revoked = with(policy("p", &[key("a", 0)]), "/revoke", json!({"keys": [fingerprint(0)]}));
    assert_one(&warnings_of(&revoked), "is revoked below");
    let tags = with(policy("p", &[key("a", 0)]), "/match/tags", json!(["v*"]));
    assert_one(&warnings_of(&tags), "`on` has no `tag`");
    let refuses_nothing = with(policy("p", &[key("a", 0)]), "/on", json!(["push"]));
    assert_one(&warnings_of(&refuses_nothing), "refuses nothing");
    let named = with(policy("p", &[key("a", 0)]), "/signature/dockerReference", json!("repository"));
    assert_one(&warnings_of(&named), "bundles have no name");
    let types = with(policy("p", &[key("a", 0)]), "/signature/predicateTypes", json!([SIGN, SLSA]));
    assert_one(&warnings_of(&types), "signs it with that");
    let attested = with(policy("p", &[key("a", 0)]), "/attestations", json!([{"predicateType": SLSA}]));
    assert_one(&warnings_of(&with(attested, "/signature", Value::Null)), "needs no signature");
    let mut text = document(&[policy("p", &[key("a", 0)])]);
    text["trustRoots"] = json!({"lab": {"file": "root.json"}});
    assert_eq!(load(&text.to_string()).expect("sound").warnings[0].place, "trustRoots.lab");
    let root = include_str!("../../../../tests/data/signing/trusted_root.lab.json");
    text["trustRoots"] = json!({"lab": {"json": root}});
    assert_eq!(load(&text.to_string()).expect("sound").warnings[0].place, "trustRoots.lab");
    // One with the logs of many years is longer than any other text may be.
    text["trustRoots"] = json!({"lab": {"json": format!("{root}{}", " ".repeat(100 << 10))}});
    assert!(load(&text.to_string()).is_ok());
    for both in [json!({}), json!({"json": root, "file": "root.json"}), json!({"json": "{}"})] {
        text["trustRoots"] = json!({"lab": both});
        assert!(load(&text.to_string()).is_err(), "{text}");
    }
}

#[test]
fn what_stars_leave_out_is_a_warning() {
    let scoped = |scope: Value| warnings_of(&with(policy("p", &[key("a", 0)]), "/match", scope));
    assert_one(&scoped(json!({"repositories": ["prod/**"]})), "`prod/**` is not about the repository `prod` itself");
    assert_one(&scoped(json!({"repositories": ["x/*", "a/b/**"]})), "match.repositories[1]: `a/b/**`");
    for sound in [
        json!({"repositories": ["prod/**", "prod"]}),
        json!({"repositories": ["prod/**"], "exclude": ["prod"]}),
        json!({"repositories": ["**"]}),
        json!({"repositories": ["prod/**", "*"]}),
        json!({"repositories": ["*/**"]}),
        json!({"repositories": ["prod/*"]}),
    ] {
        assert_eq!(scoped(sound), [""; 0]);
    }
}

#[test]
fn no_number_of_warnings_hides_an_error() {
    // The last one asks for what can never be; that is found after everything else was read.
    let odd = |number: usize| with(policy(&format!("p{number}"), &[key("a", 0)]), "/on", json!(["push"]));
    let never = with(policy("never", &[key("a", 0)]), "/signature/threshold", json!(2));
    let many: Vec<_> = (0..250).map(odd).chain([never]).collect();
    let found = faults(&document(&many).to_string());
    assert!(found[0].contains("there can be 1 at most"), "{}", found[0]);
    assert_eq!(found.len(), 1 + 200 + 1);
    assert_eq!(found.last().map(String::as_str), Some("warning: 50 more warnings are not shown; mend these first"));
    let wrong: Vec<_> = (0..250).map(|number| with(odd(number), "/mode", json!("x"))).collect();
    let found = faults(&document(&wrong).to_string());
    assert!(found.iter().any(|finding| finding == "error: 50 more errors are not shown; mend these first"));
}

#[test]
fn a_policy_that_everybody_escapes_is_found() {
    let open = policy("p", &[key("a", 0)]);
    let closed = with(open.clone(), "/unverifiedReaders", json!("nobody"));
    let by_network = with(open.clone(), "/unverifiedReaders", json!(["10.0.0.0/8"]));
    let warning = with(open.clone(), "/mode", json!("warn"));
    let void = |value: &Value| policies(std::slice::from_ref(value)).void_without_accounts().len();
    assert_eq!([void(&open), void(&closed), void(&by_network), void(&warning)], [1, 0, 0, 0]);
}

#[test]
fn policies_apply_where_they_match() {
    let matching = |name: &str, scope: Value, mode: &str, on: Value| {
        with(with(with(policy(name, &[key("a", 0)]), "/match", scope), "/mode", json!(mode)), "/on", on)
    };
    let policies = policies(&[
        matching("warn", json!({"repositories": ["**"]}), "warn", json!(["pull", "tag"])),
        matching(
            "prod",
            json!({"repositories": ["prod/**"], "exclude": ["prod/scratch/*"]}),
            "enforce",
            json!(["pull"]),
        ),
        matching("tags", json!({"repositories": ["prod/*"], "tags": ["v*"]}), "enforce", json!(["tag", "pull"])),
        matching("off", json!({"repositories": ["**"]}), "off", json!(["pull"])),
    ]);
    let names = |repository: &str, gate, tag: Option<&str>| {
        let tag = tag.map(|tag| tag.parse::<Tag>().expect("a tag"));
        let applying = policies.applying(&repository.parse().expect("a name"), gate, tag.as_ref());
        applying.iter().map(|policy| policy.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("prod/app", Gate::Pull, None), ["prod", "tags", "warn"]);
    assert_eq!(names("prod/app", Gate::Pull, Some("latest")), ["prod", "tags", "warn"], "reads are judged by digest");
    assert_eq!(names("prod/app", Gate::Tag, Some("v1")), ["tags", "warn"]);
    assert_eq!(names("prod/app", Gate::Tag, Some("latest")), ["warn"]);
    assert_eq!(names("prod/scratch/x", Gate::Pull, None), ["warn"]);
    assert_eq!(names("prod", Gate::Pull, None), ["warn"]);
    assert_eq!(names("prod/app", Gate::Push, None), [""; 0]);
}

#[test]
fn the_revision_is_that_of_what_is_said() {
    let revision = |text: &str| load(text).expect("sound").policies.revision().to_owned();
    let first = revision(&full());
    assert_eq!(first.len(), 64);
    let value = text::read(full().as_bytes()).expect("YAML").value;
    assert_eq!(revision(&value.to_string()), first, "JSON");
    assert_eq!(revision(&format!("# a comment\n{}", full().replace("mode: enforce", "mode:   'enforce'"))), first);
    assert_eq!(revision(&full().replace(", notBefore: null", "")), first, "null is nothing");
    assert_ne!(revision(&full().replace("threshold: 1", "threshold: 2")), first);
    let other = |name: &str| match name {
        "keys/release.pub" => Ok(pem(3).into_bytes()),
        name => files(name),
    };
    let loaded = Policies::load(full().as_bytes(), &other).expect("sound");
    assert_ne!(loaded.policies.revision(), first, "another key in the file");
    assert!(loaded.policies.iter().all(|policy| *policy.revision == *loaded.policies.revision()));
}

#[test]
fn files_lie_beside_the_document() {
    for name in ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\b", "a\0b", ""] {
        let mut text = document(&[]);
        text["trustRoots"] = json!({"lab": {"file": name}});
        let asked = std::cell::Cell::new(false);
        let files = |_: &str| {
            asked.set(true);
            Err("no".to_owned())
        };
        assert!(Policies::load(text.to_string().as_bytes(), &files).is_err(), "{name}");
        assert!(!asked.get(), "{name}");
    }
}

#[test]
fn the_claims_of_policies_are_those_that_are_read_from_certificates() {
    assert_eq!(CLAIMS, crate::verify::certificate::CLAIMS.map(|(_, name)| name));
}

/// A root may have what this version cannot verify, and whoever names it is told before a signature is refused for it.
#[test]
fn what_a_root_has_for_nothing_is_a_warning() {
    let mut params = rcgen::CertificateParams::default();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::TimeStamping];
    let p521 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key");
    let leaf = crate::verify::text::to_base64(params.self_signed(&p521).expect("a certificate").der());
    let root = include_str!("../../../../tests/data/signing/trusted_root.lab.json");
    let mut root: Value = serde_json::from_str(root).expect("JSON");
    root["timestampAuthorities"] = json!([{ "certChain": { "certificates": [{ "rawBytes": leaf }] } }]);
    let mut text = document(&[policy("p", &[key("a", 0)])]);
    text["trustRoots"] = json!({"lab": {"json": root.to_string()}});
    let warnings = load(&text.to_string()).expect("sound").warnings;
    let told = |finding: &Finding| finding.place == "trustRoots.lab.json" && finding.message.contains("never counts");
    assert!(warnings.iter().any(told), "{warnings:?}");
}
