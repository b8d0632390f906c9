//! Takes locks, and waits for them on the server.
//!
//! ```text
//! propose ─ Granted ──────────────────────────────► answered
//!     └──── Queued ─ attach ─ grant seen ─────────► answered
//!                       ├──── wait ended ─────────► wait_timeout, wait_cancelled, node_lost, session_…
//!                       ├──── the call's deadline ► outcome_unknown
//!                       ├──── the node drains ────► draining
//!                       ├──── the token ended ────► token_expired, token_revoked, principal_suspended; withdrawn
//!                       └──── the caller left ────► withdrawn
//! ```
//! Invariant: an acquisition whose caller left without an answer does not stay behind. A [`Claim`] exists from the moment the id of
//! the acquisition is known until the answer. Dropping it removes the call from those that wait; the last one ends the wait.
//! When the caller leaves before the id is known, the proposal continues in the background, so that the claim is still
//! made. When this node dies, the leader does the same for all of its calls (`raft/src/replica/lost_nodes.rs`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use batuta_raft::{ProposeError, RevisionChanges};
use batuta_statemachine::lock::{
    self, Acquire, Acquired, Acquisition, CancelScope, CancelWait, Grant, LockRequest, Owner, Refusal,
    ServingCall,
};
use batuta_statemachine::{
    Change, ChangeKind, Code, LockId, Namespace, Permission, Rejection, State, WaitEnd,
};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

use super::admit::Permit;
use super::operation::{Area, Needs, Operation};
use super::waits::{Attached, Ended};
use super::{At, CallContext, Clock, Consistency, Inner, Service};
use crate::ApiError;

/// The operation that takes locks.
pub const ACQUIRE: Operation = Operation::write(
    "acquire",
    "Takes one lock, or several all or nothing; on request, waits for them in their queues.",
    Area::Lock,
    Needs::Permission(Permission::LockAcquire),
    &[
        Code::LockHeld,
        Code::LockDelayed,
        Code::Deadlock,
        Code::ModeMismatch,
        Code::CapacityMismatch,
        Code::NamespaceMismatch,
        Code::WaitTimeout,
        Code::WaitCancelled,
        Code::NodeLost,
        Code::PermissionDenied,
        Code::GrantEnded,
        Code::SessionClosed,
        Code::SessionExpired,
        Code::LimitExceeded,
        Code::DiskFull,
        Code::Draining,
    ],
);

/// A held acquisition.
pub type Held = Arc<Grant>;

/// A request for one lock, or several all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireRequest {
    /// The requested locks, one per name.
    pub requests: Vec<LockRequest>,
    /// The owner.
    pub owner: Owner,
    /// The TTL of a one-shot lock, in milliseconds; set exactly when the owner has no session.
    pub ttl_ms: Option<u64>,
    /// How long to wait in the queue, in milliseconds; 0 answers at once.
    pub wait_ms: u64,
    /// How long the locks stay closed to others after an involuntary loss, in milliseconds.
    pub lock_delay_ms: u64,
    /// Whether the owner may take locks again that it holds.
    pub reentrant: bool,
    /// Free text for people.
    pub metadata: String,
}

/// An acquisition that has to wait, as reported while its call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The id of the acquisition; the grant will have the same id.
    pub lock_id: LockId,
    /// The number of waiters ahead.
    pub queue_position: u64,
    /// The revision at which this is true.
    pub revision: u64,
}

/// How often a waiting call reads the state itself, in case every notification of its end fails.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the withdrawal of an abandoned acquisition is attempted, and the pause between two attempts. After that the acquisition
/// ends by its own `wait_ms`, its session or its TTL.
const WITHDRAW_TRIES: u32 = 20;
const WITHDRAW_PAUSE: Duration = Duration::from_millis(500);
/// How often to look for a wait that may or may not exist. A proposal still in flight is applied by then.
const UNKNOWN_LOOKS: u32 = 120;
/// An owner may ask for a lock that it holds by a grant whose answer another node still has to deliver. These are how long it waits for
/// news of that node (when the node answers, and when it does not), and the pause between two checks. The leader learns sooner of a lost
/// node; a restarted node answers, and needs a moment to withdraw.
const NEWS_WITHIN: Duration = Duration::from_secs(8);
const NEWS_WITHIN_REACHED: Duration = Duration::from_secs(2);
const NEWS_PAUSE: Duration = Duration::from_millis(200);

/// The answer to the proposal.
enum Asked {
    Granted { at: Box<At<Held>>, claim: Option<Claim> },
    Queued { claim: Claim, queued: Queued },
}

/// Withdraws an acquisition when dropped, unless its caller has been answered.
struct Claim {
    inner: Arc<Inner>,
    namespace: Namespace,
    lock_id: LockId,
    call: Option<ServingCall>,
    /// The revision from which on the call waits. Earlier states are not conclusive.
    since: u64,
    attached: Option<Attached>,
    armed: bool,
    /// Whether the caller has a retry key.
    keyed: bool,
}

impl Claim {
    /// Notes that the caller has its answer.
    fn settle(mut self) {
        self.armed = false;
    }

    /// Keeps the acquisition in its place although its call ends, because the caller has a key to ask for the answer again.
    fn keep(mut self) {
        self.armed = false;
        let command = self.cancel(CancelScope::Call);
        let inner = Arc::clone(&self.inner);
        let left = async move {
            // If this fails, the wait ends with this node at the latest, and a retry under the key gets its place back.
            if let Err(error) = Permit::of_node(&inner).propose(command).await {
                tracing::debug!(%error, "a wait that goes on elsewhere still counts as one of this node");
            }
        };
        self.inner.background.spawn_on(left, &self.inner.runtime);
    }

    /// Whether another request of the same owner gets the answer instead of this one, which has no key to ask again.
    fn was_replaced(&self, state: &State) -> bool {
        let replaced = |call| state.was_replaced(self.lock_id, call);
        !self.keyed && state.revision() >= self.since && self.call.is_some_and(replaced)
    }

    /// The command that removes the call from those that wait.
    fn withdrawal(&self) -> CancelWait {
        // A caller with a key may have asked again and been granted the lock, so only the wait is withdrawn, never a
        // grant.
        self.cancel(if self.keyed { CancelScope::Wait } else { CancelScope::WaitOrGrant })
    }

    fn cancel(&self, scope: CancelScope) -> CancelWait {
        let (namespace, lock_id) = (self.namespace.clone(), self.lock_id);
        CancelWait { namespace, lock_id, call: self.call, scope }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.attached = None;
        if self.armed {
            let work = withdraw(Arc::clone(&self.inner), self.lock_id, self.withdrawal());
            self.inner.background.spawn_on(work, &self.inner.runtime);
        }
    }
}

/// Work that continues in the background when its caller leaves before its end.
struct Finished<T: Send + 'static> {
    work: Option<BoxFuture<'static, T>>,
    begun: bool,
    inner: Arc<Inner>,
}

impl<T: Send + 'static> Future for Finished<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.begun = true;
        let Some(work) = &mut self.work else { return Poll::Pending };
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            self.work = None;
        }
        done
    }
}

impl<T: Send + 'static> Drop for Finished<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take().filter(|_| self.begun) {
            self.inner.background.spawn_on(work, &self.inner.runtime);
        }
    }
}

impl Service {
    /// Takes one lock, or several all or nothing; waits for them up to `wait_ms`.
    ///
    /// Dropping the returned future withdraws the acquisition, unless another call waits for the same one.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn acquire(
        &self,
        context: &CallContext,
        request: AcquireRequest,
    ) -> Result<At<Held>, ApiError> {
        self.acquire_telling(context, request, |_| ()).await
    }

    /// Like [`Self::acquire`]; `tell` receives the acquisition's position when it has to wait.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn acquire_telling(
        &self,
        context: &CallContext,
        request: AcquireRequest,
        tell: impl FnOnce(Queued) + Send,
    ) -> Result<At<Held>, ApiError> {
        let permit = self.admit(context, &ACQUIRE, request.requests.iter().map(|request| &request.name))?;
        self.take(&permit, context, request, tell).await
    }

    /// Takes what an admitted call asks for; `tell` receives the acquisition's position when it has to wait.
    pub(super) async fn take(
        &self,
        permit: &Permit,
        context: &CallContext,
        request: AcquireRequest,
        tell: impl FnOnce(Queued) + Send,
    ) -> Result<At<Held>, ApiError> {
        let wait = Duration::from_millis(request.wait_ms);
        if !wait.is_zero() {
            if self.is_draining() {
                return Err(self.draining_error());
            }
            if let Some(max) = self.inner.waits.full() {
                return Err(ApiError::Busy { what: "waiting_calls_max", max });
            }
        }
        let started = Instant::now();
        let budget = permit.timeout_or(self.inner.options.timeout.saturating_add(wait));
        let command = acquire_command(permit, &self.inner, context, request);
        match self.ask_owner(permit, &command, started, wait).await? {
            Asked::Granted { at, claim } => {
                if let Some(claim) = claim {
                    claim.settle();
                }
                Ok(*at)
            }
            Asked::Queued { claim, queued } => {
                tell(queued);
                self.wait(permit, command, claim, started, budget).await
            }
        }
    }

    /// The number of waiters ahead of an acquisition, as this node knows it; `None` when it does not wait.
    #[must_use]
    pub fn queue_position(&self, lock_id: LockId) -> Option<u64> {
        match self.of_node().view().acquisition(lock_id) {
            Acquisition::Waiting(wait) => Some(wait.queue_position),
            Acquisition::Granted(_) | Acquisition::Unknown => None,
        }
    }

    /// Whether an acquisition is held, as this node knows it.
    #[must_use]
    pub fn is_held(&self, lock_id: LockId) -> bool {
        matches!(self.of_node().view().acquisition(lock_id), Acquisition::Granted(_))
    }

    /// Proposes the acquisition. An owner that seems to wait for itself may hold the lock by a grant whose answer a node did not deliver
    /// before it died; then the owner is answered once that node counts as lost.
    async fn ask_owner(
        &self,
        permit: &Permit,
        command: &Acquire,
        started: Instant,
        wait: Duration,
    ) -> Result<Asked, ApiError> {
        loop {
            let asked = self.ask(permit, command.clone()).await;
            let refused = matches!(
                &asked,
                Err(ApiError::Rejected { rejection: Rejection::Lock(Refusal::Deadlock { .. }), .. })
            );
            if !refused || started.elapsed() >= wait.min(NEWS_WITHIN) || self.is_draining() {
                return asked;
            }
            let state = permit.read(Consistency::Linearizable).await?;
            let Some(nodes) = state.answered_elsewhere(command) else { return asked };
            // Without a node, all nodes have been lost in the meantime.
            let Some(node_id) = nodes.first().copied() else { continue };
            if started.elapsed() >= NEWS_WITHIN_REACHED && permit.reaches(node_id).await {
                return asked;
            }
            sleep(NEWS_PAUSE).await;
        }
    }

    /// Proposes the acquisition. The answer carries a claim, so that the acquisition is withdrawn wherever the answer is dropped.
    async fn ask(&self, permit: &Permit, command: Acquire) -> Result<Asked, ApiError> {
        let inner = Arc::clone(&self.inner);
        let (call, namespace) = (command.call, command.namespace.clone());
        let permit = permit.clone();
        let proposal = async move {
            let keyed = permit.is_keyed();
            let answered = permit.propose(command).await;
            if let (Err(ApiError::OutcomeUnknown { .. }), Some(call), false) = (&answered, call, keyed) {
                let work = withdraw_unknown(Arc::clone(&inner), namespace.clone(), call);
                inner.background.spawn_on(work, &inner.runtime);
            }
            let (answer, reply) = answered?;
            match reply {
                Acquired::Granted(grant) => {
                    // A caller with a key can ask again and finds the grant. An owner may already know a risen count or an older
                    // grant. In the remaining case nobody would ever learn of the lock.
                    let new = grant.count == 1 && grant.granted_revision == answer.revision;
                    let claim = (!keyed && new).then(|| Claim {
                        inner,
                        namespace,
                        lock_id: grant.lock_id,
                        call,
                        since: answer.revision,
                        attached: None,
                        armed: true,
                        keyed,
                    });
                    Ok(Asked::Granted { at: Box::new(At::of(&answer, grant)), claim })
                }
                Acquired::Queued(wait) => {
                    let attached = Some(inner.waits.attach(wait.lock_id, answer.revision));
                    let (lock_id, queue_position) = (wait.lock_id, wait.queue_position);
                    let since = answer.revision;
                    let claim =
                        Claim { inner, namespace, lock_id, call, since, attached, armed: true, keyed };
                    let queued = Queued { lock_id, queue_position, revision: answer.revision };
                    Ok(Asked::Queued { claim, queued })
                }
            }
        };
        Finished { work: Some(Box::pin(proposal)), begun: false, inner: Arc::clone(&self.inner) }.await
    }

    async fn wait(
        &self,
        permit: &Permit,
        command: Acquire,
        mut claim: Claim,
        started: Instant,
        budget: Duration,
    ) -> Result<At<Held>, ApiError> {
        let lock_id = claim.lock_id;
        let keyed = permit.is_keyed();
        let ended = tokio::select! {
            ended = ended(permit, &mut claim) => Ok(ended),
            () = sleep_until(started + budget) => {
                let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                Err(ApiError::OutcomeUnknown { waited_ms, keyed, lock_id: Some(lock_id) })
            }
            () = self.draining() => Err(self.draining_error()),
            // Also with a key: the log would refuse the grant to whoever asked for it.
            lost = self.client_lost(permit.client()) => return Err(lost),
        };
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // With a key the caller can ask again, at any node, and finds the acquisition in its place.
                if keyed {
                    claim.keep();
                }
                return Err(error);
            }
        };
        let replaced = claim.was_replaced(&permit.view());
        claim.settle();
        match ended {
            // The owner asked again through another call, which gets the answer.
            Ended::Granted { revision, .. } if replaced => Err(ApiError::rejected(
                Refusal::WaitEnded { lock_id, reason: WaitEnd::Cancelled }.into(),
                revision,
            )),
            Ended::Granted { revision, grant } => {
                Ok(At { revision, clock: granted_clock(&grant), value: grant })
            }
            Ended::Refused { revision, reason } => {
                Err(ApiError::rejected(Refusal::WaitEnded { lock_id, reason }.into(), revision))
            }
            Ended::Gone { .. } if keyed => self.ended_answer(permit, command, lock_id).await,
            Ended::Gone { revision } => Err(how_it_ended(permit, lock_id, revision).await),
        }
    }

    /// Asks again under the same key how an acquisition ended whose end this node did not see.
    async fn ended_answer(
        &self,
        permit: &Permit,
        command: Acquire,
        lock_id: LockId,
    ) -> Result<At<Held>, ApiError> {
        let call = command.call;
        let (answer, reply) = permit.propose(command).await?;
        match reply {
            Acquired::Granted(grant) => Ok(At::of(&answer, grant)),
            // The key was forgotten in the meantime and the request was executed again: another acquisition waits now.
            Acquired::Queued(wait) => {
                let claim = Claim {
                    inner: Arc::clone(&self.inner),
                    namespace: wait.namespace,
                    lock_id: wait.lock_id,
                    call,
                    since: answer.revision,
                    attached: None,
                    armed: true,
                    keyed: true,
                };
                drop(claim);
                Err(ApiError::rejected(Refusal::LockNotHeld { lock_id }.into(), answer.revision))
            }
        }
    }
}

/// Resolves when the end of the acquisition is known.
async fn ended(permit: &Permit, claim: &mut Claim) -> Ended {
    loop {
        let state = permit.view();
        if claim.was_replaced(&state) {
            return Ended::Refused { revision: state.revision(), reason: WaitEnd::Cancelled };
        }
        let Some(attached) = &mut claim.attached else { return Ended::Gone { revision: 0 } };
        attached.look(&state);
        tokio::select! {
            ended = attached.ended() => return ended,
            () = sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// Finds in the changes that this node keeps how an acquisition ended that the state at `revision` no longer has.
async fn how_it_ended(permit: &Permit, lock_id: LockId, revision: u64) -> ApiError {
    // A state is published before its changes.
    if permit.applied_revisions().wait_for(|applied| *applied >= revision).await.is_err() {
        return ApiError::Propose(ProposeError::ShuttingDown);
    }
    let history = permit.history();
    // The acquisition starts with the entry in its id.
    let told = history.after(history.floor().max(lock_id.0.index.saturating_sub(1)));
    end_of(told.iter().flatten(), lock_id)
        .unwrap_or_else(|| ApiError::rejected(Refusal::LockNotHeld { lock_id }.into(), revision))
}

fn acquire_command(
    permit: &Permit,
    inner: &Inner,
    context: &CallContext,
    request: AcquireRequest,
) -> Acquire {
    let AcquireRequest { requests, owner, ttl_ms, wait_ms, lock_delay_ms, reentrant, metadata } = request;
    // A call that is answered at once and has a key, or cannot ask for the same lock again, needs no record.
    let served = wait_ms > 0 || (owner.session.is_some() && context.dedup.is_none());
    Acquire {
        namespace: context.namespace.clone(),
        requests,
        owner,
        ttl_ms,
        wait_ms,
        lock_delay_ms,
        reentrant,
        metadata,
        call: if served { next_call(permit, inner) } else { None },
    }
}

/// Returns a new id for a call of this process of the node.
fn next_call(permit: &Permit, inner: &Inner) -> Option<ServingCall> {
    let (node_id, boot_id) = permit.boot()?;
    let number = inner.calls.fetch_add(1, Ordering::Relaxed);
    Some(ServingCall { node_id, boot_id, number })
}

/// Finds the end of an acquisition among changes.
fn end_of<'a>(mut told: impl Iterator<Item = &'a Arc<RevisionChanges>>, lock_id: LockId) -> Option<ApiError> {
    let end = |change: &Change| match &change.kind {
        ChangeKind::Lock(lock::Change::LockReleased { grant, reason })
            if grant.lock_id == lock_id && grant.count == 0 =>
        {
            Some(Refusal::GrantEnded { lock_id, reason: reason.clone() }.into())
        }
        ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) if wait.lock_id == lock_id => {
            Some(Refusal::WaitEnded { lock_id, reason: *reason }.into())
        }
        _ => None,
    };
    let ended = |one: &'a Arc<RevisionChanges>| {
        let rejection = one.changes.iter().find_map(end)?;
        Some(ApiError::rejected(rejection, one.revision))
    };
    told.find_map(ended)
}

/// The instant of a grant that was seen as a change: the deadline of a one-shot grant is one TTL after it.
fn granted_clock(grant: &Grant) -> Clock {
    let lived = grant.deadline_ms.zip(grant.ttl_ms);
    let now_ms = lived.map_or(0, |(deadline_ms, ttl_ms)| deadline_ms.saturating_sub(ttl_ms));
    Clock { now_ms, wall_ms: grant.granted_wall_ms }
}

/// Withdraws the wait of a call that was answered `outcome_unknown`: without a key nobody ever asks for it. A grant stays, because its owner
/// may have found it.
async fn withdraw_unknown(inner: Arc<Inner>, namespace: Namespace, call: ServingCall) {
    for _ in 0..UNKNOWN_LOOKS {
        tokio::select! {
            () = sleep(WITHDRAW_PAUSE) => {}
            // The node stops, and all of its calls end with it.
            () = inner.draining.cancelled() => return,
        }
        if let Some(lock_id) = Permit::of_node(&inner).view().waited_for(call) {
            let command = CancelWait { namespace, lock_id, call: Some(call), scope: CancelScope::Wait };
            return withdraw(inner, lock_id, command).await;
        }
    }
}

/// Withdraws an acquisition that a call of this node no longer waits for.
async fn withdraw(inner: Arc<Inner>, lock_id: LockId, command: CancelWait) {
    for _ in 0..WITHDRAW_TRIES {
        match Permit::of_node(&inner).propose(command.clone()).await {
            Ok(_) => return,
            Err(ApiError::Rejected { rejection, .. }) => {
                tracing::debug!(%lock_id, %rejection, "abandoned acquisition had ended already");
                return;
            }
            Err(error) => {
                tracing::debug!(%lock_id, %error, "withdrawing an abandoned acquisition: trying again");
            }
        }
        sleep(WITHDRAW_PAUSE).await;
    }
    tracing::warn!(%lock_id, "an abandoned acquisition could not be withdrawn; it ends by its own time limits");
}
