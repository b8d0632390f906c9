//! The limits of sessions.

use crate::job_macros::job_limits;
use crate::limit::ENTRIES_MAX;

job_limits! {
    /// The limits of sessions.
    {
        /// The most sessions in one namespace.
        sessions_per_namespace_max = 200_000, 0 => ENTRIES_MAX;
    }
}
