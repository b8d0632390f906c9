//! Use cases of elections. An election is a lock of its own mode: a campaign acquires it, a proclamation replaces the text of its grant,
//! and a resignation releases it.

use batuta_statemachine::lock::{
    By, GrantRef, LockFilter, LockPart, LockRequest, LockView, MetadataSet, Mode, Owner, Release,
    SetMetadata, Wait,
};
use batuta_statemachine::{Code, LockId, Name, Namespace, Permission, Rejection, SessionId, lock as core};

use super::acquire::{ACQUIRE, AcquireRequest, Held, Queued};
use super::lock::{Lock, Released, WAITERS_SHOWN_MAX, lock_part, locks, released};
use super::operation::{Area, Needs, Operation};
use super::{At, CallContext, Consistency, Page, Service, parse};
use crate::ApiError;

/// The operation that stands as a candidate.
pub const CAMPAIGN: Operation = Operation::write(
    "campaign",
    "Stands as a candidate in an election; on request, waits to be elected.",
    Area::Election,
    Needs::Permission(Permission::ElectionCampaign),
    ACQUIRE.codes,
);
/// The operation that replaces the value of the leader.
pub const PROCLAIM: Operation = Operation::write(
    "proclaim",
    "Replaces the value of the leader, under its fencing token.",
    Area::Election,
    Needs::Identity,
    &[Code::ModeMismatch, Code::NotOwner, Code::TokenSuperseded],
);
/// The operation that gives up leadership.
pub const RESIGN: Operation = Operation::write(
    "resign",
    "Gives up leadership, under its fencing token; the next candidate is elected at once.",
    Area::Election,
    Needs::Identity,
    &[Code::ModeMismatch, Code::NotOwner, Code::TokenSuperseded],
);
/// The operation that reads one election.
pub const GET_ELECTION: Operation = Operation::read(
    "get_election",
    "Reads the leader and the candidates of one election.",
    Area::Election,
    Permission::ElectionRead,
    &[],
);
/// The operation that lists elections.
pub const LIST_ELECTIONS: Operation = Operation::read(
    "list_elections",
    "Lists elections in order of their names.",
    Area::Election,
    Permission::ElectionList,
    &[],
);

/// A request to be elected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The election.
    pub name: Name,
    /// The value that the leader publishes once it is elected.
    pub value: String,
    /// The candidate.
    pub owner: Owner,
    /// The TTL of a leadership without a session, in milliseconds; set exactly when the candidate has no session.
    pub ttl_ms: Option<u64>,
    /// How long to stay a candidate, in milliseconds; 0 answers at once.
    pub wait_ms: u64,
    /// How long the election stays closed after an involuntary loss of leadership, in milliseconds.
    pub lock_delay_ms: u64,
}

/// Names a leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The election.
    pub name: Name,
    /// The token under which it is led.
    pub fencing_token: u64,
    /// When given, the leadership must belong to this session.
    pub session: Option<SessionId>,
}

impl From<Leadership> for GrantRef {
    fn from(leadership: Leadership) -> Self {
        let Leadership { name, fencing_token: token, session } = leadership;
        Self { by: By::Leader { name, token }, session }
    }
}

/// An election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// The namespace.
    pub namespace: Namespace,
    /// The name.
    pub name: Name,
    /// The leader as its holder and the first candidates as its waiters; `None` when nobody takes part.
    pub lock: Option<Lock>,
}

impl Election {
    fn view(&self) -> Option<&LockView> {
        self.lock.as_ref().map(|lock| &lock.view)
    }

    /// The leader; `None` when nobody leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Held> {
        self.view()?.holders.first()
    }

    /// The candidates of this part, in the order in which they will be elected.
    #[must_use]
    pub fn candidates(&self) -> &[Wait] {
        self.view().map_or(&[], |view| &view.waiters)
    }

    /// The total number of candidates.
    #[must_use]
    pub fn candidate_count(&self) -> u64 {
        self.view().map_or(0, |view| view.waiter_count)
    }

    /// The last candidate of this part, if there are more.
    #[must_use]
    pub fn next_candidates(&self) -> Option<LockId> {
        self.lock.as_ref()?.next_waiters
    }

    /// The cluster time until which lock-delay keeps the election closed, in milliseconds.
    #[must_use]
    pub fn delayed_until_ms(&self) -> Option<u64> {
        self.view()?.delayed_until_ms
    }
}

impl Service {
    /// Stands as a candidate, and waits up to `wait_ms` to be elected.
    ///
    /// Dropping the returned future withdraws the candidacy, or resigns.
    ///
    /// # Errors
    /// Those of [`Service::acquire`].
    pub async fn campaign(&self, context: &CallContext, request: Campaign) -> Result<At<Held>, ApiError> {
        self.campaign_telling(context, request, |_| ()).await
    }

    /// Like [`Self::campaign`]; `tell` receives the candidate's position when it has to wait.
    ///
    /// # Errors
    /// Those of [`Service::acquire`].
    pub async fn campaign_telling(
        &self,
        context: &CallContext,
        request: Campaign,
        tell: impl FnOnce(Queued) + Send,
    ) -> Result<At<Held>, ApiError> {
        let Campaign { name, value, owner, ttl_ms, wait_ms, lock_delay_ms } = request;
        let permit = self.admit(context, &CAMPAIGN, [&name])?;
        let requests = vec![LockRequest { name, mode: Mode::Election }];
        let (reentrant, metadata) = (false, value);
        let request = AcquireRequest { requests, owner, ttl_ms, wait_ms, lock_delay_ms, reentrant, metadata };
        self.take(&permit, context, request, tell).await.map_err(about_the_value)
    }

    /// Replaces the value of the leader; watchers see the change.
    ///
    /// # Errors
    /// `token_superseded` when the election is not led under the token; otherwise see `docs/errors.md`.
    pub async fn proclaim(
        &self,
        context: &CallContext,
        leadership: Leadership,
        value: String,
    ) -> Result<At<Held>, ApiError> {
        let permit = self.admit(context, &PROCLAIM, [&leadership.name])?;
        let (namespace, grant, metadata) = (context.namespace.clone(), leadership.into(), value);
        let proposed = permit.propose(SetMetadata { namespace, grant, metadata }).await;
        let (answer, MetadataSet { grant }) = proposed.map_err(about_the_value)?;
        Ok(At::of(&answer, grant))
    }

    /// Gives up leadership. The next candidate is elected at once.
    ///
    /// # Errors
    /// `token_superseded` when the election is not led under the token; otherwise see `docs/errors.md`.
    pub async fn resign(
        &self,
        context: &CallContext,
        leadership: Leadership,
    ) -> Result<At<Released>, ApiError> {
        let permit = self.admit(context, &RESIGN, [&leadership.name])?;
        released(&permit, Release { namespace: context.namespace.clone(), grant: leadership.into() }).await
    }

    /// Reads one election, with the candidates after those of a previous answer. A name that is in use as a lock has neither a leader nor
    /// any candidates.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn get_election(
        &self,
        context: &CallContext,
        name: &Name,
        candidates_after: Option<LockId>,
        consistency: Consistency,
    ) -> Result<At<Election>, ApiError> {
        let permit = self.admit(context, &GET_ELECTION, [name])?;
        let state = permit.read(consistency).await?;
        let part = LockPart { waiters_after: candidates_after, ..LockPart::first(1, WAITERS_SHOWN_MAX) };
        let lock = lock_part(&state, &context.namespace, name, &part)
            .filter(|lock| lock.view.kind == core::LockKind::Election);
        let election = Election { namespace: context.namespace.clone(), name: name.clone(), lock };
        Ok(permit.seen(&state, election))
    }

    /// Lists the elections that have a leader or candidates, or that lock-delay keeps closed, in order of their names.
    ///
    /// # Errors
    /// See `docs/errors.md`.
    pub async fn list_elections(
        &self,
        context: &CallContext,
        request: &ListRequest,
        consistency: Consistency,
    ) -> Result<At<Page<Election, Name>>, ApiError> {
        let permit = self.admit(context, &LIST_ELECTIONS, [])?;
        parse::require_visible("prefix", &request.prefix)?;
        let limit = parse::page_limit(request.limit)?;
        let prefix = (!request.prefix.is_empty()).then(|| request.prefix.clone());
        let filter = LockFilter { prefix, elections: Some(true), ..LockFilter::default() };
        let state = permit.read(consistency).await?;
        let filter = LockFilter { scope: permit.scope(&state, Permission::ElectionList), ..filter };
        let after = request.after.as_ref();
        let page = locks(&state, &permit.actor(), &context.namespace, &filter, after, limit);
        Ok(permit.seen(&state, page.map(Election::from)))
    }
}

/// Lists elections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only names that start with this prefix; empty means all.
    pub prefix: String,
    /// Page size; `None` means 100.
    pub limit: Option<u32>,
    /// The page begins after this name.
    pub after: Option<Name>,
}

impl From<Lock> for Election {
    fn from(lock: Lock) -> Self {
        Self { namespace: lock.view.namespace.clone(), name: lock.view.name.clone(), lock: Some(lock) }
    }
}

/// Names the value of a candidate in an error; the state machine knows it as the text of a grant.
fn about_the_value(error: ApiError) -> ApiError {
    match error {
        ApiError::Rejected { rejection: Rejection::InvalidArgument { field, problem }, revision }
            if field == "metadata" =>
        {
            let rejection = Rejection::InvalidArgument { field: "value".into(), problem };
            ApiError::Rejected { rejection, revision }
        }
        other => other,
    }
}
