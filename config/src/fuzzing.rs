//! Entry points for the fuzzer. Compiled for `cfg(fuzzing)` and tests only.

use std::path::Path;

use crate::raw::Raw;
use crate::{check, file};

/// Reads these bytes as a configuration file and checks it. The result is an error or a configuration, never
/// a panic.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut raw = Raw::default();
    if file::parse(text, Path::new("fuzz.toml"), &mut raw).is_ok() {
        let _ = check::node_config(&raw);
    }
    // The same words as values of the environment and of flags.
    let mut raw = Raw::default();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let pair = [(key.trim().to_owned(), value.trim().to_owned())];
        let _ = raw.lay_environment(&pair.clone().map(|(key, value)| (key.into(), value.into())));
        let _ = raw.lay_flags(&pair);
    }
    let _ = check::node_config(&raw);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::KEYS;

    /// A file with some of our keys, some similar ones, and values of all kinds.
    fn file() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            4 => prop::sample::select(KEYS.iter().map(|key| key.path.to_owned()).collect::<Vec<_>>()),
            1 => "[a-z_.]{1,20}",
        ];
        let value = prop_oneof![
            any::<u64>().prop_map(|number| number.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            "\"[ -~]{0,20}\"",
            "\\[(\"[a-z0-9=:.,]{0,20}\",?){0,4}\\]",
            Just("true".to_owned()),
            "\\PC{0,20}",
        ];
        let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_file_is_taken(file in file(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            configuration(file.as_bytes());
            configuration(&bytes);
        }
    }
}
