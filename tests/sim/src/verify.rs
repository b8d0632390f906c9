//! Verifies a run at its end: replays the history, and compares every answer of a client with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use batuta_statemachine::lock::{Grant, Mode};
use batuta_statemachine::{
    ChangeKind, LockId, Name, ReleaseReason, SessionEnd, SessionId, cluster, lock, register, session,
};

use crate::access;
use crate::context::{Violation, violation};
use crate::ledger::{Ledger, Read, Seen};
use crate::observer::Observer;
use crate::rights::Rights;

/// Cluster time and the observer both count whole milliseconds, so up to two may be rounding.
const ROUNDING_MS: u64 = 2;

/// Facts gathered while the history is replayed.
#[derive(Default)]
struct Replay {
    held: BTreeMap<LockId, Arc<Grant>>,
    registers: BTreeMap<Name, u64>,
    last_token: u64,
    tokens: BTreeMap<LockId, u64>,
    /// Grants that ended, or whose reentrance count fell.
    released: BTreeSet<LockId>,
    /// When each grant ended, in milliseconds, and whether its TTL ran out.
    ended: BTreeMap<LockId, (u64, bool)>,
    opened: BTreeSet<SessionId>,
    /// For each ended session, the revision, time in milliseconds and kind of its end.
    sessions_ended: BTreeMap<SessionId, (u64, u64, SessionEnd)>,
    /// How often each text, which is unique to a call, occurs in a grant or an opened session.
    effects: BTreeMap<String, u64>,
    /// Texts that holders gave their grants.
    changed: BTreeSet<(LockId, String)>,
    register_values: BTreeSet<(Name, u64)>,
    rights: Rights,
    /// The sessions that are open, each with the text of whoever opened it.
    open: BTreeMap<SessionId, String>,
}

/// Compares the ledger with the history.
pub(crate) fn verify(observer: &Observer, ledger: &Ledger) -> Result<(), Violation> {
    let mut replay = Replay::default();
    let mut reads: Vec<_> = ledger.reads.iter().collect();
    reads.sort_by_key(|read| read.revision);
    let mut reads = reads.into_iter().peekable();
    for (revision, entry) in &observer.history {
        while let Some(read) = reads.next_if(|read| read.revision < *revision) {
            replay.check_read(read)?;
        }
        for change in &entry.changes.changes {
            replay.apply(*revision, entry.seen_ms, &change.kind)?;
        }
        replay.check_suspended(*revision)?;
    }
    for read in reads {
        replay.check_read(read)?;
    }
    replay.check_acknowledged(ledger)?;
    replay.check_lives(ledger)?;
    check_watches(observer, ledger)
}

impl Replay {
    fn apply(&mut self, revision: u64, seen_ms: u64, change: &ChangeKind) -> Result<(), Violation> {
        match change {
            ChangeKind::Session(session::Change::SessionOpened { session, metadata, .. }) => {
                self.opened.insert(*session);
                self.open.insert(*session, metadata.clone());
                self.once(metadata)?;
            }
            ChangeKind::Session(session::Change::SessionEnded { session, reason }) => {
                self.sessions_ended.insert(*session, (revision, seen_ms, *reason));
                self.open.remove(session);
                if let Some(grant) = self.held.values().find(|grant| grant.owner.session == Some(*session)) {
                    let what = format!("{} is held after the end of {session}", grant.lock_id);
                    return Err(violation("what a session owns goes with it", what));
                }
            }
            ChangeKind::Lock(lock::Change::LockGranted(grant)) if self.held.contains_key(&grant.lock_id) => {
                self.check_right(revision, grant)?;
                self.held.insert(grant.lock_id, Arc::clone(grant));
            }
            ChangeKind::Lock(lock::Change::LockGranted(grant)) => self.grant(revision, grant)?,
            ChangeKind::Lock(lock::Change::LockExtended(grant)) => {
                self.check_right(revision, grant)?;
                self.held.insert(grant.lock_id, Arc::clone(grant));
            }
            ChangeKind::Lock(lock::Change::LockChanged(grant)) => self.change(revision, grant)?,
            ChangeKind::Lock(lock::Change::LockReleased { grant, .. }) if grant.count > 0 => {
                self.released.insert(grant.lock_id);
                self.held.insert(grant.lock_id, Arc::clone(grant));
            }
            ChangeKind::Lock(lock::Change::LockReleased { grant, reason }) => {
                self.held.remove(&grant.lock_id);
                self.released.insert(grant.lock_id);
                let expired = matches!(reason, ReleaseReason::Expired);
                self.ended.insert(grant.lock_id, (seen_ms, expired));
            }
            ChangeKind::Register(register::Change::RegisterChanged { name, high_water: Some(value) }) => {
                if self.registers.insert(name.clone(), *value).is_some_and(|before| before >= *value) {
                    return Err(violation("registers only rise", format!("{name} to {value}")));
                }
                self.register_values.insert((name.clone(), *value));
            }
            ChangeKind::Register(register::Change::RegisterChanged { name, high_water: None }) => {
                self.registers.remove(name);
            }
            ChangeKind::Access(change) => self.rights.apply(change),
            // Nobody here resizes a semaphore.
            ChangeKind::Lock(
                lock::Change::LockQueued(_)
                | lock::Change::WaitEnded { .. }
                | lock::Change::LockResized { .. },
            )
            | ChangeKind::Cluster(
                cluster::Change::LimitsChanged
                | cluster::Change::NodeAllocated { .. }
                | cluster::Change::ClusterInitialised
                | cluster::Change::LevelRaised { .. },
            ) => {}
        }
        Ok(())
    }

    /// Whoever gets or extends a grant has the right to it at that position of the log, a waiter too.
    fn check_right(&self, revision: u64, grant: &Grant) -> Result<(), Violation> {
        if self.rights.may_own(grant.owner.principal) {
            return Ok(());
        }
        let what = format!("at revision {revision}: {grant:?}");
        Err(violation("nothing is granted without a right", what))
    }

    /// A suspension takes what the principal owns in the same revision, and it gets nothing until it is resumed.
    fn check_suspended(&self, revision: u64) -> Result<(), Violation> {
        for (id, principal) in self.rights.suspended() {
            let grant = self.held.values().find(|grant| grant.owner.principal == id);
            let of_principal = |text: &&String| {
                access::author(text).is_some_and(|number| access::worker(number) == *principal)
            };
            let session = self.open.values().find(of_principal);
            if grant.is_some() || session.is_some() {
                let what = format!("{principal} at revision {revision}: {grant:?}, session {session:?}");
                return Err(violation("a suspended principal owns nothing", what));
            }
        }
        Ok(())
    }

    fn grant(&mut self, revision: u64, grant: &Arc<Grant>) -> Result<(), Violation> {
        self.check_right(revision, grant)?;
        if grant.token <= self.last_token {
            let what = format!("{} at revision {revision} after {}", grant.token, self.last_token);
            return Err(violation("tokens strictly rise", what));
        }
        self.last_token = grant.token;
        self.tokens.insert(grant.lock_id, grant.token);
        self.once(&grant.metadata)?;
        check_value(revision, grant)?;
        for request in &grant.requests {
            let others = self.held.values().flat_map(|held| &held.requests);
            let others = others.filter(|held| held.name == request.name).map(|held| held.mode);
            if !admits(request.mode, others) {
                let what = format!("{} at revision {revision}: {grant:?}", request.name);
                return Err(violation("a lock has no more holders than its mode allows", what));
            }
        }
        self.held.insert(grant.lock_id, Arc::clone(grant));
        Ok(())
    }

    /// A holder changed its grant: it kept its token, and no lock became exclusive.
    fn change(&mut self, revision: u64, grant: &Arc<Grant>) -> Result<(), Violation> {
        let before = self.held.insert(grant.lock_id, Arc::clone(grant));
        let kept = before.is_some_and(|before| {
            let modes = before.requests.iter().zip(&grant.requests);
            before.token == grant.token
                && modes.into_iter().all(|(before, now)| {
                    before == now || (before.mode, now.mode) == (Mode::Exclusive, Mode::Shared)
                })
        });
        if !kept {
            let what = format!("at revision {revision}: {grant:?}");
            return Err(violation("a holder changes only what it holds", what));
        }
        self.changed.insert((grant.lock_id, grant.metadata.to_string()));
        check_value(revision, grant)
    }

    /// Every call writes a unique text. If the text occurs twice, the call took effect twice.
    fn once(&mut self, text: &str) -> Result<(), Violation> {
        let count = self.effects.entry(text.to_owned()).or_default();
        *count += 1;
        if *count > 1 {
            return Err(violation("a call has its effect once", format!("{text} had it twice")));
        }
        Ok(())
    }

    fn check_read(&self, read: &Read) -> Result<(), Violation> {
        let Read { who, actor, revision, name, seen } = read;
        if !self.rights.may_ask(*actor) {
            let what = format!("{who} read {name} at revision {revision}, when {actor:?} had no right");
            return Err(violation("a read is decided on the state that answers it", what));
        }
        let there = match seen {
            Seen::Holders(_) => {
                let holds = |grant: &&Arc<Grant>| grant.requests.iter().any(|request| request.name == *name);
                let mut tokens: Vec<u64> =
                    self.held.values().filter(holds).map(|grant| grant.token).collect();
                tokens.sort_unstable();
                Seen::Holders(tokens)
            }
            Seen::Leaders(_) => {
                let leads = |grant: &&Arc<Grant>| grant.election() == Some(name);
                let leaders = self.held.values().filter(leads);
                Seen::Leaders(leaders.map(|grant| (grant.token, grant.metadata.to_string())).collect())
            }
            Seen::Register(_) => Seen::Register(self.registers.get(name).copied()),
        };
        if there != *seen {
            let what = format!("{who} read {name} at revision {revision}: {seen:?}; it was {there:?}");
            return Err(violation("a read shows the state of its revision", what));
        }
        Ok(())
    }

    fn check_acknowledged(&self, ledger: &Ledger) -> Result<(), Violation> {
        let lost = |what: String| Err(violation("what was acknowledged is there", what));
        for granted in &ledger.granted {
            if self.tokens.get(&granted.lock_id) != Some(&granted.token) {
                return lost(format!("{granted:?}; the history has {:?}", self.tokens.get(&granted.lock_id)));
            }
        }
        for lock_id in &ledger.released {
            if !self.released.contains(lock_id) {
                return lost(format!("the release of {lock_id}"));
            }
        }
        for (lock_id, text) in &ledger.changed {
            if !self.changed.contains(&(*lock_id, text.clone())) {
                return lost(format!("the text {text} of {lock_id}"));
            }
        }
        for session in ledger.sessions.keys() {
            if !self.opened.contains(session) {
                return lost(format!("the session {session}"));
            }
        }
        for session in &ledger.closed {
            if !self.sessions_ended.contains_key(session) {
                return lost(format!("the end of session {session}"));
            }
        }
        for (name, token) in &ledger.registers {
            if !self.register_values.contains(&(name.clone(), *token)) {
                return lost(format!("register {name} at {token}"));
            }
        }
        Ok(())
    }

    fn check_lives(&self, ledger: &Ledger) -> Result<(), Violation> {
        for (session, renewals) in &ledger.sessions {
            let Some((revision, seen_ms, reason)) = self.sessions_ended.get(session) else { continue };
            for (begun_ms, acknowledged) in &renewals.acknowledged {
                if acknowledged > revision {
                    let what =
                        format!("{session} was kept alive at {acknowledged} after its end at {revision}");
                    return Err(violation("a session that has ended is not kept alive", what));
                }
                if *reason == SessionEnd::Expired && seen_ms + ROUNDING_MS < begun_ms + renewals.ttl_ms {
                    let what = format!(
                        "{session} with a time to live of {} ms ended at {seen_ms} ms; a keep-alive that was answered began at \
                         {begun_ms} ms",
                        renewals.ttl_ms
                    );
                    return Err(violation("a session never expires early", what));
                }
            }
        }
        for life in &ledger.lives {
            let Some((seen_ms, expired)) = self.ended.get(&life.lock_id) else { continue };
            if *expired && seen_ms + ROUNDING_MS < life.begun_ms + life.ttl_ms {
                return Err(violation(
                    "a grant never expires early",
                    format!("{life:?} ended at {seen_ms} ms"),
                ));
            }
        }
        Ok(())
    }
}

/// The value of a leader is its own: it campaigned with it, or proclaimed it. Every text begins with the label of its author.
fn check_value(revision: u64, grant: &Grant) -> Result<(), Violation> {
    let own = grant.metadata.strip_prefix(&*grant.owner.label).is_some_and(|rest| rest.starts_with('-'));
    if grant.election().is_some() && !own {
        let what = format!("at revision {revision}: {grant:?}");
        return Err(violation("only the leader sets its value", what));
    }
    Ok(())
}

/// Whether a lock with these holders can be taken in this mode.
fn admits(mode: Mode, mut holders: impl Iterator<Item = Mode>) -> bool {
    match mode {
        Mode::Exclusive | Mode::Election => holders.next().is_none(),
        Mode::Shared => holders.all(|held| held == Mode::Shared),
        Mode::Semaphore { permits, capacity } => {
            let mut taken = permits;
            holders.all(|held| match held {
                Mode::Semaphore { permits, capacity: other } if other == capacity => {
                    taken += permits;
                    taken <= capacity
                }
                _ => false,
            })
        }
    }
}

fn check_watches(observer: &Observer, ledger: &Ledger) -> Result<(), Violation> {
    for watched in &ledger.watched {
        let range = (std::ops::Bound::Excluded(watched.after), std::ops::Bound::Included(watched.upto));
        if watched.after >= watched.upto {
            continue;
        }
        let changes = observer.history.range(range).flat_map(|(revision, entry)| {
            entry.changes.changes.iter().map(|change| (*revision, change.ordinal))
        });
        let there: Vec<(u64, u32)> = changes.collect();
        if there != watched.changes {
            let differs = there.iter().zip(&watched.changes).position(|(there, got)| there != got);
            let at = differs.unwrap_or(there.len().min(watched.changes.len()));
            let what = format!(
                "{} watched {}..={}: change {at} is {:?}, the history has {:?}",
                watched.who,
                watched.after + 1,
                watched.upto,
                watched.changes.get(at),
                there.get(at)
            );
            return Err(violation("a watch misses nothing and repeats nothing", what));
        }
    }
    Ok(())
}
