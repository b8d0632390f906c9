//! The proposer: packs waiting requests into entries, stamps the entries, and distributes the answers.
//!
//! A lone request becomes an entry at once. Requests that arrive while entries are in flight share the next entry. That entry is
//! proposed as soon as it has as many callers as all entries in flight together, or none is left in flight. So the cost of an entry
//! is spread over its callers, no request waits longer than one commit, and at most [`IN_FLIGHT_MAX`] entries are in flight.
//!
//! Requests that would only join a queue linger for a request that does more ([`Linger`]); keep-alives are batched ([`Renewals`]).

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use batuta_statemachine::access::TokenSecret;
use batuta_statemachine::session::KeepAlive;
use batuta_statemachine::{
    Command, Entry, LEVEL_MIN, Outcome, Rejection, Reply, Request, SessionId, Stamp, State, session,
};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use openraft::ServerState;
use openraft::alias::CommittedLeaderIdOf;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::birth;
use super::clock::ClusterClock;
use super::disk_watch::DiskWatch;
use super::error::{Failed, ProposeError};
use super::leader_contact::LeaderContact;
use super::level::{self, check_reached};
use super::linger::{self, Linger};
use super::renewals::{Renewal, Renewals};
use crate::codec::{self, EncodedRequests};
use crate::level::Levels;
use crate::machine::Published;
use crate::metrics::{Metrics, RaftMetrics};
use crate::types::{AppliedEntry, LogEntry, Raft, TypeConfig};

const IN_FLIGHT_MAX: usize = 4;
const REQUESTS_MAX: usize = 512;
const ENTRY_BYTES_MAX: usize = 1 << 20;
const QUEUE: usize = 16_384;
/// Shortest interval between two checks of what is due.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A leader reads its clock this many times within the longest step of the clock.
const LOOKS_A_STEP: u32 = 4;
/// While the state has any deadline, the newest entry is no older than this. At most this much cluster time is lost when all nodes stop at
/// once. An election loses none of it ([`ClusterClock`]).
const STAMP_AGE_MAX_MS: u64 = 10_000;

/// A founder that does not tell its level within this time leaves the cluster at the lowest level, until all members have told theirs.
const FOUNDERS_TELL_WITHIN: Duration = Duration::from_secs(2);

pub(crate) type Proposed = Result<AppliedEntry, Failed>;

/// The answer to a keep-alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAlive {
    /// Log index of the entry that renewed the sessions.
    pub revision: u64,
    /// Cluster time of the entry.
    pub now_ms: u64,
    /// For each session, in the order of the request: the cluster time before which it does not expire, or `None` when it does not exist
    /// (any more).
    pub deadlines_ms: Vec<Option<u64>>,
}

struct Proposal {
    encoded: EncodedRequests,
    answer: oneshot::Sender<Proposed>,
}

/// Handle to the proposer's task.
#[derive(Clone)]
pub(crate) struct Proposer {
    proposals: mpsc::Sender<Proposal>,
    keep_alives: mpsc::Sender<Renewal>,
}

/// Everything the proposer's task needs.
pub(crate) struct Parts {
    pub(crate) raft: Raft,
    pub(crate) metrics: Metrics,
    pub(crate) published: Arc<Published>,
    pub(crate) disk: Arc<DiskWatch>,
    pub(crate) levels: Arc<Levels>,
    pub(crate) cluster_id: String,
    /// The token that secures a cluster from its first entry on.
    pub(crate) secured_by: Option<TokenSecret>,
    pub(crate) node_id: u64,
    /// The current leader, as far as this node knows.
    pub(crate) leads: watch::Receiver<Option<u64>>,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) heard: Arc<LeaderContact>,
    /// The longest step of the cluster clock between two readings.
    pub(crate) step_max: Duration,
    /// A leader that no majority has acknowledged for this long proposes nothing.
    pub(crate) silence_max: Duration,
    pub(crate) stop: CancellationToken,
}

impl Parts {
    fn lead(&self) -> Lead {
        let Self { metrics, published, clock, heard, silence_max, .. } = self;
        let (leads, applied, silence, term) = metrics.look(|metrics| {
            let applied = metrics.last_applied.is_some_and(|id| id.leader_id.term == metrics.current_term);
            let leads = metrics.state == ServerState::Leader;
            (leads, applied, leads.then(|| heard.silence(metrics)), metrics.current_term)
        });
        if !leads {
            clock.follow();
            Lead::No
        } else if silence.flatten().is_some_and(|silence| silence > *silence_max) {
            Lead::WithoutMajority
        } else if !applied {
            Lead::NotYet
        } else {
            let base = || (published.view().now_ms(), published.stamped_term());
            Lead::Since { term, now_ms: clock.lead(term, base, Instant::now()) }
        }
    }

    /// Resolves when it is decided whether waiting requests may be proposed.
    async fn may_propose(&self) {
        let decided = self.metrics.wait_for(|_| (self.lead() != Lead::NotYet).then_some(()));
        if decided.await.is_err() {
            // Consensus has ended. Waiting callers are answered when this task is dropped.
            std::future::pending::<()>().await;
        }
    }
}

impl Proposer {
    pub(crate) fn start(parts: Parts) -> Self {
        let (proposals, waiting) = mpsc::channel(QUEUE);
        let (keep_alives, renewals) = mpsc::channel(QUEUE);
        let stop = parts.stop.clone();
        let task = Task {
            parts,
            waiting: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            callers_in_flight: 0,
            linger: Linger::default(),
            own: None,
            unnamed_since: None,
            is_born: false,
            has_warned: false,
        };
        tokio::spawn(async move { stop.run_until_cancelled(task.run(waiting, renewals)).await });
        Self { proposals, keep_alives }
    }

    /// Proposes all requests in one entry on this node, and waits for the answers.
    pub(crate) async fn propose(&self, encoded: EncodedRequests) -> Proposed {
        let (answer, receiver) = oneshot::channel();
        submit(&self.proposals, Proposal { encoded, answer })?;
        // The sender was dropped because the node stops; the entry may already have been sent.
        receiver.await.unwrap_or(Err(Failed::Unknown))
    }

    /// Renews sessions in a batch with those of other callers ([`Renewals`]).
    pub(crate) async fn keep_alive(&self, sessions: Vec<SessionId>) -> Result<KeptAlive, Failed> {
        let (answer, receiver) = oneshot::channel();
        submit(&self.keep_alives, Renewal { sessions, answer })?;
        receiver.await.unwrap_or(Err(Failed::Unknown))
    }
}

fn submit<T>(queue: &mpsc::Sender<T>, item: T) -> Result<(), Failed> {
    queue.try_send(item).map_err(|error| {
        Failed::Final(match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ProposeError::ShuttingDown,
        })
    })
}

/// Whether the waiting requests are proposed now. They are when no caller is in flight, and otherwise when they have at least as many
/// callers as the entries in flight.
fn leaves_now(waiting: usize, entries_in_flight: usize, callers_in_flight: usize) -> bool {
    waiting > 0 && entries_in_flight < IN_FLIGHT_MAX && waiting >= callers_in_flight.min(REQUESTS_MAX)
}

/// The wall clock, in milliseconds since the Unix epoch.
fn wall_ms() -> u64 {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

/// How long a leader sleeps until its next check: until the next deadline, but short enough to read the clock [`LOOKS_A_STEP`] times
/// within `step_max`.
fn look_in(due_in_ms: Option<u64>, step_max: Duration) -> Duration {
    let within = step_max / LOOKS_A_STEP;
    due_in_ms.map_or(within, |due_in_ms| Duration::from_millis(due_in_ms).max(LOOK_AGAIN).min(within))
}

/// What a node may propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    /// The node leads in this term, and this is cluster time.
    Since { term: u64, now_ms: u64 },
    /// The node was elected but has not applied the first entry of its term, so a stamp would be too early. It may propose in a moment.
    NotYet,
    /// The node leads, but no majority has acknowledged it for `silence_max`.
    WithoutMajority,
    /// Another node leads, or none.
    No,
}

struct Task {
    parts: Parts,
    /// Requests for the next entry.
    waiting: VecDeque<Proposal>,
    /// Entries in flight; each returns its number of callers.
    in_flight: FuturesUnordered<BoxFuture<'static, usize>>,
    callers_in_flight: usize,
    linger: Linger,
    /// The answer to the entry that this node proposed for itself; one at a time.
    own: Option<oneshot::Receiver<Proposed>>,
    /// Since when this node leads a cluster without a name.
    unnamed_since: Option<Instant>,
    /// Whether the cluster has a name, as far as this task has looked.
    is_born: bool,
    /// Whether it is logged that the founders are too old for a secured cluster.
    has_warned: bool,
}

impl Task {
    async fn run(
        mut self,
        mut proposals: mpsc::Receiver<Proposal>,
        mut keep_alives: mpsc::Receiver<Renewal>,
    ) {
        let mut look = pin!(tokio::time::sleep(Duration::ZERO));
        let mut leads = self.parts.leads.clone();
        let mut renewals = Renewals::default();
        loop {
            let room = self.waiting.len() < REQUESTS_MAX;
            let leads_itself = *leads.borrow_and_update() == Some(self.parts.node_id);
            let held = !self.waiting.is_empty() && self.parts.lead() == Lead::NotYet;
            tokio::select! {
                biased;
                () = self.parts.may_propose(), if held => {}
                Some(callers) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.callers_in_flight -= callers;
                    // The entry may have added an earlier deadline than the one this task sleeps for.
                    let next = self.next_look();
                    if next < look.deadline() {
                        look.as_mut().reset(next);
                    }
                }
                () = &mut look, if leads_itself => {
                    self.look();
                    look.as_mut().reset(self.next_look());
                }
                Ok(()) = leads.changed() => look.as_mut().reset(Instant::now()),
                leaving = renewals.leave() => self.renew(leaving),
                () = self.linger.expired() => {}
                Some(first) = keep_alives.recv(), if renewals.room() => {
                    let state = self.parts.published.view();
                    let mut next = Some(first);
                    while let Some(renewal) = next {
                        // A session that has ended has no TTL; `None` sorts first, so it counts as the shortest.
                        let ttl_ms = renewal.sessions.iter().map(|id| state.session_ttl_ms(*id)).min().flatten();
                        renewals.push(renewal, ttl_ms.map(Duration::from_millis));
                        next = if renewals.room() { keep_alives.try_recv().ok() } else { None };
                    }
                }
                Some(first) = proposals.recv(), if room => {
                    self.waiting.push_back(first);
                    while self.waiting.len() < REQUESTS_MAX
                        && let Ok(next) = proposals.try_recv()
                    {
                        self.waiting.push_back(next);
                    }
                }
                else => return,
            }
            while leaves_now(self.waiting.len(), self.in_flight.len(), self.callers_in_flight)
                && self.linger.may_send(self.only_queues())
            {
                match self.parts.lead() {
                    Lead::Since { .. } if self.waits_for_birth() => break,
                    Lead::Since { term, now_ms } => self.pack(term, now_ms),
                    Lead::NotYet => break,
                    Lead::WithoutMajority => self.refuse_all(&Failed::NoMajority),
                    Lead::No => self.refuse_all(&Failed::NotLeader),
                }
            }
        }
    }

    fn refuse_all(&mut self, why: &Failed) {
        for proposal in self.waiting.drain(..) {
            // The caller may have given up.
            let _ = proposal.answer.send(Err(why.clone()));
        }
    }

    /// Whether all waiting requests would only join queues. While entries are in flight, a held lock without waiters may be free in a
    /// moment, so a request for it does not count.
    fn only_queues(&self) -> bool {
        if self.waiting.len() >= linger::ENOUGH {
            return false;
        }
        let state = self.parts.published.view();
        let queues = |request: &Request| {
            state.waits_behind(&request.command).is_some_and(|others| others > 0 || self.in_flight.is_empty())
        };
        self.waiting.iter().flat_map(|proposal| &proposal.encoded.requests).all(queues)
    }

    /// Packs waiting requests into one entry, up to the limits of an entry, and proposes it.
    fn pack(&mut self, term: u64, now_ms: u64) {
        let mut batch = Vec::new();
        let (mut requests, mut bytes) = (0, 0);
        while requests < REQUESTS_MAX
            && bytes < ENTRY_BYTES_MAX
            && let Some(proposal) = self.waiting.pop_front()
        {
            if let Some(refusal) = self.refusal(&proposal.encoded.requests) {
                // The caller may have given up.
                let _ = proposal.answer.send(Err(refusal));
            } else {
                requests += proposal.encoded.requests.len();
                bytes += proposal.encoded.bytes_len();
                batch.push(proposal);
            }
        }
        if !batch.is_empty() {
            self.propose(term, now_ms, batch);
        }
    }

    fn refusal(&self, requests: &[Request]) -> Option<Failed> {
        // A leader has applied everything that was committed before its term.
        let level = || self.parts.published.view().level();
        if let Err(pending) = check_reached(&self.parts.levels, &self.parts.metrics, requests, level) {
            return Some(Failed::Final(pending));
        }
        let low = self.parts.disk.low()?;
        let state = self.parts.published.view();
        let adds = requests.iter().any(|request| state.adds(request));
        // If another voter has room on its disk, it leads in a moment and accepts what is refused here.
        let failed = || if self.parts.disk.hands_over() { Failed::NotLeader } else { Failed::Final(low) };
        adds.then(failed)
    }

    fn propose(&mut self, term: u64, now_ms: u64, batch: Vec<Proposal>) {
        let stamp = Stamp { now_ms, wall_ms: wall_ms() };
        let mut entry = Entry { stamp, requests: Vec::new() };
        let mut encoded = Vec::new();
        let mut callers = Vec::with_capacity(batch.len());
        for Proposal { encoded: EncodedRequests { requests, bytes }, answer } in batch {
            callers.push((requests.len(), answer));
            entry.requests.extend(requests);
            encoded.extend(bytes);
        }
        let count = callers.len();
        self.callers_in_flight += count;
        let data = LogEntry { entry: Arc::new(entry), bytes: codec::encode_entry_of(stamp, encoded) };
        let raft = self.parts.raft.clone();
        self.in_flight.push(Box::pin(async move {
            let applied = write(&raft, term, data).await;
            hand_out(applied, callers);
            count
        }));
    }

    /// Proposes an entry for this node itself and keeps the receiver of its answer.
    fn propose_own(&mut self, term: u64, now_ms: u64, requests: Vec<Request>) {
        let (answer, receiver) = oneshot::channel();
        self.own = Some(receiver);
        self.propose(term, now_ms, vec![Proposal { encoded: EncodedRequests::new(requests), answer }]);
    }

    /// When a leader should check again.
    fn next_look(&self) -> Instant {
        let wait = match self.parts.lead() {
            Lead::Since { now_ms, .. } if self.own.is_none() => {
                let due_ms = tick_due_ms(&self.parts.published.view());
                look_in(due_ms.map(|due_ms| due_ms.saturating_sub(now_ms)), self.parts.step_max)
            }
            _ => LOOK_AGAIN,
        };
        Instant::now() + wait
    }

    /// Proposes a leader's own entries: the id of a new cluster, or an empty entry when something is due.
    fn look(&mut self) {
        let Lead::Since { term, now_ms } = self.parts.lead() else { return };
        if let Some(own) = &mut self.own {
            match own.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => self.own = None,
            }
        }
        let state = self.parts.published.view();
        if state.cluster_id().is_none() {
            let Some(level) = self.level_at_birth() else { return };
            let highest = |metrics: &RaftMetrics| metrics.membership_config.nodes().map(|(id, _)| *id).max();
            let members = self.parts.metrics.look(highest);
            let secured_by = self.parts.secured_by.clone();
            let requests = birth::requests(&self.parts.cluster_id, members, level, secured_by, wall_ms());
            if Request::highest_level(&requests) <= level {
                self.propose_own(term, now_ms, requests);
            } else if !std::mem::replace(&mut self.has_warned, true) {
                tracing::warn!(
                    level,
                    "a founder runs a version without access: upgrade it, then the secured cluster is created"
                );
            }
        } else if tick_due_ms(&state).is_some_and(|due_ms| due_ms <= now_ms) {
            self.propose_own(term, now_ms, Vec::new());
        }
    }

    /// Whether requests wait until the cluster has a name. Those of a cluster that is secured from its first entry on do.
    fn waits_for_birth(&mut self) -> bool {
        self.is_born = self.is_born
            || self.parts.secured_by.is_none()
            || self.parts.published.view().cluster_id().is_some();
        !self.is_born
    }

    /// The level of a new cluster: that of its founders, who have been up a moment ago. `None` while one of them may still tell it. A secured
    /// cluster waits for them all, because an older build does not know what secures it.
    fn level_at_birth(&mut self) -> Option<u32> {
        let since = *self.unnamed_since.get_or_insert_with(Instant::now);
        let late = since.elapsed() >= FOUNDERS_TELL_WITHIN && self.parts.secured_by.is_none();
        let late = late.then_some(LEVEL_MIN);
        level::level_of_founders(&self.parts.levels, &self.parts.metrics).or(late)
    }

    fn renew(&mut self, renewals: Vec<Renewal>) {
        let mut sessions: Vec<SessionId> =
            renewals.iter().flat_map(|renewal| &renewal.sessions).copied().collect();
        sessions.sort_unstable();
        sessions.dedup();
        let command = Command::from(KeepAlive { sessions: sessions.clone() });
        let request = Request::new(None, command);
        let (answer, receiver) = oneshot::channel();
        let proposal = Proposal { encoded: EncodedRequests::new(vec![request]), answer };
        match self.parts.lead() {
            Lead::Since { term, now_ms } => self.propose(term, now_ms, vec![proposal]),
            Lead::NotYet => self.waiting.push_front(proposal),
            // Only the task below receives this answer.
            Lead::WithoutMajority => drop(proposal.answer.send(Err(Failed::NoMajority))),
            Lead::No => drop(proposal.answer.send(Err(Failed::NotLeader))),
        }
        tokio::spawn(async move {
            let applied = receiver.await.unwrap_or(Err(Failed::Unknown));
            for Renewal { sessions: asked, answer } in renewals {
                let applied = applied.as_ref().map_err(Clone::clone);
                // The caller may have given up.
                let _ = answer.send(applied.and_then(|applied| renewed(applied, &sessions, &asked)));
            }
        });
    }
}

/// Extracts the answer for the `asked` sessions from an entry that renewed `sessions`, which is sorted.
fn renewed(applied: &AppliedEntry, sessions: &[SessionId], asked: &[SessionId]) -> Result<KeptAlive, Failed> {
    let deadlines = match applied.outcomes.first() {
        Some(Ok(Reply::Session(session::Reply::KeptAlive(session::KeptAlive {
            deadlines_ms: deadlines,
        })))) => deadlines,
        other => {
            return Err(Failed::Final(ProposeError::Fatal(format!(
                "a keep-alive was answered with {other:?}"
            ))));
        }
    };
    let deadline_of = |session| {
        let at = sessions.binary_search(session).ok()?;
        deadlines.get(at).copied().flatten()
    };
    let deadlines_ms = asked.iter().map(deadline_of).collect();
    Ok(KeptAlive { revision: applied.revision, now_ms: applied.now_ms, deadlines_ms })
}

/// When the leader's next own entry is due, in cluster time: at the next deadline, or when the newest stamp is too old.
fn tick_due_ms(state: &State) -> Option<u64> {
    state.next_deadline_ms().map(|due_ms| due_ms.min(state.now_ms() + STAMP_AGE_MAX_MS))
}

/// Writes the entry in the term in which it was stamped, and in no other: a later leader counts time from what it has applied.
async fn write(raft: &Raft, term: u64, data: LogEntry) -> Proposed {
    let (responder, receiver) =
        ProgressResponder::<TypeConfig, ClientWriteResult<TypeConfig>>::complete_only();
    let leader = CommittedLeaderIdOf::<TypeConfig>::new(term);
    if let Err(fatal) = raft.write(data).responder(responder).with_leader(leader).await {
        return Err(Failed::Final(ProposeError::Fatal(fatal.to_string())));
    }
    match receiver.await {
        Ok(Ok(response)) => Ok(response.data),
        Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(Failed::NotLeader),
        // The entry was truncated here, or consensus has ended: another member may still have the entry.
        Ok(Err(_)) | Err(_) => Err(Failed::Unknown),
    }
}

/// Sends every caller its part of the entry's outcomes.
fn hand_out(applied: Proposed, callers: Vec<(usize, oneshot::Sender<Proposed>)>) {
    match applied {
        Ok(AppliedEntry { revision, now_ms, wall_ms, outcomes, revisions }) => {
            let (mut outcomes, mut revisions) = (outcomes.into_iter(), revisions.into_iter());
            for (count, caller) in callers {
                let outcomes: Vec<Result<Reply, Rejection>> =
                    outcomes.by_ref().take(count).collect::<Vec<Outcome>>();
                let revisions = revisions.by_ref().take(count).collect();
                let answer = AppliedEntry { revision, now_ms, wall_ms, outcomes, revisions };
                // The caller may have given up.
                let _ = caller.send(Ok(answer));
            }
        }
        Err(failed) => {
            for (_, caller) in callers {
                let _ = caller.send(Err(failed.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_checks_at_deadlines_and_in_clock_steps() {
        let ms = Duration::from_millis;
        let step_max = ms(600);
        assert_eq!(look_in(None, step_max), ms(150));
        assert_eq!(look_in(Some(10_000), step_max), ms(150));
        assert_eq!(look_in(Some(70), step_max), ms(70));
        assert_eq!(look_in(Some(0), step_max), LOOK_AGAIN, "an entry was proposed a moment ago");
        assert_eq!(look_in(Some(70), ms(52)), ms(13), "the shortest possible election timeout");
    }

    #[test]
    fn lone_request_leaves_at_once_and_many_share() {
        assert!(leaves_now(1, 0, 0));
        assert!(leaves_now(1, 1, 1), "two clients do not wait for each other");
        assert!(!leaves_now(1, 2, 2));
        assert!(leaves_now(2, 2, 2));
        assert!(!leaves_now(15, 1, 16));
        assert!(leaves_now(16, 1, 16));
        assert!(leaves_now(512, 3, 2000), "requests that fill an entry do not wait");
        assert!(!leaves_now(512, 4, 512), "IN_FLIGHT_MAX entries are in flight");
        assert!(!leaves_now(0, 0, 0));
    }
}
