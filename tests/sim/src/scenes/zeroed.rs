//! A disk that loses only the newest write: the last group with entries of one node's log is zeroed while the node is down. The node itself
//! cannot tell that from a write that never happened, so the other nodes must tell it. In half of the runs so many others are down that the
//! node's vote would decide an election: no election may be won with it.

use batuta_api::service::session::OpenRequest;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::ANSWERED_WITHIN_MS;
use crate::client::Call;
use crate::context::{Violation, violation};
use crate::machine::End;
use crate::node;
use crate::run::Run;

/// Texts of which the reason must contain one: other nodes know of more, the node's own log does, or the log no longer fits together.
const REASONS: [&str; 3] = ["had acknowledged", "is committed, and the log would end at", "is damaged"];

pub(super) fn play(run: &mut Run<'_>, rng: &mut StdRng) -> Result<(), Violation> {
    let nodes = run.context.plan.nodes;
    let victim = rng.random_range(0..nodes);
    for number in 0..rng.random_range(2..6) {
        let text = format!("zeroed-{number}");
        let call = Call::Open(OpenRequest { ttl_ms: 1_000, metadata: text.clone() });
        let node = rng.random_range(0..nodes);
        run.insist(node, &call, &text, ANSWERED_WITHIN_MS)?;
    }
    // A newer entry could be lost without being noticed, because the other nodes do not know yet that the victim had it.
    run.settle()?;
    let mut others: Vec<usize> = (0..nodes).filter(|node| *node != victim).collect();
    others.shuffle(rng);
    let decides = rng.random_bool(0.5);
    others.truncate(if decides { nodes / 2 } else { 0 });
    let terms = run.observer.terms();
    run.crash(victim, End::Kill);
    for other in &others {
        run.crash(*other, End::Kill);
    }
    let zeroed = run.context.nodes[victim].machine.zero_newest_entries();
    run.context.say(format_args!("! {} finds its log without {zeroed:?}", node::name(victim)));
    run.observer.forget_disks(victim);
    if rng.random_bool(0.5) {
        run.rest(rng.random_range(0..2_000))?;
    }
    if zeroed.is_some_and(|zeroed| zeroed.newest > zeroed.snapshot) {
        run.ends_by_itself(victim, "a node without the end of its log ends", &REASONS)?;
        if decides && run.observer.terms() > terms {
            let what = format!("{} voted: a leader was elected that needed it", node::name(victim));
            return Err(violation("a node without the end of its log does not vote", what));
        }
        run.restart(&others);
        run.replace(victim)
    } else {
        // The victim's snapshot contains everything that its log lost.
        run.restart(&others);
        run.restart(&[victim]);
        Ok(())
    }
}
