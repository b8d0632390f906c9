//! The nemesis: injects faults, at times that the seed decides.

use std::collections::BTreeMap;
use std::time::Duration;

use batuta_api::service::{CallContext, Service};
use batuta_statemachine::Namespace;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use turmoil::Sim;

use crate::access::Who;
use crate::context::Context;
use crate::machine::End;
use crate::net::PEER_PORT;
use crate::node::{self, Job};
use crate::observer::Observer;

/// What a partition does to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// A message arrives after the partition, because TCP repeats it.
    Held,
    /// A message is lost, and its connection breaks.
    Lost,
}

/// The current fault of the network.
#[derive(Clone, Debug)]
enum Trouble {
    /// These pairs of nodes cannot reach each other.
    Partition(Cut, Vec<(usize, usize)>),
    /// Messages from the first node of a pair to the second are lost.
    OneWay(Vec<(usize, usize)>),
    Slow,
}

enum Down {
    /// The process is still stopping cleanly.
    Stopping,
    /// The process starts again at this time, in milliseconds.
    Until(u64),
}

pub(crate) struct Nemesis {
    rng: StdRng,
    next_ms: u64,
    network: Option<(u64, Trouble)>,
    down: BTreeMap<usize, Down>,
    slow_disks: BTreeMap<usize, u64>,
    /// The node that lost its disks. This happens once in a run, and only while all other nodes are up.
    wiped: Option<usize>,
    /// The next node that votes loses power just after it wrote the vote.
    cut_at_vote: bool,
    /// How often each fault happened.
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

impl Nemesis {
    pub(crate) fn new(rng: StdRng) -> Self {
        Self {
            rng,
            next_ms: 0,
            network: None,
            down: BTreeMap::new(),
            slow_disks: BTreeMap::new(),
            wiped: None,
            cut_at_vote: false,
            faults: BTreeMap::new(),
        }
    }

    /// Ends faults that have lasted long enough, and starts a new one when it is time.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, context: &Context, observer: &mut Observer) {
        let now_ms = context.now_ms();
        self.end_what_is_over(sim, context, observer, now_ms);
        self.cut_voters(sim, context, observer);
        if now_ms >= self.next_ms {
            self.begin(sim, context, observer, now_ms);
            self.next_ms = now_ms + self.rng.random_range(context.plan.calm_ms.clone());
        }
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>, context: &Context, observer: &mut Observer) {
        self.end_what_is_over(sim, context, observer, u64::MAX);
    }

    fn end_what_is_over(
        &mut self,
        sim: &mut Sim<'_>,
        context: &Context,
        observer: &mut Observer,
        now_ms: u64,
    ) {
        if let Some((_, trouble)) = self.network.take_if(|(until_ms, _)| *until_ms <= now_ms) {
            context.say(format_args!("! the network works again after {trouble:?}"));
            mend(sim, context, &trouble);
        }
        let over: Vec<usize> =
            self.slow_disks.iter().filter(|(_, until)| **until <= now_ms).map(|(node, _)| *node).collect();
        for node in over {
            self.slow_disks.remove(&node);
            context.nodes[node].machine.set_sync_ms(context.plan.sync_ms.clone());
        }
        for node in 0..context.plan.nodes {
            match self.down.get(&node) {
                Some(Down::Stopping) if now_ms == u64::MAX => {
                    self.crash(sim, context, observer, node, End::Kill, 0);
                }
                Some(Down::Stopping) if !sim.is_host_running(node::name(node)) => {
                    let until_ms = now_ms + self.rng.random_range(50..2_000);
                    self.down.insert(node, Down::Until(until_ms));
                    observer.forget(node);
                }
                _ => {}
            }
            if matches!(self.down.get(&node), Some(Down::Until(until_ms)) if *until_ms <= now_ms) {
                self.down.remove(&node);
                sim.bounce(node::name(node));
            }
        }
    }

    fn begin(&mut self, sim: &mut Sim<'_>, context: &Context, observer: &mut Observer, now_ms: u64) {
        let node = self.rng.random_range(0..context.plan.nodes);
        let up = !self.down.contains_key(&node);
        match self.rng.random_range(0..110) {
            0..16 if up => self.end_process(sim, context, observer, node, End::PowerCut),
            16..31 if up => self.end_process(sim, context, observer, node, End::Kill),
            31..34 => self.end_all(sim, context, observer),
            34..42 if up => self.stop_in_order(context, node),
            42..70 if self.network.is_none() => self.trouble(sim, context, now_ms),
            70..80 => self.slow_disk(context, node, now_ms),
            80..88 => self.transfer(context, node),
            88..95 => self.snapshot(context, node),
            95..100 if self.wiped.is_none() && self.down.is_empty() => {
                self.wipe(sim, context, observer, node);
            }
            100..110 => self.cut_at_vote = true,
            _ => {}
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    fn crash(
        &mut self,
        sim: &mut Sim<'_>,
        context: &Context,
        observer: &mut Observer,
        node: usize,
        end: End,
        until_ms: u64,
    ) {
        context.nodes[node].forget();
        observer.forget(node);
        sim.crash(node::name(node));
        context.nodes[node].machine.end(end);
        self.down.insert(node, Down::Until(until_ms));
    }

    fn away_ms(&mut self) -> u64 {
        if self.rng.random_bool(0.6) {
            // Back before another node stands for election.
            self.rng.random_range(5..300)
        } else {
            self.rng.random_range(300..4_000)
        }
    }

    fn end_process(
        &mut self,
        sim: &mut Sim<'_>,
        context: &Context,
        observer: &mut Observer,
        node: usize,
        end: End,
    ) {
        let away_ms = self.away_ms();
        context.say(format_args!("! {end:?} of {} for {away_ms} ms", node::name(node)));
        self.count(if end == End::Kill { "kill" } else { "power cut" });
        self.crash(sim, context, observer, node, end, context.now_ms() + away_ms);
        if self.rng.random_bool(0.3) {
            self.move_node(context, node);
        }
    }

    /// Gives a node that is down another address for its next start.
    fn move_node(&mut self, context: &Context, node: usize) {
        let port = PEER_PORT + self.rng.random_range(0..5);
        context.say(format_args!("! {} moves to port {port}", node::name(node)));
        self.count("address changed");
        context.nodes[node].move_to(port);
    }

    /// Cuts the power of some nodes that have just voted; they are back before the election is over.
    fn cut_voters(&mut self, sim: &mut Sim<'_>, context: &Context, observer: &mut Observer) {
        let voted = observer.take_voted();
        if !self.cut_at_vote || voted.is_empty() {
            return;
        }
        self.cut_at_vote = false;
        for node in voted {
            if self.down.contains_key(&node) || self.rng.random_bool(0.3) {
                continue;
            }
            let away_ms = self.rng.random_range(5..200);
            context.say(format_args!(
                "! power cut of {}, which has just voted, for {away_ms} ms",
                node::name(node)
            ));
            self.count("power cut at a vote");
            self.crash(sim, context, observer, node, End::PowerCut, context.now_ms() + away_ms);
        }
    }

    /// Ends all nodes at once.
    fn end_all(&mut self, sim: &mut Sim<'_>, context: &Context, observer: &mut Observer) {
        let end = if self.rng.random_bool(0.5) { End::Kill } else { End::PowerCut };
        context.say(format_args!("! {end:?} of all"));
        self.count("all at once");
        let all_move = self.rng.random_bool(0.5);
        for node in 0..context.plan.nodes {
            if !matches!(self.down.get(&node), Some(Down::Until(_))) {
                let away_ms = self.away_ms();
                self.crash(sim, context, observer, node, end, context.now_ms() + away_ms);
            }
            if all_move {
                self.move_node(context, node);
            }
        }
    }

    fn stop_in_order(&mut self, context: &Context, node: usize) {
        let Some(running) = context.nodes[node].running() else { return };
        if running.stop.try_send(()).is_ok() {
            context.say(format_args!("! {} is asked to stop", node::name(node)));
            self.count("stop in order");
            self.down.insert(node, Down::Stopping);
        }
    }

    /// Replaces a node's disks with empty ones; the node comes back as a new member under its old name.
    fn wipe(&mut self, sim: &mut Sim<'_>, context: &Context, observer: &mut Observer, node: usize) {
        let away_ms = self.rng.random_range(1_500..4_000);
        context.say(format_args!("! {} loses its disks", node::name(node)));
        self.count("disk lost");
        self.crash(sim, context, observer, node, End::PowerCut, context.now_ms() + away_ms);
        context.nodes[node].machine.wipe();
        observer.forget_disks(node);
        self.wiped = Some(node);
    }

    fn trouble(&mut self, sim: &mut Sim<'_>, context: &Context, now_ms: u64) {
        let mut nodes: Vec<usize> = (0..context.plan.nodes).collect();
        nodes.shuffle(&mut self.rng);
        let minority = self.rng.random_range(1..=context.plan.nodes / 2);
        let across = nodes[..minority]
            .iter()
            .flat_map(|one| nodes[minority..].iter().map(move |other| (*one, *other)))
            .collect();
        let trouble = match self.rng.random_range(0..10) {
            0..5 => Trouble::Partition(Cut::Held, across),
            5..7 => Trouble::Partition(Cut::Lost, across),
            7 => Trouble::OneWay(across),
            8 => Trouble::OneWay(across.into_iter().map(|(one, other)| (other, one)).collect()),
            _ => Trouble::Slow,
        };
        context.say(format_args!("! {trouble:?}"));
        match &trouble {
            Trouble::Partition(Cut::Held, pairs) => {
                for (one, other) in pairs {
                    sim.hold(node::name(*one), node::name(*other));
                }
                self.count("partition");
            }
            Trouble::Partition(Cut::Lost, pairs) => {
                for (one, other) in pairs {
                    sim.partition(node::name(*one), node::name(*other));
                }
                self.count("partition with loss");
            }
            Trouble::OneWay(pairs) => {
                for (from, to) in pairs {
                    sim.partition_oneway(node::name(*from), node::name(*to));
                }
                self.count("one-way partition");
            }
            Trouble::Slow => {
                sim.set_max_message_latency(Duration::from_millis(self.rng.random_range(100..600)));
                self.count("slow network");
            }
        }
        self.network = Some((now_ms + self.rng.random_range(200..4_000), trouble));
    }

    fn slow_disk(&mut self, context: &Context, node: usize, now_ms: u64) {
        let slowest_ms = self.rng.random_range(50..900);
        context.say(format_args!("! {} syncs in up to {slowest_ms} ms", node::name(node)));
        self.count("slow disk");
        context.nodes[node].machine.set_sync_ms(10..slowest_ms);
        self.slow_disks.insert(node, now_ms + self.rng.random_range(500..5_000));
    }

    fn transfer(&mut self, context: &Context, node: usize) {
        context.say(format_args!("! {} is asked to have leadership moved", node::name(node)));
        self.count("leadership moved");
        let under = brief(context);
        ask(
            context,
            node,
            Box::new(move |service: Service| {
                Box::pin(async move {
                    // Refused when no other node can lead. The nemesis does not judge that.
                    let _ = service.transfer_leader(&under, None).await;
                })
            }),
        );
    }

    fn snapshot(&mut self, context: &Context, node: usize) {
        context.say(format_args!("! {} writes a snapshot", node::name(node)));
        self.count("snapshot");
        let under = brief(context);
        ask(
            context,
            node,
            Box::new(move |service: Service| {
                Box::pin(async move {
                    // May be refused, too.
                    let _ = service.trigger_snapshot(&under).await;
                })
            }),
        );
    }
}

fn brief(context: &Context) -> CallContext {
    let client = context.identities.client(Who::Root);
    CallContext { timeout: Some(Duration::from_secs(2)), ..client.context(Namespace::default()) }
}

fn ask(context: &Context, node: usize, job: Job) {
    if let Some(running) = context.nodes[node].running() {
        // The process may be stopping.
        let _ = running.jobs.send(job);
    }
}

fn mend(sim: &Sim<'_>, context: &Context, trouble: &Trouble) {
    match trouble {
        Trouble::Partition(Cut::Held, pairs) => {
            for (one, other) in pairs {
                sim.release(node::name(*one), node::name(*other));
            }
        }
        Trouble::Partition(Cut::Lost, pairs) => {
            for (one, other) in pairs {
                sim.repair(node::name(*one), node::name(*other));
            }
        }
        Trouble::OneWay(pairs) => {
            for (from, to) in pairs {
                sim.repair_oneway(node::name(*from), node::name(*to));
            }
        }
        Trouble::Slow => {
            sim.set_max_message_latency(Duration::from_millis(context.plan.latency_ms.end));
        }
    }
}
