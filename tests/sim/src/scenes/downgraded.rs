//! A node is put back to an older build after the cluster has risen above its level. It ends before it applies anything that it does not
//! know, says what to install, and goes on with its data once that is done.

use batuta_statemachine::LEVEL;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::context::Violation;
use crate::machine::End;
use crate::run::Run;

pub(super) fn play(run: &mut Run<'_>, rng: &mut StdRng) -> Result<(), Violation> {
    let node = rng.random_range(0..run.context.plan.nodes);
    let end = if rng.random_bool(0.5) { End::Kill } else { End::PowerCut };
    run.crash(node, end);
    run.context.nodes[node].run_older(1);
    let expected = format!("the cluster has reached level {LEVEL}");
    run.ends_by_itself(node, "a node that does not know the cluster's level ends", &[&expected])?;
    run.context.nodes[node].doom(false);
    run.observer.forget(node);
    run.rest(100)?;
    run.restart(&[node]);
    Ok(())
}
