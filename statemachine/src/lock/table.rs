//! The table of locks.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::lock::record::{LockKey, LockRecord, WaitRecord};
use crate::lock::serving::Serving;
use crate::lock::types::{Grant, OwnerRecord};
use crate::{LockId, PrincipalId, State};

/// Tokens stay below this, so that JSON numbers represent them exactly.
pub(super) const TOKEN_END: u64 = 1 << 53;

/// The locks, and the acquisitions that hold them or wait for them.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Table {
    pub(super) by_key: OrdMap<LockKey, LockRecord>,
    pub(super) grants: OrdMap<LockId, Arc<Grant>>,
    pub(super) waits: OrdMap<LockId, Arc<WaitRecord>>,
    pub(super) serving: Serving,
    /// The acquisitions without a session of each principal, without those of [`PrincipalId::ANONYMOUS`].
    pub(super) one_shots: OrdSet<(PrincipalId, LockId)>,
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

    /// Notes a new acquisition of an owner.
    pub(super) fn index_owner(&mut self, lock_id: LockId, owner: &OwnerRecord) {
        if owner.session.is_none() && owner.principal != PrincipalId::ANONYMOUS {
            self.one_shots.insert((owner.principal, lock_id));
        }
    }

    /// Forgets an acquisition of an owner.
    pub(super) fn unindex_owner(&mut self, lock_id: LockId, owner: &OwnerRecord) {
        self.one_shots.remove(&(owner.principal, lock_id));
    }

    /// Gives an acquisition that belongs to nobody its owner.
    pub(crate) fn set_principal(&mut self, lock_id: LockId, principal: PrincipalId) {
        let owner = match (self.grants.get_mut(&lock_id), self.waits.get_mut(&lock_id)) {
            (Some(grant), _) => &mut Arc::make_mut(grant).owner,
            (None, Some(wait)) => &mut Arc::make_mut(wait).owner,
            (None, None) => return,
        };
        owner.principal = principal;
        if owner.session.is_none() {
            self.one_shots.insert((principal, lock_id));
        }
    }

    /// The acquisitions without a session of a principal that has a name: those that wait, and those that are held; oldest first.
    pub(crate) fn one_shots_of(&self, principal: PrincipalId) -> (Vec<LockId>, Vec<LockId>) {
        let owned = self.one_shots.range((principal, LockId::MIN)..);
        let owned = owned.take_while(|(owner, _)| *owner == principal).map(|(_, lock_id)| *lock_id);
        owned.partition(|lock_id| self.waits.contains_key(lock_id))
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
