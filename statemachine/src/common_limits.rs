//! The limits shared by several jobs.

use crate::job_macros::job_limits;
use crate::limit::{DAY_MS, ENTRIES_MAX};

job_limits! {
    /// The limits of all jobs.
    {
        /// Longest name of a lock or register, in bytes.
        name_bytes_max = 512, 1 => crate::Name::BYTES_MAX as u64;
        /// Longest metadata of a lock or session, in bytes.
        metadata_bytes_max = 4096, 0 => 65_536;
        /// Shortest TTL of a session or one-shot lock, in milliseconds.
        ttl_ms_min = 500, 1 => DAY_MS;
        /// Longest TTL of a session or one-shot lock, in milliseconds.
        ttl_ms_max = DAY_MS, 1 => 365 * DAY_MS;
        /// The most namespaces that hold anything.
        namespaces_max = 10_000, 1 => ENTRIES_MAX;
    }
}
