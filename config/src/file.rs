//! Reads the configuration file: TOML, one table per section. Keeps the line of every value.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::error::ConfigError;
use crate::key::{self, KEYS, Key, Kind};
use crate::origin::Origin;
use crate::raw::{Raw, Value, nearest};

/// Reads the file into `raw`.
pub(crate) fn read(path: &Path, raw: &mut Raw) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, path, raw)
}

/// Reads the text of a file into `raw`.
pub(crate) fn parse(text: &str, path: &Path, raw: &mut Raw) -> Result<(), ConfigError> {
    let document = DeTable::parse(text)
        .map_err(|error| ConfigError::Syntax { path: path.to_owned(), problem: error.to_string() })?;
    let origin_at = |offset: usize| Origin::File {
        path: path.to_owned(),
        line: 1 + text[..offset].matches('\n').count(),
    };
    for (section, table) in document.get_ref() {
        let name: &str = section.get_ref();
        let origin = origin_at(section.span().start);
        let DeValue::Table(table) = table.get_ref() else {
            return Err(unknown(origin, name));
        };
        if !KEYS.iter().any(|key| key.parts().0 == name) {
            return Err(unknown(origin, name));
        }
        for (entry, value) in table {
            let origin = origin_at(entry.span().start);
            let path = format!("{name}.{}", entry.get_ref());
            let Some(key) = key::find(&path) else {
                return Err(unknown(origin, &path));
            };
            let value = convert(key, value.get_ref(), &origin)?;
            raw.set(key, value, origin);
        }
    }
    Ok(())
}

fn unknown(origin: Origin, name: &str) -> ConfigError {
    let sections = KEYS.iter().map(|key| key.parts().0);
    let section = sections
        .map(|section| (strsim::damerau_levenshtein(section, name), section))
        .filter(|(edits, _)| (1..=2).contains(edits))
        .min();
    let suggestion = section.map(|(_, section)| section.to_owned()).or_else(|| nearest(name));
    ConfigError::UnknownKey { origin, key: name.to_owned(), suggestion }
}

fn convert(key: &'static Key, value: &DeValue<'_>, origin: &Origin) -> Result<Value, ConfigError> {
    let converted = match (key.kind, value) {
        (Kind::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Kind::Integer, DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Integer)
        }
        (Kind::Bool, DeValue::Boolean(flag)) => Some(Value::Bool(*flag)),
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .map(Value::List),
        _ => None,
    };
    converted.ok_or_else(|| ConfigError::Kind {
        origin: origin.clone(),
        key: key.path,
        expected: key.kind.words(),
        found: match value {
            DeValue::String(text) => format!("the text {text:?}"),
            DeValue::Integer(number) => format!("the number {}", number.as_str()),
            DeValue::Float(_) => "a number with a fraction".to_owned(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => {
                "a list where one value belongs, or a list with items of another kind".to_owned()
            }
            DeValue::Table(_) => "a table".to_owned(),
        },
    })
}
