//! A node that starts asks the others what it has acknowledged, before it votes.
//!
//! Its disk may have lost acknowledged entries, or its data directory may be an old copy; its vote could then
//! elect a leader without committed entries. Members that are up answer within moments. The node does not
//! wait for members that are down; otherwise a cluster that restarts would never elect a leader. What no
//! living member knows is found later, when histories are compared
//! (docs/decisions/0024-lost-and-diverged-logs.md).

use std::sync::Arc;
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::future::join_all;

use super::{Core, Inner};
use crate::codec::consensus::log_id;
use crate::peer::{self, Target};
use crate::types::LogId;

/// Time limit of an answer, shorter than the default election timeout.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);
/// After a reason to stop was found, the other members have this long to hear of it.
const REPORT_WITHIN: Duration = Duration::from_millis(300);

/// Asks the others, and ends the node when its log turns out to have lost entries or to differ.
pub(super) fn start(inner: &Arc<Inner>, core: &Core, fresh: bool) {
    ask_acknowledged(inner, core, fresh);
    watch_integrity(inner, core);
}

/// Asks, and lets this node vote when its log has everything it acknowledged.
fn ask_acknowledged(inner: &Arc<Inner>, core: &Core, fresh: bool) {
    if fresh {
        core.integrity.vouch();
        return;
    }
    core.raft.runtime_config().elect(false);
    let (raft, integrity) = (core.raft.clone(), Arc::clone(&core.integrity));
    let (identity, stop) = (core.identity.clone(), inner.stop.clone());
    let asking = Arc::clone(inner);
    inner.tasks.spawn(stop.run_until_cancelled_owned(async move {
        let me = identity.node_id;
        // The metrics may not have the membership yet.
        let membership = raft.with_raft_state(|state| state.membership_state.effective().clone()).await;
        let Ok(membership) = membership else { return };
        let others: Vec<(u64, String)> = membership
            .nodes()
            .filter(|(id, _)| **id != me)
            .map(|(id, member)| (*id, member.addresses.peer.clone()))
            .collect();
        let target = |id| Target::new(&identity.cluster_id, id);
        let asked = others.iter().map(|(id, address)| ask(&asking, target(*id), address, me));
        for ((said_by, _), known) in others.iter().zip(join_all(asked).await) {
            if let Some(acknowledged) = known
                && let Err(breach) = integrity.check_acknowledged(acknowledged, *said_by)
            {
                integrity.note_breach(breach);
                return;
            }
        }
        integrity.vouch();
        raft.runtime_config().elect(true);
    }));
}

async fn ask(inner: &Inner, target: Target, address: &str, me: u64) -> Option<LogId> {
    let mut client = peer::client(inner.platform.as_ref(), address).ok()?;
    let request = target.request(wire::AcknowledgedRequest { node_id: me });
    // A member that does not answer, or does not know the question, knows nothing.
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.acknowledged(request)).await.ok()?.ok()?;
    answer.into_inner().last.map(log_id)
}

fn watch_integrity(inner: &Arc<Inner>, core: &Core) {
    let (integrity, stop) = (Arc::clone(&core.integrity), inner.stop.clone());
    let failing = Arc::clone(inner);
    inner.tasks.spawn(stop.run_until_cancelled_owned(async move {
        let breach = integrity.breached().await;
        tokio::time::sleep(REPORT_WITHIN).await;
        failing.fail(breach.to_string());
    }));
}
