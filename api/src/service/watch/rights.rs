//! What a watcher may see: for each area, the names for which it has the permission to watch.

use std::sync::Arc;

use batuta_statemachine::access::Scope;
use batuta_statemachine::{Name, Permission, State};

use super::event::{Area, Event};
use super::filter::{Filter, Names};
use crate::ApiError;
use crate::service::admit::Permit;

/// The rights of a watcher, as decided on one state.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    scopes: [Scope; Area::ALL.len()],
    filtered: bool,
}

/// The permission to watch an area.
const fn permission(area: Area) -> Permission {
    match area {
        Area::Lock => Permission::LockWatch,
        Area::Election => Permission::ElectionWatch,
        Area::Session => Permission::SessionWatch,
        Area::Register => Permission::RegisterWatch,
        Area::Access => Permission::AccessRead,
        Area::Cluster => Permission::ClusterRead,
    }
}

impl Rights {
    /// Decides what the caller may see of what its filter selects.
    ///
    /// # Errors
    /// `permission_denied` and its kin when that is nothing.
    pub(super) fn decide(permit: &Permit, state: &State, filter: &Filter) -> Result<Self, ApiError> {
        let exact = if let Names::Exact(name) = &filter.names { Some(name) } else { None };
        let mut filtered = false;
        let scopes = Area::ALL.map(|area| {
            if !filter.wants(area) {
                return Scope::Nothing;
            }
            let scope = permit.scope(state, permission(area));
            let scope = if exact.is_none_or(|name| scope.admits(name)) { scope } else { Scope::Nothing };
            filtered |= scope != Scope::All;
            scope
        });
        if scopes.iter().all(|scope| *scope == Scope::Nothing) {
            let wanted = Area::ALL.into_iter().filter(|area| filter.wants(*area));
            for area in wanted {
                permit.require(state, permission(area), exact)?;
            }
        }
        Ok(Self { scopes, filtered })
    }

    /// Whether something that the filter selects may be hidden.
    pub(super) fn are_partial(&self) -> bool {
        self.filtered
    }

    fn scope(&self, area: Area) -> &Scope {
        const NOTHING: &Scope = &Scope::Nothing;
        let place = Area::ALL.iter().position(|known| *known == area);
        place.and_then(|place| self.scopes.get(place)).unwrap_or(NOTHING)
    }

    /// Whether anything of an area may be seen.
    pub(super) fn any_of(&self, area: Area) -> bool {
        *self.scope(area) != Scope::Nothing
    }

    /// Whether this name may be seen in an area.
    pub(super) fn admit(&self, area: Area, name: &Name) -> bool {
        self.scope(area).admits(name)
    }

    /// What the watcher sees of a change: nothing, all of it, or the change without the names of a set that it may not see.
    pub(super) fn shown(&self, event: &Arc<Event>) -> Option<Arc<Event>> {
        let scope = self.scope(event.kind.area());
        if *scope == Scope::All {
            return Some(Arc::clone(event));
        }
        if *scope == Scope::Nothing {
            return None;
        }
        let (seen, hidden): (Vec<&Name>, Vec<&Name>) = event.names().partition(|name| scope.admits(name));
        match (seen.is_empty(), hidden.is_empty()) {
            (_, true) => Some(Arc::clone(event)),
            (true, false) => None,
            (false, false) => Some(Arc::new(event.with_names(|name| scope.admits(name)))),
        }
    }
}
