//! The table of registers.

use std::ops::Bound;

use imbl::OrdMap;

use crate::lock::LockKey;
use crate::{Name, Namespace, State};

/// The registers.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Table {
    pub(super) high_water: OrdMap<LockKey, u64>,
}

impl State {
    /// Lists at most `limit` registers of a namespace whose names start with `prefix`, after `after`, in order of their names.
    #[must_use]
    pub fn registers(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&Name>,
        limit: usize,
    ) -> Vec<(Name, u64)> {
        let key = |name| LockKey { namespace: namespace.clone(), name };
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(key(after.clone())),
            _ => Bound::Included(key(Name::lower_bound(prefix))),
        };
        self.register
            .high_water
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == *namespace && key.name.as_str().starts_with(prefix))
            .take(limit)
            .map(|(key, high_water)| (key.name.clone(), *high_water))
            .collect()
    }

    /// The value of a register, if it exists.
    #[must_use]
    pub fn register(&self, namespace: &Namespace, name: &Name) -> Option<u64> {
        self.register.high_water.get(&LockKey { namespace: namespace.clone(), name: name.clone() }).copied()
    }
}
