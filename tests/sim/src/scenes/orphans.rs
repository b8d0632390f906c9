//! A node is killed while calls wait at it: a client that asks elsewhere does not wait behind callers that are gone.

use batuta_statemachine::{ChangeKind, lock};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{ANSWERED_WITHIN_MS, request};
use crate::client::Call;
use crate::context::{Violation, violation};
use crate::machine::End;
use crate::node;
use crate::run::Run;

const WAITERS: usize = 6;
/// TTL of each lost waiter. One of them may be granted before its node counts as lost; all of them together would exceed the bound by far.
const TTL_MS: u64 = 5_000;
/// A node counts as lost after this many of the longest election timeouts without contact, counted by a leader that may have to be elected first.
const SILENT_ELECTIONS: u64 = 5;
/// Time for an election, the leader's periodic check, and the commands themselves.
const NOTICED_WITHIN_MS: u64 = 4_000;

pub(super) fn play(run: &mut Run<'_>, rng: &mut StdRng) -> Result<(), Violation> {
    let lost = rng.random_range(0..run.context.plan.nodes);
    let live = run.other(lost, rng);
    let holder = run.take(live, request("orphans", 120_000, 0, "orphans-holder"), ANSWERED_WITHIN_MS)?;
    let mut waiting = Vec::new();
    for number in 0..WAITERS {
        let text = format!("orphans-{number}");
        let call = Call::Acquire(request("orphans", TTL_MS, 90_000, &text));
        let key = if rng.random_bool(0.5) { text.as_str() } else { "" };
        waiting.extend(run.ask(lost, call, key, 100_000));
    }
    run.until("calls that wait are in their queue", |run| {
        let entries = run.observer.history.range(holder.lock_id.0.index..);
        let changes = entries.flat_map(|(_, entry)| &entry.changes.changes);
        let queued =
            changes.filter(|change| matches!(change.kind, ChangeKind::Lock(lock::Change::LockQueued(_))));
        queued.count() >= WAITERS
    })?;
    run.crash(lost, End::Kill);
    drop(waiting);
    if rng.random_bool(0.5) {
        run.rest(rng.random_range(0..5_000))?;
    }
    run.give_back(live, holder.lock_id)?;
    let within_ms = TTL_MS + SILENT_ELECTIONS * run.context.plan.election_timeout_ms.1 + NOTICED_WITHIN_MS;
    let begun_ms = run.context.now_ms();
    let next =
        run.take(live, request("orphans", 1_000, within_ms, "orphans-next"), within_ms).map_err(|_| {
            let what = format!(
                "{} was killed with {WAITERS} calls waiting; a client at {} has no lock after {} ms",
                node::name(lost),
                node::name(live),
                run.context.now_ms() - begun_ms
            );
            violation("waiters of a lost node block nobody", what)
        })?;
    run.sim.bounce(node::name(lost));
    run.give_back(live, next.lock_id)
}
