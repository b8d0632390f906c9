//! A node's configuration: TOML file < environment (`BATUTA_SECTION_KEY`) < flags.
//!
//! Three steps, one module each: [`key`] defines every key once, [`raw`](mod@raw) collects the values and
//! remembers the origin of each, [`validated`] holds what the rest of the program uses. A [`NodeConfig`] is
//! valid by construction.

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

/// A configuration and the values it was made from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The validated configuration.
    pub config: NodeConfig,
    /// Every key's value as it was given, with its origin.
    pub raw: Raw,
}

/// Reads the file, if one is named, applies the environment and then the flags on top, and validates the
/// result.
///
/// Environment variables that are not `BATUTA_SECTION_KEY` are ignored, whatever bytes they hold. Flags are
/// pairs of a key (`section.key`) and its value; items of a list are separated by commas.
///
/// # Errors
/// Returns the first error found; its message names the place, the rule and the remedy.
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
