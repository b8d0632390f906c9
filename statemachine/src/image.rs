//! The state as a stream of plain records, for snapshots: written from a clone, read back into an equal state.
//!
//! Indexes are not written: locks, queues, deadlines and counters follow from the records and are built again.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::deadline::Due;
use crate::dedup::{Answer, Ended, Keyed, Remembered, Tracked};
use crate::lock::{Grant, Kind, LockKey, LockRequest, Owner, ServingCall, Unconfirmed, WaitRecord};
use crate::session::SessionRecord;
use crate::transition::Transition;
use crate::{Limits, LockId, Name, Namespace, Outcome, Position, SessionId, State};

/// What there is once per state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Log index of the last applied entry.
    pub revision: u64,
    /// Cluster time.
    pub now_ms: u64,
    /// Wall clock of the last applied entry.
    pub wall_ms: u64,
    /// The limits in force.
    pub limits: Limits,
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The node id to give out next.
    pub next_node_id: u64,
    /// The last fencing token given out.
    pub last_token: u64,
}

/// What is remembered of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RememberedReply {
    /// The outcome itself.
    Outcome(Outcome),
    /// An acquisition to look up.
    Acquisition(LockId),
}

/// One record. In the order of the variants: what a record refers to comes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRecord {
    /// A session.
    Session {
        /// Names it.
        session: SessionId,
        /// Where it lives.
        namespace: Namespace,
        /// Time to live.
        ttl_ms: u64,
        /// When it expires.
        deadline_ms: u64,
        /// Wall clock at its opening.
        opened_wall_ms: u64,
        /// Free text.
        metadata: String,
        /// Sequences below this are forgotten.
        window_floor: u64,
    },
    /// A held acquisition.
    Grant(Grant),
    /// A queued acquisition.
    Wait {
        /// Names it.
        lock_id: LockId,
        /// Where its locks live.
        namespace: Namespace,
        /// What it wants.
        requests: Vec<LockRequest>,
        /// Who waits.
        owner: Owner,
        /// Time to live of a one-shot grant.
        ttl_ms: Option<u64>,
        /// Lock-delay.
        lock_delay_ms: u64,
        /// Free text.
        metadata: String,
        /// When the wait times out.
        deadline_ms: u64,
        /// The calls that wait for it.
        calls: Vec<ServingCall>,
    },
    /// A grant whose answer may not have reached its owner.
    Unconfirmed {
        /// The grant.
        lock_id: LockId,
        /// Through which it is answered; empty when their nodes were lost.
        calls: Vec<ServingCall>,
        /// Cluster time of the grant, or of the last time it was asked for; 0 without calls.
        at_ms: u64,
    },
    /// A lock closed by lock-delay.
    Delay {
        /// Where it lives.
        namespace: Namespace,
        /// Its name.
        name: Name,
        /// The capacity, when it is a semaphore.
        capacity: Option<u32>,
        /// When it opens.
        until_ms: u64,
    },
    /// A high-water register.
    Register {
        /// Where it lives.
        namespace: Namespace,
        /// Its name.
        name: Name,
        /// Its value.
        high_water: u64,
    },
    /// The end of an acquisition that remembered answers refer to.
    Ended {
        /// The acquisition.
        lock_id: LockId,
        /// How it ended.
        ended: Ended,
    },
    /// An answer remembered under a session's sequence.
    Sequence {
        /// The session.
        session: SessionId,
        /// The sequence.
        sequence: u64,
        /// Hash of the request.
        fingerprint: u64,
        /// Of the entry that executed the request.
        revision: u64,
        /// The answer.
        reply: RememberedReply,
    },
    /// An answer remembered under an idempotency key.
    Idempotency {
        /// Where the key lives.
        namespace: Namespace,
        /// The key.
        key: String,
        /// Hash of the request.
        fingerprint: u64,
        /// Where the request stood in the log.
        position: Position,
        /// Cluster time of the request.
        at_ms: u64,
        /// The answer.
        reply: RememberedReply,
    },
}

/// An image that is not one of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the image of a state: {0}")]
pub struct ImageError(pub String);

impl RememberedReply {
    fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Outcome(outcome) => Self::Outcome(outcome.as_ref().clone()),
            Answer::Acquisition(lock_id) => Self::Acquisition(*lock_id),
        }
    }

    fn into_answer(self) -> Answer {
        match self {
            Self::Outcome(outcome) => Answer::Outcome(Arc::new(outcome)),
            Self::Acquisition(lock_id) => Answer::Acquisition(lock_id),
        }
    }
}

impl State {
    /// The header of the image.
    #[must_use]
    pub fn image_header(&self) -> ImageHeader {
        ImageHeader {
            revision: self.revision,
            now_ms: self.now_ms,
            wall_ms: self.wall_ms,
            limits: self.limits.clone(),
            cluster_id: self.cluster_id.clone(),
            next_node_id: self.next_node_id,
            last_token: self.last_token,
        }
    }

    /// The records of the image, made one at a time.
    pub fn image_records(&self) -> impl Iterator<Item = ImageRecord> {
        self.session_records()
            .chain(self.grant_records())
            .chain(self.wait_records())
            .chain(self.unconfirmed_records())
            .chain(self.delay_records())
            .chain(self.registers.iter().map(|(key, high_water)| ImageRecord::Register {
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                high_water: *high_water,
            }))
            .chain(self.dedup.tracked.iter().filter_map(|(lock_id, tracked)| {
                Some(ImageRecord::Ended { lock_id: *lock_id, ended: tracked.ended.clone()? })
            }))
            .chain(self.remembered_records())
    }

    fn session_records(&self) -> impl Iterator<Item = ImageRecord> {
        self.sessions.iter().map(|(session, record)| ImageRecord::Session {
            session: *session,
            namespace: record.namespace.clone(),
            ttl_ms: record.ttl_ms,
            deadline_ms: record.deadline_ms,
            opened_wall_ms: record.opened_wall_ms,
            metadata: record.metadata.clone(),
            window_floor: record.window_floor,
        })
    }

    /// In the order of the locks' names: they are what is compared at length when the state is built again, and what comes next to each
    /// other then lies next to each other. A grant of several locks comes with the first of them.
    fn grant_records(&self) -> impl Iterator<Item = ImageRecord> {
        self.locks.iter().flat_map(|(key, lock)| {
            lock.holders.iter().filter_map(|lock_id| {
                let grant = self.grants.get(&lock_id)?;
                let first = grant.requests.iter().map(|request| &request.name).min()?;
                (*first == key.name).then(|| ImageRecord::Grant(grant.as_ref().clone()))
            })
        })
    }

    fn wait_records(&self) -> impl Iterator<Item = ImageRecord> {
        self.waits.iter().map(|(lock_id, wait)| ImageRecord::Wait {
            lock_id: *lock_id,
            namespace: wait.namespace.clone(),
            requests: wait.requests.clone(),
            owner: wait.owner.clone(),
            ttl_ms: wait.ttl_ms,
            lock_delay_ms: wait.lock_delay_ms,
            metadata: wait.metadata.clone(),
            deadline_ms: wait.deadline_ms,
            calls: wait.calls.clone(),
        })
    }

    fn unconfirmed_records(&self) -> impl Iterator<Item = ImageRecord> {
        let unconfirmed = self.serving.unconfirmed.iter();
        let unconfirmed = unconfirmed.map(|((_, lock_id), unconfirmed)| ImageRecord::Unconfirmed {
            lock_id: *lock_id,
            calls: unconfirmed.calls.clone(),
            at_ms: unconfirmed.at_ms,
        });
        let unclaimed = self.serving.unclaimed.iter();
        unconfirmed.chain(unclaimed.map(|lock_id| ImageRecord::Unconfirmed {
            lock_id: *lock_id,
            calls: Vec::new(),
            at_ms: 0,
        }))
    }

    fn delay_records(&self) -> impl Iterator<Item = ImageRecord> {
        self.deadlines.iter().filter_map(|(until_ms, due)| {
            let Due::Delay(key) = due else { return None };
            let capacity = match self.locks.get(key.as_ref())?.kind {
                Kind::ReadWrite => None,
                Kind::Semaphore { capacity } => Some(capacity),
            };
            let (namespace, name) = (key.namespace.clone(), key.name.clone());
            Some(ImageRecord::Delay { namespace, name, capacity, until_ms: *until_ms })
        })
    }

    fn remembered_records(&self) -> impl Iterator<Item = ImageRecord> {
        let sequences = self.sessions.iter().flat_map(|(session, record)| {
            record.window.iter().map(|(sequence, remembered)| ImageRecord::Sequence {
                session: *session,
                sequence: *sequence,
                fingerprint: remembered.fingerprint,
                revision: remembered.revision,
                reply: RememberedReply::of(&remembered.answer),
            })
        });
        let keys = self.dedup.keys.iter().map(|((namespace, key), keyed)| ImageRecord::Idempotency {
            namespace: namespace.clone(),
            key: key.clone(),
            fingerprint: keyed.remembered.fingerprint,
            position: keyed.position,
            at_ms: keyed.at_ms,
            reply: RememberedReply::of(&keyed.remembered.answer),
        });
        sequences.chain(keys)
    }

    /// The state of an image. `validate` is [`Self::validate`], or does the same in its own way.
    ///
    /// # Errors
    /// [`ImageError`] when the records contradict each other: such a state is never served.
    pub fn from_image(
        header: ImageHeader,
        records: impl IntoIterator<Item = ImageRecord>,
        validate: impl FnOnce(&Self) -> Result<(), String>,
    ) -> Result<Self, ImageError> {
        let mut state = Self {
            revision: header.revision,
            now_ms: header.now_ms,
            wall_ms: header.wall_ms,
            limits: header.limits,
            cluster_id: header.cluster_id,
            next_node_id: header.next_node_id,
            last_token: header.last_token,
            ..Self::default()
        };
        let mut ends = Vec::new();
        for record in records {
            match record {
                ImageRecord::Ended { lock_id, ended } => ends.push((lock_id, ended)),
                record => restore(&mut state, record)?,
            }
        }
        for (lock_id, ended) in ends {
            let tracked = state.dedup.tracked.get_mut(&lock_id);
            tracked.ok_or_else(|| ImageError(format!("{lock_id} ended, but nothing refers to it")))?.ended =
                Some(ended);
        }
        validate(&state).map_err(ImageError)?;
        Ok(state)
    }
}

fn restore(state: &mut State, record: ImageRecord) -> Result<(), ImageError> {
    match record {
        record @ (ImageRecord::Session { .. } | ImageRecord::Register { .. }) => restore_own(state, record),
        ImageRecord::Grant(grant) => {
            let mut transition = Transition::new(state);
            let namespace = transition.intern(&grant.namespace);
            transition.hold(Grant { namespace, ..grant });
        }
        ImageRecord::Wait {
            lock_id,
            namespace,
            requests,
            owner,
            ttl_ms,
            lock_delay_ms,
            metadata,
            deadline_ms,
            calls,
        } => {
            let mut transition = Transition::new(state);
            let namespace = transition.intern(&namespace);
            let wait = WaitRecord {
                namespace,
                requests,
                owner,
                ttl_ms,
                lock_delay_ms,
                metadata,
                deadline_ms,
                calls,
            };
            transition.enqueue(lock_id, wait);
        }
        ImageRecord::Unconfirmed { lock_id, calls, at_ms } => {
            restore_unconfirmed(state, lock_id, Unconfirmed { calls, at_ms })?;
        }
        ImageRecord::Delay { namespace, name, capacity, until_ms } => {
            let mut transition = Transition::new(state);
            let key = LockKey { namespace: transition.intern(&namespace), name };
            let kind = capacity.map_or(Kind::ReadWrite, |capacity| Kind::Semaphore { capacity });
            transition.change_lock(key.clone(), kind, |lock| lock.delay_until(Some(until_ms)));
            state.deadlines.insert((until_ms, Due::Delay(Box::new(key))));
        }
        ImageRecord::Ended { lock_id, ended } => {
            state.dedup.tracked.insert(lock_id, Tracked { references: 0, ended: Some(ended) });
        }
        ImageRecord::Sequence { session, sequence, fingerprint, revision, reply } => {
            let answer = reply.into_answer();
            state.dedup.track(&answer);
            let record = state.sessions.get_mut(&session);
            let record =
                record.ok_or_else(|| ImageError(format!("sequence {sequence} of unknown {session}")))?;
            Arc::make_mut(record).window.insert(sequence, Remembered { fingerprint, revision, answer });
        }
        ImageRecord::Idempotency { namespace, key, fingerprint, position, at_ms, reply } => {
            let remembered =
                Remembered { fingerprint, revision: position.index, answer: reply.into_answer() };
            let key = (Transition::new(state).intern(&namespace), key);
            state.dedup.track(&remembered.answer);
            state.dedup.by_age.insert(position, key.clone());
            state.dedup.keys.insert(key, Keyed { remembered, position, at_ms });
        }
    }
    Ok(())
}

fn restore_unconfirmed(
    state: &mut State,
    lock_id: LockId,
    unconfirmed: Unconfirmed,
) -> Result<(), ImageError> {
    let grant = state.grants.get(&lock_id);
    let grant = grant.ok_or_else(|| ImageError(format!("{lock_id} is not held, but unconfirmed")))?;
    if unconfirmed.calls.is_empty() {
        state.serving.unclaimed.insert(lock_id);
    } else {
        state.serving.unconfirmed.insert((grant.granted_revision, lock_id), unconfirmed);
    }
    Ok(())
}

/// Records that stand for themselves: sessions (still owning nothing) and registers.
fn restore_own(state: &mut State, record: ImageRecord) {
    let mut transition = Transition::new(state);
    match record {
        ImageRecord::Session {
            session,
            namespace,
            ttl_ms,
            deadline_ms,
            opened_wall_ms,
            metadata,
            window_floor,
        } => {
            let namespace = transition.intern(&namespace);
            transition.account(&namespace, |usage| usage.sessions += 1);
            let record = SessionRecord {
                namespace,
                ttl_ms,
                deadline_ms,
                opened_wall_ms,
                metadata,
                grants: OrdSet::new(),
                waits: OrdSet::new(),
                window: OrdMap::new(),
                window_floor,
            };
            state.deadlines.insert((deadline_ms, Due::Session(session)));
            state.sessions_by_namespace.insert((record.namespace.clone(), session));
            state.sessions.insert(session, Arc::new(record));
        }
        ImageRecord::Register { namespace, name, high_water } => {
            let key = LockKey { namespace: transition.intern(&namespace), name };
            transition.account(&key.namespace, |usage| usage.registers += 1);
            state.registers.insert(key, high_water);
        }
        _ => {}
    }
}
