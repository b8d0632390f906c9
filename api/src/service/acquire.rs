//! Taking locks, and waiting for them on the server.
//!
//! ```text
//! propose ─ Granted ──────────────────────────────► answered
//!     └──── Queued ─ attach ─ grant seen ─────────► answered
//!                       ├──── wait ended ─────────► wait_timeout, wait_cancelled, session_…
//!                       ├──── the call's deadline ► outcome_unknown
//!                       ├──── the node drains ────► draining
//!                       └──── the caller left ────► withdrawn
//! ```
//! Invariant: an acquisition whose caller went away without an answer does not stay behind: a [`Claim`] travels with
//! it from the moment its id is known until the answer, and withdraws it when dropped. The proposal goes on in the background
//! when the caller leaves before the id is known, so that the claim is made even then.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use batuta_raft::{ProposeError, RevisionChanges};
use batuta_statemachine::lock::{AbandonWait, Acquire, Acquisition, CancelWait, Grant, LockRequest, Owner};
use batuta_statemachine::{Change, ChangeKind, Command, LockId, Rejection, Reply, Request};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

use super::lock::GrantInfo;
use super::waits::{Attached, Ended};
use super::wall::Clock;
use super::{At, CallContext, Inner, Service, split, unexpected};
use crate::ApiError;

/// Asks for one lock, or several all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireRequest {
    /// One per name.
    pub requests: Vec<LockRequest>,
    /// Who asks.
    pub owner: Owner,
    /// Time to live of a one-shot lock; given exactly when the owner has no session.
    pub ttl_ms: Option<u64>,
    /// How long to wait in the queue; 0 = answer at once.
    pub wait_ms: u64,
    /// How long the locks stay closed after an involuntary loss.
    pub lock_delay_ms: u64,
    /// Whether the owner may take again what it holds.
    pub reentrant: bool,
    /// Free text.
    pub metadata: String,
}

/// An acquisition that has to wait, told while its call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Names it; the grant will have the same id.
    pub lock_id: LockId,
    /// Waiters ahead.
    pub queue_position: u64,
    /// The revision this is true at.
    pub revision: u64,
}

/// How often a call that waits looks at the state by itself, should every other way to hear of the end fail.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often withdrawing an abandoned acquisition is tried, and the pause between two tries. After that it ends by its
/// own `wait_ms`, its session or its time to live.
const WITHDRAW_TRIES: u32 = 20;
const WITHDRAW_PAUSE: Duration = Duration::from_millis(500);

/// What the proposal answered.
enum Asked {
    Granted { at: Box<At<GrantInfo>>, claim: Option<Claim> },
    Queued { claim: Claim, queued: Queued },
}

/// The duty to withdraw an acquisition, unless its caller is answered.
struct Claim {
    inner: Arc<Inner>,
    lock_id: LockId,
    attached: Option<Attached>,
    armed: bool,
    /// Its caller has a retry key.
    keyed: bool,
}

impl Claim {
    /// The caller has its answer (or a key to ask for it again).
    fn settle(mut self) {
        self.armed = false;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let orphaned = match self.attached.take() {
            Some(attached) => attached.detach(!self.armed),
            None => self.armed,
        };
        if orphaned && self.armed {
            let inner = Arc::clone(&self.inner);
            self.inner.background.spawn_on(withdraw(inner, self.lock_id, self.keyed), &self.inner.runtime);
        }
    }
}

/// Work that goes on in the background when whoever waits for it leaves before its end.
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
    ) -> Result<At<GrantInfo>, ApiError> {
        self.acquire_telling(context, request, |_| ()).await
    }

    /// As [`Self::acquire`]; `tell` hears of the acquisition's place when it has to wait.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn acquire_telling(
        &self,
        context: &CallContext,
        request: AcquireRequest,
        tell: impl FnOnce(Queued) + Send,
    ) -> Result<At<GrantInfo>, ApiError> {
        let wait = Duration::from_millis(request.wait_ms);
        if !wait.is_zero() {
            if self.is_draining() {
                return Err(ApiError::Draining);
            }
            if let Some(max) = self.inner.waits.full() {
                return Err(ApiError::Busy { what: "waiting_calls_max", max });
            }
        }
        let started = Instant::now();
        let budget = context.timeout.unwrap_or_else(|| self.inner.options.timeout.saturating_add(wait));
        let command = acquire_command(context, request);
        match self.ask(context, command.clone()).await? {
            Asked::Granted { at, claim } => {
                if let Some(claim) = claim {
                    claim.settle();
                }
                Ok(*at)
            }
            Asked::Queued { claim, queued } => {
                tell(queued);
                self.wait(context, command, claim, started, budget).await
            }
        }
    }

    /// Waiters ahead of an acquisition, as this node knows it; `None` when it does not wait.
    #[must_use]
    pub fn queue_position(&self, lock_id: LockId) -> Option<u64> {
        match self.replica().view().acquisition(lock_id) {
            Acquisition::Waiting(wait) => Some(wait.queue_position),
            Acquisition::Granted(_) | Acquisition::Unknown => None,
        }
    }

    /// Whether an acquisition is held, as this node knows it.
    #[must_use]
    pub fn is_held(&self, lock_id: LockId) -> bool {
        matches!(self.replica().view().acquisition(lock_id), Acquisition::Granted(_))
    }

    /// Proposes the acquisition. What it answers carries a claim, so that it is withdrawn wherever it is dropped.
    async fn ask(&self, context: &CallContext, command: Command) -> Result<Asked, ApiError> {
        let inner = Arc::clone(&self.inner);
        let request = Request::new(context.dedup.clone(), command);
        let timeout = self.timeout(context);
        let proposal = async move {
            let keyed = request.dedup.is_some();
            let (answer, reply) = split(inner.replica.propose(request, timeout).await, keyed)?;
            match reply {
                Reply::Granted(grant) => {
                    // Under a key the caller can ask again and finds the grant; a count that rose belongs to a
                    // grant that its owner knows. What is left is a lock nobody would ever hear of.
                    let claim = (!keyed && grant.count == 1).then(|| Claim {
                        inner,
                        lock_id: grant.lock_id,
                        attached: None,
                        armed: true,
                        keyed,
                    });
                    let clock = Clock { now_ms: answer.now_ms, wall_ms: answer.wall_ms };
                    let at = At { revision: answer.revision, value: GrantInfo::new(grant, clock) };
                    Ok(Asked::Granted { at: Box::new(at), claim })
                }
                Reply::Queued(wait) => {
                    let attached = Some(inner.waits.attach(wait.lock_id, answer.revision));
                    let (lock_id, queue_position) = (wait.lock_id, wait.queue_position);
                    let claim = Claim { inner, lock_id, attached, armed: true, keyed };
                    let queued = Queued { lock_id, queue_position, revision: answer.revision };
                    Ok(Asked::Queued { claim, queued })
                }
                other => Err(unexpected(&other)),
            }
        };
        Finished { work: Some(Box::pin(proposal)), begun: false, inner: Arc::clone(&self.inner) }.await
    }

    async fn wait(
        &self,
        context: &CallContext,
        command: Command,
        mut claim: Claim,
        started: Instant,
        budget: Duration,
    ) -> Result<At<GrantInfo>, ApiError> {
        let lock_id = claim.lock_id;
        let keyed = context.dedup.is_some();
        let ended = tokio::select! {
            ended = self.ended(&mut claim) => Ok(ended),
            () = sleep_until(started + budget) => {
                let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                Err(ApiError::OutcomeUnknown { waited_ms, keyed, lock_id: Some(lock_id) })
            }
            () = self.draining() => Err(ApiError::Draining),
        };
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // With a key the caller can ask again, here or elsewhere, and finds the acquisition in its place.
                if keyed {
                    claim.settle();
                }
                return Err(error);
            }
        };
        claim.settle();
        match ended {
            Ended::Granted { revision, grant } => {
                let clock = granted_clock(&grant);
                Ok(At { revision, value: GrantInfo::new(grant, clock) })
            }
            Ended::Refused { revision, reason } => {
                Err(ApiError::rejected(Rejection::WaitEnded { lock_id, reason }, revision))
            }
            Ended::Gone { .. } if keyed => self.ended_answer(context, command, lock_id).await,
            Ended::Gone { revision } => Err(self.how_it_ended(lock_id, revision).await),
        }
    }

    /// Resolves when the end of the acquisition is known.
    async fn ended(&self, claim: &mut Claim) -> Ended {
        let Some(attached) = &mut claim.attached else { return Ended::Gone { revision: 0 } };
        loop {
            attached.look(&self.replica().view());
            tokio::select! {
                ended = attached.ended() => return ended,
                () = sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// How an acquisition ended that the state at `revision` does not have any more, as the changes this node keeps tell it.
    async fn how_it_ended(&self, lock_id: LockId, revision: u64) -> ApiError {
        // A state is shown before its changes are.
        if self.replica().applied().wait_for(|applied| *applied >= revision).await.is_err() {
            return ApiError::Propose(ProposeError::ShuttingDown);
        }
        let history = self.replica().history();
        // It begins with the entry it is named for.
        let told = history.after(history.floor().max(lock_id.0.index.saturating_sub(1)));
        end_of(told.iter().flatten(), lock_id)
            .unwrap_or_else(|| ApiError::rejected(Rejection::LockNotHeld { lock_id }, revision))
    }

    /// Asks again under the same key for the end of an acquisition whose end was not seen here.
    async fn ended_answer(
        &self,
        context: &CallContext,
        command: Command,
        lock_id: LockId,
    ) -> Result<At<GrantInfo>, ApiError> {
        let (answer, reply) = self.propose(context, command).await?;
        match reply {
            Reply::Granted(grant) => {
                let clock = Clock { now_ms: answer.now_ms, wall_ms: answer.wall_ms };
                Ok(At { revision: answer.revision, value: GrantInfo::new(grant, clock) })
            }
            // The key was forgotten meanwhile and the request executed anew: what waits now is another acquisition.
            Reply::Queued(wait) => {
                let claim = Claim {
                    inner: Arc::clone(&self.inner),
                    lock_id: wait.lock_id,
                    attached: None,
                    armed: true,
                    keyed: true,
                };
                drop(claim);
                Err(Rejection::LockNotHeld { lock_id }.into())
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn acquire_command(context: &CallContext, request: AcquireRequest) -> Command {
    let AcquireRequest { requests, owner, ttl_ms, wait_ms, lock_delay_ms, reentrant, metadata } = request;
    Command::Acquire(Acquire {
        namespace: context.namespace.clone(),
        requests,
        owner,
        ttl_ms,
        wait_ms,
        lock_delay_ms,
        reentrant,
        metadata,
    })
}

/// The end of an acquisition among changes.
fn end_of<'a>(mut told: impl Iterator<Item = &'a Arc<RevisionChanges>>, lock_id: LockId) -> Option<ApiError> {
    let end = |change: &Change| match &change.kind {
        ChangeKind::LockReleased { grant, reason } if grant.lock_id == lock_id && grant.count == 0 => {
            Some(Rejection::GrantEnded { lock_id, reason: reason.clone() })
        }
        ChangeKind::WaitEnded { wait, reason } if wait.lock_id == lock_id => {
            Some(Rejection::WaitEnded { lock_id, reason: *reason })
        }
        _ => None,
    };
    let ended = |one: &'a Arc<RevisionChanges>| {
        let rejection = one.changes.iter().find_map(end)?;
        Some(ApiError::rejected(rejection, one.revision))
    };
    told.find_map(ended)
}

/// The instants of a grant that was seen as a change: a one-shot grant's deadline is its time to live after them.
fn granted_clock(grant: &Grant) -> Clock {
    let lived = grant.deadline_ms.zip(grant.ttl_ms);
    let now_ms = lived.map_or(0, |(deadline_ms, ttl_ms)| deadline_ms.saturating_sub(ttl_ms));
    Clock { now_ms, wall_ms: grant.granted_wall_ms }
}

/// Withdraws an acquisition that nobody waits for any more on this node. Under a key its caller may have asked again at another
/// node and been told that the lock is its own: then only the wait is withdrawn, never a grant.
async fn withdraw(inner: Arc<Inner>, lock_id: LockId, keyed: bool) {
    for _ in 0..WITHDRAW_TRIES {
        let command = if keyed {
            Command::AbandonWait(AbandonWait { lock_id })
        } else {
            Command::CancelWait(CancelWait { lock_id })
        };
        let request = Request::new(None, command);
        match inner.replica.propose(request, inner.options.timeout).await {
            Ok(answer) => {
                if let Err(rejection) = answer.outcome {
                    tracing::debug!(%lock_id, %rejection, "abandoned acquisition had ended already");
                }
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
