//! What readers see of access.

use std::ops::Bound;
use std::sync::Arc;

use crate::access::table::Holder;
use crate::access::{
    BindingId, BindingRecord, BuiltIn, GroupRecord, Mode, PrincipalRecord, RoleRecord, Subject, TokenRecord,
};
use crate::{Principal, PrincipalId, PrincipalName, State, TokenId};

impl State {
    /// The mode of access.
    #[must_use]
    pub fn access_mode(&self) -> Mode {
        self.access.mode
    }

    /// Whether there was an administrator: calls of access are enforced from then on, whatever the mode.
    #[must_use]
    pub fn access_guarded(&self) -> bool {
        self.access.guarded
    }

    /// The number of changes that could alter or take away a right. What was decided under another number must be decided again. Ends by wall
    /// time are not counted.
    #[must_use]
    pub fn access_revision(&self) -> u64 {
        self.access.revision
    }

    /// Finds a principal by kind and name.
    #[must_use]
    pub fn principal_id(&self, principal: &Principal) -> Option<PrincipalId> {
        match principal {
            Principal::Anonymous => Some(PrincipalId::ANONYMOUS),
            principal => self.access.ids.get(principal).copied(),
        }
    }

    /// Finds a principal by its id.
    #[must_use]
    pub fn principal(&self, id: PrincipalId) -> Option<&PrincipalRecord> {
        self.access.principal(id).map(|entry| &entry.record)
    }

    /// Lists at most `limit` principals after `after`, users before services, each by name.
    #[must_use]
    pub fn principals(&self, after: Option<&Principal>, limit: usize) -> Vec<&PrincipalRecord> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let ids = self.access.ids.range((from, Bound::Unbounded));
        ids.filter_map(|(_, id)| self.principal(*id)).take(limit).collect()
    }

    /// The groups of a principal.
    pub fn groups_of(&self, id: PrincipalId) -> impl Iterator<Item = &PrincipalName> {
        self.access.principal(id).into_iter().flat_map(|entry| entry.groups.iter())
    }

    /// Finds a group.
    #[must_use]
    pub fn group(&self, name: &PrincipalName) -> Option<GroupRecord> {
        self.access.group_record(name)
    }

    /// Lists at most `limit` groups after `after`, by name.
    #[must_use]
    pub fn groups(&self, after: Option<&PrincipalName>, limit: usize) -> Vec<GroupRecord> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let groups = self.access.groups.range((from, Bound::Unbounded));
        groups.take(limit).filter_map(|(name, _)| self.group(name)).collect()
    }

    /// Finds a role, built in or not.
    #[must_use]
    pub fn role(&self, name: &PrincipalName) -> Option<&RoleRecord> {
        self.access.role(name).map(|role| &role.record)
    }

    /// All roles: those that are built in, and then the others by name.
    pub fn roles(&self) -> impl Iterator<Item = &RoleRecord> {
        let built_in = BuiltIn::ALL.into_iter().filter_map(|role| PrincipalName::new(role.as_str()).ok());
        let built_in = built_in.filter_map(|name| BuiltIn::find(&name)).map(|role| &role.record);
        built_in.chain(self.access.roles.values().map(|role| &role.record))
    }

    /// Finds a binding.
    #[must_use]
    pub fn binding(&self, id: BindingId) -> Option<&Arc<BindingRecord>> {
        self.access.bindings.get(&id)
    }

    /// Lists at most `limit` bindings after `after`, oldest first.
    #[must_use]
    pub fn bindings(&self, after: Option<BindingId>, limit: usize) -> Vec<&Arc<BindingRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.access.bindings.range((from, Bound::Unbounded)).take(limit).map(|(_, binding)| binding).collect()
    }

    /// The bindings of a principal and of its groups, also those that are not of use at the moment.
    pub fn bindings_of(&self, id: PrincipalId) -> impl Iterator<Item = &Arc<BindingRecord>> {
        self.access.all_held(id).map(|held| &held.binding)
    }

    /// The subject of a binding, in words.
    #[must_use]
    pub fn subject_of(&self, holder: &Holder) -> Subject {
        self.access.subject_of(holder)
    }

    /// Finds a credential. Whether it is good now is decided by [`Self::authorise`].
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<&Arc<TokenRecord>> {
        self.access.tokens.get(&id)
    }

    /// The credentials of a principal, by id.
    pub fn tokens_of(&self, id: PrincipalId) -> impl Iterator<Item = &Arc<TokenRecord>> {
        let tokens = self.access.principal(id).into_iter().flat_map(|entry| entry.tokens.iter());
        tokens.filter_map(|token| self.token(*token))
    }
}
