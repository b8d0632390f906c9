//! The limits of registers.

use crate::job_macros::job_limits;
use crate::limit::ENTRIES_MAX;

job_limits! {
    /// What bounds registers.
    {
        /// Registers in one namespace.
        registers_per_namespace_max = 100_000, 0 => ENTRIES_MAX;
    }
}
