//! The limits of locks.

use crate::job_macros::job_limits;
use crate::limit::{DAY_MS, ENTRIES_MAX};

job_limits! {
    /// The limits of locks.
    {
        /// Longest owner label, in bytes.
        owner_bytes_max = 256, 0 => 4096;
        /// Longest reason of a forced release, in bytes.
        reason_bytes_max = 1024, 1 => 65_536;
        /// Longest wait for a lock, in milliseconds.
        wait_ms_max = 60 * 60 * 1000, 0 => 7 * DAY_MS;
        /// Longest lock-delay, in milliseconds.
        lock_delay_ms_max = 60_000, 0 => 60_000;
        /// The most grants (held acquisitions) in one namespace.
        grants_per_namespace_max = 4_000_000, 0 => ENTRIES_MAX;
        /// The most waiters queued on one lock.
        waiters_per_lock_max = 10_000, 0 => ENTRIES_MAX;
        /// The most names in one acquisition.
        names_per_acquire_max = 64, 1 => 1024;
        /// The largest capacity of a semaphore.
        semaphore_capacity_max = 100_000, 1 => u64::from(u32::MAX);
        /// The highest reentrant count of one grant.
        reentrancy_max = 1_000_000, 1 => ENTRIES_MAX;
    }
}
