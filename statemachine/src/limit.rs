//! One limit, as seen by a change of limits.

/// A limit, with its value and its range.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// The level of the first build that knows the limit.
    pub(crate) level: u32,
}

pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// More objects than this would not fit into a node's memory.
pub(crate) const ENTRIES_MAX: u64 = 100_000_000;
