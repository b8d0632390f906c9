//! Prints the effective configuration as TOML, optionally with the origin of each value.

use std::fmt::Write as _;

use crate::Loaded;
use crate::key::KEYS;

impl Loaded {
    /// Formats the effective configuration as TOML. With `origins`, each line ends in `# from file …|env
    /// …|flag …|default`.
    #[must_use]
    pub fn show(&self, origins: bool) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in KEYS {
            let Some((value, origin)) = self.raw.get(key) else { continue };
            let (of, name) = key.parts();
            if of != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                section = of;
                // Writing to a String cannot fail.
                let _ = writeln!(out, "{gap}[{of}]");
            }
            let _ = if origins {
                writeln!(out, "{name} = {value} # from {origin}")
            } else {
                writeln!(out, "{name} = {value}")
            };
        }
        out
    }
}
