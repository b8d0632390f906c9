//! Piggybacks commit notifications on the next entries if they arrive within 2 ms; otherwise sends them at
//! once.
//!
//! openraft notifies a follower of a commit at once, in a message without entries. While entries follow
//! closely, the next ones say the same a moment later, and the extra message is a third of the cost of a
//! write on the three nodes together. The follower only learns from it what it may apply: only reads and
//! watches on that node wait for that.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Fuse};
use futures_util::{Stream, StreamExt as _};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::types::TypeConfig;

/// Entries within this time of each other follow closely; a commit notification waits at most this long for
/// the next entries.
const HOLD_MAX: Duration = Duration::from_millis(2);

type Request = AppendEntriesRequest<TypeConfig>;

/// The commit notifications held back, on the way to all followers. Clones share them.
#[derive(Clone)]
pub(crate) struct Commits {
    send_now: Arc<Notify>,
    hold_max: Duration,
}

impl Default for Commits {
    fn default() -> Self {
        Self { send_now: Arc::default(), hold_max: HOLD_MAX }
    }
}

struct Held<S> {
    /// Fused: it is polled once more after its end, when a notification was held at that time.
    input: Fuse<S>,
    commits: Commits,
    /// When entries were last sent.
    entries_at: Option<Instant>,
    closely: bool,
    /// Set at most once within the holding time: setting a timer for every commit would cost much of what is
    /// saved.
    timer: Pin<Box<Sleep>>,
}

impl Commits {
    /// Sends all held notifications now, because a follower waits for one.
    pub(crate) fn tell(&self) {
        self.send_now.notify_waiters();
    }

    /// The requests for one follower, without those whose content the next request repeats.
    pub(super) fn hold<S>(&self, input: S) -> impl Stream<Item = Request> + Send + Unpin + use<S>
    where
        S: Stream<Item = Request> + Send + Unpin,
    {
        let timer = Box::pin(tokio::time::sleep(self.hold_max));
        let held =
            Held { input: input.fuse(), commits: self.clone(), entries_at: None, closely: false, timer };
        Box::pin(stream::unfold(held, |mut held| async move { Some((held.next().await?, held)) }))
    }
}

impl<S: Stream<Item = Request> + Send + Unpin> Held<S> {
    async fn next(&mut self) -> Option<Request> {
        let request = self.input.next().await?;
        if !self.is_repeated_soon(&request) {
            return Some(request);
        }
        let mut waiting = request;
        let until = Instant::now() + self.commits.hold_max;
        if self.timer.is_elapsed() {
            self.timer.as_mut().reset(until);
        }
        loop {
            tokio::select! {
                biased;
                request = self.input.next() => match request {
                    // The newer request reports at least as many entries as committed.
                    Some(request) if request.entries.is_empty() => waiting = request,
                    Some(request) => {
                        self.note();
                        return Some(request);
                    }
                    None => return Some(waiting),
                },
                () = self.commits.send_now.notified() => return Some(waiting),
                () = &mut self.timer => {
                    // The timer may have been set for an earlier request.
                    if Instant::now() >= until {
                        return Some(waiting);
                    }
                    self.timer.as_mut().reset(until);
                }
            }
        }
    }

    fn is_repeated_soon(&mut self, request: &Request) -> bool {
        if !request.entries.is_empty() {
            self.note();
            return false;
        }
        self.closely && self.entries_at.is_some_and(|at| at.elapsed() < self.commits.hold_max)
    }

    fn note(&mut self) {
        let now = Instant::now();
        self.closely = self.entries_at.is_some_and(|at| now - at < self.commits.hold_max);
        self.entries_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use openraft::Vote;
    use openraft::entry::RaftEntry as _;
    use tokio::sync::mpsc;

    use super::*;
    use crate::types::{LogId, RaftEntry};

    fn request(entries: u64, committed: u64) -> Request {
        let entry = |index| RaftEntry::new_blank(LogId::new_term_index(1, index));
        AppendEntriesRequest {
            vote: Vote::new(1, 1),
            prev_log_id: None,
            entries: (0..entries).map(entry).collect(),
            leader_commit: Some(LogId::new_term_index(1, committed)),
        }
    }

    struct Follower {
        requests: mpsc::UnboundedSender<Request>,
        commits: Commits,
        output: std::pin::Pin<Box<dyn Stream<Item = Request>>>,
    }

    const HOUR: Duration = Duration::from_hours(1);

    impl Follower {
        fn new(hold_max: Duration) -> Self {
            let (requests, input) = mpsc::unbounded_channel();
            let commits = Commits { hold_max, ..Commits::default() };
            // As openraft's: it panics when it is polled after its end.
            let input = stream::unfold(input, |mut input| async { Some((input.recv().await?, input)) });
            let output = Box::pin(commits.hold(Box::pin(input)));
            Self { requests, commits, output }
        }

        fn send(&self, entries: u64, committed: u64) {
            self.requests.send(request(entries, committed)).expect("it is read");
        }

        /// The next request as (entries, committed).
        async fn next(&mut self) -> (usize, u64) {
            let request = tokio::time::timeout(HOUR / 60, self.output.next()).await;
            let request = request.expect("in time").expect("there is one");
            (request.entries.len(), request.leader_commit.map_or(0, |id| id.index))
        }

        async fn is_held(&mut self) -> bool {
            futures_util::poll!(self.output.next()).is_pending()
        }

        /// Sends two entries one after the other.
        async fn entries(&mut self) {
            for committed in [1, 2] {
                self.send(1, committed);
                assert_eq!(self.next().await, (1, committed));
            }
        }
    }

    #[tokio::test]
    async fn commit_is_sent_at_once_while_entries_are_rare() {
        let mut follower = Follower::new(Duration::ZERO);
        follower.entries().await;
        follower.send(0, 3);
        assert!(!follower.is_held().await);
    }

    #[tokio::test]
    async fn commit_is_piggybacked_on_close_entries() {
        let mut follower = Follower::new(HOUR);
        follower.entries().await;
        for committed in [3, 4] {
            follower.send(0, committed);
            assert!(follower.is_held().await);
        }
        follower.send(2, 4);
        assert_eq!(follower.next().await, (2, 4));
        assert!(follower.is_held().await, "nothing is left");
    }

    #[tokio::test]
    async fn commit_without_following_entries_is_sent_in_time() {
        let mut follower = Follower::new(Duration::from_millis(100));
        follower.entries().await;
        follower.send(0, 3);
        assert_eq!(follower.next().await, (0, 3));
    }

    #[tokio::test]
    async fn awaited_commit_is_sent_at_once() {
        let mut follower = Follower::new(HOUR);
        follower.entries().await;
        follower.send(0, 3);
        assert!(follower.is_held().await);
        let commits = follower.commits.clone();
        let (next, ()) = tokio::join!(follower.next(), async { commits.tell() });
        assert_eq!(next, (0, 3));
    }

    #[tokio::test]
    async fn held_commit_is_sent_before_the_stream_ends() {
        let mut follower = Follower::new(HOUR);
        follower.entries().await;
        follower.send(0, 3);
        drop(std::mem::replace(&mut follower.requests, mpsc::unbounded_channel().0));
        assert_eq!(follower.next().await, (0, 3));
        assert!(follower.output.next().await.is_none());
    }
}
