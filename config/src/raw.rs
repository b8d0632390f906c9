//! Holds the values as they were given, each with its origin. Only names and kinds are checked here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use crate::error::ConfigError;
use crate::key::{self, KEYS, Key, Kind};
use crate::origin::Origin;

/// A value of one of the four kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(u64),
    /// `true` or `false`.
    Bool(bool),
    /// A list of texts.
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// Formats the value as TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", toml::Value::String(text.clone())),
            // A TOML integer is an i64; larger numbers come only from the environment or a flag.
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::List(items) => {
                let items: Vec<toml::Value> = items.iter().cloned().map(toml::Value::String).collect();
                write!(f, "{}", toml::Value::Array(items))
            }
        }
    }
}

/// The values that were given. A later layer replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    values: BTreeMap<&'static str, (Value, Origin)>,
}

impl Raw {
    /// The effective value and its origin; `None` when nobody set the key and it has no default.
    #[must_use]
    pub fn get(&self, key: &'static Key) -> Option<(Value, Origin)> {
        self.values.get(key.path).cloned().or_else(|| {
            let value =
                (!key.default.is_empty()).then(|| parse(key, key.default, &Origin::Default).ok())??;
            Some((value, Origin::Default))
        })
    }

    /// Sets a value, replacing that of an earlier layer.
    pub(crate) fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        self.values.insert(key.path, (value, origin));
    }

    /// Applies the `BATUTA_SECTION_KEY` variables on top. Names and values of other variables may be any
    /// bytes.
    pub(crate) fn lay_environment(
        &mut self,
        environment: &[(OsString, OsString)],
    ) -> Result<(), ConfigError> {
        for (name, value) in environment {
            // A name with a byte that is not UTF-8 is not a key of ours, but may be a typing mistake.
            let name = name.to_string_lossy();
            let origin = Origin::Env(name.clone().into_owned());
            if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
                let Some(text) = value.to_str() else {
                    return Err(ConfigError::NotUtf8 {
                        origin,
                        key: key.path,
                        found: value.to_string_lossy().into_owned(),
                    });
                };
                self.set(key, parse(key, text, &origin)?, origin);
            } else if is_mistyped(&name) {
                let suggestion = nearest_variable(&name);
                return Err(ConfigError::UnknownKey { origin, key: name.into_owned(), suggestion });
            }
        }
        Ok(())
    }

    /// Applies flags on top.
    pub(crate) fn lay_flags(&mut self, flags: &[(String, String)]) -> Result<(), ConfigError> {
        for (path, text) in flags {
            let Some(key) = key::find(path) else {
                let origin = Origin::Flag(format!("--set {path}"));
                return Err(ConfigError::UnknownKey { origin, key: path.clone(), suggestion: nearest(path) });
            };
            let origin = Origin::Flag(key.flag_name());
            self.set(key, parse(key, text, &origin)?, origin);
        }
        Ok(())
    }
}

/// Names within this many edits of a key's variable are treated as typing mistakes.
const VARIABLE_EDITS_MAX: usize = 2;

/// Batuta's other variables, which are not keys: those of the commands, of the programs they start, and of
/// the tests.
const OTHER_VARIABLES: [&str; 8] = [
    "BATUTA_CONFIG",
    "BATUTA_ENDPOINTS",
    "BATUTA_NAMESPACE",
    "BATUTA_LOCK_NAME",
    "BATUTA_LOCK_TOKEN",
    "BATUTA_LOCK_ID",
    "BATUTA_PROGRAM",
    "BATUTA_WRITE_DOCS",
];

/// Whether a variable was meant to be a key of ours but is not one.
///
/// Not every other `BATUTA_…` is a mistake: orchestrators export such names for a service whose name begins
/// with batuta, and the commands have variables of their own. A name that begins like a section, or nearly
/// matches a key's variable, is a mistake.
fn is_mistyped(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("BATUTA_") else { return false };
    if OTHER_VARIABLES.contains(&name) || is_service_variable(rest) {
        return false;
    }
    KEYS.iter().any(|key| {
        rest.starts_with(&format!("{}_", key.parts().0.to_uppercase()))
            || strsim::damerau_levenshtein(&key.variable(), name) <= VARIABLE_EDITS_MAX
    })
}

/// Whether Kubernetes exports a variable of this name for some Service. For a Service `batuta-cluster` every
/// container gets `BATUTA_CLUSTER_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_<name of the port>`,
/// `…_PORT`, `…_PORT_7070_TCP`, and the last name followed by `_PROTO`, `_PORT` and `_ADDR`.
fn is_service_variable(name: &str) -> bool {
    if ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end))
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    let link = ["_PROTO", "_ADDR"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let Some((before, protocol)) = link.rsplit_once('_') else { return false };
    let Some((before, port)) = before.rsplit_once('_') else { return false };
    matches!(protocol, "TCP" | "UDP" | "SCTP") && port.parse::<u16>().is_ok() && before.ends_with("_PORT")
}

/// The variable most similar to the name, if any is similar enough.
fn nearest_variable(name: &str) -> Option<String> {
    KEYS.iter()
        .map(Key::variable)
        .map(|variable| (strsim::damerau_levenshtein(&variable, name), variable))
        .filter(|(_, variable)| strsim::jaro_winkler(variable, name) >= SIMILARITY_MIN)
        .min()
        .map(|(_, variable)| variable)
}

/// A suggestion less similar than this would only confuse.
const SIMILARITY_MIN: f64 = 0.8;

/// The key most similar to the name, if any is similar enough.
pub(crate) fn nearest(name: &str) -> Option<String> {
    KEYS.iter()
        .map(|key| (strsim::jaro_winkler(key.path, name), key.path))
        .filter(|(likeness, _)| *likeness >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, path)| path.to_owned())
}

/// Parses a value as written in the environment or in a flag.
fn parse(key: &'static Key, text: &str, origin: &Origin) -> Result<Value, ConfigError> {
    let value = match key.kind {
        Kind::Text => Some(Value::Text(text.to_owned())),
        Kind::Integer => text.parse().ok().map(Value::Integer),
        Kind::Bool => text.parse().ok().map(Value::Bool),
        Kind::List => Some(Value::List(
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
        )),
    };
    value.ok_or_else(|| ConfigError::Kind {
        origin: origin.clone(),
        key: key.path,
        expected: key.kind.words(),
        found: format!("`{text}`"),
    })
}
