//! Tests of the configuration as an operator meets it.

use std::fs;

use super::*;
use crate::storage::s3::{Encryption, S3Credentials};

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bonded.toml");
    fs::write(&path, file).expect("write the file");
    let sources = Sources {
        file: Some(path),
        environment: environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        flags: flags.iter().map(|(flag, key, value)| (*flag, *key, (*value).to_owned())).collect(),
    };
    let hide = |text: String| text.replace(&folder.path().display().to_string(), "");
    Loaded::read(&sources).map_err(|error| hide(error.to_string()))
}

fn refusal(file: &str) -> String {
    load(file, &[], &[]).map(|loaded| loaded.config).expect_err(file)
}

fn variable_refusal(name: &str, value: &str) -> String {
    load("", &[(name, value)], &[]).map(|loaded| loaded.config).expect_err(name)
}

#[test]
fn limits_of_clients_are_read_and_wrong_ones_are_named() {
    let text = r#"
        [limits.rate]
        v2_anonymous = "600/m, 5000/d"
        api_anonymous = "none"
        redis = "redis://:secret@redis.example/1"
        [limits.logins]
        per_account = 3
        window = "1h"
    "#;
    let config = load(text, &[], &[]).expect("valid").config;
    let ClientLimits { rates, logins, shared } = config.client_limits;
    assert_eq!((rates.v2_anonymous.to_string().as_str(), rates.api_anonymous.is_unlimited()), ("600/m,5000/d", true));
    assert_eq!((logins.per_account, logins.per_address, logins.window), (3, 50, Duration::from_hours(1)));
    assert!(shared, "whoever names a Redis server shares");
    let redis = config.redis.expect("an address");
    assert_eq!(
        (redis.to_string().as_str(), redis.expose()),
        ("redis://:***@redis.example/1", "redis://:secret@redis.example/1")
    );
    assert!(!load("", &[], &[]).expect("valid").config.client_limits.shared);
    for (wrong, named) in [
        ("[limits.rate]\nv2_anonymous = \"many\"", "`many` is not a rate"),
        ("[limits.rate]\nredis = \"http://redis.example\"", "limits.rate.redis"),
        ("[limits.logins]\nper_account = 0", "at least 1"),
        ("[limits.logins]\nwindow = \"0s\"", "limits.logins.window"),
    ] {
        let refused = refusal(wrong);
        assert!(refused.contains(named), "{refused}");
    }
}

#[test]
fn without_anything_it_is_a_local_registry() {
    let config = Loaded::read(&Sources::default()).expect("the defaults are valid").config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.data.to_str(), Some("./bonded-data"));
    assert_eq!(config.durability, Durability::Strict);
    assert_eq!(config.registry.limits.disk_free_bytes_min, 256 << 20);
    assert_eq!(config.registry.blob_lease, Duration::from_hours(24));
    assert!(config.tls.is_none() && !config.insecure_anonymous);
}

#[test]
fn every_key_can_be_set_in_the_file() {
    let text = r#"
        listen = "0.0.0.0:5000"
        data = "/srv/bonded"
        durability = "relaxed"
        public_url = "https://Registry.example.com/"
        sparse = ["mirror/**"]
        immutable_tags = ["prod/*:v*"]
        insecure_anonymous = true
        metrics_listen = "127.0.0.1:9090"
        [tls]
        cert = "cert.pem"
        key = "key.pem"
        [gc]
        blob_lease = "1h"
        [retention]
        untagged = "30d"
        interval = "10m"
        [[retention.rules]]
        repositories = ["ci/**", "tmp/*"]
        keep_last = 10
        keep_tags = ["v*", "latest"]
        untagged_after = "7d"
        [[retention.rules]]
        repositories = ["cache/**"]
        not_pulled_for = "90d"
        [uploads]
        expire = "2h"
        [limits]
        manifest_bytes_max = "8MiB"
        disk_free_bytes_min = 0
        ranges_max = 3
        request_time_max = "1h30m"
        connections_max = 7
        [log]
        format = "json"
        level = "debug"
        [shutdown]
        grace = "5s"
        [trust]
        policy = "policy.yaml"
    "#;
    let config = load(text, &[], &[]).expect("valid").config;
    assert_eq!(config.listen.port(), 5000);
    assert_eq!(config.durability, Durability::Relaxed);
    let url = config.public_url.expect("an address");
    assert_eq!((url.url.as_str(), url.host.as_str()), ("https://Registry.example.com", "registry.example.com"));
    assert_eq!(config.tls.expect("tls").key.to_str(), Some("key.pem"));
    assert_eq!(config.policy_file.expect("policies").to_str(), Some("policy.yaml"));
    assert_eq!(config.registry.blob_lease, Duration::from_hours(1));
    assert_eq!(config.registry.head_lease, Duration::from_mins(15));
    assert_eq!(config.registry.upload_ttl, Duration::from_hours(2));
    let retention = &config.registry.retention;
    assert_eq!(retention.untagged, Some(Duration::from_hours(30 * 24)));
    assert_eq!(retention.interval, Duration::from_mins(10));
    assert_eq!(retention.rules.len(), 2);
    let (ci, cache) = (&retention.rules[0], &retention.rules[1]);
    assert_eq!((ci.keep_last, ci.untagged_after), (Some(10), Some(Duration::from_hours(7 * 24))));
    assert!(ci.repositories.matches(&"ci/a/b".parse().expect("a name")));
    assert!(ci.keep_tags.matches(&"v1".parse().expect("a tag")) && ci.not_pulled_for.is_none());
    assert_eq!(cache.not_pulled_for, Some(Duration::from_hours(90 * 24)));
    assert_eq!(config.registry.limits.manifest_bytes_max, 8 << 20);
    assert_eq!(config.registry.limits.disk_free_bytes_min, 0);
    assert_eq!(config.registry.limits.request_time_max, Duration::from_mins(90));
    assert_eq!((config.registry.limits.ranges_max, config.connections_max), (3, 7));
    assert_eq!((config.log_format, config.log_level.as_str()), (LogFormat::Json, "debug"));
    assert_eq!(config.shutdown_grace, Duration::from_secs(5));
}

#[test]
fn a_database_and_a_bucket_take_the_place_of_the_folder() {
    let text = r#"
        database = "postgres://bonded:secret@db.example.com/bonded"
        [limits]
        upload_buffer_bytes_max = "512MiB"
        database_connections_max = 40
        [storage.s3]
        bucket = "artifacts"
        region = "eu-central-1"
        endpoint = "https://s3.example.com:9000/"
        path_style = true
        prefix = "/team/registry/"
        access_key_file = "access"
        secret_key_file = "secret"
        sse = "aws:kms"
        sse_kms_key_id = "alias/bonded"
        equal_parts = true
        part_bytes = "16MiB"
        redirect = "presigned"
        redirect_ttl = "5m"
    "#;
    let loaded = load(text, &[], &[]).expect("valid");
    let config = &loaded.config;
    let url = config.database.as_ref().expect("a database");
    assert_eq!(url.expose(), "postgres://bonded:secret@db.example.com/bonded");
    assert_eq!(config.database_connections_max, 40);
    assert_eq!(config.registry.redirect_ttl, Duration::from_mins(5));
    let s3 = config.s3.clone().expect("a bucket");
    assert_eq!((s3.bucket.as_str(), s3.region.as_deref()), ("artifacts", Some("eu-central-1")));
    assert_eq!((s3.endpoint.as_deref(), s3.path_style), (Some("https://s3.example.com:9000"), true));
    assert_eq!((s3.prefix.as_str(), s3.equal_parts), ("team/registry", true));
    assert_eq!((s3.part_bytes, s3.upload_buffer_bytes_max), (16 << 20, 512 << 20));
    assert!(matches!(s3.encryption, Some(Encryption::Kms { key_id: Some(id) }) if id == "alias/bonded"));
    assert!(matches!(s3.credentials, S3Credentials::Files { .. }));
    let shown = loaded.to_toml();
    assert!(shown.contains("database = \"postgres://bonded:***@db.example.com/bonded\" # "), "{shown}");
    assert!(shown.contains("\n[storage.s3]\n") && shown.contains("bucket = \"artifacts\" # "), "{shown}");
    assert!(!shown.contains(":secret@") && !format!("{config:?}").contains(":secret@"));
}

#[test]
fn a_bucket_can_come_from_the_environment_alone() {
    let environment = [
        ("BONDED_DATABASE", "postgres://localhost/bonded"),
        ("BONDED_STORAGE_S3_BUCKET", "artifacts"),
        ("BONDED_STORAGE_S3_PATH_STYLE", "true"),
    ];
    let config = load("", &environment, &[]).expect("valid").config;
    assert!(config.s3.is_some_and(|s3| s3.path_style && s3.bucket == "artifacts"));
    assert!(config.registry.redirect_ttl.is_zero(), "GETs are answered here unless the operator says otherwise");
}

#[test]
fn the_environment_beats_the_file_and_a_flag_beats_both() {
    let file = "listen = \"127.0.0.1:1\"\ndata = \"a\"\n[limits]\ntag_page_max = 1\n";
    let environment = [("BONDED_LISTEN", "127.0.0.1:2"), ("BONDED_DATA", "b"), ("HOME", "/root")];
    let loaded = load(file, &environment, &[("--listen", "listen", "127.0.0.1:3")]).expect("valid");
    assert_eq!(loaded.config.listen.port(), 3);
    assert_eq!(loaded.config.data.to_str(), Some("b"));
    assert_eq!(loaded.config.registry.limits.tag_page_max, 1);
    let shown = loaded.to_toml();
    assert!(shown.contains("listen = \"127.0.0.1:3\" # --listen\n"), "{shown}");
    assert!(shown.contains("data = \"b\" # BONDED_DATA\n"), "{shown}");
    assert!(shown.contains("tag_page_max = 1 # /bonded.toml:4\n") || shown.contains("bonded.toml:4\n"), "{shown}");
}

#[test]
fn a_variable_is_read_as_its_key_wants_it() {
    let environment = [
        ("BONDED_LIMITS_DISK_FREE_BYTES_MIN", "1GiB"),
        ("BONDED_LIMITS_BLOB_BYTES_MAX", "1048576"),
        ("BONDED_LIMITS_TAG_PAGE_MAX", "50"),
        ("BONDED_SPARSE", "[\"a/**\", \"b\"]"),
        ("BONDED_INSECURE_ANONYMOUS", "true"),
        ("BONDED_GC_HEAD_LEASE", "5m"),
        ("BONDED_RETENTION_UNTAGGED", "never"),
        ("BONDED_RETENTION_RULES", "[{repositories = [\"a/**\"], keep_last = 3}]"),
        ("BONDED_DATA", "123"),
        // What Kubernetes sets beside a service of that name.
        ("BONDED_PORT", "tcp://10.0.0.1:80"),
        ("BONDED_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("BONDED_SERVICE_HOST", "10.0.0.1"),
    ];
    let config = load("", &environment, &[]).expect("valid").config;
    assert_eq!(config.registry.limits.disk_free_bytes_min, 1 << 30);
    assert_eq!(config.registry.limits.blob_bytes_max, 1 << 20);
    assert_eq!(config.registry.limits.tag_page_max, 50);
    assert!(config.registry.sparse.matches(&"a/x".parse().expect("a name")));
    assert!(config.insecure_anonymous);
    assert_eq!(config.registry.head_lease, Duration::from_mins(5));
    assert_eq!(config.registry.retention.rules[0].keep_last, Some(3));
    assert_eq!(config.data.to_str(), Some("123"));
}

#[test]
fn what_is_unknown_is_refused_with_the_nearest_name() {
    assert_eq!(refusal("\nlisen = \"x\""), "/bonded.toml:2: `lisen` is not a key; did you mean `listen`?");
    assert_eq!(
        refusal("[limits]\n\ntag_pages_max = 1"),
        "/bonded.toml:3: `limits.tag_pages_max` is not a key; did you mean `limits.tag_page_max`?"
    );
    assert_eq!(
        refusal("disk_free_bytes_min = 1"),
        "/bonded.toml:1: `disk_free_bytes_min` is not a key; did you mean `limits.disk_free_bytes_min`?"
    );
    assert_eq!(refusal("[walrus]"), "/bonded.toml:1: `walrus` is not a key; `bonded config show` lists them all");
    assert_eq!(refusal("tls = 1"), "/bonded.toml:1: `tls` is a section; write it as `[tls]` with keys below");
    assert_eq!(
        variable_refusal("BONDED_LISTEN_ON", "x"),
        "BONDED_LISTEN_ON: the environment variable stands for no key; did you mean BONDED_LISTEN?"
    );
    // What verbs of the command line read stands for no key; a name like it is a mistake.
    let token = [("BONDED_TOKEN", "bonded_pat_x")];
    assert!(load("", &token, &[]).is_ok());
    assert!(
        variable_refusal("BONDED_TOKENS", "x").starts_with("BONDED_TOKENS: the environment variable stands for no")
    );
    assert_eq!(variable_refusal("BONDED_", "x"), "BONDED_: the environment variable stands for no key; unset it");
}

#[test]
fn wrong_origins_of_pages_and_wrong_times_of_downloads_are_refused() {
    for (file, expected) in [
        ("[downloads]\nclients = \"all\"", "/bonded.toml:2: `downloads.clients`: unknown variant `all`"),
        ("[downloads]\nkeep = \"0s\"", "/bonded.toml:2: `downloads.keep`: it must be longer than zero"),
        ("[scrub]\nevery = \"0s\"", "/bonded.toml:2: `scrub.every`: it must be longer than zero"),
        ("[trust]\nsweep_every = \"0s\"", "/bonded.toml:2: `trust.sweep_every`: it must be longer than zero"),
        (
            "[api]\nallowed_origins = [\"*\"]",
            "/bonded.toml:2: `api.allowed_origins`: `*` stands for more than one web page; name each origin that may call",
        ),
        (
            "[api]\nallowed_origins = [\"https://console.example.com/app\"]",
            "/bonded.toml:2: `api.allowed_origins`: `https://console.example.com/app` is not the origin of a web page",
        ),
        (
            "[api]\nallowed_origins = [\"https://console.example.com/\"]",
            "/bonded.toml:2: `api.allowed_origins`: `https://console.example.com/` is not how browsers write this origin; write \"https://console.example.com\"",
        ),
    ] {
        let refused = refusal(file);
        assert!(refused.starts_with(expected), "{file}: {refused}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_place_and_key() {
    let cases = [
        ("listen = 8080", "/bonded.toml:1: `listen`: invalid type: integer `8080`, expected a string"),
        ("listen = \"here\"", "/bonded.toml:1: `listen`: `here` is not an address; write it like \"127.0.0.1:8080\""),
        ("[gc]\nblob_lease = \"soon\"", "/bonded.toml:2: `gc.blob_lease`: `soon` is not a time; write it like"),
        ("[limits]\nranges_max = 0", "/bonded.toml:2: `limits.ranges_max`: it must be at least 1"),
        ("[limits]\ntag_page_max = -1", "/bonded.toml:2: `limits.tag_page_max`: invalid value: integer `-1`"),
        (
            "[limits]\nmanifest_bytes_max = \"1MiB\"",
            "/bonded.toml:2: `limits.manifest_bytes_max`: it must be at least 4MiB",
        ),
        (
            "[limits]\nmanifest_depth_max = 1000",
            "/bonded.toml:2: `limits.manifest_depth_max`: it must be from 16 to 127",
        ),
        ("[limits]\nbody_idle_max = \"0s\"", "/bonded.toml:2: `limits.body_idle_max`: it must be longer than zero"),
        ("durability = \"eventual\"", "/bonded.toml:1: `durability`: unknown variant `eventual`"),
        ("sparse = [\"a[\"]", "/bonded.toml:1: `sparse`: `a[` is not a glob"),
        ("public_url = \"ftp://x\"", "/bonded.toml:1: `public_url`: `ftp://x` is not an address of this registry"),
        ("public_url = \"https://x/prefix\"", "/bonded.toml:1: `public_url`: `https://x/prefix` is not an address"),
        (
            "[auth]\noidc_hosts = [\"https://gitlab.com\"]",
            "/bonded.toml:2: `auth.oidc_hosts`: `https://gitlab.com` is not a host such as \"gitlab.com\", nor one with a port",
        ),
        (
            "[tls]\nclient_ca = \"ca.pem\"",
            "/bonded.toml:2: `tls.client_ca`: `tls.cert` is missing; clients show certificates only over HTTPS",
        ),
        ("[trust]\npolicy = \"\"", "/bonded.toml:2: `trust.policy`: it is empty; name a path"),
        ("[tls]\ncert = \"c.pem\"", "/bonded.toml:2: `tls.cert`: `tls.key` is missing; HTTPS needs both files"),
        ("[log]\nlevel = \"a=b=c\"", "/bonded.toml:2: `log.level`: `a=b=c` is not a filter"),
        ("database = \"mysql://x\"", "/bonded.toml:1: `database`: it is not the address of a Postgres database"),
        ("[storage]\ns3 = 1", "/bonded.toml:2: `storage.s3` is a section; write it as `[storage.s3]`"),
        (
            "[storage.s3]\nbuckets = \"b\"",
            "/bonded.toml:2: `storage.s3.buckets` is not a key; did you mean `storage.s3.bucket`?",
        ),
        (
            "[storage.s3]\nendpoint = \"http://x\"",
            "/bonded.toml:2: `storage.s3.endpoint`: `storage.s3.bucket` is missing",
        ),
        ("[storage.s3]\nbucket = \"a/b\"", "/bonded.toml:2: `storage.s3.bucket`: `a/b` is not the name of a bucket"),
        (
            "[storage.s3]\nbucket = \"b\"\nendpoint = \"x\"",
            "/bonded.toml:3: `storage.s3.endpoint`: `x` is not the address",
        ),
        ("[storage.s3]\nbucket = \"b\"\nprefix = \"a/../b\"", "/bonded.toml:3: `storage.s3.prefix`: `a/../b` has"),
        (
            "[storage.s3]\nbucket = \"b\"\nsecret_key_file = \"s\"",
            "/bonded.toml:3: `storage.s3.secret_key_file`: `storage.s3.access_key_file` is missing",
        ),
        (
            "[storage.s3]\nbucket = \"b\"\npart_bytes = \"1MiB\"",
            "/bonded.toml:3: `storage.s3.part_bytes`: it must be from 5MiB to 64MiB",
        ),
        ("[storage.s3]\nbucket = \"b\"\nsse = \"rot13\"", "/bonded.toml:3: `storage.s3.sse`: unknown variant `rot13`"),
        ("data = \"\"", "/bonded.toml:1: `data`: it is empty; name a path"),
        ("listen = ", "/bonded.toml:1: not TOML: "),
    ];
    for (file, expected) in cases {
        let refusal = refusal(file);
        assert!(refusal.starts_with(expected), "{file}: {refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
    let refusal = variable_refusal("BONDED_LIMITS_TAG_PAGE_MAX", "many");
    assert_eq!(refusal, "BONDED_LIMITS_TAG_PAGE_MAX: `limits.tag_page_max`: `many` is not a number as TOML writes it");
}

#[test]
fn a_retention_rule_that_cannot_be_meant_is_refused() {
    let cases = [
        (
            "[retention]\nuntagged = \"soon\"",
            "/bonded.toml:2: `retention.untagged`: `soon` is not a time; write it like",
        ),
        ("[retention]\ninterval = \"0s\"", "/bonded.toml:2: `retention.interval`: it must be longer than zero"),
        ("[[retention.rules]]\nkeep_last = 1", "/bonded.toml:1: `retention.rules`: missing field `repositories`"),
        (
            "[[retention.rules]]\nrepositories = [\"a\"]",
            "/bonded.toml:1: `retention.rules`: rule 1 says nothing; set one of",
        ),
        (
            "[[retention.rules]]\nrepositories = []\nkeep_last = 1",
            "/bonded.toml:1: `retention.rules`: rule 1 covers nothing; name `repositories`",
        ),
        (
            "[[retention.rules]]\nrepositories = [\"a\"]\nkeep_last = 0",
            "/bonded.toml:1: `retention.rules`: rule 1: `keep_last` must be from 1 to 10000",
        ),
        (
            "[[retention.rules]]\nrepositories = [\"a\"]\nnot_pulled_for = \"1h\"",
            "/bonded.toml:1: `retention.rules`: rule 1: `not_pulled_for` must be at least 24h",
        ),
        (
            "[[retention.rules]]\nrepositories = [\"a\"]\nkeep_tags = [\"v[\"]",
            "/bonded.toml:1: `retention.rules`: rule 1: `v[` is not a glob",
        ),
    ];
    for (file, expected) in cases {
        let refusal = refusal(file);
        assert!(refusal.starts_with(expected), "{file}: {refusal}");
    }
}

#[test]
fn addresses_are_read_in_every_form() {
    for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
        assert!(load(&format!("listen = \"{address}\""), &[], &[]).is_ok(), "{address}");
    }
    for address in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "localhost:0", "[::ffff:127.0.0.1]:80"] {
        assert!(load(&format!("listen = \"{address}\""), &[], &[]).is_ok(), "{address}");
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let file = "sparse = [\"a/**\"]\npublic_url = \"https://x\"\n[limits]\nblob_bytes_max = \"5GiB\"\n\
        [[retention.rules]]\nrepositories = [\"a\"]\nkeep_last = 3\nuntagged_after = \"7d\"\n";
    let first = load(file, &[], &[]).expect("valid").to_toml();
    let again = load(&first, &[], &[]).expect("what is shown is valid").to_toml();
    let values = |text: &str| {
        text.lines().map(|line| line.split(" # ").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&again));
    assert!(first.contains("blob_bytes_max = \"5GiB\""), "{first}");
}

#[test]
fn the_schema_is_the_one_we_publish() {
    insta::assert_json_snapshot!("schema", schema());
}
