//! Tests of [`Route`]: the table of requests, and that parsing undoes rendering.

use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(method: &str, target: &str) -> Result<Route, RouteError> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(&method, path, query)
}

fn repo(name: &str) -> RepoName {
    name.parse().expect("a repository name")
}

fn digest() -> Digest {
    DIGEST.parse().expect("a digest")
}

/// Name and repository, for tables.
fn summary(method: &str, path: &str) -> Result<String, RouteError> {
    let path = path.replace("$D", DIGEST);
    parse(method, &path).map(|route| format!("{} {}", route.name(), route.repo().map_or("-", RepoName::as_str)))
}

#[test]
fn every_endpoint_has_its_route() {
    let cases = [
        ("GET", "/v2", "base -"),
        ("GET", "/v2/", "base -"),
        ("HEAD", "/v2/", "base -"),
        ("GET", "/v2/_catalog", "catalog -"),
        ("GET", "/v2/a/blobs/$D", "blob_get a"),
        ("HEAD", "/v2/a/b/blobs/$D", "blob_head a/b"),
        ("DELETE", "/v2/a/blobs/$D", "blob_delete a"),
        ("POST", "/v2/a/blobs/uploads/", "upload_start a"),
        ("POST", "/v2/a/blobs/uploads", "upload_start a"),
        ("GET", "/v2/a/blobs/uploads/i-1", "upload_status a"),
        ("PATCH", "/v2/a/blobs/uploads/i-1", "upload_append a"),
        ("PUT", "/v2/a/blobs/uploads/i-1?digest=$D", "upload_finish a"),
        ("GET", "/v2/a/blobs/uploads/i-1?digest=x", "upload_status a"),
        ("DELETE", "/v2/a/blobs/uploads/i-1", "upload_cancel a"),
        ("GET", "/v2/a/manifests/latest", "manifest_get a"),
        ("HEAD", "/v2/a/manifests/$D", "manifest_head a"),
        ("PUT", "/v2/a/manifests/latest", "manifest_put a"),
        ("DELETE", "/v2/a/manifests/latest", "manifest_delete a"),
        ("GET", "/v2/a/tags/list", "tags a"),
        ("GET", "/v2/a/referrers/$D", "referrers a"),
        ("GET", "/v2/a/_trust/verify/verdict?ref=latest", "verdict a"),
        ("HEAD", "/v2/a/_trust/verify/verdict?ref=$D&policy=prod", "verdict a"),
        ("GET", "/v2/_trust/policy/document?number=3", "policy -"),
        ("PUT", "/v2/_trust/policy/document", "policy -"),
        ("GET", "/v2/_trust/policy/revisions?n=3&last=7", "policy_revisions -"),
        ("POST", "/v2/_trust/policy/dryrun?repository=a/*&all=true&last=a@$D", "policy_dryrun -"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(summary(method, path).as_deref(), Ok(expected), "{method} {path}");
    }
}

#[test]
fn names_are_read_from_the_right() {
    let cases = [
        ("GET", "/v2/manifests/manifests/manifests", "manifest_get manifests"),
        ("GET", "/v2/a/blobs/uploads/blobs/$D", "blob_get a/blobs/uploads"),
        ("GET", "/v2/a/blobs/uploads/manifests/latest", "manifest_get a/blobs/uploads"),
        ("POST", "/v2/a/blobs/uploads/blobs/uploads/", "upload_start a/blobs/uploads"),
        ("POST", "/v2/blobs/uploads/blobs/uploads", "upload_start blobs/uploads"),
        ("GET", "/v2/uploads/blobs/uploads/blobs", "upload_status uploads"),
        ("GET", "/v2/a/manifests/tags/list", "tags a/manifests"),
        ("GET", "/v2/tags/list/tags/list", "tags tags/list"),
        ("GET", "/v2/tags/list/manifests/list", "manifest_get tags/list"),
        ("GET", "/v2/referrers/referrers/$D", "referrers referrers"),
        ("GET", "/v2/v2/manifests/v2", "manifest_get v2"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(summary(method, path).as_deref(), Ok(expected), "{method} {path}");
    }
}

#[test]
fn what_is_no_route_says_why() {
    let name = RouteError::Name(NameError::Repository);
    let not_allowed = |allow| RouteError::MethodNotAllowed { allow };
    let cases = [
        ("GET", "/", RouteError::NotFound),
        ("GET", "/v1/", RouteError::NotFound),
        ("GET", "/v2x/a/tags/list", RouteError::NotFound),
        ("GET", "v2/", RouteError::NotFound),
        ("GET", "/v2/a", RouteError::NotFound),
        ("GET", "/v2/a/tags/list/", RouteError::NotFound),
        ("GET", "/v2/_oci/ext/discover", RouteError::NotFound),
        ("GET", "/v2/A/tags/list", name.clone()),
        ("GET", "/v2/_catalog/tags/list", name.clone()),
        ("GET", "/v2/_oci/manifests/x", name.clone()),
        ("GET", "/v2/manifests/latest", name.clone()),
        ("GET", "/v2/a//manifests/latest", name.clone()),
        ("GET", "/v2/a/blobs/sha256:x/manifests/latest", name.clone()),
        ("GET", "/v2/a%2Fb/manifests/latest", name.clone()),
        ("GET", "/v2/a%252Fb/manifests/latest", name.clone()),
        ("GET", "/v2/%ff/manifests/latest", name),
        ("GET", "/v2/a/blobs/sha256:x", RouteError::Digest(DigestError::Value)),
        ("GET", "/v2/a/referrers/md5:x", RouteError::Digest(DigestError::Algorithm)),
        ("GET", "/v2/a/manifests/sha256:x", RouteError::Digest(DigestError::Value)),
        ("PUT", "/v2/a/manifests/sha256:baddigeststring", RouteError::Digest(DigestError::Value)),
        ("GET", "/v2/a/manifests/.INVALID_MANIFEST_NAME", RouteError::TagUnknown(NameError::Tag)),
        ("PUT", "/v2/a/manifests/.INVALID_MANIFEST_NAME", RouteError::Tag(NameError::Tag)),
        ("PUT", "/v2/a/manifests/a%2Fb", RouteError::Tag(NameError::Tag)),
        ("PUT", "/v2/a/blobs/uploads/i", RouteError::DigestMissing),
        ("PUT", "/v2/a/blobs/uploads/i?digest=", RouteError::Digest(DigestError::Form)),
        ("POST", "/v2/a/blobs/uploads/?digest=sha256:x", RouteError::Digest(DigestError::Value)),
        ("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", RouteError::Digest(DigestError::Algorithm)),
        ("GET", "/v2/a/blobs/uploads/a%20b", RouteError::UploadUnknown),
        ("GET", "/v2/a/blobs/uploads/a.b", RouteError::UploadUnknown),
        ("GET", "/v2/a/_trust/verify/verdict?ref=b&policy=", RouteError::Policy(NameError::Policy)),
        ("GET", "/v2/a/_trust/verify/verdict?ref=b&policy=A", RouteError::Policy(NameError::Policy)),
        ("GET", "/v2/a/tags/list?n=-1", RouteError::Page(PageError)),
        ("GET", "/v2/_catalog?n=x", RouteError::Page(PageError)),
        ("DELETE", "/v2/a/manifests/b?purge=now", RouteError::Query("purge must be wait")),
        ("POST", "/v2/", not_allowed("GET, HEAD")),
        ("DELETE", "/v2/_catalog", not_allowed("GET, HEAD")),
        ("GET", "/v2/_trust/policy/dryrun", not_allowed("POST")),
        ("PUT", "/v2/_trust/policy/revisions", not_allowed("GET, HEAD")),
        ("DELETE", "/v2/_trust/policy/document", not_allowed("GET, HEAD, PUT")),
        ("GET", "/v2/_trust/policy/else", RouteError::NotFound),
        ("PUT", "/v2/a/tags/list", not_allowed("GET, HEAD")),
        ("GET", "/v2/a/blobs/uploads/", not_allowed("POST")),
        ("POST", "/v2/a/blobs/uploads/i", not_allowed("GET, HEAD, PATCH, PUT, DELETE")),
        ("PUT", "/v2/a/blobs/sha256:x", not_allowed("GET, HEAD, DELETE")),
        ("PATCH", "/v2/a/manifests/b", not_allowed("GET, HEAD, PUT, DELETE")),
    ];
    for (method, target, expected) in cases {
        assert_eq!(parse(method, target), Err(expected), "{method} {target}");
    }
}

#[test]
fn what_is_asked_of_policies_is_parsed() {
    for (method, target) in [
        ("GET", "document?number=0"),
        ("GET", "document?number="),
        ("GET", "document?number=9999999999999999999"),
        ("POST", "dryrun?repository=%5B"),
        ("POST", "dryrun?all=1"),
        ("POST", "dryrun?last=A"),
    ] {
        let parsed = parse(method, &format!("/v2/_trust/policy/{target}"));
        assert!(matches!(parsed, Err(RouteError::Query(_))), "{target}: {parsed:?}");
    }
    let bare = Route::Policy(PolicyAction::DryRun(DryRun::default()));
    assert_eq!(parse("POST", "/v2/_trust/policy/dryrun?repository=&all=false&last="), Ok(bare));
    let digest = parse("POST", "/v2/_trust/policy/dryrun?last=a@sha256:x");
    assert_eq!(digest, Err(RouteError::Digest(DigestError::Value)));
}

#[test]
fn segments_and_values_are_decoded_once() {
    let digest_encoded = DIGEST.replace(':', "%3A");
    let blob = parse("GET", &format!("/v2/%61/blobs/{digest_encoded}"));
    assert_eq!(blob, Ok(Route::Blob { repo: repo("a"), digest: digest(), action: BlobAction::Get }));
    let page = PageRequest { n: Some(2), last: Some("a/b".to_owned()) };
    assert_eq!(parse("GET", "/v2/_catalog?last=a%2Fb&n=2"), Ok(Route::Catalog { page }));
    let Ok(Route::Referrers { artifact_type, .. }) =
        parse("GET", &format!("/v2/a/referrers/{DIGEST}?artifactType=application/x+json&n=1"))
    else {
        panic!("referrers");
    };
    assert_eq!(artifact_type.as_deref(), Some("application/x+json"));
}

#[test]
fn a_mount_that_cannot_be_understood_is_a_plain_session() {
    let mount = |query: &str| match parse("POST", &format!("/v2/a/blobs/uploads/?{}", query.replace("$D", DIGEST))) {
        Ok(Route::UploadStart { mount, .. }) => mount.map(|mount| mount.from.map(|from| from.to_string())),
        other => panic!("{query}: {other:?}"),
    };
    assert_eq!(mount("mount=$D&from=b&origin="), Some(Some("b".to_owned())));
    assert_eq!(mount("mount=$D"), Some(None));
    assert_eq!(mount("mount=$D&from="), Some(None));
    assert_eq!(mount("mount=$D&from=B"), None);
    assert_eq!(mount("mount=sha256:x&from=b"), None);
    assert_eq!(mount("mount="), None);
    assert_eq!(mount("from=b"), None);
}

#[test]
fn tag_parameters_are_read_once_each() {
    let tags = |target: String| match parse("PUT", &target) {
        Ok(Route::Manifest { action: ManifestAction::Put { tags }, .. }) => Ok(tags.len()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    let many = |n: usize| {
        let query: Vec<String> = (0..n).map(|i| format!("tag=t{i}")).collect();
        format!("/v2/a/manifests/{DIGEST}?{}", query.join("&"))
    };
    assert_eq!(tags(many(0)), Ok(0));
    assert_eq!(tags(many(TAG_PARAMS_MAX)), Ok(TAG_PARAMS_MAX));
    assert_eq!(tags(many(TAG_PARAMS_MAX + 1)), Err(RouteError::TooManyTags { max: TAG_PARAMS_MAX }));
    assert_eq!(tags(format!("/v2/a/manifests/{DIGEST}?tag=x&tag=y&tag=x")), Ok(2));
    assert_eq!(tags(format!("/v2/a/manifests/{DIGEST}?tag=.x")), Err(RouteError::Tag(NameError::Tag)));
    assert!(matches!(tags("/v2/a/manifests/b?tag=x".to_owned()), Err(RouteError::Query(_))));
}

#[test]
fn deletes_may_wait_for_the_bytes() {
    for (query, purge_wait) in [("", false), ("?purge=wait", true)] {
        let blob = parse("DELETE", &format!("/v2/a/blobs/{DIGEST}{query}"));
        assert_eq!(
            blob,
            Ok(Route::Blob { repo: repo("a"), digest: digest(), action: BlobAction::Delete { purge_wait } })
        );
        let manifest = parse("DELETE", &format!("/v2/a/manifests/b{query}"));
        assert!(
            matches!(manifest, Ok(Route::Manifest { action: ManifestAction::Delete { purge_wait: wait }, .. }) if wait == purge_wait)
        );
    }
}

/// The request line that means `route`.
fn render(route: &Route) -> (&'static str, String) {
    let purge = |wait: bool| if wait { "?purge=wait" } else { "" };
    match route {
        Route::Base => ("GET", "/v2/".to_owned()),
        Route::Policy(action) => match action {
            PolicyAction::Get { number: None } => ("GET", "/v2/_trust/policy/document".to_owned()),
            PolicyAction::Get { number: Some(number) } => {
                ("GET", format!("/v2/_trust/policy/document?number={number}"))
            }
            PolicyAction::Put => ("PUT", "/v2/_trust/policy/document".to_owned()),
            PolicyAction::Revisions { page } => ("GET", target_revisions(page)),
            PolicyAction::DryRun(wanted) => ("POST", wanted.target()),
        },
        Route::Verdict { repo, reference, policy } => {
            let policy = policy.as_ref().map_or_else(String::new, |policy| format!("&policy={policy}"));
            ("GET", format!("/v2/{repo}/_trust/verify/verdict?ref={reference}{policy}"))
        }
        Route::Catalog { page } => ("GET", target_catalog(page)),
        Route::Blob { repo, digest, action } => match action {
            BlobAction::Get => ("GET", location_blob(repo, digest)),
            BlobAction::Head => ("HEAD", location_blob(repo, digest)),
            BlobAction::Delete { purge_wait } => ("DELETE", location_blob(repo, digest) + purge(*purge_wait)),
        },
        Route::UploadStart { repo, digest, algorithm, mount } => {
            let mut query = Vec::new();
            query.extend(digest.as_ref().map(|digest| format!("digest={digest}")));
            query.extend(algorithm.map(|algorithm| format!("digest-algorithm={algorithm}")));
            query.extend(mount.as_ref().map(|mount| format!("mount={}", mount.digest)));
            query.extend(mount.as_ref().and_then(|mount| mount.from.as_ref()).map(|from| format!("from={from}")));
            ("POST", format!("{}?{}", location_upload(repo, ""), query.join("&")))
        }
        Route::Upload { repo, id, action } => match action {
            UploadAction::Status => ("GET", location_upload(repo, id)),
            UploadAction::Append => ("PATCH", location_upload(repo, id)),
            UploadAction::Finish { digest } => ("PUT", format!("{}?digest={digest}", location_upload(repo, id))),
            UploadAction::Cancel => ("DELETE", location_upload(repo, id)),
        },
        Route::Manifest { repo, reference, action } => {
            let location = location_manifest(repo, reference);
            match action {
                ManifestAction::Get => ("GET", location),
                ManifestAction::Head => ("HEAD", location),
                ManifestAction::Put { tags } => {
                    let tags: Vec<String> = tags.iter().map(|tag| format!("tag={}", tag.as_str())).collect();
                    ("PUT", format!("{location}?{}", tags.join("&")))
                }
                ManifestAction::Delete { purge_wait } => ("DELETE", location + purge(*purge_wait)),
            }
        }
        Route::Tags { repo, page } => ("GET", target_tags(repo, page)),
        Route::Referrers { repo, digest, artifact_type, page } => {
            ("GET", target_referrers(repo, digest, artifact_type.as_deref(), page))
        }
    }
}

fn any_repo() -> impl Strategy<Value = RepoName> {
    let component = prop_oneof![
        Just("manifests"),
        Just("blobs"),
        Just("uploads"),
        Just("tags"),
        Just("list"),
        Just("referrers"),
        Just("v2"),
        Just("a.b__c--d_e"),
    ];
    proptest::collection::vec(component, 1..6).prop_map(|components| repo(&components.join("/")))
}

fn any_digest() -> impl Strategy<Value = Digest> {
    (any::<bool>(), any::<u64>()).prop_map(|(long, seed)| {
        let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
        Digest::of(algorithm, &seed.to_le_bytes())
    })
}

fn any_tag() -> impl Strategy<Value = Tag> {
    prop_oneof![Just("uploads".to_owned()), Just("list".to_owned()), "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"]
        .prop_map(|text| text.parse().expect("a tag"))
}

fn any_page() -> impl Strategy<Value = PageRequest> {
    (any::<Option<u32>>(), proptest::option::of(".+")).prop_map(|(n, last)| PageRequest { n, last })
}

fn any_manifest_route() -> impl Strategy<Value = Route> {
    let action = prop_oneof![
        Just(ManifestAction::Get),
        Just(ManifestAction::Head),
        Just(ManifestAction::Put { tags: Vec::new() }),
        any::<bool>().prop_map(|purge_wait| ManifestAction::Delete { purge_wait }),
    ];
    let reference = prop_oneof![any_tag().prop_map(Reference::Tag), any_digest().prop_map(Reference::Digest)];
    let plain = (any_repo(), reference, action).prop_map(|(repo, reference, action)| Route::Manifest {
        repo,
        reference,
        action,
    });
    let tagged = (any_repo(), any_digest(), proptest::collection::btree_set(any_tag(), 0..12)).prop_map(
        |(repo, digest, tags)| {
            let action = ManifestAction::Put { tags: tags.into_iter().collect() };
            Route::Manifest { repo, reference: Reference::Digest(digest), action }
        },
    );
    prop_oneof![plain, tagged]
}

fn any_blob_route() -> impl Strategy<Value = Route> {
    let blob_action = prop_oneof![
        Just(BlobAction::Get),
        Just(BlobAction::Head),
        any::<bool>().prop_map(|purge_wait| BlobAction::Delete { purge_wait }),
    ];
    let upload_action = prop_oneof![
        Just(UploadAction::Status),
        Just(UploadAction::Append),
        any_digest().prop_map(|digest| UploadAction::Finish { digest }),
        Just(UploadAction::Cancel),
    ];
    let algorithm = proptest::option::of(prop_oneof![Just(Algorithm::Sha256), Just(Algorithm::Sha512)]);
    let mount = proptest::option::of(
        (any_digest(), proptest::option::of(any_repo())).prop_map(|(digest, from)| Mount { digest, from }),
    );
    prop_oneof![
        (any_repo(), any_digest(), blob_action).prop_map(|(repo, digest, action)| Route::Blob { repo, digest, action }),
        (any_repo(), "[a-z0-9-]{1,36}|manifests|uploads", upload_action).prop_map(|(repo, id, action)| Route::Upload {
            repo,
            id,
            action
        }),
        (any_repo(), proptest::option::of(any_digest()), algorithm, mount)
            .prop_map(|(repo, digest, algorithm, mount)| Route::UploadStart { repo, digest, algorithm, mount }),
    ]
}

fn any_policy_action() -> impl Strategy<Value = PolicyAction> {
    let place =
        (any_repo(), proptest::option::of(any_digest())).prop_map(|(repo, digest)| DryRunPlace { repo, digest });
    let pattern =
        prop_oneof![Just("**".to_owned()), Just("a+b/*".to_owned()), any_repo().prop_map(|repo| repo.to_string())];
    let wanted = (proptest::option::of(pattern), any::<bool>(), any::<Option<u32>>(), proptest::option::of(place))
        .prop_map(|(repositories, all, n, after)| DryRun { repositories, all, n, after });
    prop_oneof![
        proptest::option::of(1_i64..).prop_map(|number| PolicyAction::Get { number }),
        Just(PolicyAction::Put),
        any_page().prop_map(|page| PolicyAction::Revisions { page }),
        wanted.prop_map(PolicyAction::DryRun),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    prop_oneof![
        Just(Route::Base),
        any_policy_action().prop_map(Route::Policy),
        any_page().prop_map(|page| Route::Catalog { page }),
        any_manifest_route(),
        any_blob_route(),
        (any_repo(), any_page()).prop_map(|(repo, page)| Route::Tags { repo, page }),
        (
            any_repo(),
            prop_oneof![any_tag().prop_map(Reference::Tag), any_digest().prop_map(Reference::Digest)],
            proptest::option::of("[a-z0-9][a-z0-9._-]{0,62}".prop_map(|name| name.parse().expect("a name"))),
        )
            .prop_map(|(repo, reference, policy)| Route::Verdict { repo, reference, policy }),
        (any_repo(), any_digest(), proptest::option::of(".+"), any_page())
            .prop_map(|(repo, digest, artifact_type, page)| Route::Referrers { repo, digest, artifact_type, page }),
    ]
}

proptest! {
    #[test]
    fn parsing_undoes_rendering(route in any_route()) {
        let (method, target) = render(&route);
        prop_assert!(target.is_ascii() && !target.contains(' '), "{}", target);
        prop_assert_eq!(parse(method, &target), Ok(route), "{}", target);
    }

    #[test]
    fn parsing_never_panics(path in ".*", query in proptest::option::of(".*")) {
        let _ = Route::parse(&Method::GET, &path, query.as_deref());
        let _ = Route::parse(&Method::PUT, &format!("/v2/{path}"), query.as_deref());
    }

    #[test]
    fn near_misses_never_panic(
        parts in proptest::collection::vec("a|blobs|uploads|manifests|tags|list|referrers|_catalog|%[0-9a-f]{1,2}|", 0..7),
        query in "(&|=|n|digest|mount|from|tag|%|a){0,12}",
        method in "GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS",
    ) {
        let target = format!("/v2/{}?{query}", parts.join("/"));
        if let Err(error) = parse(&method, &target) {
            let status = error.condition().row().status;
            prop_assert!((400..500).contains(&status));
        }
    }
}
