//! The use cases, one module per job, the same for every front.
//!
//! Requests and answers are the service's own structs over the state machine's types; wire types never get here.
//! Texts from the wire are turned into types by the helpers of [`parse`].

pub mod acquire;
mod admit;
pub mod bound;
mod clock;
pub mod cluster;
pub mod health;
pub mod hold;
pub mod lock;
pub mod operation;
pub mod parse;
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
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::ApiError;
use admit::Gate;
use waits::Waits;

pub use admit::Caller;
pub use clock::{Clock, rfc3339};

/// How a [`Service`] behaves. Nothing here changes an outcome: what does is replicated.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// How long a call may take when its caller does not say; a call that waits for a lock gets `wait_ms` on top.
    pub timeout: Duration,
    /// How many committed entries a ready node may still have to apply.
    pub apply_lag_entries_max: u64,
    /// Calls that may wait for locks on this node at the same time.
    pub waiting_calls_max: u64,
    /// Watches open on this node at the same time.
    pub watchers_max: u64,
    /// Changes that may wait for one slow watcher before it is told that it lags.
    pub watch_queue_changes_max: usize,
    /// The version that the status shows.
    pub version: String,
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
        }
    }
}

/// What every call carries beside its request. There is no default: whoever makes a call says who calls.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Who calls.
    pub caller: Caller,
    /// Where the call works.
    pub namespace: Namespace,
    /// How a retry of the call is recognised.
    pub dedup: Option<DedupKey>,
    /// How long the caller waits for an answer, everything included; `None` = [`ServiceOptions::timeout`].
    pub timeout: Option<Duration>,
}

impl CallContext {
    /// A call of a client in a namespace, without a retry key.
    #[must_use]
    pub fn in_namespace(namespace: Namespace) -> Self {
        Self { caller: Caller::Client, namespace, dedup: None, timeout: None }
    }

    /// A call of a client in the default namespace. Calls about the cluster itself, which belong to none, are made like this too.
    #[must_use]
    pub fn in_default_namespace() -> Self {
        Self::in_namespace(Namespace::default())
    }
}

/// How current a read must be.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema, async_graphql::Enum,
)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Sees every write that was acknowledged before the read began. The default.
    #[default]
    Linearizable,
    /// Answers from the node's own applied state; the revision says how old it is.
    Stale,
}

/// A view of the core and the instant it is true at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// Log index of the last entry the answer has seen.
    pub revision: u64,
    /// The instant, in cluster time and on the wall clock.
    pub clock: Clock,
    /// The answer.
    pub value: T,
}

impl<T> At<T> {
    /// The effect of a command.
    pub(crate) fn of(answer: &Answer, value: T) -> Self {
        let clock = Clock { now_ms: answer.now_ms, wall_ms: answer.wall_ms };
        Self { revision: answer.revision, clock, value }
    }

    /// Another value of the same instant.
    pub(crate) fn map<U>(self, value: impl FnOnce(T) -> U) -> At<U> {
        At { revision: self.revision, clock: self.clock, value: value(self.value) }
    }
}

/// Part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, P> {
    /// The items, in order.
    pub items: Vec<T>,
    /// What the next page begins after; `None` on the last page.
    pub next: Option<P>,
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
    /// Calls so far that may have to be told apart.
    calls: AtomicU64,
    /// Where background work runs: it may be started by a drop outside of any task.
    runtime: tokio::runtime::Handle,
    /// Ends the task that feeds `waits` and `hub` when the last handle goes.
    _feeder: DropGuard,
}

impl Service {
    /// A service over the replica. Must be called inside a Tokio runtime.
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
        let draining = CancellationToken::new();
        let (removal, drain) = (replica.until_removed(), draining.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            removal.await;
            drain.cancel();
        }));
        let inner = Inner {
            gate: Gate::new(replica),
            options,
            waits,
            hub,
            started: Instant::now(),
            draining,
            background: TaskTracker::new(),
            calls: AtomicU64::new(0),
            runtime: tokio::runtime::Handle::current(),
            _feeder: stop.drop_guard(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Prepares for shutdown: readiness turns false, new waits are refused, calls that wait are answered with
    /// `draining` (a wait with a retry key stays queued, so that it can go on at another node).
    pub fn drain(&self) {
        self.inner.draining.cancel();
    }

    /// Returns when the service drains and everything it does in the background (withdrawing abandoned waits) is done.
    pub async fn drained(&self) {
        self.inner.draining.cancelled().await;
        self.inner.background.close();
        self.inner.background.wait().await;
    }

    /// Why nothing may begin here and whatever waits has to end: the node drains, or was removed from its cluster.
    pub(crate) fn draining_error(&self) -> ApiError {
        self.inner.gate.removed().map_or(ApiError::Draining, ApiError::Propose)
    }

    /// Whether [`Self::drain`] was called, or the node was removed from its cluster.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Resolves when [`Self::drain`] is called: long-lived connections end then.
    pub async fn draining(&self) {
        self.inner.draining.cancelled().await;
    }

    /// The last revision this node applied.
    #[must_use]
    pub fn applied_revision(&self) -> u64 {
        self.inner.gate.applied_revision()
    }

    /// The same work, waited for by [`Self::drained`]: for connections that the HTTP server no longer counts.
    pub(crate) fn tracked<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.inner.background.track_future(work)
    }
}
