//! A node: the process that runs on a machine, and the handle by which clients reach it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batuta_api::service::{Service, ServiceOptions};
use batuta_raft::{Addresses, Options, Replica};
use batuta_statemachine::{LEVEL, LEVEL_MIN};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::context::{Context, violation};
use crate::machine::{Machine, SimPlatform};
use crate::net::PEER_PORT;

/// A task of a client that runs in the node's process.
pub(crate) type Job = Box<dyn FnOnce(Service) -> BoxFuture<'static, ()> + Send>;

/// Handles of a running process.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) replica: Replica,
    pub(crate) jobs: mpsc::UnboundedSender<Job>,
    /// Asks the process to stop cleanly.
    pub(crate) stop: mpsc::Sender<()>,
    /// The level that the process knows.
    pub(crate) level: u32,
}

/// A node: its machine, and its process while one runs.
pub(crate) struct Slot {
    pub(crate) machine: Machine,
    /// The port on which its process listens for peers, or will listen when it starts again.
    peer_port: AtomicU16,
    /// Set when its disks were tampered with, so that its process must end by itself.
    doomed: AtomicBool,
    /// This many starts from now on are those of an older build.
    older_starts: AtomicU32,
    /// The reason that a process gave when it ended as it must.
    reason: Mutex<Option<String>>,
    running: Mutex<Option<Running>>,
}

impl Slot {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            peer_port: AtomicU16::new(PEER_PORT),
            doomed: AtomicBool::new(false),
            older_starts: AtomicU32::new(0),
            reason: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// Makes the process listen on another port from its next start on.
    pub(crate) fn move_to(&self, peer_port: u16) {
        self.peer_port.store(peer_port, Ordering::Relaxed);
    }

    /// The next starts of the process, this many, are those of an older build.
    pub(crate) fn run_older(&self, starts: u32) {
        self.older_starts.store(starts, Ordering::Relaxed);
    }

    /// The level of a process that starts now.
    fn next_level(&self) -> u32 {
        let left = self.older_starts.load(Ordering::Relaxed);
        self.older_starts.store(left.saturating_sub(1), Ordering::Relaxed);
        if left > 0 { LEVEL_MIN } else { LEVEL }
    }

    /// Sets whether the process must end by itself from now on.
    pub(crate) fn doom(&self, doomed: bool) {
        self.doomed.store(doomed, Ordering::Relaxed);
    }

    /// Whether the process must end by itself.
    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Relaxed)
    }

    /// Takes the reason that a process gave when it ended as it must.
    pub(crate) fn take_reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn running(&self) -> Option<Running> {
        self.lock().clone()
    }

    /// Drops the handles of the process, which has ended or is about to.
    pub(crate) fn forget(&self) {
        let gone = self.lock().take();
        drop(gone);
    }
}

pub(crate) fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// The address at which a node listens, or will listen when it starts again: the value of a correct configuration.
fn address(context: &Context, node: usize) -> String {
    format!("{}:{}", name(node), context.nodes[node].peer_port.load(Ordering::Relaxed))
}

fn options(context: &Context, node: usize, level: u32) -> Options {
    let plan = &context.plan;
    let machine = context.nodes[node].machine.clone();
    let port = context.nodes[node].peer_port.load(Ordering::Relaxed);
    let url = |scheme: &str| format!("{scheme}://{}:1", name(node));
    Options {
        platform: Arc::new(SimPlatform { machine, port }),
        data_dir: PathBuf::from("/data"),
        node_name: name(node),
        advertise: Addresses {
            peer: address(context, node),
            rest: url("http"),
            grpc: url("http"),
            ws: url("ws"),
        },
        peers: (0..plan.nodes).map(|peer| (name(peer), address(context, peer))).collect(),
        bootstrap_expect: plan.nodes,
        join: Vec::new(),
        election_timeout_ms: plan.election_timeout_ms,
        heartbeat_ms: plan.heartbeat_ms,
        snapshot_entries: plan.snapshot_entries,
        segment_bytes: plan.segment_bytes,
        disk_free_min_bytes: 0,
        history_changes_max: plan.history_changes_max,
        history_bytes_max: 64 << 20,
        secured_by: None,
        level,
    }
}

/// Handles a process that ends by itself: keeps the reason when it must end, otherwise fails the run.
fn ends(context: &Context, node: usize, promise: &'static str, reason: String) {
    let slot = &context.nodes[node];
    if slot.doomed.load(Ordering::Relaxed) {
        context.say(format_args!("{} ends: {reason}", name(node)));
        slot.forget();
        slot.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    } else {
        context.fail(violation(promise, format_args!("{}: {reason}", name(node))));
    }
}

/// Runs the node's process from its start to its end.
pub(crate) async fn process(context: Arc<Context>, node: usize) -> turmoil::Result {
    let level = context.nodes[node].next_level();
    context.say(format_args!("{} starts, level {level}", name(node)));
    let replica = match Replica::start(options(&context, node, level)).await {
        Ok(replica) => replica,
        Err(error) => {
            ends(&context, node, "a node starts from what its disk kept", error.to_string());
            return Ok(());
        }
    };
    let service_options = ServiceOptions {
        watch_queue_changes_max: context.plan.watch_queue_changes_max,
        ..ServiceOptions::default()
    };
    let service = Service::new(replica.clone(), service_options);
    let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
    let (stop, mut stopping) = mpsc::channel(1);
    *context.nodes[node].lock() = Some(Running { replica: replica.clone(), jobs, stop, level });
    let fatal = replica.fatal();
    tokio::pin!(fatal);
    loop {
        tokio::select! {
            biased;
            reason = &mut fatal => {
                ends(&context, node, "a node goes on", reason);
                return Ok(());
            }
            _ = stopping.recv() => break,
            Some(job) = waiting.recv() => {
                tokio::spawn(job(service.clone()));
            }
        }
    }
    service.drain();
    service.drained().await;
    replica.shutdown().await;
    context.nodes[node].forget();
    context.say(format_args!("{} has stopped", name(node)));
    Ok(())
}
