//! Admits calls: every call of every front passes here, after it is decoded and before it does anything.
//!
//! Invariant: the replica is reached only through a [`Permit`]. [`Service::admit`] gives a permit to a caller, or to the
//! node itself for named work. A use case without a permit cannot read, propose or watch, so it does not compile.
//! Everything that concerns all calls (access, rates, metrics, audit) belongs here. A permit belongs to its operation: what the operation needs
//! was decided for it, a read is decided again on the state that answers it, and a permit of a read cannot propose (decision 0035).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use batuta_raft::{Answer, History, KeptAlive, ProposeError, Replica, Status, codec};
use batuta_statemachine::access::{self, Mode, Scope};
use batuta_statemachine::{
    Actor, Ask, DedupKey, Name, Namespace, Permission, Principal, Rejection, SessionId, State,
};
use tokio::sync::watch;
use tracing::{Instrument as _, Span};

use super::access::NO_CREDENTIAL;
use super::caller::Client;
use super::operation::{Area, Class, Needs, Operation};
use super::{At, CallContext, Clock, Consistency, Inner, Service, authenticate};
use crate::ApiError;
use crate::access::audit::{Decision, Event, Kind};

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

    /// The current cluster time and wall clock for a state that is read now.
    fn clock(&self, state: &State) -> Clock {
        Clock::seen(state, self.replica.now_ms())
    }

    /// The state that this node has applied, with the current clock.
    pub(super) fn seen(&self) -> (Arc<State>, Clock) {
        let state = self.replica.view();
        let clock = self.clock(&state);
        (state, clock)
    }

    /// The last revision this node applied.
    pub(super) fn applied_revision(&self) -> u64 {
        self.replica.view().revision()
    }
}

/// The right to make one call. Clones belong to the same call, which ends with the last of them.
#[derive(Clone)]
pub(super) struct Permit {
    call: Arc<Call>,
}

/// One call, from its admission to its end.
struct Call {
    inner: Arc<Inner>,
    /// What the decision depends on; `None` for the node's own work.
    asked: Option<Asked>,
    /// Whether the call must be decided on the newest state before it does anything: what this node had applied refuses it.
    in_doubt: AtomicBool,
    dedup: Option<DedupKey>,
    timeout: Option<Duration>,
    span: Span,
    /// The operation and its start, if spans are recorded; otherwise the clock is not read.
    traced: Option<(&'static Operation, Instant)>,
}

/// Who calls, and for what. A read is decided on the state that answers it, so a call keeps this until then.
struct Asked {
    client: Client,
    operation: &'static Operation,
    namespace: Namespace,
    names: Box<[Name]>,
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
    /// Admits a call of an operation on these names. While access is observed or enforced, the caller needs what the operation
    /// [needs](Operation::needs); what it does is decided again where it takes effect: in the log, or on the state that answers.
    ///
    /// # Errors
    /// `unauthenticated`, `permission_denied` and their kin; `node_removed` when the node is no longer a member, unless the call is about the
    /// cluster itself; `audit_unavailable`.
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
        let names: Box<[Name]> = names.into_iter().cloned().collect();
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
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            span.record("names", tracing::field::debug(names));
        }
        let asked = context.caller.client().map(|client| Asked {
            client: client.clone(),
            operation,
            namespace: context.namespace.clone(),
            names,
        });
        let mut in_doubt = false;
        if let Some(asked) = &asked {
            if operation.area == Area::Access || self.inner.policy.is_on() {
                let state = self.inner.gate.replica.view();
                in_doubt = asked.is_in_doubt(&self.inner, &state)?;
                asked.observe(&self.inner, &state);
            }
            if !in_doubt {
                asked.note(&self.inner)?;
            }
        }
        let (dedup, timeout) = (context.dedup.clone(), context.timeout);
        let traced =
            Some(operation).filter(|_| !span.is_disabled()).map(|operation| (operation, Instant::now()));
        let (inner, in_doubt) = (Arc::clone(&self.inner), AtomicBool::new(in_doubt));
        Ok(Permit { call: Arc::new(Call { inner, asked, in_doubt, dedup, timeout, span, traced }) })
    }

    /// Makes a permit for the node's own work, such as withdrawing an abandoned wait or following a lease.
    pub(super) fn of_node(&self) -> Permit {
        Permit::of_node(&self.inner)
    }
}

impl Asked {
    /// Decides on what this node has applied, which may not have yet what gives the right. So a refusal is only a doubt, and the newest state
    /// decides; an anonymous client is refused at once, because a flood of its calls must not cost a read of that state each.
    fn is_in_doubt(&self, inner: &Inner, state: &State) -> Result<bool, ApiError> {
        match self.decided(state) {
            Ok(()) => Ok(false),
            Err(refusal) if self.client.identity().is_none() => Err(self.refuse(inner, state, refusal)),
            Err(_) => Ok(true),
        }
    }

    /// Decides on a state whether the call may be made. What is refused goes into the audit.
    fn decide(&self, inner: &Inner, state: &State) -> Result<(), ApiError> {
        self.decided(state).map_err(|refusal| self.refuse(inner, state, refusal))
    }

    fn decided(&self, state: &State) -> Result<(), access::Refusal> {
        let actor = self.client.actor();
        match self.operation.needs {
            Needs::Nothing => Ok(()),
            Needs::Identity => self.decide_identity(state),
            Needs::Permission(permission) if self.names.is_empty() => {
                state.authorise(&actor, permission, &self.namespace, None)
            }
            Needs::Permission(permission) => self
                .names
                .iter()
                .try_for_each(|name| state.authorise(&actor, permission, &self.namespace, Some(name))),
        }
    }

    /// Checks that a client that needs no permission has proved who it is.
    fn decide_identity(&self, state: &State) -> Result<(), access::Refusal> {
        let enforced = state.access_mode() == Mode::Enforce
            || (self.operation.area == Area::Access && state.access_guarded());
        if !enforced {
            return Ok(());
        }
        if self.client.identity().is_none() {
            return Err(access::Refusal::PermissionDenied {
                principal: Principal::Anonymous,
                permission: Permission::AccessRead,
                namespace: self.namespace.clone(),
                name: None,
            });
        }
        state.check_identity(&self.client.actor())
    }

    /// Writes the call into the audit, if the audit records such calls.
    fn note(&self, inner: &Inner) -> Result<(), ApiError> {
        let kind = match (self.operation.needs.permission(), self.operation.class) {
            (Some(permission), _) if permission.is_privileged() => Kind::Privileged,
            (_, Class::Write | Class::Admin) => Kind::Write,
            (_, Class::Read | Class::Watch) => Kind::Read,
        };
        let Some(audit) = inner.options.audit.as_ref().filter(|audit| audit.records(kind)) else {
            return Ok(());
        };
        if kind == Kind::Privileged && inner.options.audit_required && audit.health().failure.is_some() {
            let problem =
                "the audit of this node cannot be written, and privileged calls are refused without it";
            return Err(ApiError::AuditUnavailable { problem });
        }
        audit.record(Event { decision: Some(Decision::Allowed), ..self.event(kind) });
        Ok(())
    }

    /// Counts what would be refused if access were enforced.
    fn observe(&self, inner: &Inner, state: &State) {
        if state.access_mode() != Mode::Observe {
            return;
        }
        let Some(permission) = self.operation.needs.permission() else { return };
        let actor = self.client.actor();
        let names = self.names.iter().map(Some).chain(self.names.is_empty().then_some(None));
        for name in names {
            if state.would_authorise(&actor, permission, &self.namespace, name).is_err() {
                let principal = self.client.principal().to_string();
                inner.policy.report.count(principal, permission, &self.namespace, name);
                inner.record(|| Event { decision: Some(Decision::WouldRefuse), ..self.event(Kind::Denied) });
            }
        }
    }

    /// Turns a refusal of a decision into the error that this client understands.
    fn refuse(&self, inner: &Inner, state: &State, refusal: access::Refusal) -> ApiError {
        let error = self.told(inner, state, refusal);
        inner.record(|| {
            let (decision, why) = (Some(Decision::Refused), Some(error.code().as_str().to_owned()));
            Event { decision, why, revision: Some(state.revision()), ..self.event(Kind::Denied) }
        });
        error
    }

    fn told(&self, inner: &Inner, state: &State, refusal: access::Refusal) -> ApiError {
        let Some(identity) = self.client.identity() else {
            return match refusal {
                access::Refusal::PermissionDenied { .. } | access::Refusal::EscalationRefused { .. } => {
                    ApiError::Unauthenticated { problem: NO_CREDENTIAL }
                }
                // Of what the call names: the user of a login, a bootstrap token.
                refusal => ApiError::rejected(refusal.into(), state.revision()),
            };
        };
        // A credential that has ended is forgotten, and then looks like one that was revoked.
        if let access::Refusal::TokenRevoked { .. } = refusal
            && let Some(lost) = authenticate::lost(state, inner.gate.clock(state), identity)
        {
            return lost;
        }
        ApiError::rejected(refusal.into(), state.revision())
    }

    /// The call in the audit.
    fn event(&self, kind: Kind) -> Event {
        Event {
            principal: Some(self.client.principal().to_string()),
            credential: self.client.identity().map(|identity| identity.credential),
            ip: self.client.ip(),
            front: Some(self.client.front()),
            permission: self.operation.needs.permission(),
            namespace: Some(self.namespace.to_string()),
            names: self.names.iter().map(ToString::to_string).collect(),
            ..Event::new(kind)
        }
    }
}

impl Permit {
    /// Makes a permit for the node's own work, which has no caller and no retry key.
    pub(super) fn of_node(inner: &Arc<Inner>) -> Self {
        let call = Call {
            inner: Arc::clone(inner),
            asked: None,
            in_doubt: AtomicBool::new(false),
            dedup: None,
            timeout: None,
            span: Span::none(),
            traced: None,
        };
        Self { call: Arc::new(call) }
    }

    /// Who calls, for the state machine.
    pub(super) fn actor(&self) -> Actor {
        self.call.asked.as_ref().map_or(Actor::Node, |asked| asked.client.actor())
    }

    /// The client; `None` when the node itself calls.
    pub(super) fn client(&self) -> Option<&Client> {
        self.call.asked.as_ref().map(|asked| &asked.client)
    }

    /// Decides the call on the state that answers it. A call that was in doubt goes into the audit once it is allowed.
    fn decide(&self, state: &State) -> Result<(), ApiError> {
        let Call { inner, asked: Some(asked), in_doubt, .. } = &*self.call else { return Ok(()) };
        asked.decide(inner, state)?;
        if in_doubt.load(Ordering::Relaxed) {
            asked.note(inner)?;
            in_doubt.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Decides a call that is in doubt on the newest state.
    async fn settle(&self) -> Result<(), ApiError> {
        if self.call.in_doubt.load(Ordering::Relaxed) {
            self.read(Consistency::Linearizable).await?;
        }
        Ok(())
    }

    /// Requires a permission that depends on what the call names, for this name or without one.
    pub(super) fn require(
        &self,
        state: &State,
        permission: Permission,
        name: Option<&Name>,
    ) -> Result<(), ApiError> {
        let Some(asked) = &self.call.asked else { return Ok(()) };
        let decided = state.authorise(&asked.client.actor(), permission, &asked.namespace, name);
        decided.map_err(|refusal| asked.refuse(&self.call.inner, state, refusal))
    }

    /// The names for which the caller has a permission in the namespace of the call.
    pub(super) fn scope(&self, state: &State, permission: Permission) -> Scope {
        self.call
            .asked
            .as_ref()
            .map_or(Scope::All, |asked| state.scope(&asked.client.actor(), permission, &asked.namespace))
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
        self.require_class("propose", |class| matches!(class, Class::Write | Class::Admin))?;
        self.settle().await?;
        let request = codec::request(self.call.dedup.clone(), command).by(self.actor());
        let proposal = self.replica().propose(request, self.timeout());
        let proposed = proposal.instrument(self.call.span.clone()).await;
        let answer = match proposed {
            Err(ProposeError::OutcomeUnknown { waited_ms }) => {
                let keyed = self.is_keyed();
                return Err(ApiError::OutcomeUnknown { waited_ms, keyed, lock_id: None });
            }
            other => other?,
        };
        let reply = answer.outcome.clone().map_err(|rejection| self.rejected(rejection, answer.revision))?;
        // The reply belongs to another command, which is a defect of this build.
        let reply = C::Reply::try_from(reply)
            .map_err(|other| ApiError::Internal(format!("unexpected reply {other:?}")))?;
        Ok((answer, reply))
    }

    /// Turns the refusal of a command into an error. One of access goes into the audit.
    fn rejected(&self, rejection: Rejection, revision: u64) -> ApiError {
        match (rejection, &self.call.asked) {
            (Rejection::Access(refusal), Some(asked)) if is_of_caller(&refusal) => {
                asked.refuse(&self.call.inner, &self.replica().view(), refusal)
            }
            (rejection, _) => ApiError::rejected(rejection, revision),
        }
    }

    /// Refuses what the operation of the call says that it does not do, which would be a defect of this build.
    fn require_class(&self, what: &str, fits: impl FnOnce(Class) -> bool) -> Result<(), ApiError> {
        let operation = self.call.asked.as_ref().map(|asked| asked.operation);
        match operation.filter(|operation| !fits(operation.class)) {
            Some(operation) => Err(ApiError::Internal(format!("{} may not {what}", operation.name))),
            None => Ok(()),
        }
    }

    /// Renews sessions.
    pub(super) async fn keep_alive(&self, sessions: &[SessionId]) -> Result<KeptAlive, ApiError> {
        Ok(self.replica().keep_alive(sessions, self.timeout()).await?)
    }

    /// Reads the state, with the consistency that the caller requests, and decides the call on it: what is answered after an acknowledged
    /// revocation was allowed after it.
    pub(super) async fn read(&self, consistency: Consistency) -> Result<Arc<State>, ApiError> {
        let state = match consistency {
            Consistency::Linearizable => {
                let read = self.replica().read(self.timeout());
                read.instrument(self.call.span.clone()).await?
            }
            Consistency::Stale => match self.replica().removed() {
                Some(removed) => return Err(removed.into()),
                None => self.view(),
            },
        };
        self.decide(&state)?;
        Ok(state)
    }

    /// Returns the state that this node has applied, on which nothing was decided.
    pub(super) fn view(&self) -> Arc<State> {
        self.replica().view()
    }

    /// Returns the state that this node has applied, once the call is decided: on it, or on the newest state when it refuses the call.
    pub(super) async fn look(&self) -> Result<Arc<State>, ApiError> {
        self.settle().await?;
        let state = self.view();
        self.decide(&state)?;
        Ok(state)
    }

    /// The current cluster time and wall clock for a state that is read now.
    pub(super) fn clock(&self, state: &State) -> Clock {
        self.call.inner.gate.clock(state)
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

/// Whether a refusal is about what the caller may do, and not about what it named.
fn is_of_caller(refusal: &access::Refusal) -> bool {
    use access::Refusal;
    match refusal {
        Refusal::PermissionDenied { .. }
        | Refusal::PrincipalSuspended { .. }
        | Refusal::TokenExpired { .. }
        | Refusal::TokenRevoked { .. }
        | Refusal::EscalationRefused { .. } => true,
        Refusal::LastAdmin
        | Refusal::PrincipalNotFound { .. }
        | Refusal::GroupNotFound { .. }
        | Refusal::RoleNotFound { .. }
        | Refusal::BindingNotFound { .. }
        | Refusal::TokenNotFound { .. }
        | Refusal::PasswordChanged { .. }
        | Refusal::AlreadyBootstrapped { .. }
        | Refusal::BuiltInRole { .. } => false,
    }
}
