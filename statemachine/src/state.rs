//! The state: its data, and queries about it as a whole. Each job adds its own queries.

use imbl::{OrdMap, OrdSet};

use crate::due::Due;
use crate::jobs::jobs;
use crate::retries::Retries;
use crate::{Limits, Namespace};

macro_rules! state {
    ($($Job:ident = $module:ident),*) => {
        /// The replicated state. A clone is O(1), because every collection is a persistent map.
        #[derive(Clone, Debug, Default, Hash)]
        pub struct State {
            pub(crate) revision: u64,
            pub(crate) now_ms: u64,
            pub(crate) wall_ms: u64,
            pub(crate) limits: Limits,
            pub(crate) namespaces: OrdMap<Namespace, NamespaceUsage>,
            pub(crate) deadlines: OrdSet<(u64, Due)>,
            pub(crate) retries: Retries,
            $(pub(crate) $module: crate::$module::Table,)*
        }

        /// The objects that a namespace holds, counted by job. A namespace that holds nothing does not exist.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct NamespaceUsage {
            $(#[doc = concat!("What it holds of [`crate::", stringify!($module), "`].")] pub $module: crate::$module::Usage,)*
        }

        impl State {
            /// Totals over all namespaces. O(number of namespaces).
            #[must_use]
            pub fn counts(&self) -> Counts {
                let mut counts = Counts { idempotency_keys: self.retries.keys_len(), ..Counts::default() };
                for usage in self.namespaces.values() {
                    $(counts.$module += usage.$module;)*
                }
                counts
            }
        }

        /// Totals over all namespaces, by job.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $(#[doc = concat!("What there is of [`crate::", stringify!($module), "`].")] pub $module: crate::$module::Usage,)*
            /// The number of remembered idempotency keys.
            pub idempotency_keys: u64,
        }
    };
}
jobs!(state);

impl State {
    /// Notes that the log advanced to `revision` with an entry that is not for the state machine (a leader's first entry, a membership
    /// change).
    pub fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// Log index of the last applied entry.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Cluster time, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Wall clock of the last applied entry, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The earliest deadline, in milliseconds of cluster time.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.get_min().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// The namespaces that hold anything, in name order.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Namespace, &NamespaceUsage)> {
        self.namespaces.iter()
    }
}
