//! Permissions: what a caller may be allowed to do, as one closed list.

use std::fmt;
use std::str::FromStr;

macro_rules! permissions {
    ($($(#[$doc:meta])* $Name:ident = $text:literal $($privileged:ident)?;)*) => {
        /// The right to make calls of one kind, written `area:verb`. The list is closed: a permission that is not here cannot be given.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($(#[$doc])* $Name,)*
        }

        impl Permission {
            /// All permissions, in the order of their variants.
            pub const ALL: [Self; [$(Self::$Name),*].len()] = [$(Self::$Name),*];

            /// The word that roles, errors and documents use.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Name => $text,)*
                }
            }

            /// Whether it must be named to be given: `area:*` leaves it out.
            #[must_use]
            pub const fn is_privileged(self) -> bool {
                match self {
                    $(Self::$Name => permissions!(@privileged $($privileged)?),)*
                }
            }
        }
    };
    (@privileged) => { false };
    (@privileged privileged) => { true };
}

permissions! {
    /// Takes locks.
    LockAcquire = "lock:acquire";
    /// Reads, checks and explains locks.
    LockRead = "lock:read";
    /// Lists locks.
    LockList = "lock:list";
    /// Watches locks.
    LockWatch = "lock:watch";
    /// Changes the capacity of a semaphore.
    LockResize = "lock:resize";
    /// Takes a grant away from its owner.
    LockForceRelease = "lock:force_release" privileged;
    /// Stands as a candidate in elections.
    ElectionCampaign = "election:campaign";
    /// Reads elections.
    ElectionRead = "election:read";
    /// Lists elections.
    ElectionList = "election:list";
    /// Watches elections.
    ElectionWatch = "election:watch";
    /// Opens sessions.
    SessionOpen = "session:open";
    /// Reads sessions of others.
    SessionRead = "session:read";
    /// Lists sessions.
    SessionList = "session:list";
    /// Watches sessions.
    SessionWatch = "session:watch";
    /// Closes sessions of others.
    SessionCloseAny = "session:close_any" privileged;
    /// Advances registers.
    RegisterAdvance = "register:advance";
    /// Reads registers.
    RegisterRead = "register:read";
    /// Watches registers.
    RegisterWatch = "register:watch";
    /// Deletes registers.
    RegisterDelete = "register:delete";
    /// Reads and watches members, leadership and limits.
    ClusterRead = "cluster:read";
    /// Promotes and removes members.
    ClusterMembers = "cluster:members" privileged;
    /// Changes limits.
    ClusterLimits = "cluster:limits" privileged;
    /// Hands over leadership of the cluster.
    ClusterTransfer = "cluster:transfer" privileged;
    /// Takes snapshots.
    ClusterSnapshot = "cluster:snapshot" privileged;
    /// Reads and watches principals, roles and bindings.
    AccessRead = "access:read";
    /// Changes principals, groups, roles and bindings.
    AccessWrite = "access:write" privileged;
    /// Makes and deletes credentials of others.
    AccessKeys = "access:keys" privileged;
    /// Changes whether access is enforced.
    AccessMode = "access:mode" privileged;
    /// Reads the audit.
    AccessAudit = "access:audit" privileged;
    /// Gives rights that the giver does not have.
    AccessEscalate = "access:escalate" privileged;
}

impl Permission {
    /// The area before the colon.
    #[must_use]
    pub fn area(self) -> &'static str {
        self.as_str().split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A text that names no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a permission; write `area:verb`, or `area:*` for all of an area that are not privileged"
)]
pub struct UnknownPermission(pub String);

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        let known = Self::ALL.into_iter().find(|permission| permission.as_str() == text);
        known.ok_or_else(|| UnknownPermission(text.chars().take(64).collect()))
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionSet(u128);

impl PermissionSet {
    /// All permissions, privileged ones included.
    #[must_use]
    pub fn all() -> Self {
        Permission::ALL.into_iter().collect()
    }

    /// Parses a permission, or `area:*`, which is every permission of the area that is not privileged.
    ///
    /// # Errors
    /// The text names neither.
    pub fn parse(text: &str) -> Result<Self, UnknownPermission> {
        let Some(area) = text.strip_suffix(":*") else {
            return text.parse().map(|permission| Self::default().with(permission));
        };
        let of_area: Self = Permission::ALL
            .into_iter()
            .filter(|permission| permission.area() == area && !permission.is_privileged())
            .collect();
        if of_area == Self::default() {
            return Err(UnknownPermission(text.chars().take(64).collect()));
        }
        Ok(of_area)
    }

    /// The set with one permission more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | 1 << permission as u32)
    }

    /// Whether the permission is in the set.
    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u32) != 0
    }

    /// Everything that is in one of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything of this set is in the other.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The permissions of the set, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_is_read_back_from_its_word() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(permission));
            assert_eq!(PermissionSet::parse(permission.as_str()), Ok([permission].into_iter().collect()));
        }
        for text in ["", "lock", "lock:", "lock:*x", "locks:*", "*", "*:*", "LOCK:acquire"] {
            assert!(PermissionSet::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn whole_area_leaves_privileged_permissions_out() {
        let locks = PermissionSet::parse("lock:*").unwrap();
        assert!(locks.contains(Permission::LockAcquire) && !locks.contains(Permission::LockForceRelease));
        assert!(!locks.contains(Permission::ElectionCampaign));
        assert!(locks.is_within(PermissionSet::all()) && !PermissionSet::all().is_within(locks));
        assert_eq!(locks.iter().count(), 5);
    }
}
