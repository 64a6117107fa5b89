//! Reading the sources and saying exactly where a value that cannot be used stands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::keys::{COMMAND_VARIABLES, Key, Kind, PREFIX, keys};
use super::settings::Settings;
use super::{Config, ConfigError};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, when one is named.
    pub file: Option<PathBuf>,
    /// The environment; only `BONDED_*` is looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags: the flag, the key it stands for, and its value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In the file, at this line.
    File(PathBuf, usize),
    /// In this environment variable.
    Environment(String),
    /// After this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A configuration that was read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// The values as they would be written.
    settings: Settings,
    origins: BTreeMap<String, Origin>,
}

/// Values by key, each with the place it stands at.
type Values = BTreeMap<String, (Value, Origin)>;

impl Loaded {
    /// Reads and checks all sources. Blocks on reading the file.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let keys = keys();
        let mut values = match &sources.file {
            Some(path) => read_file(path, &keys)?,
            None => Values::new(),
        };
        read_environment(&sources.environment, &keys, &mut values)?;
        for (flag, key, text) in &sources.flags {
            values.insert((*key).to_owned(), (Value::String(text.clone()), Origin::Flag(flag)));
        }
        let settings = to_settings(&values)?;
        let config = settings.validate().map_err(|fault| {
            let origin = values.get(fault.key).map_or(&Origin::Default, |(_, origin)| origin);
            ConfigError(format!("{origin}: `{}`: {}", fault.key, fault.what))
        })?;
        let origins = values.into_iter().map(|(key, (_, origin))| (key, origin)).collect();
        Ok(Self { config, settings, origins })
    }

    /// The effective configuration as TOML, each value with the place it comes from.
    pub fn to_toml(&self) -> String {
        let values = Table::try_from(&self.settings).expect("settings are strings, numbers, booleans and lists");
        let mut text = String::new();
        let mut open_section = None;
        for key in keys() {
            let (section, name) = key.section();
            if section != open_section.as_deref() {
                text.extend(["\n[", section.unwrap_or_default(), "]\n"]);
                open_section = section.map(str::to_owned);
            }
            let table = section.map_or(Some(&values), |section| section_of(&values, section));
            let line = match table.and_then(|table| table.get(name)) {
                Some(value) => {
                    let origin = self.origins.get(&key.path).unwrap_or(&Origin::Default);
                    format!("{name} = {value} # {origin}\n")
                }
                None => format!("# {name} is not set\n"),
            };
            text.push_str(&line);
        }
        text
    }
}

/// Reads the values one by one first, so that an error names its key and its place.
fn to_settings(values: &Values) -> Result<Settings, ConfigError> {
    let mut all = Table::new();
    for (key, (value, origin)) in values {
        let mut alone = Table::new();
        insert(&mut alone, key, value.clone());
        if let Err(error) = Settings::deserialize(alone) {
            return Err(ConfigError(format!("{origin}: `{key}`: {}", error.message())));
        }
        insert(&mut all, key, value.clone());
    }
    Settings::deserialize(all).map_err(|error| ConfigError(error.message().to_owned()))
}

/// The table of a section, whose name may have several parts.
fn section_of<'a>(values: &'a Table, section: &str) -> Option<&'a Table> {
    section.split('.').try_fold(values, |table, part| table.get(part).and_then(Value::as_table))
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = section {
                insert(inner, rest, value);
            }
        }
    }
}

fn read_file(path: &Path, keys: &[Key]) -> Result<Values, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{}: the configuration file cannot be read: {error}", path.display())))?;
    let line = |span: Range<usize>| text.get(..span.start).unwrap_or(&text).matches('\n').count() + 1;
    let at = |span, what: String| ConfigError(format!("{}:{}: {what}", path.display(), line(span)));
    let syntax = |error: toml::de::Error| at(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
    let places = DeTable::parse(&text).map_err(syntax)?;
    let table: Table = toml::from_str(&text).map_err(syntax)?;

    let mut values = Values::new();
    for (name, (span, value)) in flatten(&table, places.get_ref(), "", keys) {
        if !keys.iter().any(|key| key.path == name) {
            return Err(at(span, unknown(&name, keys)));
        }
        values.insert(name, (value, Origin::File(path.to_owned(), line(span))));
    }
    Ok(values)
}

/// The keys of a file by dotted name; a table whose name is a section is looked into, anything else is a value.
fn flatten(table: &Table, places: &DeTable<'_>, prefix: &str, keys: &[Key]) -> BTreeMap<String, (Range<usize>, Value)> {
    let mut flat = BTreeMap::new();
    for (name, place) in places {
        let Some(value) = table.get(name.get_ref().as_ref()) else { continue };
        let (name, span) = (format!("{prefix}{}", name.get_ref()), name.span());
        match (value, Spanned::get_ref(place)) {
            (Value::Table(inner), DeValue::Table(inner_places)) if is_section(&name, keys) => {
                flat.extend(flatten(inner, inner_places, &format!("{name}."), keys));
            }
            _ => {
                flat.insert(name, (span, value.clone()));
            }
        }
    }
    flat
}

/// Whether keys stand below this name.
fn is_section(name: &str, keys: &[Key]) -> bool {
    keys.iter().any(|key| key.path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn read_environment(variables: &[(OsString, OsString)], keys: &[Key], values: &mut Values) -> Result<(), ConfigError> {
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX) && !is_for_others(name)) else {
            continue;
        };
        let Some(key) = keys.iter().find(|key| key.variable() == variable) else {
            return Err(ConfigError(unknown_variable(variable, keys)));
        };
        let fault = |what: &str| ConfigError(format!("{variable}: `{}`: {what}", key.path));
        let text = value.to_str().ok_or_else(|| fault("its value is not UTF-8"))?;
        let value = match (key.kind, parse_value(text)) {
            (Kind::Toml(_) | Kind::Size, Some(value)) => value,
            (Kind::Text | Kind::Time | Kind::Size, _) => Value::String(text.to_owned()),
            (Kind::Toml(kind), None) => {
                return Err(fault(&format!("`{text}` is not a {kind} as TOML writes it")));
            }
        };
        values.insert(key.path.clone(), (value, Origin::Environment(variable.to_owned())));
    }
    Ok(())
}

fn parse_value(text: &str) -> Option<Value> {
    text.parse::<Value>().ok()
}

/// Whether a variable is no business of the configuration.
fn is_for_others(variable: &str) -> bool {
    is_service_link(variable) || COMMAND_VARIABLES.contains(&variable)
}

/// Kubernetes sets these for every service of the namespace, so a service that is called `bonded` must not stop us.
fn is_service_link(variable: &str) -> bool {
    let name = variable.strip_prefix(PREFIX).unwrap_or_default();
    name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_")
}

fn unknown(name: &str, keys: &[Key]) -> String {
    if is_section(name, keys) {
        return format!("`{name}` is a section; write it as `[{name}]` with keys below");
    }
    match nearest(name, keys.iter().map(|key| key.path.as_str())) {
        Some(near) => format!("`{name}` is not a key; did you mean `{near}`?"),
        None => format!("`{name}` is not a key; `bonded config show` lists them all"),
    }
}

fn unknown_variable(variable: &str, keys: &[Key]) -> String {
    let names: Vec<String> = keys.iter().map(Key::variable).collect();
    match nearest(variable, names.iter().map(String::as_str)) {
        Some(near) => format!("{variable}: the environment variable stands for no key; did you mean {near}?"),
        None => format!("{variable}: the environment variable stands for no key; unset it"),
    }
}

/// The most similar name: by its whole, or by its last part when the section is missing or wrong.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |path: &str| {
        strsim::normalized_damerau_levenshtein(name, path)
            .max(0.95 * strsim::normalized_damerau_levenshtein(&last(name), &last(path)))
    };
    known
        .map(|path| (likeness(path), path))
        .filter(|(like, _)| *like > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, path)| path)
}
