//! The limits of the cluster itself.

use crate::job_macros::job_limits;

job_limits! {
    /// What bounds the cluster itself.
    {
        /// Members of the cluster. A node that asks to join beyond it is refused; it never removes a member.
        members_max = 9, 1 => 63, from level 2;
    }
}
