//! The limits of registers.

use crate::job_macros::job_limits;
use crate::limit::ENTRIES_MAX;

job_limits! {
    /// The limits of registers.
    {
        /// The most registers in one namespace.
        registers_per_namespace_max = 100_000, 0 => ENTRIES_MAX;
    }
}
