//! The records of locks in snapshots. Locks, queues and deadlines follow from grants, waits and delays.

use crate::due::Due;
use crate::image_error::ImageError;
use crate::lock::record::{Kind, LockKey, WaitRecord};
use crate::lock::serving::Unconfirmed;
use crate::lock::{Grant, ServingCall};
use crate::step::Step;
use crate::{LockId, Name, Namespace, State};

/// A record of locks in a snapshot. Records come in the order of the variants, so that a record only refers to earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A held acquisition.
    Grant(Grant),
    /// A queued acquisition.
    Wait {
        /// The id of the acquisition.
        lock_id: LockId,
        /// The wait.
        wait: WaitRecord,
    },
    /// A grant whose answer may not have reached its owner.
    Unconfirmed {
        /// The grant.
        lock_id: LockId,
        /// The calls that answer it; empty when their nodes were lost.
        calls: Vec<ServingCall>,
        /// Cluster time of the grant, or of the last request for it, in milliseconds; 0 without calls.
        at_ms: u64,
    },
    /// A lock closed by lock-delay.
    Delay {
        /// The namespace of the lock.
        namespace: Namespace,
        /// The name of the lock.
        name: Name,
        /// The capacity of a semaphore.
        capacity: Option<u32>,
        /// Whether it is an election.
        election: bool,
        /// The cluster time at which it opens, in milliseconds.
        until_ms: u64,
    },
}

impl State {
    pub(super) fn lock_records(&self) -> impl Iterator<Item = Record> {
        let waits = self.lock.waits.iter();
        let waits =
            waits.map(|(lock_id, wait)| Record::Wait { lock_id: *lock_id, wait: wait.as_ref().clone() });
        self.grant_records().chain(waits).chain(self.unconfirmed_records()).chain(self.delay_records())
    }

    /// Makes the records of grants in the order of the locks' names. Comparing names takes most of the time when the state is rebuilt, and
    /// this order keeps neighbours close in memory. A grant of several locks comes with the first of them.
    fn grant_records(&self) -> impl Iterator<Item = Record> {
        self.lock.by_key.iter().flat_map(|(key, lock)| {
            lock.holders.iter().filter_map(|lock_id| {
                let grant = self.lock.grants.get(&lock_id)?;
                let first = grant.requests.iter().map(|request| &request.name).min()?;
                (*first == key.name).then(|| Record::Grant(grant.as_ref().clone()))
            })
        })
    }

    fn unconfirmed_records(&self) -> impl Iterator<Item = Record> {
        let unconfirmed = self.lock.serving.unconfirmed.iter();
        let unconfirmed = unconfirmed.map(|((_, lock_id), unconfirmed)| Record::Unconfirmed {
            lock_id: *lock_id,
            calls: unconfirmed.calls.clone(),
            at_ms: unconfirmed.at_ms,
        });
        let unclaimed = self.lock.serving.unclaimed.iter();
        unconfirmed.chain(unclaimed.map(|lock_id| Record::Unconfirmed {
            lock_id: *lock_id,
            calls: Vec::new(),
            at_ms: 0,
        }))
    }

    fn delay_records(&self) -> impl Iterator<Item = Record> {
        self.deadlines.iter().filter_map(|(until_ms, due)| {
            let Due::Delay(key) = due else { return None };
            let (capacity, election) = match self.lock.by_key.get(key.as_ref())?.kind {
                Kind::ReadWrite => (None, false),
                Kind::Semaphore { capacity } => (Some(capacity), false),
                Kind::Election => (None, true),
            };
            let (namespace, name) = (key.namespace.clone(), key.name.clone());
            Some(Record::Delay { namespace, name, capacity, election, until_ms: *until_ms })
        })
    }
}

pub(super) fn restore(step: &mut Step<'_>, record: Record) -> Result<(), ImageError> {
    match record {
        Record::Grant(grant) => {
            let namespace = step.intern(&grant.namespace);
            step.hold(Grant { namespace, ..grant });
        }
        Record::Wait { lock_id, wait } => {
            let namespace = step.intern(&wait.namespace);
            step.enqueue(lock_id, WaitRecord { namespace, ..wait });
        }
        Record::Unconfirmed { lock_id, calls, at_ms } => {
            let grant = step.state.lock.grants.get(&lock_id);
            let grant = grant.ok_or_else(|| ImageError(format!("{lock_id} is not held, but unconfirmed")))?;
            let granted_revision = grant.granted_revision;
            let serving = &mut step.state.lock.serving;
            if calls.is_empty() {
                serving.unclaimed.insert(lock_id);
            } else {
                serving.unconfirmed.insert((granted_revision, lock_id), Unconfirmed { calls, at_ms });
            }
        }
        Record::Delay { namespace, name, capacity, election, until_ms } => {
            let key = LockKey { namespace: step.intern(&namespace), name };
            let kind = match capacity {
                Some(capacity) => Kind::Semaphore { capacity },
                None if election => Kind::Election,
                None => Kind::ReadWrite,
            };
            step.change_lock(key.clone(), kind, |lock| lock.delay_until(Some(until_ms)));
            step.state.deadlines.insert((until_ms, Due::Delay(Box::new(key))));
        }
    }
    Ok(())
}
