//! One run: the cluster is created, faults happen and end, and the result is verified.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use batuta_api::service::acquire::AcquireRequest;
use batuta_api::service::session::OpenRequest;
use batuta_api::service::{CallContext, Consistency};
use batuta_statemachine::lock::{LockRequest, Mode, Owner};
use batuta_statemachine::{DedupKey, Name, Namespace};
use rand::Rng as _;
use rand::rngs::StdRng;
use turmoil::Sim;

use crate::access::{self, Who};
use crate::client::{Call, CallEnd, Caller};
use crate::context::{Context, Violation, violation};
use crate::machine::Machine;
use crate::nemesis::Nemesis;
use crate::node::{self, Slot};
use crate::observer::Observer;
use crate::plan::{Plan, Stream, rng};
use crate::trace::Trace;
use crate::{scenes, verify, watcher, workload};

/// How long recovery may take once the faults have ended. A connection that lost bytes is given up only after ten seconds.
const HEALED_WITHIN_MS: u64 = 60_000;
/// Clients continue for this long after the last fault.
const AFTERWARDS_MS: u64 = 1_500;

/// The message of a harmless assertion of openraft in debug builds. The replication stream of a deposed leader reads its truncated log once
/// more before it is cancelled. In production it sends a heartbeat of its old term, which is refused.
const HARMLESS_PANIC: &str = "read_log_entries received reversed range";

/// The message of an assertion of openraft in debug builds, when a node with another history learns of the cluster's history before it has
/// applied its own. The node then ends without our reason. In production the comparison of applied entries ends it a moment later.
const OTHER_HISTORY_PANIC: &str = "Some(log_id.to_ref()) <= self.committed().to_ref()";

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The broken promise, with the newest lines of the trace; `None` when the run passed.
    pub failure: Option<String>,
    /// One line that summarises the run.
    pub summary: String,
}

/// Returns the source of the operating system's random numbers while a seed runs.
#[must_use]
pub fn system_rng(seed: u64) -> StdRng {
    rng(seed, Stream::System)
}

/// Runs a seed. `print` writes the trace to standard output as it grows.
///
/// The random numbers and clocks of the process must be redirected first, as `main.rs` does.
#[must_use]
pub fn run(seed: u64, print: bool) -> Report {
    let plan = Plan::new(seed);
    let slots: Vec<Slot> = (0..plan.nodes)
        .map(|node| Slot::new(Machine::new(rng(seed, Stream::Disk(node)), plan.sync_ms.clone())))
        .collect();
    for (slot, old_starts) in slots.iter().zip(&plan.old_starts) {
        slot.run_older(*old_starts);
    }
    let context = Context::new(plan, slots, Trace::new(print));
    context.say(format_args!("{:?}", context.plan));
    let panicking = Arc::clone(&context);
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|words| words.contains(HARMLESS_PANIC)) {
            return panicking.say(format_args!("a deposed leader's stream reads its truncated log"));
        }
        let other_history = panic.payload_as_str().is_some_and(|words| words.contains(OTHER_HISTORY_PANIC));
        if other_history && panicking.nodes.iter().any(Slot::is_doomed) {
            return panicking.say(format_args!("openraft's assertion finds another history"));
        }
        panicking.fail(violation("nothing panics", panic));
    }));
    let mut run = Run::new(Arc::clone(&context), seed);
    let outcome = run.all();
    let failure = outcome.err().map(|violation| {
        let mut text = format!(
            "seed {seed}, {} ms into the run: {}\n{}\nthe newest lines of the trace:\n",
            context.now_ms(),
            violation.invariant,
            violation.detail
        );
        for line in context.trace().newest() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "again: cargo xtask sim --seed {seed} --trace");
        text
    });
    let summary = run.summary();
    // Tasks left in the runtimes are dropped with them, after the verdict.
    for slot in &context.nodes {
        slot.forget();
    }
    Report { failure, summary }
}

pub(crate) struct Run<'a> {
    pub(crate) context: Arc<Context>,
    pub(crate) sim: Sim<'a>,
    pub(crate) observer: Observer,
    nemesis: Nemesis,
    /// Whether all clients are done.
    finished: bool,
}

impl Run<'_> {
    fn new(context: Arc<Context>, seed: u64) -> Self {
        let plan = context.plan.clone();
        let mut sim = turmoil::Builder::new()
            .rng_seed(rng(seed, Stream::Network).random())
            .epoch(SystemTime::UNIX_EPOCH)
            .simulation_duration(Duration::from_hours(1))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(plan.latency_ms.start))
            .max_message_latency(Duration::from_millis(plan.latency_ms.end))
            .tcp_capacity(4_096)
            .build();
        for node in 0..plan.nodes {
            let context = Arc::clone(&context);
            sim.host(node::name(node), move || node::process(Arc::clone(&context), node));
        }
        sim.client("clients", clients(Arc::clone(&context)));
        let nemesis = Nemesis::new(rng(seed, Stream::Nemesis));
        Self { context, sim, observer: Observer::default(), nemesis, finished: false }
    }

    fn all(&mut self) -> Result<(), Violation> {
        self.until("a cluster is born", Self::ready)?;
        self.context.say("the cluster is created");
        if self.context.plan.secured() {
            self.until("the cluster is secured", |run| run.context.identities.are_there())?;
            self.context.say("the cluster is secured");
        }
        let faults_end_ms = self.context.now_ms() + self.context.plan.faults_ms;
        while self.context.now_ms() < faults_end_ms {
            self.nemesis.step(&mut self.sim, &self.context, &mut self.observer);
            self.step()?;
        }
        self.context.say("the faults are over");
        self.nemesis.heal(&mut self.sim, &self.context, &mut self.observer);
        let close_ms = self.context.now_ms() + AFTERWARDS_MS;
        while self.context.now_ms() < close_ms {
            self.step()?;
        }
        self.context.close();
        self.until("after the faults every node takes part", Self::ready)?;
        self.until("after the faults every call ends and every node serves a write", |run| run.finished)?;
        self.until("after the faults all nodes have the same", Self::equal)?;
        scenes::upgrade(self)?;
        scenes::play(self)?;
        self.judge()
    }

    /// Advances every host by one millisecond.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.finished = self.sim.step().map_err(|error| violation("no process fails", error))?;
        self.context.set_now(self.sim.elapsed());
        for node in 0..self.context.plan.nodes {
            self.observer.check(&self.context, node)?;
        }
        self.context.failed().map_or(Ok(()), Err)
    }

    pub(crate) fn until(
        &mut self,
        what: &'static str,
        there: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        let deadline_ms = self.context.now_ms() + HEALED_WITHIN_MS;
        while !there(self) {
            if self.context.now_ms() > deadline_ms {
                return Err(violation(what, self.state_of_nodes()));
            }
            self.step()?;
        }
        Ok(())
    }

    pub(crate) fn ready(&self) -> bool {
        let nodes = self.context.plan.nodes;
        let ready = |slot: &Slot| {
            let status = slot.running().map(|running| running.replica.status());
            // A replaced node is no longer a member, and counts in no majority.
            status.is_some_and(|status| status.not_ready.is_none() && status.members.len() == nodes)
        };
        self.context.nodes.iter().all(ready)
    }

    pub(crate) fn equal(&self) -> bool {
        let state = |slot: &Slot| {
            slot.running().map(|running| running.replica.view()).map(|state| (state.revision(), state.hash()))
        };
        let mut states = self.context.nodes.iter().map(state);
        let first = states.next().flatten();
        first.is_some() && states.all(|state| state == first)
    }

    fn state_of_nodes(&self) -> String {
        let mut text = String::new();
        for (node, slot) in self.context.nodes.iter().enumerate() {
            let status = slot.running().map(|running| running.replica.status());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}: {status:?}", node::name(node));
        }
        text
    }

    fn judge(&self) -> Result<(), Violation> {
        for (node, slot) in self.context.nodes.iter().enumerate() {
            let Some(running) = slot.running() else { continue };
            if let Err(broken) = running.replica.view().validate() {
                return Err(violation("the state is sound", format_args!("{}: {broken}", node::name(node))));
            }
        }
        let ledger = self.context.ledger();
        verify::verify(&self.observer, &ledger)?;
        // A run in which nothing happened proves nothing.
        let least = [
            ("acknowledged calls", ledger.acknowledged, 30),
            ("linearizable reads", ledger.linearizable_reads, 4),
            ("grants", ledger.granted.len() as u64, 4),
            ("sessions", ledger.sessions.len() as u64, 3),
            ("changes watched", ledger.watched.iter().map(|watched| watched.changes.len() as u64).sum(), 20),
            ("faults", self.nemesis.faults.values().sum(), 3),
            ("states compared", self.observer.compared, 60),
            ("rights taken away", ledger.takings, u64::from(self.context.plan.secured())),
        ];
        match least.iter().find(|(_, count, least)| count < least) {
            Some((what, count, least)) => {
                Err(violation("a run does its work", format_args!("{count} {what}, fewer than {least}")))
            }
            None => Ok(()),
        }
    }

    fn summary(&self) -> String {
        let ledger = self.context.ledger();
        let trace = self.context.trace();
        format!(
            "{} nodes, {} ms, {} terms, {} revisions, {} calls: {} acknowledged, {} refused, {} unknown; {:?}; scenes {:?}; {} lines, \
             trace {:016x}",
            self.context.plan.nodes,
            self.sim.elapsed().as_millis(),
            self.observer.terms(),
            self.observer.history.len(),
            ledger.calls,
            ledger.acknowledged,
            ledger.refused,
            ledger.unknown,
            self.nemesis.faults,
            self.context.plan.scenes,
            trace.lines(),
            trace.digest()
        )
    }
}

/// The host of the clients. It ends when every client is done and every node has then served a write.
async fn clients(context: Arc<Context>) -> turmoil::Result {
    let operator = if context.plan.secured() { access::secure(&context).await } else { None };
    let workers =
        (0..context.plan.clients).map(|number| tokio::spawn(workload::live(Arc::clone(&context), number)));
    let watchers =
        (0..context.plan.watchers).map(|number| tokio::spawn(watcher::live(Arc::clone(&context), number)));
    let mut lives: Vec<_> = workers.chain(watchers).collect();
    if let Some(operator) = operator {
        lives.push(tokio::spawn(operator.work()));
        lives.push(tokio::spawn(access::intrude(Arc::clone(&context))));
    }
    for life in lives {
        life.await?;
    }
    last_words(&context).await;
    Ok(())
}

/// Checks that every node serves a write, and shows the locks taken through all nodes.
async fn last_words(context: &Arc<Context>) {
    let nodes = context.plan.nodes;
    for node in 0..nodes {
        let request = OpenRequest { ttl_ms: 1_000, metadata: format!("last-{node}") };
        insist(context, node, &request.metadata.clone(), Call::Open(request)).await;
        let request = AcquireRequest {
            requests: vec![LockRequest { name: last_lock(node), mode: Mode::Exclusive }],
            owner: Owner { session: None, label: "last".to_owned() },
            ttl_ms: Some(600_000),
            wait_ms: 0,
            lock_delay_ms: 0,
            reentrant: false,
            // Identifies the call in the history.
            metadata: format!("last-lock-{node}"),
        };
        insist(context, node, &request.metadata.clone(), Call::Acquire(request)).await;
    }
    for node in 0..nodes {
        for other in 0..nodes {
            let read = Call::GetLock(last_lock(other), Consistency::Linearizable);
            insist(context, node, "", read).await;
        }
    }
}

fn last_lock(node: usize) -> Name {
    // The text is a valid name.
    Name::new(&format!("last-{node}")).expect("a valid name")
}

/// Repeats a call to a node until it answers; `key` may be empty for no key.
async fn insist(context: &Arc<Context>, node: usize, key: &str, call: Call) {
    let caller = Caller { context: Arc::clone(context), who: "last".to_owned(), by: Who::Root };
    let dedup = (!key.is_empty())
        .then(|| DedupKey::Idempotency { namespace: Namespace::default(), key: key.to_owned() });
    let under = CallContext { dedup, timeout: Some(Duration::from_secs(2)), ..caller.context() };
    let (begun_ms, patience) = (context.now_ms(), Duration::from_secs(3));
    while !matches!(
        caller.call(node, call.clone(), under.clone(), begun_ms, patience).await,
        CallEnd::Answer(_)
    ) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
