//! Options that reading commands share.

use batuta_client::v1::Consistency;
use clap::{Args, ValueEnum};

/// How current a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Read {
    /// linearizable sees every write acknowledged before; stale answers from what one node knows.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = ReadMode::Linearizable)]
    consistency: ReadMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReadMode {
    Linearizable,
    Stale,
}

impl Read {
    pub(crate) fn wire(self) -> i32 {
        match self.consistency {
            ReadMode::Linearizable => Consistency::Linearizable.into(),
            ReadMode::Stale => Consistency::Stale.into(),
        }
    }
}

/// A part of the holders and waiters of one lock.
#[derive(Debug, Clone, Args)]
pub struct Part {
    /// Show the holders behind those of the answer before: its `next_holders_cursor`.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    pub(crate) holders_cursor: String,
    /// Show the waiters behind those of the answer before: its `next_waiters_cursor`.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    pub(crate) waiters_cursor: String,
}

/// A page of a listing.
#[derive(Debug, Clone, Args)]
pub struct Page {
    /// How many to show, at most 1,000.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Go on where the page before ended: its `next_cursor`.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    pub(crate) cursor: String,
}

impl Page {
    /// The line under a table that says that there is more.
    pub(crate) fn more(next_cursor: &str) -> String {
        match next_cursor {
            "" => String::new(),
            cursor => format!("\n\nthere is more: --cursor '{cursor}'"),
        }
    }
}
