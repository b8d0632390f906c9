//! The one place that every call of every front passes, after it was decoded and before it does anything.
//!
//! Invariant: the replica is reached through a [`Permit`] only, and a permit is given by [`Service::admit`] to a caller, or to the
//! node itself under a name. A use case that forgets to ask for one cannot read, propose or watch, and does not compile.
//! What concerns every call (access, rates, metrics, audit) belongs here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_raft::{Answer, History, KeptAlive, ProposeError, Replica, Status, codec};
use batuta_statemachine::{Ask, DedupKey, Name, SessionId, State};
use tokio::sync::watch;
use tracing::{Instrument as _, Span};

use super::operation::{Area, Operation};
use super::{At, CallContext, Clock, Consistency, Inner, Service};
use crate::ApiError;

/// The replica, behind the gate.
pub(super) struct Gate {
    replica: Replica,
}

impl Gate {
    pub(super) fn new(replica: Replica) -> Self {
        Self { replica }
    }

    /// What the node knows of itself and of its cluster. Readiness, probes and redirects need it without a call.
    pub(super) fn status(&self) -> Status {
        self.replica.status()
    }

    /// Why the node takes no calls any more: it was removed from its cluster.
    pub(super) fn removed(&self) -> Option<ProposeError> {
        self.replica.removed()
    }

    /// The last revision this node applied.
    pub(super) fn applied_revision(&self) -> u64 {
        self.replica.view().revision()
    }
}

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client, over a front.
    Client,
    /// The node itself, for the work named here.
    Node(&'static str),
}

/// The right to make one call. Clones belong to the same call, which ends with the last of them.
#[derive(Clone)]
pub(super) struct Permit {
    call: Arc<Call>,
}

/// One call, from its admission to its end.
struct Call {
    inner: Arc<Inner>,
    dedup: Option<DedupKey>,
    timeout: Option<Duration>,
    span: Span,
    /// The operation and when it began, while somebody reads spans: nobody else pays for the clock.
    traced: Option<(&'static Operation, Instant)>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some((operation, started)) = self.traced {
            let elapsed = started.elapsed();
            tracing::trace!(parent: &self.span, operation = operation.name, ?elapsed, "the call ended");
        }
    }
}

impl Service {
    /// Admits a call of an operation on these names.
    ///
    /// # Errors
    /// `node_removed` when the node is no member any more, unless the call is about the cluster itself.
    pub(super) fn admit<'a>(
        &self,
        context: &CallContext,
        operation: &'static Operation,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Result<Permit, ApiError> {
        if operation.area != Area::Cluster
            && let Some(removed) = self.inner.gate.removed()
        {
            return Err(removed.into());
        }
        let span = tracing::debug_span!(
            "call",
            operation = operation.name,
            area = operation.area.as_str(),
            class = operation.class.as_str(),
            caller = ?context.caller,
            namespace = context.namespace.as_str(),
            names = tracing::field::Empty,
        );
        if !span.is_disabled() {
            let names: Vec<&str> = names.into_iter().map(Name::as_str).collect();
            span.record("names", tracing::field::debug(names));
        }
        Ok(Permit::of(Arc::clone(&self.inner), context.dedup.clone(), context.timeout, Some(operation), span))
    }

    /// The node's own work: it withdraws what a caller left behind, or looks how a lease stands.
    pub(super) fn of_node(&self) -> Permit {
        Permit::of_node(&self.inner)
    }
}

impl Permit {
    fn of(
        inner: Arc<Inner>,
        dedup: Option<DedupKey>,
        timeout: Option<Duration>,
        operation: Option<&'static Operation>,
        span: Span,
    ) -> Self {
        let traced = operation.filter(|_| !span.is_disabled()).map(|operation| (operation, Instant::now()));
        Self { call: Arc::new(Call { inner, dedup, timeout, span, traced }) }
    }

    /// The node's own work, which belongs to no caller and has no retry key.
    pub(super) fn of_node(inner: &Arc<Inner>) -> Self {
        Self::of(Arc::clone(inner), None, None, None, Span::none())
    }

    fn replica(&self) -> &Replica {
        &self.call.inner.gate.replica
    }

    /// Whether the call can be made again under a key.
    pub(super) fn is_keyed(&self) -> bool {
        self.call.dedup.is_some()
    }

    /// How long the caller waits at most.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout_or(self.call.inner.options.timeout)
    }

    /// How long the caller waits at most, by default this long.
    pub(super) fn timeout_or(&self, default: Duration) -> Duration {
        self.call.timeout.unwrap_or(default)
    }

    /// Proposes a command and returns its answer, refusals as errors.
    pub(super) async fn propose<C: Ask>(&self, command: C) -> Result<(Answer, C::Reply), ApiError> {
        let request = codec::request(self.call.dedup.clone(), command);
        let proposal = self.replica().propose(request, self.timeout());
        let answer = match proposal.instrument(self.call.span.clone()).await {
            Err(ProposeError::OutcomeUnknown { waited_ms }) => {
                let keyed = self.is_keyed();
                return Err(ApiError::OutcomeUnknown { waited_ms, keyed, lock_id: None });
            }
            other => other?,
        };
        let reply =
            answer.outcome.clone().map_err(|rejection| ApiError::rejected(rejection, answer.revision))?;
        // A reply of another command: the two sides of this binary disagree.
        let reply = C::Reply::try_from(reply)
            .map_err(|other| ApiError::Internal(format!("unexpected reply {other:?}")))?;
        Ok((answer, reply))
    }

    /// Renews sessions.
    pub(super) async fn keep_alive(&self, sessions: &[SessionId]) -> Result<KeptAlive, ApiError> {
        Ok(self.replica().keep_alive(sessions, self.timeout()).await?)
    }

    /// The state, as current as the caller wants it.
    pub(super) async fn read(&self, consistency: Consistency) -> Result<Arc<State>, ApiError> {
        match consistency {
            Consistency::Linearizable => {
                let read = self.replica().read(self.timeout());
                Ok(read.instrument(self.call.span.clone()).await?)
            }
            Consistency::Stale => {
                self.replica().removed().map_or_else(|| Ok(self.view()), |removed| Err(removed.into()))
            }
        }
    }

    /// The state this node has applied.
    pub(super) fn view(&self) -> Arc<State> {
        self.replica().view()
    }

    /// What time it is for whoever looks at this state now.
    pub(super) fn clock(&self, state: &State) -> Clock {
        Clock::seen(state, self.replica().now_ms())
    }

    /// What a state shows, true at its revision.
    pub(super) fn seen<T>(&self, state: &State, value: T) -> At<T> {
        At { revision: state.revision(), clock: self.clock(state), value }
    }

    /// What is told with the newest revision that is applied, having none of its own.
    pub(super) fn applied<T>(&self, value: T) -> At<T> {
        self.seen(&self.view(), value)
    }

    /// The newest changes.
    pub(super) fn history(&self) -> History {
        self.replica().history()
    }

    /// The revision that is applied, as it rises.
    pub(super) fn applied_revisions(&self) -> watch::Receiver<u64> {
        self.replica().applied()
    }

    /// This run of this node, once it has an id.
    pub(super) fn boot(&self) -> Option<(u64, u64)> {
        self.replica().boot()
    }

    /// Whether another node answers.
    pub(super) async fn reaches(&self, node_id: u64) -> bool {
        self.replica().reaches(node_id).await
    }

    pub(super) async fn remove_member(&self, node_id: u64) -> Result<(), ApiError> {
        Ok(self.replica().remove_member(node_id, self.timeout()).await?)
    }

    pub(super) async fn promote_member(&self, node_id: u64) -> Result<(), ApiError> {
        Ok(self.replica().promote_member(node_id, self.timeout()).await?)
    }

    pub(super) async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, ApiError> {
        Ok(self.replica().transfer_leader(to, self.timeout()).await?)
    }

    pub(super) async fn trigger_snapshot(&self) -> Result<u64, ApiError> {
        Ok(self.replica().trigger_snapshot(self.timeout()).await?)
    }
}
