//! Refuses waits that would close a cycle.
//!
//! The wait-for graph has an edge from an owner to every owner that must act before its wait can end: the holders
//! that block it and the waiters ahead of it. An owner is a label of a session. A one-shot acquisition waits for nothing else
//! and ends by its own TTL, so it is never part of a cycle. There is an edge to a holder of a semaphore only when the
//! requested permits cannot be granted without those of the holder, so a refused wait would really have been stuck.
//!
//! A step over a name that the asking actor may not read does not say what it is about.
//!
//! An owner is assumed to do one thing at a time: it releases what it holds or waits for only after its current request is
//! answered. Tasks of one session that wait independently of each other therefore need their own labels.

use std::collections::{BTreeMap, BTreeSet};

use crate::lock::record::{LockKey, WaitRecord};
use crate::lock::resize::permits_of;
use crate::lock::{LockRequest, Mode, OwnerRecord, Refusal};
use crate::{Actor, LockId, State};

/// The most steps of a cycle that a refusal names: a refusal is sent and remembered, and a cycle may have thousands of owners.
const STEPS_NAMED_MAX: usize = 32;

/// Stands for a step of a cycle over a name that the actor may not read.
const HIDDEN: &str = "… hidden …";

/// An acquisition that blocks another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Holder(LockId),
    WaiterAhead(LockId),
}

impl State {
    /// The acquisitions that must end before this request can be granted, holders first, oldest first.
    pub(crate) fn obstacles(&self, lock_id: LockId, key: &LockKey, mode: Mode) -> Vec<Obstacle> {
        let Some(lock) = self.lock.by_key.get(key) else { return Vec::new() };
        let holders = lock.holders.iter().filter(|holder| match mode {
            Mode::Exclusive | Mode::Election => true,
            Mode::Shared => lock.held_exclusive,
            Mode::Semaphore { permits, capacity } => {
                capacity.saturating_sub(self.permits_held(*holder, key)) < permits
            }
        });
        let ahead = lock.queue().take_while(|waiter| *waiter < lock_id);
        let ahead = ahead.filter(|waiter| mode != Mode::Shared || lock.other_queue().contains(waiter));
        holders.map(Obstacle::Holder).chain(ahead.map(Obstacle::WaiterAhead)).collect()
    }

    fn permits_held(&self, holder: LockId, key: &LockKey) -> u32 {
        self.lock.grants.get(&holder).map_or(0, |grant| permits_of(&grant.requests, key))
    }

    pub(crate) fn owner_of(&self, lock_id: LockId) -> Option<&OwnerRecord> {
        let holder = self.lock.grants.get(&lock_id).map(|grant| &grant.owner);
        holder.or_else(|| self.lock.waits.get(&lock_id).map(|wait| &wait.owner))
    }

    /// Refuses a wait that would close a cycle, and names the cycle as far as the actor may know it.
    pub(crate) fn check_deadlock(
        &self,
        actor: &Actor,
        lock_id: LockId,
        wait: &WaitRecord,
    ) -> Result<(), Refusal> {
        let Some(session) = wait.owner.session.and_then(|session| self.session.owned(session)) else {
            return Ok(());
        };
        // Nobody waits for an owner that holds nothing and waits for nothing.
        if session.grants.is_empty() && session.waits.is_empty() {
            return Ok(());
        }
        let mut search = Search {
            state: self,
            actor,
            asking: &wait.owner,
            owners: BTreeSet::new(),
            ahead: BTreeMap::new(),
        };
        match search.cycle_through(lock_id, wait) {
            Some(cycle) => Err(Refusal::Deadlock { cycle: shortened(cycle) }),
            None => Ok(()),
        }
    }
}

/// A depth-first search over owners.
struct Search<'a> {
    state: &'a State,
    actor: &'a Actor,
    asking: &'a OwnerRecord,
    owners: BTreeSet<OwnerRecord>,
    /// For each lock, the waiter up to which its queue was searched.
    ahead: BTreeMap<LockKey, LockId>,
}

/// An acquisition whose obstacles are being searched.
struct Frame {
    step: String,
    obstacles: Vec<(Obstacle, Option<String>)>,
}

impl Search<'_> {
    fn cycle_through(&mut self, lock_id: LockId, wait: &WaitRecord) -> Option<Vec<String>> {
        let mut path =
            vec![Frame { step: describe(self.asking), obstacles: self.obstacles_of(lock_id, wait) }];
        while let Some(frame) = path.last_mut() {
            let Some((obstacle, name)) = frame.obstacles.pop() else {
                path.pop();
                continue;
            };
            let (Obstacle::Holder(blocker) | Obstacle::WaiterAhead(blocker)) = obstacle;
            let Some(owner) = self.state.owner_of(blocker) else { continue };
            if owner == self.asking {
                let mut cycle: Vec<String> = path.into_iter().map(|frame| frame.step).collect();
                cycle.push(step_over(owner, name.as_deref()));
                return Some(cycle);
            }
            let Some(session) = owner.session.and_then(|session| self.state.session.owned(session)) else {
                continue;
            };
            if !self.owners.insert(owner.clone()) {
                continue;
            }
            let waits = session.waits.iter().filter_map(|id| Some((*id, self.state.lock.waits.get(id)?)));
            let own: Vec<_> = waits.filter(|(_, wait)| wait.owner == *owner).collect();
            let obstacles = own.into_iter().flat_map(|(id, wait)| self.obstacles_of(id, wait)).collect();
            path.push(Frame { step: step_over(owner, name.as_deref()), obstacles });
        }
        None
    }

    /// What an acquisition waits for, each with words about the lock, if the actor may read it.
    fn obstacles_of(&mut self, lock_id: LockId, wait: &WaitRecord) -> Vec<(Obstacle, Option<String>)> {
        let mut found = Vec::new();
        for request in &wait.requests {
            let key = wait.key(request);
            let words = self.state.may_read(self.actor, &wait.namespace, request).then(|| waits_for(request));
            let seen = self.ahead.get(&key).copied();
            for obstacle in self.state.obstacles(lock_id, &key, request.mode) {
                // A queue is searched only once: everything ahead of an earlier waiter is already known.
                if let (Obstacle::WaiterAhead(waiter), Some(seen)) = (obstacle, seen)
                    && waiter < seen
                {
                    continue;
                }
                found.push((obstacle, words.clone()));
            }
            // A shared waiter skips other shared waiters, so it has not searched the whole queue.
            if request.mode != Mode::Shared {
                self.ahead.insert(key, seen.map_or(lock_id, |seen| seen.max(lock_id)));
            }
        }
        // Taken from the end, so holders come before waiters ahead, which gives the shortest explanation.
        found.reverse();
        found
    }
}

/// Removes the middle of a long cycle.
fn shortened(mut cycle: Vec<String>) -> Vec<String> {
    let left_out = cycle.len().saturating_sub(STEPS_NAMED_MAX);
    if left_out > 0 {
        let begin = STEPS_NAMED_MAX / 2;
        cycle.splice(begin..begin + left_out, [format!("… {left_out} more …")]);
    }
    cycle
}

fn waits_for(request: &LockRequest) -> String {
    format!("in the way on {}", request.name)
}

fn step_over(owner: &OwnerRecord, words: Option<&str>) -> String {
    words.map_or_else(|| HIDDEN.to_owned(), |words| format!("{} ({words})", describe(owner)))
}

fn describe(owner: &OwnerRecord) -> String {
    match (owner.session, &*owner.label) {
        (Some(session), "") => session.to_string(),
        (Some(session), label) => format!("{session}/{label}"),
        (None, "") => "one-shot".to_owned(),
        (None, label) => format!("one-shot/{label}"),
    }
}
