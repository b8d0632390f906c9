//! The use cases, one module per job, the same for every front.
//!
//! Requests and answers are structs of the service over the state machine's types; wire types never get here.
//! The helpers of [`parse`] convert texts from the wire to types.

pub mod access;
pub mod acquire;
mod admit;
pub mod audit_changes;
mod authenticate;
pub mod bound;
pub mod caller;
mod clock;
pub mod cluster;
pub mod election;
pub mod health;
pub mod hold;
pub mod lock;
pub mod operation;
pub mod parse;
mod policy;
pub mod register;
pub mod session;
pub mod size;
mod waits;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use batuta_raft::{Answer, Replica};
use batuta_statemachine::{DedupKey, Namespace};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::access::audit::{Audit, Event};
use crate::access::password::{PasswordOptions, ThrottleOptions};
use crate::{ApiError, Hosts};
use admit::Gate;
use policy::Policy;
use waits::Waits;

pub use caller::{Caller, Client};
pub use clock::{Clock, rfc3339};

/// Options of a [`Service`]. They change no outcome, because anything that does is replicated.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// The default timeout of a call; a call that waits for a lock gets `wait_ms` in addition.
    pub timeout: Duration,
    /// How many committed entries a ready node may lag behind in applying.
    pub apply_lag_entries_max: u64,
    /// The most calls that wait for locks on this node at the same time.
    pub waiting_calls_max: u64,
    /// The most open watches on this node.
    pub watchers_max: u64,
    /// The most changes queued for one slow watcher before it lags.
    pub watch_queue_changes_max: usize,
    /// The version shown in the status.
    pub version: String,
    /// The names by which clients may call this node, besides IP addresses and loopback names.
    pub hosts: Hosts,
    /// The audit of this node.
    pub audit: Option<Audit>,
    /// Whether privileged calls are refused while the audit cannot be written.
    pub audit_required: bool,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            apply_lag_entries_max: 128,
            waiting_calls_max: 100_000,
            watchers_max: 20_000,
            watch_queue_changes_max: 4_096,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hosts: Hosts::default(),
            audit: None,
            audit_required: false,
        }
    }
}

/// The context of a call, besides its request. There is no default, so that every call states its caller.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The caller.
    pub caller: Caller,
    /// The namespace of the call.
    pub namespace: Namespace,
    /// The retry key, if any.
    pub dedup: Option<DedupKey>,
    /// The total time that the caller waits for an answer; `None` means [`ServiceOptions::timeout`].
    pub timeout: Option<Duration>,
}

impl CallContext {
    /// The context of an anonymous client's call in the default namespace, without a retry key.
    #[must_use]
    pub fn anonymous() -> Self {
        Client::default().context(Namespace::default())
    }
}

/// The consistency of a read.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema, async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// The read sees every write that was acknowledged before it began. This is the default.
    #[default]
    Linearizable,
    /// The node answers from its own applied state; the revision tells how old it is.
    Stale,
}

/// A view of the core, and the instant at which it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The revision: log index of the last entry that the answer includes.
    pub revision: u64,
    /// The instant, in cluster time and on the wall clock.
    pub clock: Clock,
    /// The answer.
    pub value: T,
}

impl<T> At<T> {
    /// Makes the answer to a command.
    pub(crate) fn of(answer: &Answer, value: T) -> Self {
        let clock = Clock { now_ms: answer.now_ms, wall_ms: answer.wall_ms };
        Self { revision: answer.revision, clock, value }
    }

    /// Replaces the value, at the same instant.
    pub(crate) fn map<U>(self, value: impl FnOnce(T) -> U) -> At<U> {
        At { revision: self.revision, clock: self.clock, value: value(self.value) }
    }
}

/// Part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, P> {
    /// The items, in order.
    pub items: Vec<T>,
    /// The item after which the next page starts; `None` on the last page.
    pub next: Option<P>,
    /// Whether items may be missing because the caller may not see them.
    pub filtered: bool,
}

impl<T, P> Page<T, P> {
    /// Cuts a page of at most `limit` items that fit into one answer. The listing has one item more than the limit if there is a next page;
    /// `place` says where that page starts.
    pub(crate) fn cut(
        mut items: Vec<T>,
        limit: usize,
        weight: impl Fn(&T) -> usize,
        place: impl FnOnce(&T) -> P,
    ) -> Self {
        let more = size::keep(&mut items, limit, size::ANSWER_BYTES, weight);
        let next = items.last().filter(|_| more).map(place);
        Self { items, next, filtered: false }
    }

    /// Converts the items.
    pub(crate) fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U, P> {
        let Self { items, next, filtered } = self;
        Page { items: items.into_iter().map(convert).collect(), next, filtered }
    }
}

/// The use cases. A clone is another handle to the same service.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    gate: Gate,
    options: ServiceOptions,
    waits: Arc<Waits>,
    hub: Arc<watch::Hub>,
    started: Instant,
    draining: CancellationToken,
    background: TaskTracker,
    /// Counts calls, to give each an id.
    calls: AtomicU64,
    policy: Policy,
    logins: access::Logins,
    /// Limits how many tokens that this node does not know are looked up at the same time.
    unknown_tokens: Semaphore,
    /// The runtime for background work, which a drop outside of any task may start.
    runtime: tokio::runtime::Handle,
    /// Ends the task that feeds `waits` and `hub` when the last handle is dropped.
    _feeder: DropGuard,
}

impl Inner {
    /// Records an event, if there is an audit.
    fn record(&self, event: impl FnOnce() -> Event) {
        if let Some(audit) = &self.options.audit {
            audit.record(event());
        }
    }
}

impl Service {
    /// Makes a service over the replica. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(replica: Replica, options: ServiceOptions) -> Self {
        let interest = Arc::new(Notify::new());
        let waits = Arc::new(Waits::new(options.waiting_calls_max, Arc::clone(&interest)));
        let stop = CancellationToken::new();
        let hub = watch::Hub::new(
            replica.history().revision(),
            options.watchers_max,
            options.watch_queue_changes_max,
            interest,
        );
        let hub = Arc::new(hub);
        tokio::spawn(watch::feed(replica.clone(), Arc::clone(&waits), Arc::clone(&hub), stop.clone()));
        let follower = stop.clone();
        let draining = CancellationToken::new();
        let (removal, drain) = (replica.until_removed(), draining.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            removal.await;
            drain.cancel();
        }));
        let view = replica.view();
        let inner = Inner {
            gate: Gate::new(replica),
            options,
            waits,
            hub,
            started: Instant::now(),
            draining,
            background: TaskTracker::new(),
            calls: AtomicU64::new(0),
            policy: Policy::new(&view),
            logins: access::Logins::new(PasswordOptions::default(), ThrottleOptions::default()),
            unknown_tokens: Semaphore::new(authenticate::UNKNOWN_TOKENS_MAX),
            runtime: tokio::runtime::Handle::current(),
            _feeder: stop.drop_guard(),
        };
        let inner = Arc::new(inner);
        tokio::spawn(policy::follow(Arc::downgrade(&inner), follower));
        Self { inner }
    }

    /// Prepares for shutdown: the node is no longer ready, new waits are refused, and waiting calls are answered with
    /// `draining` (a wait with a retry key stays queued, so that it can continue at another node).
    pub fn drain(&self) {
        self.inner.draining.cancel();
    }

    /// Resolves when the service drains and its background work (withdrawing abandoned waits) is done.
    pub async fn drained(&self) {
        self.inner.draining.cancelled().await;
        self.inner.background.close();
        self.inner.background.wait().await;
    }

    /// The error for new and waiting calls while the node drains, or after it was removed from its cluster.
    pub(crate) fn draining_error(&self) -> ApiError {
        self.inner.gate.removed().map_or(ApiError::Draining, ApiError::Propose)
    }

    /// Whether [`Self::drain`] was called, or the node was removed from its cluster.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Resolves when [`Self::drain`] is called, which ends long-lived connections.
    pub async fn draining(&self) {
        self.inner.draining.cancelled().await;
    }

    /// The last revision that this node has applied.
    #[must_use]
    pub fn applied_revision(&self) -> u64 {
        self.inner.gate.applied_revision()
    }

    /// The hosts to which the fronts of this node answer.
    pub(crate) fn hosts(&self) -> &Hosts {
        &self.inner.options.hosts
    }

    /// Makes [`Self::drained`] wait for this work: for connections that the HTTP server no longer counts.
    pub(crate) fn tracked<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.inner.background.track_future(work)
    }
}
