//! A disk that loses synced data: one node comes back with its disks as they were some writes ago. It must end with the reason, and takes
//! part again once its disks are empty.

use batuta_api::service::session::OpenRequest;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::ANSWERED_WITHIN_MS;
use crate::client::Call;
use crate::context::Violation;
use crate::machine::End;
use crate::node;
use crate::run::Run;

/// Text that the reason must contain.
const REASON: &str = "had acknowledged";

pub(super) fn play(run: &mut Run<'_>, rng: &mut StdRng) -> Result<(), Violation> {
    let liar = rng.random_range(0..run.context.plan.nodes);
    let copy = run.context.nodes[liar].machine.copy();
    for number in 0..rng.random_range(2..8) {
        let text = format!("liar-{number}");
        let call = Call::Open(OpenRequest { ttl_ms: 1_000, metadata: text.clone() });
        let node = rng.random_range(0..run.context.plan.nodes);
        run.insist(node, &call, &text, ANSWERED_WITHIN_MS)?;
    }
    run.until("before its disk lies a node has everything", Run::equal)?;
    // Long enough for the others to learn what the node acknowledged.
    run.rest(2 * run.context.plan.heartbeat_ms + 2 * run.context.plan.latency_ms.end)?;
    run.crash(liar, End::Kill);
    run.context.say(format_args!("! {} has an old copy of its disks", node::name(liar)));
    run.context.nodes[liar].machine.restore(copy);
    run.observer.forget_disks(liar);
    if rng.random_bool(0.5) {
        run.rest(rng.random_range(0..2_000))?;
    }
    run.ends_by_itself(liar, "a node whose disk lost what was synced ends", &[REASON])?;
    run.replace(liar)
}
