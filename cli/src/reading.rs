//! The options shared by commands that read.

use batuta_client::v1::Consistency;
use clap::{Args, ValueEnum};

/// The consistency of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Read {
    /// linearizable sees every write acknowledged before the read; stale answers from the state of one node.
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

/// The part of the holders and waiters of one lock to show.
#[derive(Debug, Clone, Args)]
pub struct Part {
    /// Show the next holders: `next_holders_cursor` of the previous answer.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    pub(crate) holders_cursor: String,
    /// Show the next waiters: `next_waiters_cursor` of the previous answer.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    pub(crate) waiters_cursor: String,
}

/// The page of a listing to show.
#[derive(Debug, Clone, Args)]
pub struct Page {
    /// The number of items to show, at most 1,000.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Continue after the previous page: its `next_cursor`.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    pub(crate) cursor: String,
}

impl Page {
    /// The line under a table when there is another page.
    pub(crate) fn more(next_cursor: &str) -> String {
        match next_cursor {
            "" => String::new(),
            cursor => format!("\n\nthere is more: --cursor '{cursor}'"),
        }
    }
}
