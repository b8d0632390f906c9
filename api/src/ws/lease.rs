//! Lease notifications: tell a client about changes of its own waits, grants and session.
//!
//! ```text
//! queued ─ queued (again, with each new position) ─ granted ─┬─ expiring ─┬─ lost
//!                                                            └────────────┴─ released: no notification
//! ```
//! A follower watches the names of an acquisition, or a session, in the watch hub, and reads the current situation from the
//! node's own state. Invariant: the end of a grant is reported once, even when its change was missed; then without a reason.

use std::time::Duration;

use batuta_statemachine::{LockId, Name, SessionId};
use futures_util::future::select_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::frame::{Lease, LeaseEvent, Outgoing};
use crate::ApiError;
use crate::service::acquire::{Held, Queued};
use crate::service::watch::{
    Area, Event, Facts, Filter, Item, Kind, Names, PROGRESS_MS, Start, Watch, WatchRequest,
};
use crate::service::{At, CallContext, Clock, Consistency, Service};
use crate::socket::{Gone, Out};

/// How often a follower reads the state while the hub refuses it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A lease is about to expire when its TTL divided by this is left.
const EXPIRING_PART: u32 = 3;
/// How often a session's deadline is read within its TTL, because renewals are not changes.
const SESSION_LOOKS: u64 = 20;
const SESSION_LOOK_MS: std::ops::RangeInclusive<u64> = 20..=5_000;

/// Changes that move the queue of a lock or of an election.
const QUEUE_MOVES: [Kind; 6] = [
    Kind::LockGranted,
    Kind::LockReleased,
    Kind::WaitEnded,
    Kind::Elected,
    Kind::LeaderGone,
    Kind::CandidateGone,
];
/// Changes of the life of a grant.
const LEASE_CHANGES: [Kind; 4] =
    [Kind::LockReleased, Kind::LockExtended, Kind::LeaderGone, Kind::LeadershipExtended];

/// The result of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Followed {
    Lock(LockId),
    Session(SessionId),
}

/// Notifies the client about one lease.
pub(super) struct Follower {
    pub(super) service: Service,
    pub(super) context: CallContext,
    pub(super) out: Out,
    /// The id of the request that made the lease.
    pub(super) id: String,
}

/// How a lease ended.
enum End {
    /// The owner released it.
    GivenBack,
    Lost {
        reason: &'static str,
    },
}

/// The reason of a loss whose change this node did not see.
const UNSEEN: &str = "unknown";

impl Follower {
    /// Reports the position in the queue, now and whenever it changes. Returns when the client has disconnected.
    pub(super) async fn position(&self, queued: Queued, names: Vec<Name>) {
        let mut told = queued.queue_position;
        if self.tell_position(queued.lock_id, told).await.is_err() {
            return;
        }
        let mut watches = Vec::with_capacity(names.len());
        for name in names {
            let kinds = QUEUE_MOVES.to_vec();
            match self.watch(self.filter(name, kinds), Start::Revision(queued.revision + 1)).await {
                Ok(watch) => watches.push(watch),
                Err(error) => {
                    tracing::debug!(%error, "a wait is followed without the hub");
                    watches.clear();
                    break;
                }
            }
        }
        loop {
            // Read after the watches started, and again after each change, so that no change is missed.
            if let Some(position) = self.service.queue_position(queued.lock_id)
                && position != told
            {
                told = position;
                if self.tell_position(queued.lock_id, told).await.is_err() {
                    return;
                }
            }
            if watches.is_empty() {
                sleep(LOOK_INTERVAL).await;
                continue;
            }
            let changed = select_all(watches.iter_mut().map(|watch| Box::pin(watch.next()))).await.0;
            if let Err(error) = changed {
                tracing::debug!(%error, "a wait is followed without the hub");
                watches.clear();
            }
        }
    }

    async fn tell_position(&self, lock_id: LockId, position: u64) -> Result<(), Gone> {
        let lease = Lease { event: LeaseEvent::Queued, queue_position: Some(position), ..self.lock(lock_id) };
        self.out.send(Outgoing::<()>::Lease(lease)).await
    }

    /// Follows a grant to its end.
    pub(super) async fn held(self, held: At<Held>, queued: bool) -> Followed {
        let followed = Followed::Lock(held.value.lock_id);
        // An error means that the client has disconnected.
        let _ = self.follow_grant(&held, queued).await;
        followed
    }

    async fn follow_grant(&self, held: &At<Held>, queued: bool) -> Result<(), Gone> {
        let grant = &held.value;
        let (lock_id, token) = (grant.lock_id, Some(grant.token));
        let lease = |event| Lease { event, fencing_token: token, ..self.lock(lock_id) };
        if queued {
            self.out.send(Outgoing::<()>::Lease(lease(LeaseEvent::Granted))).await?;
        }
        let mut expiring_at = expiring_at(grant, held.clock);
        let mut from = grant.granted_revision + 1;
        let Some(name) = grant.requests.first().map(|request| request.name.clone()) else {
            return Ok(());
        };
        let filter = self.filter(name, LEASE_CHANGES.to_vec());
        let mut watch = None;
        loop {
            if watch.is_none() {
                watch = self.watch_again(&filter, &mut from).await;
            }
            let end = tokio::select! {
                next = next(&mut watch) => match next {
                    Some(Item::Changes(batch)) => {
                        if !batch.more {
                            from = batch.revision + 1;
                        }
                        let mut events = batch.events.iter().filter(|event| event.lock_id() == Some(lock_id));
                        events.find_map(|event| end_of(event, &mut expiring_at))
                    }
                    _ => None,
                },
                () = at(expiring_at) => {
                    let left = grant.ttl_ms.map(|ttl_ms| ttl_ms / u64::from(EXPIRING_PART));
                    self.out.send(Outgoing::<()>::Lease(Lease { remaining_ms: left, ..lease(LeaseEvent::Expiring) })).await?;
                    expiring_at = None;
                    None
                }
            };
            // The watch may still have the change with the reason; without it, the state only shows that the grant has ended.
            let end = match end {
                None if watch.is_none() && self.is_gone(grant) => Some(End::Lost { reason: UNSEEN }),
                end => end,
            };
            match end {
                None => {}
                Some(End::GivenBack) => return Ok(()),
                Some(End::Lost { reason }) => {
                    let lost = Lease { reason: Some(reason), ..lease(LeaseEvent::Lost) };
                    return self.out.send(Outgoing::<()>::Lease(lost)).await;
                }
            }
        }
    }

    /// Whether a grant has ended. `false` on a node that does not know the grant yet.
    fn is_gone(&self, grant: &Held) -> bool {
        self.service.applied_revision() >= grant.granted_revision && !self.service.is_held(grant.lock_id)
    }

    /// Follows a session, known at a revision, to its end.
    pub(super) async fn session(self, session: SessionId, ttl_ms: u64, revision: u64) -> Followed {
        // An error means that the client has disconnected.
        let _ = self.follow_session(session, ttl_ms, revision).await;
        Followed::Session(session)
    }

    async fn follow_session(&self, session: SessionId, ttl_ms: u64, revision: u64) -> Result<(), Gone> {
        let lease = |event| Lease { event, session_id: Some(session.to_string()), ..Lease::default() };
        let filter = Filter {
            namespace: self.context.namespace.clone(),
            areas: vec![Area::Session],
            kinds: vec![Kind::SessionEnded],
            session: Some(session),
            ..Filter::default()
        };
        let look = Duration::from_millis(
            (ttl_ms / SESSION_LOOKS).clamp(*SESSION_LOOK_MS.start(), *SESSION_LOOK_MS.end()),
        );
        let mut from = revision + 1;
        let mut watch = self.watch_again(&filter, &mut from).await;
        let mut deadline = self.service.session_deadline_ms(session);
        let mut expiring_at = Some(Instant::now() + before_end(ttl_ms));
        loop {
            let event = tokio::select! {
                next = next(&mut watch) => match next {
                    Some(Item::Changes(batch)) => batch.events.last().cloned(),
                    _ => None,
                },
                () = sleep(look) => None,
                () = at(expiring_at) => {
                    expiring_at = None;
                    let left = Some(ttl_ms / u64::from(EXPIRING_PART));
                    self.out.send(Outgoing::<()>::Lease(Lease { remaining_ms: left, ..lease(LeaseEvent::Expiring) })).await?;
                    None
                }
            };
            let now = self.service.session_deadline_ms(session);
            let reason = match event.as_deref().and_then(|event| event.reason) {
                Some("closed") => "session_closed",
                Some(_) => "session_expired",
                None if now.is_none() && deadline.is_some() && watch.is_none() => UNSEEN,
                None => {
                    if now.is_some() && now != deadline {
                        deadline = now;
                        expiring_at = Some(Instant::now() + before_end(ttl_ms));
                    }
                    continue;
                }
            };
            return self
                .out
                .send(Outgoing::<()>::Lease(Lease { reason: Some(reason), ..lease(LeaseEvent::Lost) }))
                .await;
        }
    }

    fn lock(&self, lock_id: LockId) -> Lease {
        Lease { id: Some(self.id.clone()), lock_id: Some(lock_id.to_string()), ..Lease::default() }
    }

    fn filter(&self, name: Name, kinds: Vec<Kind>) -> Filter {
        Filter {
            namespace: self.context.namespace.clone(),
            areas: vec![Area::Lock],
            kinds,
            names: Names::Exact(name),
            session: None,
        }
    }

    async fn watch(&self, filter: Filter, start: Start) -> Result<Watch, ApiError> {
        // Progress marks are not used.
        let progress_ms = Some(*PROGRESS_MS.end());
        let consistency = Consistency::Stale;
        let request = WatchRequest { filter, start, from_ordinal: 0, consistency, progress_ms };
        self.service.watch(&self.context, request).await
    }

    /// Opens a watch from a revision on, or from now on when the history is gone; `None` when the hub refuses it.
    async fn watch_again(&self, filter: &Filter, from: &mut u64) -> Option<Watch> {
        match self.watch(filter.clone(), Start::Revision(*from)).await {
            Ok(watch) => Some(watch),
            Err(ApiError::Compacted { oldest_revision, .. }) => {
                *from = oldest_revision;
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a lease is followed without the hub");
                None
            }
        }
    }
}

/// Waits for the next item; without a watch, or when it ends, returns `None` after a while.
async fn next(watch: &mut Option<Watch>) -> Option<Item> {
    let Some(open) = watch else {
        sleep(LOOK_INTERVAL).await;
        return None;
    };
    let ended = match open.next().await {
        Ok(item) => return Some(item),
        Err(error) => error,
    };
    tracing::debug!(error = %ended, "the watch of a lease ended");
    *watch = None;
    None
}

/// Interprets a change of a grant: returns its end, or updates when it is about to expire.
fn end_of(event: &Event, expiring: &mut Option<Instant>) -> Option<End> {
    let Facts::Grant { grant, .. } = &event.facts else { return None };
    match (event.kind, event.reason) {
        (Kind::LockExtended | Kind::LeadershipExtended, _) => {
            *expiring = expiring_at(grant, event.clock);
            None
        }
        (Kind::LockReleased | Kind::LeaderGone, Some("released")) => {
            (grant.count == 0).then_some(End::GivenBack)
        }
        (Kind::LockReleased | Kind::LeaderGone, Some(reason)) => Some(End::Lost { reason }),
        _ => None,
    }
}

/// When a grant with its own TTL is about to expire.
fn expiring_at(grant: &Held, clock: Clock) -> Option<Instant> {
    let (ttl_ms, deadline_ms) = grant.ttl_ms.zip(grant.deadline_ms)?;
    let remaining_ms = clock.remaining_ms(deadline_ms);
    let notice_ms = remaining_ms.saturating_sub(ttl_ms / u64::from(EXPIRING_PART));
    Some(Instant::now() + Duration::from_millis(notice_ms))
}

fn before_end(ttl_ms: u64) -> Duration {
    Duration::from_millis(ttl_ms - ttl_ms / u64::from(EXPIRING_PART))
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
