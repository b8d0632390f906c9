//! The table of locks.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;

use crate::lock::record::{LockKey, LockRecord, WaitRecord};
use crate::lock::serving::Serving;
use crate::lock::types::Grant;
use crate::{LockId, State};

/// Tokens stay below this, so that JSON numbers represent them exactly.
pub(super) const TOKEN_END: u64 = 1 << 53;

/// The locks, and the acquisitions that hold them or wait for them.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Table {
    pub(super) by_key: OrdMap<LockKey, LockRecord>,
    pub(super) grants: OrdMap<LockId, Arc<Grant>>,
    pub(super) waits: OrdMap<LockId, Arc<WaitRecord>>,
    pub(super) serving: Serving,
    /// The last issued fencing token; the next one is higher by one.
    pub(super) last_token: u64,
    /// Locks that changed since they were last checked for grantable waiters. Empty between requests.
    pub(super) touched: BTreeSet<LockKey>,
    /// Locks that an exclusive holder left in this request, whose shared waiters are granted first ([`super::promote`]). Empty between requests.
    pub(super) reader_turns: BTreeSet<LockKey>,
}

impl Table {
    /// Marks a lock whose waiters may have become grantable.
    pub(super) fn touch(&mut self, key: LockKey, exclusive_left: bool) {
        if exclusive_left {
            self.reader_turns.insert(key.clone());
        }
        self.touched.insert(key);
    }

    /// Sets the last issued token.
    pub(crate) fn restore_last_token(&mut self, token: u64) {
        self.last_token = token;
    }

    /// Whether an acquisition is held.
    pub(crate) fn is_held(&self, lock_id: LockId) -> bool {
        self.grants.contains_key(&lock_id)
    }

    /// Whether an acquisition is held or queued.
    pub(crate) fn lives(&self, lock_id: LockId) -> bool {
        self.grants.contains_key(&lock_id) || self.waits.contains_key(&lock_id)
    }
}

impl State {
    /// The last fencing token that the cluster has issued; 0 before the first.
    #[must_use]
    pub fn token_high_water(&self) -> u64 {
        self.lock.last_token
    }
}
