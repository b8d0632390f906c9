//! A majority whose disks lose synced data: so many nodes come back with their disks as they were some acknowledged writes ago that no running
//! node knows of those writes. The cluster continues without them. A node that still has them returns, learns that it applied another history,
//! and ends.
//!
//! `tests/tests/integrity.rs` checks with real processes that the leader reports such a node: here a process that ends does not send its last
//! answer.

use batuta_api::service::session::OpenRequest;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::ANSWERED_WITHIN_MS;
use crate::client::Call;
use crate::context::Violation;
use crate::machine::End;
use crate::node;
use crate::run::Run;

const REASONS: [&str; 2] = ["has applied other entries than the leader", STOPPED];
/// The reason when an assertion of openraft, in debug builds only, ended consensus first.
const STOPPED: &str = "consensus stopped";

pub(super) fn play(run: &mut Run<'_>, rng: &mut StdRng) -> Result<(), Violation> {
    let nodes = run.context.plan.nodes;
    let mut liars: Vec<usize> = (0..nodes).collect();
    liars.shuffle(rng);
    let holders = liars.split_off(nodes / 2 + 1);
    // A leader may apply entries that are not on its own disk yet.
    run.settle()?;
    let copies: Vec<_> = liars.iter().map(|liar| run.context.nodes[*liar].machine.copy()).collect();
    let kept = run.context.nodes[liars[0]].running().map(|running| running.replica.view().revision());
    let kept = kept.unwrap_or_default();
    // Writes acknowledged from here on are lost, so they are removed from the ledger afterwards.
    let before = run.context.ledger().clone();
    write(run, rng, "lost", 3..8)?;
    run.until("before disks lie all nodes have the same", Run::equal)?;
    for node in 0..nodes {
        run.crash(node, End::Kill);
    }
    *run.context.ledger() = before;
    run.observer.lose_after(kept);
    for (liar, copy) in liars.iter().zip(copies) {
        run.context.say(format_args!("! {} has an old copy of its disks", node::name(*liar)));
        run.context.nodes[*liar].machine.restore(copy);
        run.observer.forget_disks(*liar);
    }
    run.restart(&liars);
    let node = liars[rng.random_range(0..liars.len())];
    write_at(run, node, "kept", rng.random_range(1..8))?;
    for holder in &holders {
        run.observer.exempt(*holder, true);
        run.ends_by_itself(*holder, "a node with another history ends", &REASONS)?;
    }
    for holder in holders {
        run.observer.exempt(holder, false);
        run.replace(holder)?;
    }
    Ok(())
}

fn write(
    run: &mut Run<'_>,
    rng: &mut StdRng,
    what: &str,
    count: std::ops::Range<u64>,
) -> Result<(), Violation> {
    let node = rng.random_range(0..run.context.plan.nodes);
    let count = rng.random_range(count);
    write_at(run, node, what, count)
}

fn write_at(run: &mut Run<'_>, node: usize, what: &str, count: u64) -> Result<(), Violation> {
    (0..count).try_for_each(|number| {
        let text = format!("{what}-{number}");
        let call = Call::Open(OpenRequest { ttl_ms: 1_000, metadata: text.clone() });
        run.insist(node, &call, &text, ANSWERED_WITHIN_MS).map(drop)
    })
}
