//! Puts the layers together. The known keys are those of the defaults, so an option that a crate adds to its struct is
//! known here, in the variables and in `writ config` without another word.

mod named;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Config;

const FILE_NAME: &str = "writ.toml";
const PREFIX: &str = "WRIT_";
/// Where clients find a server, and as whom they ask: of no server.
const OF_CLIENTS: [&str; 2] = ["WRIT_URL", "WRIT_TOKEN"];
const DEFAULT: &str = "default";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum Error {
    #[error("the configuration file {} isn't there", path.display())]
    #[diagnostic(help(
        "Name an existing file with --config, or leave --config out to use the nearest {FILE_NAME}."
    ))]
    NoFile { path: PathBuf },
    #[error("the current folder can't be found")]
    #[diagnostic(help("Change to an existing folder, or name the file with --config."))]
    NoCurrentFolder { source: std::io::Error },
    #[error("{origin} isn't valid: {detail}")]
    #[diagnostic(help("Correct it; `writ config` shows every key."))]
    Malformed { origin: String, detail: String },
    #[error("{origin} sets `{key}`, which isn't a key of the configuration")]
    UnknownKey {
        key: String,
        origin: String,
        #[help]
        hint: String,
    },
    #[error("`{key}` (from {origin}) isn't valid: {detail}")]
    Invalid {
        key: String,
        origin: String,
        detail: String,
        #[help]
        hint: Option<String>,
    },
}

/// A value that a flag gives.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    /// The key, `http.listen`.
    pub(crate) key: &'static str,
    /// The flag, `--listen`.
    pub(crate) flag: &'static str,
    /// Its value; several for a list.
    pub(crate) value: Value,
}

/// The configuration, and where each of its values came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What is in force.
    pub(crate) config: Config,
    /// Key, value as written, origin; in the order of the keys.
    pub(crate) settings: Vec<Setting>,
}

impl Loaded {
    /// Where the value of `key` came from.
    pub(crate) fn origin(&self, key: &str) -> &str {
        self.settings.iter().find(|setting| setting.key == key).map_or(DEFAULT, |setting| &setting.origin)
    }
}

/// One line of `writ config`.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: String,
}

/// Loads the configuration of this process.
pub(crate) fn load(file: Option<&Path>, flags: Vec<Override>) -> Result<Loaded, Error> {
    let here = std::env::current_dir().map_err(|source| Error::NoCurrentFolder { source })?;
    let file = match file {
        Some(path) if !path.is_file() => return Err(Error::NoFile { path: path.to_owned() }),
        Some(path) => Some(path.to_owned()),
        None => here.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file()),
    };
    // Not `vars()`, which panics at a variable of another program that isn't Unicode.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX) && !OF_CLIENTS.contains(&name.as_str()))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(Error::Malformed { origin: name, detail: "its value isn't Unicode".into() }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    from_layers(file.as_deref(), variables, flags)
}

/// One value of one variable or flag, so that the metadata of the value names exactly that.
struct Single {
    name: String,
    key: String,
    value: Value,
}

impl Provider for Single {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, nest(&self.key, self.value.clone()))]))
    }
}

fn nest(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        Some((head, rest)) => Dict::from([(head.to_owned(), Value::from(nest(rest, value)))]),
        None => Dict::from([(key.to_owned(), value)]),
    }
}

fn from_layers(
    file: Option<&Path>,
    variables: Vec<(String, String)>,
    flags: Vec<Override>,
) -> Result<Loaded, Error> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    let of_file = match file {
        Some(path) => leaves_of_file(&Figment::from(Toml::file_exact(path)), &path.display().to_string())?,
        None => BTreeMap::new(),
    };
    figment = named::with_defaults(figment, of_file.keys(), variables.iter().map(|(name, _)| name));
    let known = leaves(&figment);

    if let Some(path) = file {
        let origin = path.display().to_string();
        for key in of_file.keys() {
            // A table where a value belongs, or the other way round, is a wrong type; extraction says so.
            let related =
                |name: &str| name.starts_with(&format!("{key}.")) || key.starts_with(&format!("{name}."));
            if !known.contains_key(key) && !known.keys().any(|name| related(name)) {
                return Err(Error::UnknownKey { key: key.clone(), origin, hint: did_you_mean(key, &known) });
            }
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    for (name, text) in variables {
        let key = key_of_variable(&name, &known);
        let Some(default) = known.get(&key) else {
            let hint = did_you_mean_variable(&key, &known);
            return Err(Error::UnknownKey { key, origin: format!("the variable {name}"), hint });
        };
        let value = parse(&text, default).map_err(|detail| Error::Invalid {
            key: key.clone(),
            origin: format!("the variable {name}"),
            detail,
            hint: None,
        })?;
        figment = figment.merge(Single { name, key, value });
    }
    for Override { key, flag, value } in flags {
        figment = figment.merge(Single { name: flag.to_owned(), key: key.to_owned(), value });
    }

    let origin_of = |key: &str| origin(figment.find_metadata(key));
    let mut config: Config = figment.extract().map_err(|error| {
        let key = error.path.join(".");
        let origin = origin(error.metadata.as_ref());
        let detail = error.kind.to_string();
        Error::Invalid { key, origin, detail, hint: None }
    })?;
    let settings: Vec<Setting> = leaves(&figment)
        .into_iter()
        .map(|(key, value)| Setting { origin: origin_of(&key), key, value })
        .collect();

    if let Some(base) = file.and_then(Path::parent) {
        let file_or_default = |key: &str| {
            let origin = origin_of(key);
            !origin.starts_with(PREFIX) && !origin.starts_with("--")
        };
        if file_or_default("models") {
            config.models = base.join(&config.models);
        }
        if file_or_default("identity.keys") {
            config.identity.keys = base.join(&config.identity.keys);
        }
        if file_or_default("data") {
            config.data = base.join(&config.data);
        }
    }
    let loaded = Loaded { config, settings };
    validate(&loaded)?;
    Ok(loaded)
}

/// The file, variable or flag that a value came from.
fn origin(metadata: Option<&Metadata>) -> String {
    let Some(metadata) = metadata else { return DEFAULT.to_owned() };
    match metadata.source.as_ref().and_then(figment::Source::file_path) {
        Some(path) => path.display().to_string(),
        None if metadata.name.starts_with(PREFIX) || metadata.name.starts_with("--") => {
            metadata.name.to_string()
        }
        None => DEFAULT.to_owned(),
    }
}

/// Every value that isn't a table, by its dotted key.
fn leaves(figment: &Figment) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let data = figment.data().unwrap_or_default();
    for dict in data.into_values() {
        collect("", dict, &mut found);
    }
    found
}

fn leaves_of_file(toml: &Figment, origin: &str) -> Result<BTreeMap<String, Value>, Error> {
    let data = toml
        .data()
        .map_err(|error| Error::Malformed { origin: origin.to_owned(), detail: error.kind.to_string() })?;
    let mut found = BTreeMap::new();
    for dict in data.into_values() {
        collect("", dict, &mut found);
    }
    Ok(found)
}

fn collect(prefix: &str, dict: Dict, found: &mut BTreeMap<String, Value>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) => collect(&key, inner, found),
            leaf => {
                found.insert(key, leaf);
            }
        }
    }
}

/// `WRIT_KAFKA_TOPIC_PREFIX` is `kafka.topic_prefix`. What no key is called: the first `_` after a section's name is its dot.
fn key_of_variable(name: &str, known: &BTreeMap<String, Value>) -> String {
    if let Some(key) = known.keys().find(|key| variable_of_key(key) == name) {
        return key.clone();
    }
    let lower = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    match lower.split_once('_') {
        Some((section, rest)) if known.keys().any(|key| key.starts_with(&format!("{section}."))) => {
            format!("{section}.{rest}")
        }
        _ => lower,
    }
}

fn variable_of_key(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// A variable's text as the type that the default has. Text stays text, also when it looks like a number.
fn parse(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Num(..) => match text.trim().parse::<i64>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => Err(format!("`{text}` isn't a whole number")),
        },
        Value::Bool(..) => match text.trim().parse::<bool>() {
            Ok(flag) => Ok(Value::from(flag)),
            Err(_) => Err(format!("`{text}` is neither `true` nor `false`")),
        },
        Value::Array(..) => Ok(list(text.split(',').map(str::trim).filter(|part| !part.is_empty()))),
        _ => Ok(Value::from(text)),
    }
}

/// A list of texts.
pub(crate) fn list<'a>(parts: impl Iterator<Item = &'a str>) -> Value {
    Value::from(parts.map(Value::from).collect::<Vec<_>>())
}

fn nearest<'a>(key: &str, known: &'a BTreeMap<String, Value>) -> Option<&'a str> {
    known
        .keys()
        .map(|name| (strsim::jaro_winkler(key, name), name.as_str()))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn did_you_mean(key: &str, known: &BTreeMap<String, Value>) -> String {
    match nearest(key, known) {
        Some(name) => format!("Did you mean `{name}`? `writ config` shows every key."),
        None => "Remove it; `writ config` shows every key.".to_owned(),
    }
}

fn did_you_mean_variable(key: &str, known: &BTreeMap<String, Value>) -> String {
    match nearest(key, known) {
        Some(name) => format!("Did you mean {}? `writ config` shows every key.", variable_of_key(name)),
        None => "Unset it; `writ config` shows every key.".to_owned(),
    }
}

/// What the types don't say. The servers' own answers would come later and be harder to read.
fn validate(loaded: &Loaded) -> Result<(), Error> {
    let config = &loaded.config;
    let check = |holds: bool, key: &str, detail: &str, hint: &str| {
        if holds {
            return Ok(());
        }
        Err(Error::Invalid {
            key: key.to_owned(),
            origin: loaded.origin(key).to_owned(),
            detail: detail.to_owned(),
            hint: Some(hint.to_owned()),
        })
    };
    let identifier = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let topic = |text: &str| {
        !text.is_empty()
            && text.len() <= 100
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let is_url =
        |text: &str, schemes: &[&str]| url::Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()));
    if let Err((key, detail)) = config.identity.check_issuers() {
        check(false, &key, &detail, "docs/sign-in.md says what belongs there.")?;
    }
    check(
        identifier(&config.app),
        "app",
        "it is no name",
        "Use letters, digits and `_`, a letter first: it is part of the Avro names of all events.",
    )?;
    check(
        !config.roles.is_empty(),
        "roles",
        "the list is empty",
        "Name some of `api`, `decider`, `projector`.",
    )?;
    check(
        topic(&config.kafka.topic_prefix),
        "kafka.topic_prefix",
        "it can't begin a topic name",
        "Use 1 to 100 letters, digits, `.`, `_` and `-`.",
    )?;
    check(
        !config.kafka.brokers.trim().is_empty(),
        "kafka.brokers",
        "it is empty",
        "Give `host:port,host:port`.",
    )?;
    check(
        config.kafka.partitions > 0,
        "kafka.partitions",
        "it isn't positive",
        "Give 1 or more; 24 is a good start.",
    )?;
    check(
        config.kafka.replication > 0,
        "kafka.replication",
        "it isn't positive",
        "Give 1, or 3 on a real cluster.",
    )?;
    check(
        is_url(&config.registry.url, &["http", "https"]),
        "registry.url",
        "it is no http or https URL",
        "Give the base of the Confluent-compatible API, such as http://127.0.0.1:8081/apis/ccompat/v7.",
    )?;
    check(
        is_url(&config.postgres.url, &["postgres", "postgresql"]),
        "postgres.url",
        "it is no postgres URL",
        "Give postgres://USER:PASSWORD@HOST:PORT/DATABASE.",
    )?;
    check(
        is_url(&config.redis.url, &["redis", "rediss"]),
        "redis.url",
        "it is no redis URL",
        "Give redis://HOST:PORT.",
    )?;
    check(
        identifier(&config.postgres.schema) && config.postgres.schema.len() <= 63,
        "postgres.schema",
        "it is no name of a schema",
        "Use at most 63 letters, digits and `_`, a letter first.",
    )
}

#[cfg(test)]
mod tests;
