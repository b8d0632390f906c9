//! Roles: named lists of rules, four of which are built in.

use std::sync::{Arc, LazyLock};

use crate::access::Rule;
use crate::{Permission, PermissionSet, PrincipalName};

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleRecord {
    /// The name of the role.
    pub name: PrincipalName,
    /// The rules of the role.
    pub rules: Vec<Rule>,
}

/// A role, with the permissions of all its rules together.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Role {
    pub(super) record: RoleRecord,
    pub(super) permissions: PermissionSet,
}

impl Role {
    pub(super) fn new(record: RoleRecord) -> Arc<Self> {
        let permissions =
            record.rules.iter().fold(PermissionSet::default(), |all, rule| all.union(rule.permissions));
        Arc::new(Self { record, permissions })
    }
}

/// A role that every cluster has and nobody can change. It is not part of the state, so a change of its rules is of a new level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BuiltIn {
    /// Gives every permission, also on access itself.
    Admin,
    /// Looks after the cluster: members, limits, leadership and snapshots; takes locks away and closes sessions; reads everything.
    Operator,
    /// Works with locks, elections, sessions and registers, without the privileged permissions.
    Editor,
    /// Reads, lists and watches locks, elections, sessions and registers, and reads the cluster.
    Viewer,
}

impl BuiltIn {
    /// All built-in roles, in the order of their names.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Editor, Self::Operator, Self::Viewer];

    /// The name of the role.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
        }
    }

    /// The permissions that the role gives for all names.
    #[must_use]
    pub fn permissions(self) -> PermissionSet {
        let reads = |permission: Permission| {
            matches!(permission.as_str().split_once(':'), Some((_, "read" | "list" | "watch")))
        };
        let works = |permission: Permission| {
            matches!(permission.area(), "lock" | "election" | "session" | "register")
        };
        let given = |permission: &Permission| match self {
            Self::Admin => true,
            Self::Operator => {
                reads(*permission)
                    || permission.area() == "cluster"
                    || matches!(permission, Permission::LockForceRelease | Permission::SessionCloseAny)
            }
            Self::Editor => works(*permission) && !permission.is_privileged(),
            Self::Viewer => {
                reads(*permission) && (works(*permission) || *permission == Permission::ClusterRead)
            }
        };
        Permission::ALL.into_iter().filter(given).collect()
    }

    /// The built-in role of this name.
    pub(super) fn find(name: &PrincipalName) -> Option<&'static Arc<Role>> {
        static ROLES: LazyLock<Vec<Arc<Role>>> = LazyLock::new(|| {
            let role = |built_in: BuiltIn| {
                let name = PrincipalName::new(built_in.as_str()).ok()?;
                let rules = vec![Rule::everywhere(built_in.permissions())];
                Some(Role::new(RoleRecord { name, rules }))
            };
            BuiltIn::ALL.into_iter().filter_map(role).collect()
        });
        ROLES.iter().find(|role| role.record.name == *name)
    }
}

/// Whether callers without a credential may be given a permission: only to read, list and watch.
pub(super) fn may_be_anonymous(permission: Permission) -> bool {
    BuiltIn::Viewer.permissions().contains(permission) && permission != Permission::ClusterRead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_roles_give_what_their_names_say() {
        let of = |built_in: BuiltIn| {
            let name = PrincipalName::new(built_in.as_str()).unwrap();
            BuiltIn::find(&name).unwrap().permissions
        };
        assert_eq!(of(BuiltIn::Admin), PermissionSet::all());
        let operator = of(BuiltIn::Operator);
        assert!(
            operator.contains(Permission::ClusterTransfer) && operator.contains(Permission::LockForceRelease)
        );
        assert!(!operator.contains(Permission::LockAcquire) && !operator.contains(Permission::AccessWrite));
        let editor = of(BuiltIn::Editor);
        assert!(
            editor.contains(Permission::ElectionCampaign) && !editor.contains(Permission::SessionCloseAny)
        );
        assert!(!editor.contains(Permission::ClusterRead));
        let viewer = of(BuiltIn::Viewer);
        assert!(viewer.contains(Permission::RegisterWatch) && viewer.contains(Permission::ClusterRead));
        assert!(!viewer.contains(Permission::AccessRead) && !viewer.contains(Permission::LockAcquire));
        assert_eq!(
            Permission::ALL.into_iter().filter(|permission| may_be_anonymous(*permission)).count(),
            11
        );
    }
}
