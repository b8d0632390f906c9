//! Checks the invariants of access.

use imbl::{OrdMap, OrdSet};

use crate::access::table::{Held, Holder};
use crate::access::{BindingId, TokenKind};
use crate::ensure::ensure;
use crate::{PrincipalId, PrincipalName, State, TokenId};

impl State {
    pub(crate) fn validate_access(&self) -> Result<(), String> {
        self.validate_principals()?;
        self.validate_groups()?;
        self.validate_bindings()?;
        self.validate_tokens()
    }

    fn validate_principals(&self) -> Result<(), String> {
        let table = &self.access;
        ensure!(table.ids.len() == table.principals.len(), "principals are indexed wrong");
        for (id, entry) in &table.principals {
            ensure!(*id != PrincipalId::ANONYMOUS && *id == entry.record.id, "{id}: has another id");
            ensure!(table.ids.get(&entry.record.principal) == Some(id), "{id}: is not found by name");
            let member =
                |name: &PrincipalName| table.groups.get(name).is_some_and(|group| group.members.contains(id));
            ensure!(entry.groups.iter().all(member), "{id}: has a group that does not have it");
        }
        Ok(())
    }

    fn validate_groups(&self) -> Result<(), String> {
        for (name, group) in &self.access.groups {
            let member = |id: &PrincipalId| {
                self.access.principal(*id).is_some_and(|entry| entry.groups.contains(name))
            };
            ensure!(group.members.iter().all(member), "group/{name}: has a member that does not have it");
        }
        Ok(())
    }

    fn validate_bindings(&self) -> Result<(), String> {
        let table = &self.access;
        let mut bound: OrdMap<PrincipalName, OrdSet<BindingId>> = OrdMap::new();
        for (id, binding) in &table.bindings {
            bound.entry(binding.role.clone()).or_default().insert(*id);
            let role = table.role(&binding.role);
            let same = |held: &&Held| held.binding == *binding && Some(&held.role) == role;
            let held = table.held(&binding.holder).iter().filter(same).count();
            ensure!(*id == binding.id && held == 1, "{id}: its holder has it {held} times");
        }
        ensure!(table.bound == bound, "bindings are indexed wrong by role");
        let groups = table.groups.keys().cloned().map(Holder::Group);
        let principals = table.principals.keys().copied().chain([PrincipalId::ANONYMOUS]);
        let holders = principals.map(Holder::Principal).chain(groups);
        let mut held = 0;
        for holder in holders {
            let own = table.held(&holder);
            let sorted = own.is_sorted_by(|left, right| left.binding.id < right.binding.id);
            ensure!(sorted, "{holder:?}: its bindings are out of order");
            held += own.len();
        }
        ensure!(held == table.bindings.len(), "somebody has a binding that does not exist");
        Ok(())
    }

    fn validate_tokens(&self) -> Result<(), String> {
        let table = &self.access;
        for (id, token) in &table.tokens {
            let bootstrap = matches!(token.kind, TokenKind::Bootstrap { .. });
            let listed = |tokens: &OrdSet<TokenId>| tokens.contains(id);
            let owner = table.principal(token.principal);
            let found = if bootstrap {
                listed(&table.bootstraps)
            } else {
                owner.is_some_and(|owner| listed(&owner.tokens))
            };
            ensure!(found && *id == token.secret.id, "credential {id}: its principal does not have it");
        }
        let owned: usize = table.principals.values().map(|entry| entry.tokens.len()).sum();
        ensure!(
            owned + table.bootstraps.len() == table.tokens.len(),
            "somebody has a credential that is gone"
        );
        Ok(())
    }
}
