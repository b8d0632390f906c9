//! A node that starts asks the others what it has acknowledged, before it votes.
//!
//! Its disk may have lost that, or its data directory may be an old copy; its vote could then elect a leader without committed entries.
//! Whoever is there answers within moments; whoever is not there is not waited for, or a cluster that starts anew would never elect
//! anybody. What nobody alive knows is found later, when histories are compared (docs/decisions/0024-lost-and-diverged-logs.md).

use std::sync::Arc;
use std::time::Duration;

use batuta_proto::internal as wire;
use futures_util::future::join_all;

use super::{Core, Inner};
use crate::codec::consensus::log_id;
use crate::peer::{self, Target};
use crate::types::LogId;

/// How long an answer is waited for: shorter than the default election timeout.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);
/// After a reason to stop was found, the other members have so long to hear of it.
const TELL_WITHIN: Duration = Duration::from_millis(300);

/// Asks the others, and ends the node whenever its log is found not to be what it was.
pub(super) fn start(inner: &Arc<Inner>, core: &Core, fresh: bool) {
    ask_what_was_acknowledged(inner, core, fresh);
    watch_integrity(inner, core);
}

/// Asks, and lets this node vote when its log has everything.
fn ask_what_was_acknowledged(inner: &Arc<Inner>, core: &Core, fresh: bool) {
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
        // The metrics may not have it yet.
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
    // Whoever does not answer, or does not know the question, knows nothing.
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.acknowledged(request)).await.ok()?.ok()?;
    answer.into_inner().last.map(log_id)
}

fn watch_integrity(inner: &Arc<Inner>, core: &Core) {
    let (integrity, stop) = (Arc::clone(&core.integrity), inner.stop.clone());
    let failing = Arc::clone(inner);
    inner.tasks.spawn(stop.run_until_cancelled_owned(async move {
        let breach = integrity.breached().await;
        tokio::time::sleep(TELL_WITHIN).await;
        failing.fail(breach.to_string());
    }));
}
