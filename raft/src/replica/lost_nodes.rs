//! Withdraws the waits that a lost node had queued.
//!
//! For every waiting call, the state names the node and the run of its process. A node that starts withdraws
//! the waits of its earlier runs. The leader withdraws the waits of nodes that are no longer members, of
//! nodes whose port refuses (the process is gone), and of nodes that it has not heard from for
//! [`SILENT_ELECTIONS`] election timeouts and that do not answer a probe either. A node that answers but does
//! not follow gets four times as long. A node that was only slow loses nothing but waits: its callers get
//! `node_lost`, and with a retry key they return to their place in the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use batuta_statemachine::lock::WithdrawWaits;
use batuta_statemachine::{Command, Reply, Request, lock};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Core, Inner, Replica};
use crate::peer::{self, PortProbe};
use crate::types::TypeConfig;

/// When a member last answered its leader.
type Contact = openraft::alias::InstantOf<TypeConfig>;

/// Pause between two checks while calls wait on some node, and while none does.
const CHECK_AGAIN: Duration = Duration::from_millis(500);
const CHECK_AGAIN_IDLE: Duration = Duration::from_secs(2);
/// A member that was silent for this many of the longest election timeouts is lost if nobody answers on its
/// port.
const SILENT_ELECTIONS: u32 = 5;
/// After this many it is lost even if somebody answers there: its callers are not told what happens to their
/// waits.
const SILENT_ELECTIONS_ANSWERING: u32 = 20;
/// Time limit of one probe.
const PROBE_WITHIN: Duration = Duration::from_millis(300);
const WITHDRAW_WITHIN: Duration = Duration::from_secs(5);

/// How long the members have been silent, as counted by a leader.
#[derive(Debug, Default)]
struct Silence {
    checked: Option<Instant>,
    members: BTreeMap<u64, (Option<Contact>, Duration)>,
}

impl Silence {
    /// Takes over the last contacts of one check. A leader that was itself paused counts no more than one of
    /// its own steps.
    fn update(&mut self, now: Instant, contacts: BTreeMap<u64, Option<Contact>>) {
        let step = self.checked.map_or(Duration::ZERO, |checked| now.saturating_duration_since(checked));
        let step = step.min(2 * CHECK_AGAIN);
        self.checked = Some(now);
        let before = std::mem::take(&mut self.members);
        for (node_id, contact) in contacts {
            let silent = match before.get(&node_id) {
                Some((last, silent)) if *last == contact => *silent + step,
                Some(_) | None => Duration::ZERO,
            };
            self.members.insert(node_id, (contact, silent));
        }
    }

    /// How long a member has been silent; `None` when it is not a member.
    fn of(&self, node_id: u64) -> Option<Duration> {
        self.members.get(&node_id).map(|(_, silent)| *silent)
    }
}

impl Replica {
    /// This node's id, and the id of this run of its process; `None` while it is not a member.
    #[must_use]
    pub fn boot(&self) -> Option<(u64, u64)> {
        self.inner.core().map(|core| (core.identity.node_id, self.inner.boot_id))
    }

    /// Whether the process of a member answers this node now.
    pub async fn reaches(&self, node_id: u64) -> bool {
        let Some(address) = self.inner.core().and_then(|core| core.peer(node_id)) else { return false };
        matches!(
            peer::probe_port(self.inner.platform.as_ref(), &address, PROBE_WITHIN).await,
            PortProbe::Answered
        )
    }
}

/// Checks for lost nodes until this node stops.
pub(super) fn watch_members(inner: &Arc<Inner>, core: &Core, mut leads: watch::Receiver<Option<u64>>) {
    let (stop, tasks, me) = (inner.stop.clone(), inner.tasks.clone(), core.identity.node_id);
    let inner = Arc::clone(inner);
    tasks.spawn(stop.run_until_cancelled_owned(async move {
        let mut silence = Silence::default();
        let mut left = false;
        loop {
            let leader = *leads.borrow_and_update() == Some(me);
            if !leader {
                silence = Silence::default();
            }
            let idle = check(&inner, leader, left, &mut silence).await;
            let again = if idle { CHECK_AGAIN_IDLE } else { CHECK_AGAIN };
            left = tokio::select! {
                // Without a sender consensus has ended.
                changed = leads.changed() => if changed.is_err() { return } else { true },
                () = inner.peer_left.notified() => true,
                () = tokio::time::sleep(again) => false,
            };
        }
    }));
}

/// Checks once. `left`: a peer's connection has just ended. Returns true when no call waits on any node.
async fn check(inner: &Arc<Inner>, leader: bool, left: bool, silence: &mut Silence) -> bool {
    let Some(core) = inner.core() else { return true };
    let me = core.identity.node_id;
    if leader {
        silence.update(Instant::now(), contacts(core));
    }
    let boots = inner.published.view().serving_boots();
    for &(node_id, boot_id) in &boots {
        let except_boot = if node_id == me { Some(inner.boot_id) } else { None };
        let lost = match except_boot {
            Some(mine) => boot_id != mine,
            None => leader && is_lost(inner, core, node_id, left, silence).await,
        };
        if lost {
            withdraw(inner, WithdrawWaits { node_id, except_boot }).await;
        }
    }
    boots.is_empty()
}

/// When the members last answered this leader.
fn contacts(core: &Core) -> BTreeMap<u64, Option<Contact>> {
    core.metrics.look(|metrics| {
        let contact = |node_id: &u64| metrics.heartbeat.as_ref()?.get(node_id).copied().flatten();
        let members = metrics.membership_config.nodes();
        members.map(|(node_id, _)| (*node_id, contact(node_id).map(|at| *at))).collect()
    })
}

async fn is_lost(inner: &Inner, core: &Core, node_id: u64, left: bool, silence: &Silence) -> bool {
    let (Some(silent), Some(address)) = (silence.of(node_id), core.peer(node_id)) else { return true };
    if silent.is_zero() && !left {
        return false;
    }
    let election = inner.options.election_timeout_max();
    match peer::probe_port(inner.platform.as_ref(), &address, PROBE_WITHIN).await {
        // The process is gone: there is nothing to wait for.
        PortProbe::Refused => true,
        PortProbe::Unclear => silent >= SILENT_ELECTIONS * election,
        PortProbe::Answered => silent >= SILENT_ELECTIONS_ANSWERING * election,
    }
}

async fn withdraw(inner: &Arc<Inner>, command: WithdrawWaits) {
    let node_id = command.node_id;
    let replica = Replica { inner: Arc::clone(inner) };
    let request = Request::new(None, Command::from(command));
    match replica.propose(request, WITHDRAW_WITHIN).await.map(|answer| answer.outcome) {
        Ok(Ok(Reply::Lock(lock::Reply::WaitsWithdrawn(lock::WaitsWithdrawn { waits })))) => {
            tracing::info!(node_id, waits, "withdrew what a lost node had queued");
        }
        // The next check tries again: waits that were not withdrawn are still there.
        other => {
            tracing::debug!(node_id, ?other, "withdrawing what a lost node had queued failed; will retry");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_last_contact() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let first = <Contact as openraft::Instant>::now();
        let contact = |ms| first + Duration::from_millis(ms);
        let mut silence = Silence::default();
        let mut look = |ms, two: Option<u64>, three: Option<u64>| {
            silence.update(at(ms), [(2, two.map(contact)), (3, three.map(contact))].into());
            (silence.of(2), silence.of(3))
        };
        let silent = |ms| Some(Duration::from_millis(ms));
        assert_eq!(look(0, None, Some(0)), (silent(0), silent(0)), "nothing is known of it yet");
        assert_eq!(look(500, None, Some(400)), (silent(500), silent(0)), "never heard is silent, too");
        assert_eq!(look(60_000, Some(600), Some(400)), (silent(0), silent(1_000)), "the leader was paused");
        assert_eq!(look(60_400, Some(600), Some(60_300)), (silent(400), silent(0)));
        silence.update(at(61_000), [(2, None)].into());
        assert_eq!(silence.of(3), None, "no member any more");
    }
}
