//! Forwards calls to the leader over one stream. Calls that arrive while the stream is busy share one message; answers come back in
//! any order.
//!
//! Once another member leads, new calls use a new stream. The old stream stays open for [`LAST_WORDS_WITHIN`], because a deposed leader
//! still answers what it has committed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batuta_proto::internal as wire;
use batuta_proto::internal::forward_request::Call;
use batuta_proto::internal::forward_response::Result as Answer;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::batch::Batches;
use super::{Client, Target, client};
use crate::platform::Platform;

/// Most calls that wait for the stream.
const QUEUE: usize = 16_384;
/// Keep-alives are merged until they cover this many sessions; the last one may overshoot by its own. A merged call becomes one entry.
const KEEP_ALIVES: usize = 1_024;
/// How long opening the stream may take.
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// How long the answers of a deposed leader are waited for, from the moment another member leads.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(250);

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardError {
    /// The call never left this node.
    NotSent,
    /// The call may have reached the leader.
    Lost,
    /// Too many calls are waiting.
    Overloaded,
}

/// A caller that waits for an answer.
struct Waiter {
    answer: oneshot::Sender<Result<Answer, ForwardError>>,
    /// How many sessions the call renews.
    sessions: usize,
}

impl Waiter {
    fn tell(self, answer: Result<Answer, ForwardError>) {
        // The caller may have given up.
        let _ = self.answer.send(answer);
    }
}

#[derive(Default)]
struct Pending {
    waiters: HashMap<u64, Waiter>,
    next_id: u64,
    /// Set when the stream has ended: later calls need another stream.
    closed: bool,
}

impl Pending {
    /// Delivers an answer to the callers that wait for it.
    fn take(&mut self, response: wire::ForwardResponse) {
        // An answer without content comes from a build that knows more kinds of answers.
        let wire::ForwardResponse { id, with_ids, mut result } = response;
        if with_ids.is_empty() {
            if let Some(waiter) = self.waiters.remove(&id) {
                waiter.tell(result.ok_or(ForwardError::Lost));
            }
            return;
        }
        let mut at = 0;
        for id in std::iter::once(id).chain(with_ids) {
            let Some(waiter) = self.waiters.remove(&id) else {
                // The ids do not match a batch we sent, so we cannot tell whose answers the rest are.
                result = None;
                continue;
            };
            let until = at + waiter.sessions;
            let part = result.as_ref().and_then(|all| part(all, at..until));
            waiter.tell(part.ok_or(ForwardError::Lost));
            at = until;
        }
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Pending>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // No code that holds the lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, error: ForwardError) {
        let mut pending = self.lock();
        pending.closed = true;
        for (_, waiter) in pending.waiters.drain() {
            waiter.tell(Err(error));
        }
    }
}

struct Link {
    leader: u64,
    address: String,
    calls: mpsc::Sender<wire::ForwardRequest>,
    pending: Shared,
}

/// Forwards calls to whichever member leads.
pub(crate) struct Forwarder {
    cluster_id: String,
    platform: Arc<dyn Platform>,
    /// The runtime that serves the stream: that of the callers, not the consensus thread.
    callers: Handle,
    leads: watch::Receiver<Option<u64>>,
    link: Mutex<Option<Link>>,
    _stop: DropGuard,
    stopped: CancellationToken,
}

impl Forwarder {
    /// `leads`: the leader, as far as this node knows.
    pub(crate) fn new(
        cluster_id: String,
        platform: Arc<dyn Platform>,
        callers: Handle,
        leads: watch::Receiver<Option<u64>>,
    ) -> Self {
        let stopped = CancellationToken::new();
        Self {
            cluster_id,
            platform,
            callers,
            leads,
            link: Mutex::new(None),
            _stop: stopped.clone().drop_guard(),
            stopped,
        }
    }

    /// Sends a call to the leader and waits for its answer.
    pub(crate) async fn call(&self, leader: u64, address: &str, call: Call) -> Result<Answer, ForwardError> {
        let (answer, receiver) = oneshot::channel();
        let waiter = Waiter { answer, sessions: sessions(&call) };
        {
            let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
            let usable = link.as_ref().is_some_and(|link| {
                link.leader == leader && link.address == address && !link.pending.lock().closed
            });
            if !usable {
                *link = Some(self.open(leader, address)?);
            }
            let Some(link) = link.as_ref() else { return Err(ForwardError::NotSent) };
            let mut pending = link.pending.lock();
            let id = pending.next_id;
            pending.next_id += 1;
            match link.calls.try_send(wire::ForwardRequest { id, with_ids: Vec::new(), call: Some(call) }) {
                Ok(()) => pending.waiters.insert(id, waiter),
                Err(mpsc::error::TrySendError::Full(_)) => return Err(ForwardError::Overloaded),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(ForwardError::NotSent),
            };
        }
        receiver.await.unwrap_or(Err(ForwardError::Lost))
    }

    fn open(&self, leader: u64, address: &str) -> Result<Link, ForwardError> {
        let _callers = self.callers.enter();
        let client = client(self.platform.as_ref(), address).map_err(|_| ForwardError::NotSent)?;
        let (calls, receiver) = mpsc::channel(QUEUE);
        let pending = Shared::default();
        let (target, shared) = (Target::new(&self.cluster_id, leader), pending.clone());
        let (stopped, leads) = (self.stopped.clone(), self.leads.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = deposed(leader, leads) => {}
                () = pump(client, target, receiver, &shared) => {}
            }
            shared.close(ForwardError::Lost);
        });
        Ok(Link { leader, address: address.to_owned(), calls, pending })
    }
}

/// Resolves [`LAST_WORDS_WITHIN`] after another member leads.
async fn deposed(leader: u64, mut leads: watch::Receiver<Option<u64>>) {
    let another = |now: &Option<u64>| now.is_some_and(|now| now != leader);
    loop {
        if leads.wait_for(another).await.is_err() {
            // This node's consensus has ended; the stream may still bring answers.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LAST_WORDS_WITHIN).await;
        // The same member may lead again by now, with new calls on this stream.
        if another(&leads.borrow()) {
            return;
        }
    }
}

/// Sends calls and delivers answers until the stream ends.
async fn pump(
    mut client: Client,
    target: Target,
    calls: mpsc::Receiver<wire::ForwardRequest>,
    pending: &Shared,
) {
    // The stream is opened before the first call is taken from the queue, so a call that is still queued was not sent.
    let (started, start) = oneshot::channel::<()>();
    let requests = stream::unfold((Batches::new(calls), Some(start)), |(mut calls, mut start)| async move {
        if let Some(start) = start.take() {
            start.await.ok()?;
        }
        let requests = calls.next().await?;
        Some((wire::ForwardRequests { requests: together(requests) }, (calls, None)))
    });
    let opened = tokio::time::timeout(OPEN_WITHIN, client.forward(target.request(requests))).await;
    let mut responses = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            tracing::debug!(%status, "no stream to the leader");
            return pending.close(ForwardError::NotSent);
        }
        Err(_) => return pending.close(ForwardError::NotSent),
    };
    if started.send(()).is_err() {
        return pending.close(ForwardError::NotSent);
    }
    while let Ok(Some(batch)) = responses.message().await {
        let mut pending = pending.lock();
        for response in batch.responses {
            pending.take(response);
        }
    }
}

fn sessions(call: &Call) -> usize {
    if let Call::KeepAlive(wire::KeepAlives { sessions }) = call { sessions.len() } else { 0 }
}

/// Merges the keep-alives of a message into calls of about [`KEEP_ALIVES`] sessions, so that many cost the leader little more than one.
fn together(requests: Vec<wire::ForwardRequest>) -> Vec<wire::ForwardRequest> {
    let mut leaving: Vec<wire::ForwardRequest> = Vec::with_capacity(requests.len());
    let mut last = None;
    for mut request in requests {
        if let Some(Call::KeepAlive(more)) = &mut request.call {
            let before: Option<&mut wire::ForwardRequest> = last.and_then(|at: usize| leaving.get_mut(at));
            if let Some(wire::ForwardRequest { with_ids, call: Some(Call::KeepAlive(all)), .. }) = before
                && all.sessions.len() < KEEP_ALIVES
            {
                all.sessions.append(&mut more.sessions);
                with_ids.push(request.id);
                continue;
            }
            last = Some(leaving.len());
        }
        leaving.push(request);
    }
    leaving
}

/// Extracts the answer for one of the merged calls, which renews this range of their sessions. `None` when the answer is too short.
fn part(answer: &Answer, sessions: Range<usize>) -> Option<Answer> {
    match answer {
        Answer::KeptAlive(all) => {
            let deadlines_ms = all.deadlines_ms.get(sessions)?.to_vec();
            Some(Answer::KeptAlive(wire::KeptAlives { deadlines_ms, ..*all }))
        }
        // A refusal is the same for all.
        same => Some(same.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that renews this many sessions.
    fn keep_alive(id: u64, sessions: u32) -> wire::ForwardRequest {
        let session = |ordinal| wire::Position { index: 100 + id, ordinal };
        let call = Some(Call::KeepAlive(wire::KeepAlives { sessions: (0..sessions).map(session).collect() }));
        wire::ForwardRequest { id, with_ids: Vec::new(), call }
    }

    fn read(id: u64) -> wire::ForwardRequest {
        wire::ForwardRequest { id, with_ids: Vec::new(), call: Some(Call::ReadIndex(wire::ReadIndex {})) }
    }

    fn kept(deadlines_ms: Vec<u64>) -> Answer {
        Answer::KeptAlive(wire::KeptAlives { revision: 9, now_ms: 5, deadlines_ms })
    }

    /// Registers waiting calls, given as (id, number of sessions).
    fn waits<const N: usize>(
        pending: &mut Pending,
        calls: [(u64, usize); N],
    ) -> [oneshot::Receiver<Result<Answer, ForwardError>>; N] {
        calls.map(|(id, sessions)| {
            let (answer, receiver) = oneshot::channel();
            pending.waiters.insert(id, Waiter { answer, sessions });
            receiver
        })
    }

    fn told<const N: usize>(
        mut receivers: [oneshot::Receiver<Result<Answer, ForwardError>>; N],
    ) -> [Result<Answer, ForwardError>; N] {
        receivers.each_mut().map(|receiver| receiver.try_recv().expect("an answer"))
    }

    #[test]
    fn only_keep_alives_are_merged_into_one_call() {
        let left =
            together(vec![read(1), keep_alive(2, 1), read(3), keep_alive(4, 2), keep_alive(5, 1), read(6)]);
        let ids: Vec<u64> = left.iter().map(|request| request.id).collect();
        assert_eq!(ids, [1, 2, 3, 6]);
        let all = &left[1];
        assert_eq!(all.with_ids, [4, 5]);
        let Some(Call::KeepAlive(keep_alives)) = &all.call else { panic!("{:?}", all.call) };
        let sessions: Vec<(u64, u32)> =
            keep_alives.sessions.iter().map(|session| (session.index, session.ordinal)).collect();
        assert_eq!(sessions, [(102, 0), (104, 0), (104, 1), (105, 0)]);
        assert_eq!(together(vec![read(1), read(2)]), [read(1), read(2)]);
        assert_eq!(together(vec![keep_alive(7, 3)]), [keep_alive(7, 3)]);
    }

    #[test]
    fn merged_calls_are_limited_in_sessions() {
        let left = together((0..300).map(|id| keep_alive(id, 10)).collect());
        let sizes: Vec<usize> =
            left.iter().map(|request| sessions(request.call.as_ref().expect("a call"))).collect();
        assert_eq!(sizes, [1_030, 1_030, 940]);
        let calls: usize = left.iter().map(|request| 1 + request.with_ids.len()).sum();
        assert_eq!(calls, 300, "no call is left out");
    }

    #[tokio::test(start_paused = true)]
    async fn stream_waits_for_a_deposed_leaders_last_answers() {
        let (lead, leads) = watch::channel(None);
        let over = tokio::spawn(deposed(1, leads));
        let lead = async |now, then_ms| {
            lead.send_replace(now);
            tokio::time::sleep(Duration::from_millis(then_ms)).await;
            over.is_finished()
        };
        assert!(!lead(Some(1), 10_000).await);
        assert!(!lead(None, 10_000).await, "no leader is not another leader");
        assert!(!lead(Some(2), 100).await, "last answers may still arrive");
        assert!(!lead(Some(1), 10_000).await, "the same member leads again");
        assert!(!lead(Some(2), 249).await);
        assert!(lead(Some(3), 2).await, "time counts from the first other leader");
    }

    #[tokio::test(start_paused = true)]
    async fn stream_outlives_consensus_of_its_node() {
        let (_, leads) = watch::channel(Some(1));
        tokio::time::timeout(Duration::from_mins(1), deposed(1, leads)).await.expect_err("it goes on");
    }

    #[test]
    fn merged_calls_get_own_answers_or_one_refusal() {
        let mut pending = Pending::default();
        let receivers = waits(&mut pending, [(1, 2), (2, 1), (3, 1)]);
        // One deadline is missing; the order tells whose.
        let result = Some(kept(vec![70, 0, 80]));
        pending.take(wire::ForwardResponse { id: 2, with_ids: vec![1, 3], result });
        assert_eq!(told(receivers), [Ok(kept(vec![0, 80])), Ok(kept(vec![70])), Err(ForwardError::Lost)]);

        let receivers = waits(&mut pending, [(4, 1), (5, 3)]);
        let refused = Answer::Refused(wire::Refused { message: "later".to_owned(), ..Default::default() });
        pending.take(wire::ForwardResponse { id: 4, with_ids: vec![5], result: Some(refused.clone()) });
        assert_eq!(told(receivers), [Ok(refused.clone()), Ok(refused)]);

        // Id 7 was never asked for, so the answers from there on cannot be assigned.
        let receivers = waits(&mut pending, [(6, 1), (8, 1)]);
        let result = Some(kept(vec![1, 2, 3]));
        pending.take(wire::ForwardResponse { id: 6, with_ids: vec![7, 8], result });
        assert_eq!(told(receivers), [Ok(kept(vec![1])), Err(ForwardError::Lost)]);
        assert!(pending.waiters.is_empty());
    }
}
