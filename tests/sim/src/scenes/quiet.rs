//! An idle cluster that loses its leaders: a lock ends when its TTL has run out, delayed only by the time without a leader.
//!
//! Nobody writes between the grant and its end, so no entry tells a new leader how much time has passed. It must know it otherwise.

use std::ops::Bound;

use batuta_statemachine::{ChangeKind, LockId, lock};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{ANSWERED_WITHIN_MS, request};
use crate::context::{Violation, violation};
use crate::machine::End;
use crate::node;
use crate::run::Run;

/// From the end of a TTL until a node applies the end: the leader's next check, a round over the network, and a disk sync.
const NOTICED_WITHIN_MS: u64 = 400;
/// The cost of one change of leader besides the time without a leader: the time since the last heartbeat, and the first entry of the new
/// leader's term, with which its clock starts.
const HANDED_OVER_WITHIN_MS: u64 = 400;

/// The fault of the leader.
#[derive(Clone, Copy, Debug)]
enum Gone {
    Killed(usize),
    CutOff(usize),
}

/// Observations while nobody writes.
#[derive(Default)]
struct Silence {
    gone: Option<Gone>,
    term: u64,
    without_leader_ms: u64,
    changes: u64,
}

impl Silence {
    fn step(&mut self, run: &mut Run<'_>) -> Result<(), Violation> {
        run.step()?;
        let without = self.gone.map(|gone| match gone {
            Gone::Killed(node) | Gone::CutOff(node) => node,
        });
        match run.leader(without) {
            Some((term, _)) if term > self.term => {
                self.changes += 1;
                self.term = term;
            }
            Some((term, _)) if term == self.term => {}
            _ => self.without_leader_ms += 1,
        }
        Ok(())
    }

    fn end(&mut self, run: &mut Run<'_>) {
        match self.gone.take() {
            Some(Gone::Killed(node)) => run.sim.bounce(node::name(node)),
            Some(Gone::CutOff(node)) => {
                for other in others(run, node) {
                    run.sim.release(node::name(node), node::name(other));
                }
            }
            None => {}
        }
    }
}

fn others(run: &Run<'_>, node: usize) -> impl Iterator<Item = usize> + use<> {
    (0..run.context.plan.nodes).filter(move |other| *other != node)
}

fn depose(run: &mut Run<'_>, rng: &mut StdRng, silence: &mut Silence) {
    let Some((_, leader)) = run.leader(None) else { return };
    let gone = if rng.random_bool(0.5) { Gone::Killed(leader) } else { Gone::CutOff(leader) };
    run.context.say(format_args!("! of an idle cluster the leader: {gone:?}"));
    match gone {
        Gone::Killed(node) => run.crash(node, End::Kill),
        Gone::CutOff(node) => {
            for other in others(run, node) {
                run.sim.hold(node::name(node), node::name(other));
            }
        }
    }
    silence.gone = Some(gone);
}

fn has_ended(run: &Run<'_>, lock_id: LockId) -> bool {
    let after = (Bound::Excluded(lock_id.0.index), Bound::Unbounded);
    let mut changes = run.observer.history.range(after).flat_map(|(_, entry)| &entry.changes.changes);
    changes.any(
        |change| matches!(&change.kind, ChangeKind::Lock(lock::Change::LockReleased { grant, .. }) if grant.lock_id == lock_id),
    )
}

pub(super) fn play(run: &mut Run<'_>, rng: &mut StdRng) -> Result<(), Violation> {
    run.until("a cluster without clients comes to rest", Run::idle)?;
    let ttl_ms = rng.random_range(4_000..7_000);
    let node = rng.random_range(0..run.context.plan.nodes);
    let grant = run.take(node, request("quiet", ttl_ms, 0, "quiet"), ANSWERED_WITHIN_MS)?;
    // The TTL began no later than this.
    let taken_ms = run.context.now_ms();
    let mut silence = Silence { term: run.leader(None).map_or(0, |(term, _)| term), ..Silence::default() };
    // The first leader is lost late in the lock's life, a second one perhaps at once.
    let mut next_ms = taken_ms + rng.random_range(ttl_ms / 2..ttl_ms * 3 / 4);
    while !has_ended(run, grant.lock_id) {
        silence.step(run)?;
        let now_ms = run.context.now_ms();
        let Silence { without_leader_ms, changes, .. } = silence;
        let latest_ms =
            taken_ms + ttl_ms + without_leader_ms + changes * HANDED_OVER_WITHIN_MS + NOTICED_WITHIN_MS;
        if now_ms > latest_ms {
            let what = format!(
                "{} with a time to live of {ttl_ms} ms was answered at {taken_ms} ms and is held at {now_ms} ms; {changes} changes of \
                 leader, {without_leader_ms} ms without one",
                grant.lock_id
            );
            return Err(violation("nothing lives longer than its time and the time without a leader", what));
        }
        if now_ms >= next_ms {
            if silence.gone.is_some() {
                silence.end(run);
                next_ms = now_ms + if rng.random_bool(0.5) { 700 } else { 60_000 };
            } else {
                depose(run, rng, &mut silence);
                next_ms = now_ms + rng.random_range(1_200..2_000);
            }
        }
    }
    silence.end(run);
    Ok(())
}
