//! Admits calls: every call of every front passes here, after it is decoded and before it does anything.
//!
//! Invariant: the replica is reached only through a [`Permit`]. [`Service::admit`] gives a permit to a caller, or to the
//! node itself for named work. A use case without a permit cannot read, propose or watch, so it does not compile.
//! Everything that concerns all calls (access, rates, metrics, audit) belongs here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use batuta_raft::{Answer, History, KeptAlive, ProposeError, Replica, Status, codec};
use batuta_statemachine::{Ask, DedupKey, Name, SessionId, State};
use tokio::sync::watch;
use tracing::{Instrument as _, Span};

use super::operation::{Area, Operation};
use super::{At, CallContext, Clock, Consistency, Inner, Service};
use crate::ApiError;

/// Holds the replica, so that only permits reach it.
pub(super) struct Gate {
    replica: Replica,
}

impl Gate {
    pub(super) fn new(replica: Replica) -> Self {
        Self { replica }
    }

    /// The node's knowledge of itself and of its cluster. Readiness, probes and redirects need it without a call.
    pub(super) fn status(&self) -> Status {
        self.replica.status()
    }

    /// The error of all calls once the node was removed from its cluster.
    pub(super) fn removed(&self) -> Option<ProposeError> {
        self.replica.removed()
    }

    /// The last revision this node applied.
    pub(super) fn applied_revision(&self) -> u64 {
        self.replica.view().revision()
    }
}

/// The maker of a call.
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
    /// The operation and its start, if spans are recorded; otherwise the clock is not read.
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
    /// `node_removed` when the node is no longer a member, unless the call is about the cluster itself.
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

    /// Makes a permit for the node's own work, such as withdrawing an abandoned wait or following a lease.
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

    /// Makes a permit for the node's own work, which has no caller and no retry key.
    pub(super) fn of_node(inner: &Arc<Inner>) -> Self {
        Self::of(Arc::clone(inner), None, None, None, Span::none())
    }

    fn replica(&self) -> &Replica {
        &self.call.inner.gate.replica
    }

    /// Whether the call has a retry key.
    pub(super) fn is_keyed(&self) -> bool {
        self.call.dedup.is_some()
    }

    /// The timeout of the call.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout_or(self.call.inner.options.timeout)
    }

    /// The timeout of the call, or `default` if the caller set none.
    pub(super) fn timeout_or(&self, default: Duration) -> Duration {
        self.call.timeout.unwrap_or(default)
    }

    /// Proposes a command and returns its answer; a refusal is an error.
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
        // The reply belongs to another command, which is a defect of this build.
        let reply = C::Reply::try_from(reply)
            .map_err(|other| ApiError::Internal(format!("unexpected reply {other:?}")))?;
        Ok((answer, reply))
    }

    /// Renews sessions.
    pub(super) async fn keep_alive(&self, sessions: &[SessionId]) -> Result<KeptAlive, ApiError> {
        Ok(self.replica().keep_alive(sessions, self.timeout()).await?)
    }

    /// Reads the state, with the consistency that the caller requests.
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

    /// Returns the state that this node has applied.
    pub(super) fn view(&self) -> Arc<State> {
        self.replica().view()
    }

    /// The current cluster time and wall clock for a state that is read now.
    pub(super) fn clock(&self, state: &State) -> Clock {
        Clock::seen(state, self.replica().now_ms())
    }

    /// Wraps a value of a state with the state's revision and the current clock.
    pub(super) fn seen<T>(&self, state: &State, value: T) -> At<T> {
        At { revision: state.revision(), clock: self.clock(state), value }
    }

    /// Wraps a value without a revision of its own with the newest applied revision.
    pub(super) fn applied<T>(&self, value: T) -> At<T> {
        self.seen(&self.view(), value)
    }

    /// The newest changes.
    pub(super) fn history(&self) -> History {
        self.replica().history()
    }

    /// The applied revision, as it rises.
    pub(super) fn applied_revisions(&self) -> watch::Receiver<u64> {
        self.replica().applied()
    }

    /// The node id and boot id of this process, once the node has an id.
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
