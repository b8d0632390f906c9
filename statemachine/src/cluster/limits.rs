//! The limits of the cluster itself.

use crate::job_macros::job_limits;

job_limits! {
    /// Nothing bounds what the cluster knows of itself: it does not grow.
    {
    }
}
