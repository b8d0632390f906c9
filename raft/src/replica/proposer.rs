//! The leader's pen: packs what waits into entries, stamps them, hands out the answers.
//!
//! A lone request becomes an entry at once. While entries are under way, what arrives shares the next one, which leaves as soon
//! as it is as large as all of them together, or the last of them is back: so an entry costs its share of what is asked, a
//! request never waits longer than for one commit, and there are never more than [`IN_FLIGHT_MAX`].
//!
//! Requests that would only join a queue wait a moment for one that does more ([`Linger`]), keep-alives for one another
//! ([`Renewals`]).

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use batuta_statemachine::cluster::InitCluster;
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
/// Between two looks at what is due, at least.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A leader looks at the clock so many times within its longest step.
const LOOKS_A_STEP: u32 = 4;
/// While anything is due some day, the newest entry is no older than this: so much of the time that passed is lost at most when all
/// nodes stop at once. An election loses none of it ([`ClusterClock`]).
const STAMP_AGE_MAX_MS: u64 = 10_000;

/// A founder that does not tell its level within this time leaves the cluster at the lowest level, until all members have told theirs.
const FOUNDERS_TELL_WITHIN: Duration = Duration::from_secs(2);

pub(crate) type Proposed = Result<AppliedEntry, Failed>;

/// The answer to a keep-alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAlive {
    /// Log index of the entry that renewed them.
    pub revision: u64,
    /// Cluster time of the entry.
    pub now_ms: u64,
    /// Of each session, in the order they were asked for, the cluster time before which it does not expire; `None` where there is no
    /// such session (any more).
    pub deadlines_ms: Vec<Option<u64>>,
}

struct Proposal {
    encoded: EncodedRequests,
    answer: oneshot::Sender<Proposed>,
}

/// The way to the proposer's task.
#[derive(Clone)]
pub(crate) struct Proposer {
    proposals: mpsc::Sender<Proposal>,
    keep_alives: mpsc::Sender<Renewal>,
}

/// What the task works with.
pub(crate) struct Parts {
    pub(crate) raft: Raft,
    pub(crate) metrics: Metrics,
    pub(crate) published: Arc<Published>,
    pub(crate) disk: Arc<DiskWatch>,
    pub(crate) levels: Arc<Levels>,
    pub(crate) cluster_id: String,
    pub(crate) node_id: u64,
    /// Who leads, as this node knows it.
    pub(crate) leads: watch::Receiver<Option<u64>>,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) heard: Arc<LeaderContact>,
    /// The longest step between two looks at the clock.
    pub(crate) step_max: Duration,
    /// A leader that no majority has acknowledged for so long proposes nothing.
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

    /// Comes back when what is held may be proposed, or never will.
    async fn may_propose(&self) {
        let decided = self.metrics.wait_for(|_| (self.lead() != Lead::NotYet).then_some(()));
        if decided.await.is_err() {
            // Consensus has ended: whoever waits is told when the task is.
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
        };
        tokio::spawn(async move { stop.run_until_cancelled(task.run(waiting, renewals)).await });
        Self { proposals, keep_alives }
    }

    /// Proposes on this node and waits for the answers; all requests go into one entry.
    pub(crate) async fn propose(&self, encoded: EncodedRequests) -> Proposed {
        let (answer, receiver) = oneshot::channel();
        submit(&self.proposals, Proposal { encoded, answer })?;
        // A dropped sender: the node stops; the entry may have been sent before.
        receiver.await.unwrap_or(Err(Failed::Unknown))
    }

    /// Renews sessions together with others ([`Renewals`]).
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

/// Whether an entry of those who wait leaves while others are under way: at once while it costs little, that is with few in
/// flight, and else when it serves as many as all of them.
fn leaves_now(waiting: usize, entries_in_flight: usize, callers_in_flight: usize) -> bool {
    waiting > 0 && entries_in_flight < IN_FLIGHT_MAX && waiting >= callers_in_flight.min(REQUESTS_MAX)
}

/// How long until a leader looks again: until the next thing is due, but so soon that its clock goes on, whose longest step is given.
fn look_in(due_in_ms: Option<u64>, step_max: Duration) -> Duration {
    let within = step_max / LOOKS_A_STEP;
    due_in_ms.map_or(within, |due_in_ms| Duration::from_millis(due_in_ms).max(LOOK_AGAIN).min(within))
}

/// What a node may propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    /// It leads, and this is cluster time.
    Since { term: u64, now_ms: u64 },
    /// It was elected and has not applied the first entry of its term: what it proposed now would be stamped with a time that is too
    /// early. It may propose in a moment.
    NotYet,
    /// It leads, but no majority has acknowledged it for long.
    WithoutMajority,
    /// Somebody else leads, or nobody.
    No,
}

struct Task {
    parts: Parts,
    /// What the next entry is made of.
    waiting: VecDeque<Proposal>,
    /// Entries under way; each gives back how many callers it has.
    in_flight: FuturesUnordered<BoxFuture<'static, usize>>,
    callers_in_flight: usize,
    linger: Linger,
    /// The entry this node proposed for itself: one at a time.
    own: Option<oneshot::Receiver<Proposed>>,
    /// Since when this node leads a cluster without a name.
    unnamed_since: Option<Instant>,
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
                    // What it did may be due sooner than anything before.
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
                        // One that is gone has none, which is the least.
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

    /// Whether all that waits would only join queues. With entries under way a lock that nobody else waits for may be free in a
    /// moment; behind others it is not.
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

    /// Takes what waits and fits into one entry, and proposes it.
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
        let needed = requests.iter().map(Request::level).max().unwrap_or(LEVEL_MIN);
        if needed > LEVEL_MIN {
            // A leader has applied everything that was committed before its term.
            let level = self.parts.published.view().level();
            if let Err(pending) = check_reached(&self.parts.levels, &self.parts.metrics, needed, level) {
                return Some(Failed::Final(pending));
            }
        }
        let low = self.parts.disk.low()?;
        let state = self.parts.published.view();
        let adds = requests.iter().any(|request| state.adds(request));
        // Where another voter has room, it leads in a moment, and takes what is refused here.
        let failed = || if self.parts.disk.hands_over() { Failed::NotLeader } else { Failed::Final(low) };
        adds.then(failed)
    }

    fn propose(&mut self, term: u64, now_ms: u64, batch: Vec<Proposal>) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stamp = Stamp { now_ms, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) };
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

    /// Proposes something of this node's own and keeps the answer.
    fn propose_own(&mut self, term: u64, now_ms: u64, requests: Vec<Request>) {
        let (answer, receiver) = oneshot::channel();
        self.own = Some(receiver);
        self.propose(term, now_ms, vec![Proposal { encoded: EncodedRequests::new(requests), answer }]);
    }

    /// When a leader should look again.
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

    /// What a leader does unasked: names a new cluster, and lets time pass when something is due.
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
            let init = InitCluster {
                cluster_id: self.parts.cluster_id.clone(),
                next_node_id: members.unwrap_or_default() + 1,
            };
            let raise = level::raise_to(level).filter(|_| level > LEVEL_MIN);
            let commands = [Command::from(init)].into_iter().chain(raise);
            let requests = commands.map(|command| Request::new(None, command)).collect();
            self.propose_own(term, now_ms, requests);
        } else if tick_due_ms(&state).is_some_and(|due_ms| due_ms <= now_ms) {
            self.propose_own(term, now_ms, Vec::new());
        }
    }

    /// The level of a new cluster: that of its founders, who have been up a moment ago. `None` while one of them may still tell it.
    fn level_at_birth(&mut self) -> Option<u32> {
        let since = *self.unnamed_since.get_or_insert_with(Instant::now);
        let late = (since.elapsed() >= FOUNDERS_TELL_WITHIN).then_some(LEVEL_MIN);
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
            // Nobody but the task below hears of it.
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

/// What an entry that renewed `sessions` did for those that were `asked` for together.
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

/// When the next entry is due that nobody asks for: for what ends then, or to keep the newest stamp young.
fn tick_due_ms(state: &State) -> Option<u64> {
    state.next_deadline_ms().map(|due_ms| due_ms.min(state.now_ms() + STAMP_AGE_MAX_MS))
}

/// Writes in the term in which the entry was stamped, and in no other: a later leader counts time from what it has applied.
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
        // Taken out of this node's log, or the core is gone: another member may still have it.
        Ok(Err(_)) | Err(_) => Err(Failed::Unknown),
    }
}

/// Gives every caller its part of the entry's outcomes.
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
    fn a_leader_looks_when_something_is_due_and_often_enough_for_its_clock() {
        let ms = Duration::from_millis;
        let step_max = ms(600);
        assert_eq!(look_in(None, step_max), ms(150));
        assert_eq!(look_in(Some(10_000), step_max), ms(150));
        assert_eq!(look_in(Some(70), step_max), ms(70));
        assert_eq!(look_in(Some(0), step_max), LOOK_AGAIN, "it was proposed a moment ago");
        assert_eq!(look_in(Some(70), ms(52)), ms(13), "the shortest election timeout there can be");
    }

    #[test]
    fn a_lone_request_leaves_at_once_and_many_share_entries() {
        assert!(leaves_now(1, 0, 0));
        assert!(leaves_now(1, 1, 1), "two clients do not wait for each other");
        assert!(!leaves_now(1, 2, 2));
        assert!(leaves_now(2, 2, 2));
        assert!(!leaves_now(15, 1, 16));
        assert!(leaves_now(16, 1, 16));
        assert!(leaves_now(512, 3, 2000), "more than an entry takes need not wait");
        assert!(!leaves_now(512, 4, 512), "so many entries and no more");
        assert!(!leaves_now(0, 0, 0));
    }
}
