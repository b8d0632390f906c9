//! The limits of access.

use crate::job_macros::job_limits;
use crate::limit::DAY_MS;

job_limits! {
    /// The limits of access.
    {
        /// The most principals.
        principals_max = 10_000, 1 => 1_000_000, from level 2;
        /// The most groups.
        groups_max = 1_000, 0 => 100_000, from level 2;
        /// The most members of a group.
        group_members_max = 10_000, 1 => 100_000, from level 2;
        /// The most groups of a principal.
        groups_per_principal_max = 64, 1 => 1_000, from level 2;
        /// The most roles, without those that are built in.
        roles_max = 1_000, 0 => 100_000, from level 2;
        /// The most rules of a role.
        rules_per_role_max = 64, 1 => 1_000, from level 2;
        /// The most bindings.
        bindings_max = 20_000, 1 => 1_000_000, from level 2;
        /// The most bindings of a subject.
        bindings_per_subject_max = 64, 1 => 1_000, from level 2;
        /// The most API keys of a principal.
        keys_per_principal_max = 10, 1 => 1_000, from level 2;
        /// The most logins of a user at once.
        logins_per_principal_max = 50, 1 => 10_000, from level 2;
        /// The longest time of a login, in milliseconds.
        login_ttl_ms_max = 7 * DAY_MS, 1_000 => 365 * DAY_MS, from level 2;
    }
}
