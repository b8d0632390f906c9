//! One entry being applied: the state, and the changes so far.

use crate::state::NamespaceUsage;
use crate::{Actor, Change, ChangeKind, Namespace, State};

/// The state while an entry is applied.
pub(crate) struct Step<'a> {
    pub(crate) state: &'a mut State,
    /// Who asked for what is executed now: [`Actor::Node`] while things end by themselves.
    pub(crate) actor: Actor,
    changes: Vec<Change>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(state: &'a mut State) -> Self {
        Self { state, actor: Actor::Node, changes: Vec::new() }
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// Records a change for the watchers.
    pub(crate) fn emit(&mut self, namespace: Option<&Namespace>, kind: impl Into<ChangeKind>) {
        // The size of an entry allows far fewer than 2^32 changes; saturating keeps the function total in any case.
        let ordinal = u32::try_from(self.changes.len()).unwrap_or(u32::MAX);
        self.changes.push(Change {
            revision: self.state.revision,
            ordinal,
            namespace: namespace.cloned(),
            kind: kind.into(),
        });
    }

    /// Returns the stored copy of a namespace, so that a million keys share one text.
    pub(crate) fn intern(&self, namespace: &Namespace) -> Namespace {
        self.state
            .namespaces
            .get_key_value(namespace)
            .map_or_else(|| namespace.clone(), |(stored, _)| stored.clone())
    }

    /// Changes the usage of a namespace, and removes the namespace when it holds nothing.
    pub(crate) fn account(&mut self, namespace: &Namespace, change: impl FnOnce(&mut NamespaceUsage)) {
        let mut usage = self.state.namespaces.get(namespace).copied().unwrap_or_default();
        change(&mut usage);
        if usage == NamespaceUsage::default() {
            self.state.namespaces.remove(namespace);
        } else {
            self.state.namespaces.insert(namespace.clone(), usage);
        }
    }
}
