//! Scenes after the workload: faults that show only when the cluster has nothing else to do.
//!
//! They are driven from outside the hosts, step by step. The answers of callers go into the same ledger.

mod downgraded;
mod liar;
mod lied;
mod orphans;
mod quiet;
mod zeroed;

use std::sync::Arc;
use std::time::Duration;

use batuta_api::service::CallContext;
use batuta_api::service::acquire::{AcquireRequest, Held};
use batuta_statemachine::lock::{LockRequest, Mode, Owner};
use batuta_statemachine::{DedupKey, LEVEL, LockId, Name, Namespace};
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::oneshot::error::TryRecvError;

use crate::access::Who;
use crate::client::{Answer, Asked, Call, CallEnd, Caller};
use crate::context::{Violation, violation};
use crate::machine::End;
use crate::node::{self, Slot};
use crate::plan::{Plan, Scene, Stream, rng};
use crate::run::Run;

/// How long a healthy cluster may take to answer a call that does not wait. An election may be under way.
const ANSWERED_WITHIN_MS: u64 = 10_000;
/// A caller without an answer repeats its call after this long: a call sent to a lost leader may hang.
const ATTEMPT_MS: u64 = 1_500;
/// Longer than any deadline that is pending when the workload ends, and shorter than the locks that the workload leaves behind.
const NOTHING_DUE_MS: u64 = 60_000;

/// How soon a node that must end learns it: when it starts, or with the next heartbeat of a leader.
const NOTICED_WITHIN_MS: u64 = 10_000;

/// Plays the scenes of the plan.
pub(crate) fn play(run: &mut Run<'_>) -> Result<(), Violation> {
    let mut rng = rng(run.context.plan.seed, Stream::Scene);
    for scene in run.context.plan.scenes.clone() {
        run.context.say(format_args!("scene: {scene:?}"));
        match scene {
            Scene::Quiet => quiet::play(run, &mut rng)?,
            Scene::Orphans => orphans::play(run, &mut rng)?,
            Scene::Liar => liar::play(run, &mut rng)?,
            Scene::Zeroed => zeroed::play(run, &mut rng)?,
            Scene::Lied => lied::play(run, &mut rng)?,
            Scene::Downgraded => downgraded::play(run, &mut rng)?,
        }
        run.until("after a scene every node takes part", Run::ready)?;
        run.until("after a scene all nodes have the same", Run::equal)?;
    }
    Ok(())
}

/// Upgrades the nodes that still run as an older build. Then the level of the cluster rises by itself.
pub(crate) fn upgrade(run: &mut Run<'_>) -> Result<(), Violation> {
    for node in 0..run.context.plan.nodes {
        if run.context.nodes[node].running().is_some_and(|running| running.level < LEVEL) {
            run.crash(node, End::Kill);
            run.context.nodes[node].run_older(0);
            run.rest(100)?;
            run.restart(&[node]);
            run.until("an upgraded node takes part", Run::ready)?;
        }
    }
    let risen = |run: &Run<'_>| {
        let level = |slot: &Slot| slot.running().map(|running| running.replica.view().level());
        run.context.nodes.iter().all(|slot| level(slot) == Some(LEVEL))
    };
    run.until("the level rises once every member is upgraded", risen)
}

/// A one-shot request for an exclusive lock. `text` must be unique to the call.
fn request(name: &str, ttl_ms: u64, wait_ms: u64, text: &str) -> AcquireRequest {
    // The texts below are valid names.
    let name = Name::new(name).expect("a valid name");
    AcquireRequest {
        requests: vec![LockRequest { name, mode: Mode::Exclusive }],
        owner: Owner { session: None, label: "scene".to_owned() },
        ttl_ms: Some(ttl_ms),
        wait_ms,
        lock_delay_ms: 0,
        reentrant: false,
        metadata: text.to_owned(),
    }
}

impl Run<'_> {
    fn caller(&self) -> Caller {
        Caller { context: Arc::clone(&self.context), who: "scene".to_owned(), by: Who::Root }
    }

    fn rest(&mut self, ms: u64) -> Result<(), Violation> {
        (0..ms).try_for_each(|_| self.step())
    }

    /// Starts a call without waiting for its answer; `key` may be empty for no key.
    fn ask(&self, node: usize, call: Call, key: &str, within_ms: u64) -> Option<Asked> {
        let key = (!key.is_empty()).then(|| format!("scene-{key}"));
        let dedup = key.map(|key| DedupKey::Idempotency { namespace: Namespace::default(), key });
        let timeout = Some(Duration::from_millis(within_ms));
        let caller = self.caller();
        let under = CallContext { dedup, timeout, ..caller.context() };
        caller.ask(node, call, under, self.context.now_ms())
    }

    /// Repeats a call until it is answered; `key` may be empty for no key.
    fn insist(&mut self, node: usize, call: &Call, key: &str, within_ms: u64) -> Result<Answer, Violation> {
        let until_ms = self.context.now_ms() + within_ms;
        while self.context.now_ms() < until_ms {
            if let Some(mut asked) = self.ask(node, call.clone(), key, ATTEMPT_MS) {
                let mut outcome = Err(TryRecvError::Empty);
                while matches!(outcome, Err(TryRecvError::Empty)) && self.context.now_ms() < until_ms {
                    self.step()?;
                    outcome = asked.answer.try_recv();
                }
                if let CallEnd::Answer(answer) = self.caller().settle(&asked, outcome.ok()) {
                    return Ok(answer);
                }
            }
            self.rest(50)?;
        }
        let what = format!("{} gave no answer to {call:?} within {within_ms} ms", node::name(node));
        Err(violation("a cluster that is well answers", what))
    }

    /// Takes a lock.
    fn take(&mut self, node: usize, request: AcquireRequest, within_ms: u64) -> Result<Held, Violation> {
        let key = request.metadata.clone();
        match self.insist(node, &Call::Acquire(request), &key, within_ms)? {
            Answer::Granted(at) => Ok(at.value),
            other => Err(violation("an answer fits its call", format_args!("{other:?}"))),
        }
    }

    fn give_back(&mut self, node: usize, lock_id: LockId) -> Result<(), Violation> {
        let call = Call::Release(lock_id);
        self.insist(node, &call, &format!("release-{lock_id}"), ANSWERED_WITHIN_MS).map(drop)
    }

    /// The newest term that has a leader, and that leader; ignores the node `without`.
    fn leader(&self, without: Option<usize>) -> Option<(u64, usize)> {
        let nodes = (0..self.context.plan.nodes).filter(|node| Some(*node) != without);
        let leads = |node: usize| Some((self.context.nodes[node].running()?.replica.leads()?, node));
        nodes.filter_map(leads).max()
    }

    /// A node other than this one.
    fn other(&self, node: usize, rng: &mut StdRng) -> usize {
        let nodes = self.context.plan.nodes;
        (node + rng.random_range(1..nodes)) % nodes
    }

    /// Whether no deadline is due within [`NOTHING_DUE_MS`].
    fn idle(&self) -> bool {
        let Some(running) = self.context.nodes[0].running() else { return false };
        let state = running.replica.view();
        state.next_deadline_ms().is_none_or(|due_ms| due_ms > state.now_ms() + NOTHING_DUE_MS)
    }

    fn crash(&mut self, node: usize, end: End) {
        self.context.say(format_args!("! {end:?} of {}", node::name(node)));
        self.context.nodes[node].forget();
        self.observer.forget(node);
        self.sim.crash(node::name(node));
        self.context.nodes[node].machine.end(end);
    }

    /// Waits until nothing has been written for so long that every disk has everything, and every node knows what each has acknowledged.
    fn settle(&mut self) -> Result<(), Violation> {
        let ends = |run: &Self| -> Vec<Option<u64>> {
            let nodes = run.context.nodes.iter();
            nodes.map(|slot| slot.running().map(|running| running.replica.status().last_log_index)).collect()
        };
        let Plan { heartbeat_ms, latency_ms, sync_ms, .. } = &self.context.plan;
        let heard_ms = 2 * heartbeat_ms + 2 * latency_ms.end + sync_ms.end;
        loop {
            self.until("before disks lie all nodes have the same", Self::equal)?;
            let before = ends(self);
            self.rest(heard_ms)?;
            if ends(self) == before && self.equal() {
                return Ok(());
            }
        }
    }

    /// Starts nodes that are down.
    fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.sim.bounce(node::name(*node));
        }
    }

    /// Starts a node whose disks were tampered with. Its process must end by itself, in time, with one of these reasons.
    fn ends_by_itself(
        &mut self,
        node: usize,
        promise: &'static str,
        reasons: &[&str],
    ) -> Result<(), Violation> {
        self.context.nodes[node].doom(true);
        self.restart(&[node]);
        let until_ms = self.context.now_ms() + NOTICED_WITHIN_MS;
        let reason = loop {
            self.step()?;
            if let Some(reason) = self.context.nodes[node].take_reason() {
                break reason;
            }
            if self.context.now_ms() > until_ms {
                let what = format!("{} goes on after {NOTICED_WITHIN_MS} ms", node::name(node));
                return Err(violation(promise, what));
            }
        };
        if reasons.iter().any(|expected| reason.contains(expected)) {
            return Ok(());
        }
        Err(violation("a node that ends says why", reason))
    }

    /// Starts a node that ended by itself again, with empty disks.
    fn replace(&mut self, node: usize) -> Result<(), Violation> {
        self.context.nodes[node].doom(false);
        self.context.nodes[node].machine.wipe();
        self.observer.forget(node);
        self.observer.forget_disks(node);
        self.rest(100)?;
        self.restart(&[node]);
        Ok(())
    }
}
