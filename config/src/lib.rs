//! A node's configuration: TOML file < environment (`BATUTA_SECTION_KEY`) < flags.
//!
//! Three steps, one module each: [`key`] names every key once, [`raw`](mod@raw) gathers their values and remembers where each
//! came from, [`validated`] holds what the rest of the program sees. A [`NodeConfig`] that exists is valid.

mod address;
mod check;
mod error;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod key;
mod origin;
mod raw;
mod show;
pub mod validated;

use std::ffi::OsString;
use std::path::Path;

pub use error::ConfigError;
pub use origin::Origin;
pub use raw::{Raw, Value};
pub use validated::NodeConfig;

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program works with.
    pub config: NodeConfig,
    /// Every key's value as it was given, and by whom.
    pub raw: Raw,
}

/// Reads the file, if one is named, lays the environment and the flags over it, and validates the result.
///
/// Environment variables that are not `BATUTA_SECTION_KEY` are left alone, whatever bytes they hold; flags are pairs of a key
/// (`section.key`) and its value, lists separated by commas.
///
/// # Errors
/// At the first thing that is wrong; the message names the place, the rule and the remedy.
pub fn load(
    file: Option<&Path>,
    environment: &[(OsString, OsString)],
    flags: &[(String, String)],
) -> Result<Loaded, ConfigError> {
    let mut raw = Raw::default();
    if let Some(path) = file {
        file::read(path, &mut raw)?;
    }
    raw.lay_environment(environment)?;
    raw.lay_flags(flags)?;
    let config = check::node_config(&raw)?;
    Ok(Loaded { config, raw })
}
