//! The table of configuration keys, made from the JSON Schema: what each is called in the file and in the environment.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::settings::Settings;
use super::units::TIME_FORMAT;

/// What every environment variable of ours begins with.
pub(super) const PREFIX: &str = "BONDED_";

/// The token of whoever asks a registry from the command line.
pub const TOKEN_VARIABLE: &str = "BONDED_TOKEN";
/// Variables that verbs of the command line read themselves. They stand for no key, and whoever has set one may call every
/// other verb all the same.
pub(super) const COMMAND_VARIABLES: [&str; 1] = [TOKEN_VARIABLE];

/// One key.
#[derive(Clone, Debug)]
pub struct Key {
    /// As in the file, with its section: `limits.tag_page_max`, `storage.s3.bucket`.
    pub path: String,
    /// What it means.
    pub description: String,
    /// Its type, for people.
    pub kind: Kind,
    /// The default; `None` when the key has none.
    pub default: Option<Value>,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text; the environment gives it as it is.
    Text,
    /// A length of time; also a text.
    Time,
    /// A number of bytes, or a text with a unit.
    Size,
    /// Anything else that TOML can say.
    Toml(&'static str),
}

impl Key {
    /// The environment variable that overrides this key.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The section, when the key stands in one, and the name in it.
    pub fn section(&self) -> (Option<&str>, &str) {
        self.path.rsplit_once('.').map_or((None, self.path.as_str()), |(section, name)| (Some(section), name))
    }
}

/// The JSON Schema of the configuration file.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Settings>().to_value()
}

/// Every key in alphabetical order, those without a section first.
pub fn keys() -> Vec<Key> {
    let inlined = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = inlined.into_generator().into_root_schema_for::<Settings>().to_value();
    let mut keys = Vec::new();
    collect(&schema, "", &mut keys);
    keys
}

/// The keys below a section, those that stand in it before those of the sections in it.
fn collect(schema: &Value, prefix: &str, keys: &mut Vec<Key>) {
    for (name, property) in properties(schema).filter(|(_, property)| !is_section(property)) {
        keys.push(key(format!("{prefix}{name}"), property));
    }
    for (name, property) in properties(schema).filter(|(_, property)| is_section(property)) {
        collect(property, &format!("{prefix}{name}."), keys);
    }
}

fn is_section(property: &Value) -> bool {
    property.get("properties").is_some()
}

/// The names of the sections that have keys, in the order of the keys, and what each is about.
pub fn sections() -> Vec<(String, String)> {
    let inlined = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = inlined.into_generator().into_root_schema_for::<Settings>().to_value();
    let mut sections = Vec::new();
    collect_sections(&schema, "", &mut sections);
    sections
}

fn collect_sections(schema: &Value, prefix: &str, sections: &mut Vec<(String, String)>) {
    for (name, property) in properties(schema).filter(|(_, property)| is_section(property)) {
        let path = format!("{prefix}{name}");
        if properties(property).any(|(_, inner)| !is_section(inner)) {
            sections.push((path.clone(), description(property)));
        }
        collect_sections(property, &format!("{path}."), sections);
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn key(path: String, property: &Value) -> Key {
    Key {
        path,
        description: description(property),
        kind: kind(property),
        default: property.get("default").filter(|value| !value.is_null()).cloned(),
    }
}

fn description(property: &Value) -> String {
    property.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

fn kind(property: &Value) -> Kind {
    let types: Vec<&str> = match property.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        // An enum with documented variants is a `oneOf` of texts.
        _ => vec!["string"],
    };
    match types.as_slice() {
        _ if property.get("format").is_some_and(|format| format == TIME_FORMAT) => Kind::Time,
        types if types.contains(&"string") && types.contains(&"integer") => Kind::Size,
        types if types.contains(&"string") => Kind::Text,
        ["array"] if property.pointer("/items/properties").is_some() => Kind::Toml("list of tables"),
        ["array"] => Kind::Toml("list of texts"),
        ["boolean"] => Kind::Toml("true or false"),
        _ => Kind::Toml("number"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_share_a_variable() {
        let keys = keys();
        let variables: BTreeSet<String> = keys.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), keys.len());
        assert!(variables.contains("BONDED_LIMITS_DISK_FREE_BYTES_MIN"));
    }

    #[test]
    fn every_key_says_what_it_means_and_what_it_is_by_default() {
        let without_default = [
            "auth.secret_file",
            "admin_password_file",
            "database",
            "limits.rate.redis",
            "public_url",
            "metrics_listen",
            "storage.s3.access_key_file",
            "storage.s3.bucket",
            "storage.s3.endpoint",
            "storage.s3.region",
            "storage.s3.secret_key_file",
            "storage.s3.sse",
            "storage.s3.sse_kms_key_id",
            "tls.cert",
            "tls.client_ca",
            "tls.key",
            "trust.policy",
        ];
        for key in keys() {
            assert!(!key.description.is_empty(), "{}", key.path);
            assert_eq!(key.default.is_none(), without_default.contains(&key.path.as_str()), "{}", key.path);
        }
    }

    #[test]
    fn the_type_decides_how_a_variable_is_read() {
        let kind = |path: &str| keys().into_iter().find(|key| key.path == path).expect(path).kind;
        for text in
            ["listen", "data", "database", "durability", "public_url", "log.format", "tls.cert", "storage.s3.sse"]
        {
            assert_eq!(kind(text), Kind::Text, "{text}");
        }
        assert_eq!(kind("gc.blob_lease"), Kind::Time);
        assert_eq!(kind("limits.disk_free_bytes_min"), Kind::Size);
        assert_eq!(kind("limits.tag_page_max"), Kind::Toml("number"));
        assert_eq!(kind("sparse"), Kind::Toml("list of texts"));
        assert_eq!(kind("retention.rules"), Kind::Toml("list of tables"));
        assert_eq!(kind("retention.untagged"), Kind::Time);
        assert_eq!(kind("insecure_anonymous"), Kind::Toml("true or false"));
    }

    #[test]
    fn every_section_is_described() {
        let names: Vec<String> = sections().into_iter().map(|(name, _)| name).collect();
        let limits = ["limits", "limits.logins", "limits.rate"];
        let others = [
            "api",
            "auth",
            "downloads",
            "gc",
            "log",
            "retention",
            "scrub",
            "shutdown",
            "storage.s3",
            "tls",
            "trust",
            "uploads",
            "webhooks",
        ];
        let mut expected = [&others[..], &limits].concat();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}
