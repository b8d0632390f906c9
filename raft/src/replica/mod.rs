//! One node's replica of the cluster's state: the handle that everything above this crate uses.

mod birth;
mod bootstrap;
mod clock;
mod disk_handover;
mod disk_watch;
mod error;
mod fast_failover;
mod hello;
mod identity;
mod leader_contact;
mod level;
mod linger;
mod lost_nodes;
mod membership;
mod options;
mod proposer;
mod reads;
mod recall;
mod renewals;
mod route;
mod standing;
mod standstill;
mod start;
mod status;
mod ticks;

use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use batuta_proto::internal as wire;
use batuta_proto::internal::forward_request::Call;
use batuta_proto::internal::forward_response::Result as WireAnswer;
use batuta_statemachine::{Outcome, Request, SessionId, State};
use prost::Message as _;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::codec::{self, EncodedRequests};
use crate::disk::Disk;
use crate::history::History;
use crate::integrity::Integrity;
use crate::level::Levels;
use crate::machine::Published;
use crate::metrics::Metrics;
use crate::peer::{AddressBook, Commits, Forwarder};
use crate::platform::Platform;
use crate::snapshot::SnapshotStore;
use crate::types::{AppliedEntry, Raft};
pub(crate) use clock::ClusterClock;
pub(crate) use disk_watch::DiskWatch;
use leader_contact::LeaderContact;
pub use proposer::KeptAlive;
use proposer::Proposer;
use reads::Reads;
use standing::Standing;
use standstill::Standstill;

pub(crate) use error::Failed;
pub use error::{ProposeError, StartError};
pub(crate) use fast_failover::{LeaderStream, lost};
pub(crate) use hello::{greet, introduction, warn_of_rival};
pub(crate) use identity::{Identity, Origin};
pub(crate) use membership::{admit, promote, remove, transfer};
pub use options::Options;
pub(crate) use route::Leader;
pub(crate) use start::become_member;
pub use status::{MemberStatus, Role, Status};

/// The answer to a request, with the log position at which it is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Log index of the entry that had the effect; for a retry under a known key, that of the first
    /// execution.
    pub revision: u64,
    /// Cluster time of the answer, milliseconds.
    pub now_ms: u64,
    /// Wall clock time of the answer, milliseconds since 1970, for people.
    pub wall_ms: u64,
    /// The state machine's answer.
    pub outcome: Outcome,
}

/// The parts that exist once the node is a member.
pub(crate) struct Core {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) proposer: Proposer,
    /// Read indexes that this node gives out as leader.
    pub(crate) leader_reads: Reads,
    /// Read indexes for this node's own reads, from the current leader.
    reads: Reads,
    pub(crate) forwarder: Arc<Forwarder>,
    /// Commit notifications not sent to the followers yet.
    pub(crate) commits: Commits,
    /// Checks that the logs of this node and of the others have not lost or changed entries.
    pub(crate) integrity: Arc<Integrity>,
    pub(crate) metrics: Metrics,
    book: Arc<AddressBook>,
    /// Serialises membership changes: each builds on the previous one.
    pub(crate) changing_members: Mutex<()>,
}

pub(crate) struct Inner {
    pub(crate) options: options::Settled,
    pub(crate) published: Arc<Published>,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) disk: Arc<DiskWatch>,
    /// When a leader last sent something.
    pub(crate) leader_heard: Arc<LeaderContact>,
    pub(crate) standstill: Standstill,
    /// Cluster time as far as this node knows.
    pub(crate) clock: Arc<ClusterClock>,
    /// The addresses of the members.
    pub(crate) book: Arc<AddressBook>,
    pub(crate) standing: Standing,
    /// The levels of this process and of the other members'.
    pub(crate) levels: Arc<Levels>,
    /// Drawn at random at every start of the process: tells two processes of the same node apart. Never 0.
    pub(crate) boot_id: u64,
    /// Notified when a peer's stream of calls to this node ended: its process may be gone.
    pub(crate) peer_left: Notify,
    core: OnceLock<Core>,
    core_set: watch::Sender<bool>,
    /// Held while this node takes an identity, so that it takes only one.
    pub(crate) becoming: Mutex<Option<start::Prepared>>,
    fatal: watch::Sender<Option<String>>,
    pub(crate) stop: CancellationToken,
    pub(crate) entries: EntryStreams,
    pub(crate) tasks: TaskTracker,
    /// The callers' runtime; consensus may have its own.
    callers: Handle,
    own_thread: Option<start::OwnThread>,
    /// The data directory.
    pub(crate) dir: Arc<dyn Disk>,
    pub(crate) platform: Arc<dyn Platform>,
    _lock: Box<dyn Any + Send + Sync>,
}

/// The streams over which leaders send entries. They end before consensus does, since consensus could no
/// longer answer them.
#[derive(Default)]
pub(crate) struct EntryStreams {
    /// Cancelled when no more entries are accepted.
    pub(crate) ending: CancellationToken,
    /// Each stream holds a token until everything in it is answered.
    pub(crate) open: TaskTracker,
}

/// How long answering a leader's last entries may take when this node stops.
const ENTRIES_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait for a requested snapshot before requesting it again.
const SNAPSHOT_AGAIN: Duration = Duration::from_millis(200);

/// One node's replica. Clones share it.
#[derive(Clone)]
pub struct Replica {
    pub(crate) inner: Arc<Inner>,
}

impl Inner {
    pub(crate) fn core(&self) -> Option<&Core> {
        self.core.get()
    }

    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(%reason, "this node cannot continue");
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                *fatal = Some(reason);
            }
            first
        });
    }
}

fn into_answers(applied: AppliedEntry) -> Vec<Answer> {
    let AppliedEntry { now_ms, wall_ms, outcomes, revisions, .. } = applied;
    let answer = |(outcome, revision)| Answer { revision, now_ms, wall_ms, outcome };
    outcomes.into_iter().zip(revisions).map(answer).collect()
}

fn understood(answer: WireAnswer) -> Result<WireAnswer, Failed> {
    match answer {
        WireAnswer::Refused(refused) => Err(Failed::from_wire(refused)),
        other => Ok(other),
    }
}

fn misunderstood(answer: &WireAnswer) -> Failed {
    Failed::Final(ProposeError::Fatal(format!("the leader's answer does not fit the request: {answer:?}")))
}

fn proposed(answer: WireAnswer) -> Result<AppliedEntry, Failed> {
    match understood(answer)? {
        WireAnswer::Proposed(proposed) => {
            let decode = |bytes| codec::outcome(wire::Outcome::decode(bytes)?);
            let outcomes = proposed.outcomes.into_iter().map(decode).collect::<Result<_, _>>();
            // The entry was applied; this node only cannot decode its outcome.
            let outcomes = outcomes.map_err(|error| Failed::Final(ProposeError::Fatal(error.to_string())))?;
            let outcomes: Vec<Outcome> = outcomes;
            let wire::ProposedAnswer { revision, now_ms, wall_ms, mut outcome_revisions, .. } = proposed;
            outcome_revisions.resize(outcomes.len(), revision);
            Ok(AppliedEntry { revision, now_ms, wall_ms, outcomes, revisions: outcome_revisions })
        }
        other => Err(misunderstood(&other)),
    }
}

/// Decodes the answer to a keep-alive of this many sessions.
fn kept(answer: WireAnswer, sessions: usize) -> Result<KeptAlive, Failed> {
    match understood(answer)? {
        WireAnswer::KeptAlive(wire::KeptAlives { revision, now_ms, deadlines_ms })
            if deadlines_ms.len() == sessions =>
        {
            let some = |deadline_ms| (deadline_ms > 0).then_some(deadline_ms);
            Ok(KeptAlive { revision, now_ms, deadlines_ms: deadlines_ms.into_iter().map(some).collect() })
        }
        other => Err(misunderstood(&other)),
    }
}

fn done(answer: WireAnswer) -> Result<(), Failed> {
    match understood(answer)? {
        WireAnswer::Done(_) => Ok(()),
        other => Err(misunderstood(&other)),
    }
}

fn transferred(answer: WireAnswer) -> Result<u64, Failed> {
    match understood(answer)? {
        WireAnswer::Transferred(node_id) => Ok(node_id),
        other => Err(misunderstood(&other)),
    }
}

impl Replica {
    /// Proposes a request from any node and waits until it is applied.
    ///
    /// # Errors
    /// [`ProposeError`]; only after [`ProposeError::OutcomeUnknown`] is it unknown whether the request was
    /// applied.
    pub async fn propose(&self, request: Request, timeout: Duration) -> Result<Answer, ProposeError> {
        let mut answers = self.propose_many(vec![request], timeout).await?;
        answers.pop().ok_or_else(|| ProposeError::Fatal("an entry without an outcome".to_owned()))
    }

    /// Proposes requests as one entry: they are applied together, in order, with nothing between them.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub async fn propose_many(
        &self,
        requests: Vec<Request>,
        timeout: Duration,
    ) -> Result<Vec<Answer>, ProposeError> {
        self.check_level(&requests)?;
        // Without a key a second copy would take effect a second time.
        let repeatable = requests.iter().all(|request| request.dedup.is_some());
        let encoded = EncodedRequests::new(requests);
        let call = || Call::Propose(wire::Proposal { requests: encoded.bytes.clone() });
        let local = |core: &Core| {
            let (proposer, encoded) = (core.proposer.clone(), encoded.clone());
            async move { proposer.propose(encoded).await }
        };
        self.on_leader(timeout, repeatable, local, call, proposed).await.map(into_answers)
    }

    /// Renews sessions, all in one entry, which they share with other requests. Pass a few hundred at most,
    /// or the entry delays the entries after it. Safe to repeat.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub async fn keep_alive(
        &self,
        sessions: &[SessionId],
        timeout: Duration,
    ) -> Result<KeptAlive, ProposeError> {
        let local = |core: &Core| {
            let (proposer, sessions) = (core.proposer.clone(), sessions.to_vec());
            async move { proposer.keep_alive(sessions).await }
        };
        let call = || {
            let sessions = sessions.iter().map(|session| codec::position_to_wire(session.0)).collect();
            Call::KeepAlive(wire::KeepAlives { sessions })
        };
        self.on_leader(timeout, true, local, call, |answer| kept(answer, sessions.len())).await
    }

    /// Returns a state that contains everything acknowledged by any node before the call.
    ///
    /// # Errors
    /// [`ProposeError::NoLeader`] when no leader confirms in time that it still leads, or none can.
    pub async fn read(&self, timeout: Duration) -> Result<Arc<State>, ProposeError> {
        if let Some(removed) = self.removed() {
            return Err(removed);
        }
        tokio::select! {
            biased;
            read = self.read_until_done() => read,
            given_up = self.read_given_up(tokio::time::Instant::now(), timeout) => Err(given_up),
        }
    }

    async fn read_until_done(&self) -> Result<Arc<State>, ProposeError> {
        loop {
            let before = self.leadership();
            let index = match self.member().await?.reads.index().await {
                Ok(index) => index,
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::NotLeader | Failed::NoMajority | Failed::Unknown) => {
                    self.wait_for_change(before).await;
                    continue;
                }
            };
            let mut applied = self.inner.published.applied();
            if applied.wait_for(|applied| *applied >= index).await.is_err() {
                return Err(ProposeError::ShuttingDown);
            }
            return Ok(self.view());
        }
    }

    /// The state as this node has it. It may lag behind the leader.
    #[must_use]
    pub fn view(&self) -> Arc<State> {
        self.inner.published.view()
    }

    /// The newest changes that this node has applied. [`Self::view`] is never behind them.
    #[must_use]
    pub fn history(&self) -> History {
        self.inner.published.history()
    }

    /// An estimate of cluster time, milliseconds: the time of the newest entry plus what has passed since, as
    /// far as this node knows. For display; only entries decide.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.estimate_ms(tokio::time::Instant::now()).max(self.view().now_ms())
    }

    /// The last revision applied here, as it rises. The history and the state that contain it are published
    /// before.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.published.applied()
    }

    /// Removes a member from the cluster.
    ///
    /// # Errors
    /// [`ProposeError::NotAMember`], [`ProposeError::Membership`] when it cannot be done now, and as
    /// [`Self::propose`].
    pub async fn remove_member(&self, node_id: u64, timeout: Duration) -> Result<(), ProposeError> {
        let inner = &self.inner;
        let local = |_: &Core| {
            let inner = Arc::clone(inner);
            async move { membership::remove(&inner, node_id).await }
        };
        let started = tokio::time::Instant::now();
        let removed = self.on_leader(timeout, true, local, || Call::RemoveMember(node_id), done).await;
        if !matches!(removed, Err(ProposeError::OutcomeUnknown { .. })) {
            return removed;
        }
        // The leader that removed the member may have gone before it could answer.
        self.read(timeout.saturating_sub(started.elapsed())).await?;
        let gone =
            |core: &Core| core.metrics.look(|metrics| metrics.membership_config.get_node(&node_id).is_none());
        if self.inner.core().is_some_and(gone) { Ok(()) } else { removed }
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// As [`Self::remove_member`].
    pub async fn promote_member(&self, node_id: u64, timeout: Duration) -> Result<(), ProposeError> {
        let inner = &self.inner;
        let local = |_: &Core| {
            let inner = Arc::clone(inner);
            async move { membership::promote(&inner, node_id).await }
        };
        self.on_leader(timeout, true, local, || Call::PromoteMember(node_id), done).await
    }

    /// Hands leadership to a member, or to the voter with the longest log. Returns the new leader.
    ///
    /// # Errors
    /// As [`Self::remove_member`].
    pub async fn transfer_leader(&self, to: Option<u64>, timeout: Duration) -> Result<u64, ProposeError> {
        let inner = &self.inner;
        let local = |_: &Core| {
            let inner = Arc::clone(inner);
            async move { membership::transfer(&inner, to).await }
        };
        let call = || Call::TransferTo(wire::TransferTo { node_id: to });
        self.on_leader(timeout, true, local, call, transferred).await
    }

    /// Writes a snapshot on this node; returns the log index that it covers.
    ///
    /// # Errors
    /// [`ProposeError::OutcomeUnknown`] when the snapshot is not finished in time (writing continues),
    /// [`ProposeError::Fatal`].
    pub async fn trigger_snapshot(&self, timeout: Duration) -> Result<u64, ProposeError> {
        let core = self.member().await?;
        let wanted = *self.inner.published.applied().borrow();
        let written = async {
            loop {
                core.raft
                    .trigger()
                    .snapshot()
                    .await
                    .map_err(|error| ProposeError::Fatal(error.to_string()))?;
                let reached = core
                    .metrics
                    .wait_for(|metrics| metrics.snapshot.map(|id| id.index).filter(|index| *index >= wanted));
                // openraft ignores a request while an older snapshot is being written, so request again.
                match tokio::time::timeout(SNAPSHOT_AGAIN, reached).await {
                    Ok(Ok(index)) => return Ok(index),
                    Ok(Err(_)) => return Err(ProposeError::ShuttingDown),
                    Err(_) => {}
                }
            }
        };
        let unknown = Err(ProposeError::OutcomeUnknown { waited_ms: route::millis(timeout) });
        tokio::time::timeout(timeout, written).await.unwrap_or(unknown)
    }

    /// The refusal of every call, once this node was removed from its cluster.
    #[must_use]
    pub fn removed(&self) -> Option<ProposeError> {
        self.inner.standing.removed()
    }

    /// Resolves when this node is removed from its cluster: nothing that waits here will be answered.
    pub fn until_removed(&self) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::downgrade(&self.inner);
        async move {
            match inner.upgrade().map(|inner| inner.standing.removal()) {
                Some(removal) => removal.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Resolves with the reason when this node cannot continue: the process must print it and exit.
    pub fn fatal(&self) -> impl Future<Output = String> + Send + 'static {
        let mut fatal = self.inner.fatal.subscribe();
        async move {
            let found = fatal.wait_for(Option::is_some).await.map(|reason| reason.clone());
            match found {
                Ok(Some(reason)) => reason,
                // The replica is gone without a fatal error.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Stops the node. If it leads, the others need an election to replace it: hand leadership over first
    /// ([`Replica::transfer_leader`]).
    pub async fn shutdown(&self) {
        self.inner.entries.ending.cancel();
        self.inner.entries.open.close();
        if tokio::time::timeout(ENTRIES_WITHIN, self.inner.entries.open.wait()).await.is_err() {
            tracing::debug!("entries from the leader were not answered in time");
        }
        // Tasks that call consensus end before it: calling it after it has stopped is an error.
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Some(core) = self.inner.core()
            && let Err(error) = core.raft.shutdown().await
        {
            tracing::warn!(%error, "consensus did not stop in order");
        }
        if let Some(thread) = &self.inner.own_thread {
            thread.leave.cancel();
            thread.ended.cancelled().await;
        }
    }
}

/// The layout of a data directory.
struct Layout {
    dir: PathBuf,
}

impl Layout {
    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }
}
