//! Follows the policy of the cluster on this node: whether access is on, when decisions must be taken anew, and which credentials are used.
//!
//! Invariant: within [`LOOK_INTERVAL`] of being applied on this node, a change that can take away a right wakes everything that was let in before
//! it. What is let in later is decided over the state itself.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use batuta_statemachine::access::{Mode, NoteTokenUse, TokenUse};
use batuta_statemachine::{State, TokenId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::admit::Permit;
use super::caller::{Client, Identity};
use super::{Clock, Inner, Service, authenticate};
use crate::ApiError;
use crate::access::audit::{Event, Kind};
use crate::access::report::Report;

/// How often the policy is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The exactness of `last_used_at`: how often nodes note which credentials were used.
const NOTE_INTERVAL: Duration = Duration::from_mins(10);
/// The most uses in one command.
const NOTES_MAX: usize = 1_000;
/// The longest pause between two looks at what a client proved.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// What decisions depend on besides time. Another mark means that they must be taken anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    mode: Mode,
    revision: u64,
}

impl Mark {
    fn of(state: &State) -> Self {
        Self { mode: state.access_mode(), revision: state.access_revision() }
    }
}

/// The policy, as this node follows it.
pub(super) struct Policy {
    on: AtomicBool,
    marks: watch::Sender<Mark>,
    uses: Mutex<HashMap<TokenId, u64>>,
    /// What would be denied in mode `observe`.
    pub(super) report: Report,
}

impl Policy {
    pub(super) fn new(state: &State) -> Self {
        let mark = Mark::of(state);
        Self {
            on: AtomicBool::new(mark.mode != Mode::Off),
            marks: watch::Sender::new(mark),
            uses: Mutex::default(),
            report: Report::default(),
        }
    }

    /// Whether access is observed or enforced, as of the last look. It only saves the decision at the front; the log decides again.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn look(&self, state: &State) {
        let mark = Mark::of(state);
        self.on.store(mark.mode != Mode::Off, Ordering::Relaxed);
        self.marks.send_if_modified(|last| {
            let moved = *last != mark;
            *last = mark;
            moved
        });
    }

    /// Notes that a credential was used, for `last_used_at`.
    pub(super) fn note_use(&self, identity: &Identity, clock: Clock) {
        self.uses().insert(identity.credential, clock.wall_ms);
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<TokenId, u64>> {
        // No code that holds the lock can panic halfway through a change.
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_uses(&self) -> Vec<TokenUse> {
        let uses = std::mem::take(&mut *self.uses());
        uses.into_iter().map(|(token, used_wall_ms)| TokenUse { token, used_wall_ms }).collect()
    }
}

/// Looks at the policy and notes the uses of credentials, until `stop`.
pub(super) async fn follow(inner: Weak<Inner>, stop: CancellationToken) {
    let mut note_at = Instant::now() + NOTE_INTERVAL;
    loop {
        {
            let Some(inner) = inner.upgrade() else { return };
            let permit = Permit::of_node(&inner);
            inner.policy.look(&permit.view());
            if Instant::now() >= note_at {
                note_at = Instant::now() + NOTE_INTERVAL;
                let note = note(permit, inner.policy.take_uses());
                inner.background.spawn_on(note, &inner.runtime);
            }
        }
        tokio::select! {
            () = sleep(LOOK_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn note(permit: Permit, uses: Vec<TokenUse>) {
    for uses in uses.chunks(NOTES_MAX) {
        // A use that is not noted is noted when the credential is used again.
        if let Err(error) = permit.propose(NoteTokenUse { uses: uses.to_vec() }).await {
            tracing::debug!(%error, "uses of credentials were not noted");
        }
    }
}

impl Service {
    /// Resolves when the policy has moved, or when time may have ended a right of the client.
    pub(super) fn policy_moved(&self, client: &Client) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let mut marks = self.inner.policy.marks.subscribe();
        let pause = self.time_left(client);
        Box::pin(async move {
            tokio::select! {
                _ = marks.changed() => {}
                () = sleep(pause) => {}
            }
        })
    }

    /// How long no right of the client ends by time, as far as it is known now.
    fn time_left(&self, client: &Client) -> Duration {
        let Some(identity) = client.identity() else { return PAUSE_MAX };
        let (state, clock) = self.inner.gate.seen();
        let bindings =
            state.bindings_of(identity.id).filter(|binding| binding.is_live(clock.now_ms, clock.wall_ms));
        let ends = bindings.filter_map(|binding| clock.left_ms(binding.not_after_ms, binding.deadline_ms));
        let left_ms = ends.chain(identity.refreshed(&state).expires_in_ms(clock)).min();
        // Just after the end, and not in a circle when the end has come and the state does not show it yet.
        left_ms.map_or(PAUSE_MAX, |left_ms| Duration::from_millis(left_ms.saturating_add(50)).min(PAUSE_MAX))
    }

    /// Resolves when what a client proved no longer holds, with the reason: `token_expired`, `token_revoked` or `principal_suspended`. Never
    /// resolves for an anonymous client. For connections and streams that live longer than one call.
    pub async fn identity_lost(&self, client: Client) -> ApiError {
        let Some(mut identity) = client.identity().cloned() else { return std::future::pending().await };
        loop {
            let moved = self.policy_moved(&client);
            let (state, clock) = self.inner.gate.seen();
            // Kept for when the credential has ended and the state has forgotten it.
            identity = identity.refreshed(&state);
            if let Some(lost) = authenticate::lost(&state, clock, &identity) {
                self.inner.record(|| Event {
                    principal: Some(identity.principal.to_string()),
                    credential: Some(identity.credential),
                    ip: client.ip(),
                    front: Some(client.front()),
                    why: Some(lost.code().as_str().to_owned()),
                    revision: Some(state.revision()),
                    ..Event::new(Kind::StreamEnded)
                });
                return lost;
            }
            drop(state);
            moved.await;
        }
    }

    /// Like [`Self::identity_lost`], for a call that the node itself may have made: then it never resolves.
    pub(crate) fn client_lost(
        &self,
        client: Option<&Client>,
    ) -> impl Future<Output = ApiError> + Send + use<> {
        let (service, client) = (self.clone(), client.cloned().unwrap_or_default());
        async move { service.identity_lost(client).await }
    }

    /// How long what a client proved still lasts; `None` without an end.
    #[must_use]
    pub fn identity_expires_in(&self, client: &Client) -> Option<Duration> {
        let (state, clock) = self.inner.gate.seen();
        client.identity()?.refreshed(&state).expires_in_ms(clock).map(Duration::from_millis)
    }
}
