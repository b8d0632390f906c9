//! The limits that several jobs share.

use crate::job_macros::job_limits;
use crate::limit::{DAY_MS, ENTRIES_MAX};

job_limits! {
    /// What holds for all jobs.
    {
        /// Longest name of a lock or register, bytes.
        name_bytes_max = 512, 1 => crate::Name::BYTES_MAX as u64;
        /// Longest metadata of a lock or session, bytes.
        metadata_bytes_max = 4096, 0 => 65_536;
        /// Shortest time to live of a session or one-shot lock, milliseconds.
        ttl_ms_min = 500, 1 => DAY_MS;
        /// Longest time to live of a session or one-shot lock, milliseconds.
        ttl_ms_max = DAY_MS, 1 => 365 * DAY_MS;
        /// Namespaces that hold anything at the same time.
        namespaces_max = 10_000, 1 => ENTRIES_MAX;
    }
}
