//! The table of access. Whatever a decision needs is found by the id of the caller: its own bindings with their roles, its groups,
//! its suspension.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::access::role::Role;
use crate::access::{
    BindingId, BindingRecord, BuiltIn, GroupRecord, Mode, PrincipalRecord, RoleRecord, Subject, TokenRecord,
};
use crate::{Principal, PrincipalId, PrincipalName, TokenId};

/// Who has a role, as bindings store it. A principal is named by its id, so that a later principal of the same name inherits nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A principal; [`PrincipalId::ANONYMOUS`] for callers without a credential.
    Principal(PrincipalId),
    /// The members of a group.
    Group(PrincipalName),
}

/// A binding with its role, as decisions read it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) binding: Arc<BindingRecord>,
    pub(super) role: Arc<Role>,
}

/// The binding and the role are hashed where they are stored. A built-in role is a part of the program, not of the state.
impl Hash for Held {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.binding.id.hash(hasher);
    }
}

/// A principal, and everything that is found by its id.
#[derive(Clone, Debug, Hash)]
pub(super) struct PrincipalEntry {
    pub(super) record: PrincipalRecord,
    pub(super) groups: OrdSet<PrincipalName>,
    /// Its own bindings, oldest first.
    pub(super) held: Vec<Held>,
    pub(super) tokens: OrdSet<TokenId>,
}

/// A group, and everything that is found by its name.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct GroupEntry {
    pub(super) members: OrdSet<PrincipalId>,
    /// Its bindings, oldest first.
    pub(super) held: Vec<Held>,
}

/// Who may do what. A clone is O(1), so that a change may be tried on one.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Table {
    pub(super) mode: Mode,
    /// Whether there was an administrator: calls of access are enforced from then on.
    pub(super) guarded: bool,
    /// The number of changes that could alter or take away a right.
    pub(super) revision: u64,
    pub(super) principals: OrdMap<PrincipalId, Arc<PrincipalEntry>>,
    pub(super) ids: OrdMap<Principal, PrincipalId>,
    /// The bindings of callers without a credential, oldest first.
    pub(super) anonymous: Vec<Held>,
    pub(super) groups: OrdMap<PrincipalName, Arc<GroupEntry>>,
    /// The roles that are not built in.
    pub(super) roles: OrdMap<PrincipalName, Arc<Role>>,
    pub(super) bindings: OrdMap<BindingId, Arc<BindingRecord>>,
    /// The bindings of each role that has any.
    pub(super) bound: OrdMap<PrincipalName, OrdSet<BindingId>>,
    pub(super) tokens: OrdMap<TokenId, Arc<TokenRecord>>,
    pub(super) bootstraps: OrdSet<TokenId>,
}

impl Table {
    /// Notes a change that could alter or take away a right.
    pub(super) fn bump(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }

    pub(super) fn role(&self, name: &PrincipalName) -> Option<&Arc<Role>> {
        BuiltIn::find(name).or_else(|| self.roles.get(name))
    }

    pub(super) fn principal(&self, id: PrincipalId) -> Option<&PrincipalEntry> {
        self.principals.get(&id).map(AsRef::as_ref)
    }

    pub(super) fn principal_mut(&mut self, id: PrincipalId) -> Option<&mut PrincipalEntry> {
        self.principals.get_mut(&id).map(Arc::make_mut)
    }

    /// The kind and name of a principal; `Anonymous` for an id that no principal has.
    pub(super) fn principal_of(&self, id: PrincipalId) -> Principal {
        self.principal(id).map_or(Principal::Anonymous, |entry| entry.record.principal.clone())
    }

    pub(super) fn subject_of(&self, holder: &Holder) -> Subject {
        match holder {
            Holder::Principal(id) => self.principal_of(*id).into(),
            Holder::Group(name) => Subject::Group(name.clone()),
        }
    }

    /// The principals that have what a binding of this holder gives.
    pub(super) fn principals_of(&self, holder: &Holder) -> Vec<PrincipalId> {
        match holder {
            Holder::Principal(id) => vec![*id],
            Holder::Group(name) => {
                self.groups.get(name).map(|group| group.members.iter().copied().collect()).unwrap_or_default()
            }
        }
    }

    /// The bindings of a holder, oldest first.
    pub(super) fn held(&self, holder: &Holder) -> &[Held] {
        match holder {
            Holder::Principal(PrincipalId::ANONYMOUS) => &self.anonymous,
            Holder::Principal(id) => self.principal(*id).map_or(&[], |entry| &entry.held),
            Holder::Group(name) => self.groups.get(name).map_or(&[], |group| &group.held),
        }
    }

    /// The bindings of a principal and of its groups.
    pub(super) fn all_held(&self, id: PrincipalId) -> impl Iterator<Item = &Held> {
        let own = self.held(&Holder::Principal(id));
        let groups = self.principal(id).into_iter().flat_map(|entry| entry.groups.iter());
        let of_groups = groups.filter_map(|name| self.groups.get(name)).flat_map(|group| group.held.iter());
        own.iter().chain(of_groups)
    }

    fn held_mut(&mut self, holder: &Holder) -> Option<&mut Vec<Held>> {
        match holder {
            Holder::Principal(PrincipalId::ANONYMOUS) => Some(&mut self.anonymous),
            Holder::Principal(id) => self.principal_mut(*id).map(|entry| &mut entry.held),
            Holder::Group(name) => self.groups.get_mut(name).map(|group| &mut Arc::make_mut(group).held),
        }
    }

    pub(super) fn insert_principal(&mut self, record: PrincipalRecord) {
        let (id, principal) = (record.id, record.principal.clone());
        self.ids.insert(principal, id);
        let (groups, tokens) = (OrdSet::new(), OrdSet::new());
        self.principals.insert(id, Arc::new(PrincipalEntry { record, groups, held: Vec::new(), tokens }));
    }

    /// Removes a principal with its memberships. Its bindings and credentials must have been removed before.
    pub(super) fn remove_principal(&mut self, id: PrincipalId) {
        let Some(entry) = self.principals.remove(&id) else { return };
        self.ids.remove(&entry.record.principal);
        for name in &entry.groups {
            if let Some(group) = self.groups.get_mut(name) {
                Arc::make_mut(group).members.remove(&id);
            }
        }
    }

    /// Makes a group, or gives a group these members.
    pub(super) fn set_members(&mut self, name: &PrincipalName, members: OrdSet<PrincipalId>) {
        let before = self.groups.get(name).map(|group| group.members.clone()).unwrap_or_default();
        for id in before.iter().filter(|id| !members.contains(*id)) {
            if let Some(entry) = self.principal_mut(*id) {
                entry.groups.remove(name);
            }
        }
        for id in members.iter().filter(|id| !before.contains(*id)) {
            if let Some(entry) = self.principal_mut(*id) {
                entry.groups.insert(name.clone());
            }
        }
        let mut group = self.groups.get(name).map(|group| group.as_ref().clone()).unwrap_or_default();
        group.members = members;
        self.groups.insert(name.clone(), Arc::new(group));
    }

    /// Removes a group. Its bindings must have been removed before.
    pub(super) fn remove_group(&mut self, name: &PrincipalName) {
        self.set_members(name, OrdSet::new());
        self.groups.remove(name);
    }

    /// Makes a role, or gives a role these rules.
    pub(super) fn set_role(&mut self, record: RoleRecord) {
        let (name, role) = (record.name.clone(), Role::new(record));
        for id in self.bound.get(&name).cloned().unwrap_or_default() {
            let Some(holder) = self.bindings.get(&id).map(|binding| binding.holder.clone()) else { continue };
            let held = self.held_mut(&holder).and_then(|held| find(held, id));
            if let Some(held) = held {
                held.role = Arc::clone(&role);
            }
        }
        self.roles.insert(name, role);
    }

    /// Stores a binding, or replaces the one of the same id. Its holder and its role must exist.
    pub(super) fn insert_binding(&mut self, binding: Arc<BindingRecord>) {
        let Some(role) = self.role(&binding.role).cloned() else { return };
        if let Some(held) = self.held_mut(&binding.holder) {
            let place = held.partition_point(|held| held.binding.id < binding.id);
            let new = Held { binding: Arc::clone(&binding), role };
            match held.get_mut(place) {
                Some(same) if same.binding.id == binding.id => *same = new,
                _ => held.insert(place, new),
            }
        }
        self.bound.entry(binding.role.clone()).or_default().insert(binding.id);
        self.bindings.insert(binding.id, binding);
    }

    pub(super) fn remove_binding(&mut self, id: BindingId) -> Option<Arc<BindingRecord>> {
        let binding = self.bindings.remove(&id)?;
        if let Some(held) = self.held_mut(&binding.holder) {
            held.retain(|held| held.binding.id != id);
        }
        if let Some(bound) = self.bound.get_mut(&binding.role) {
            bound.remove(&id);
            if bound.is_empty() {
                self.bound.remove(&binding.role);
            }
        }
        Some(binding)
    }

    pub(super) fn insert_token(&mut self, token: Arc<TokenRecord>) {
        let id = token.secret.id;
        match self.principal_mut(token.principal) {
            Some(entry) => entry.tokens.insert(id),
            None => self.bootstraps.insert(id),
        };
        self.tokens.insert(id, token);
    }

    pub(super) fn remove_token(&mut self, id: TokenId) -> Option<Arc<TokenRecord>> {
        let token = self.tokens.remove(&id)?;
        match self.principal_mut(token.principal) {
            Some(entry) => entry.tokens.remove(&id),
            None => self.bootstraps.remove(&id),
        };
        Some(token)
    }

    pub(super) fn group_record(&self, name: &PrincipalName) -> Option<GroupRecord> {
        let group = self.groups.get(name)?;
        Some(GroupRecord { name: name.clone(), members: group.members.iter().copied().collect() })
    }
}

fn find(held: &mut [Held], id: BindingId) -> Option<&mut Held> {
    held.iter_mut().find(|held| held.binding.id == id)
}
