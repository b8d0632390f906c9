//! Makes a group, or gives it other members.

use imbl::OrdSet;

use crate::access::command::PutGroup;
use crate::access::job::by;
use crate::access::table::Holder;
use crate::access::{AccessChanged, Change};
use crate::step::Step;
use crate::{Actor, Permission, PrincipalId, Rejection, State};

impl PutGroup {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &*step.state;
        state.may(actor, Permission::AccessWrite)?;
        let members = self.members(state)?;
        self.check_limits(state, &members)?;
        let before = state.access.groups.get(&self.name);
        let added = members.iter().any(|id| before.is_none_or(|group| !group.members.contains(id)));
        if added {
            // Each new member gets all that the group has.
            let held = state.access.held(&Holder::Group(self.name.clone()));
            state.check_gives_all_of(actor, held.iter(), None, None)?;
        }
        let change = |table: &mut crate::access::Table| table.set_members(&self.name, members.clone());
        state.check_keeps_admin(change)?;
        let state = &mut *step.state;
        state.access.set_members(&self.name, members);
        state.access.bump();
        step.emit(None, Change::GroupChanged { group: self.name.clone(), deleted: false, by: by(actor) });
        Ok(AccessChanged)
    }

    fn members(&self, state: &State) -> Result<OrdSet<PrincipalId>, Rejection> {
        let members = self.members.iter().map(|member| state.find_principal(member));
        Ok(members.collect::<Result<_, _>>()?)
    }

    fn check_limits(&self, state: &State, members: &OrdSet<PrincipalId>) -> Result<(), Rejection> {
        let limits = &state.limits.access;
        if members.len() as u64 > limits.group_members_max {
            return Err(Rejection::LimitExceeded {
                limit: "group_members_max".into(),
                max: limits.group_members_max,
                remedy: "spread the members over several groups, or raise the limit".into(),
            });
        }
        if !state.access.groups.contains_key(&self.name)
            && state.access.groups.len() as u64 >= limits.groups_max
        {
            return Err(Rejection::LimitExceeded {
                limit: "groups_max".into(),
                max: limits.groups_max,
                remedy: "delete groups that are no longer used, or raise the limit".into(),
            });
        }
        let full = |id: &PrincipalId| {
            state.access.principal(*id).is_some_and(|entry| {
                !entry.groups.contains(&self.name)
                    && entry.groups.len() as u64 >= limits.groups_per_principal_max
            })
        };
        if members.iter().any(full) {
            return Err(Rejection::LimitExceeded {
                limit: "groups_per_principal_max".into(),
                max: limits.groups_per_principal_max,
                remedy: "take the member out of another group first, or raise the limit".into(),
            });
        }
        Ok(())
    }
}
