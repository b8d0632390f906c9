//! Starts a member from a data directory.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::errors::Fatal;
use openraft::{Config, ServerState, SnapshotPolicy};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Mutex, Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::ClusterClock;
use super::error::{Failed, StartError};
use super::leader_contact::LeaderContact;
use super::options::{Options, Settled};
use super::proposer::{Parts, Proposer};
use super::reads::{Reads, Round};
use super::route::Leader;
use super::standing::Standing;
use super::standstill::{self, Standstill};
use super::{
    Core, DiskWatch, EntryStreams, Identity, Inner, Layout, Replica, bootstrap, disk_handover, hello,
    lost_nodes, membership, recall, ticks,
};
use crate::disk::Disk;
use crate::history::ChangeLog;
use crate::integrity::Integrity;
use crate::level::Levels;
use crate::log::{self, Log, LogOptions};
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::peer::{self, Commits, Forwarder, Network};
use crate::platform::Platform;
use crate::snapshot::SnapshotStore;
use crate::store::LogStore;
use crate::types::Raft;

/// Size of the first segment, so that a small cluster stays small on disk.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// Most entries in one replication message.
const MESSAGE_ENTRIES_MAX: u64 = 64;
/// How long a follower may take to receive and install a snapshot, milliseconds.
const SNAPSHOT_WITHIN_MS: u64 = 30 * 60 * 1000;
/// How long one round of read indexes may take before its readers look for another leader.
const ROUND_WITHIN: Duration = Duration::from_secs(2);

/// The parts that wait for the node to become a member.
pub(crate) struct Prepared {
    machine: Machine,
}

/// The dedicated thread of one replica.
#[derive(Default)]
pub(crate) struct OwnThread {
    /// Cancelled to make the thread end.
    pub(super) leave: CancellationToken,
    /// Cancelled once the thread and everything on it have ended.
    pub(super) ended: CancellationToken,
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

impl Replica {
    /// Opens the data directory, recovers its contents, and starts to talk to the peers. Forming or joining a
    /// cluster continues in the background; [`Replica::status`] reports the progress.
    ///
    /// # Errors
    /// [`StartError`]; a node never starts from damaged data.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        Self::start_for(options, Handle::current(), None).await
    }

    /// As [`Self::start`], with a dedicated thread for consensus, the log and the peers. Client work on the
    /// calling runtime never delays a heartbeat, and a small entry crosses no other thread on its way to the
    /// disk and the peers. The thread ends with [`Replica::shutdown`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on_own_thread(options: Options) -> Result<Self, StartError> {
        let thread = |source| StartError::Io { what: "starting the consensus thread".to_owned(), source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(thread)?;
        let callers = Handle::current();
        let (sender, started) = oneshot::channel();
        let run = move || {
            let own = OwnThread::default();
            let _ended = own.ended.clone().drop_guard();
            let leave = own.leave.clone();
            runtime.block_on(async move {
                let started = Self::start_for(options, callers, Some(own)).await;
                let alive = started.is_ok();
                // Without a receiver nobody waits any more: the process is ending.
                if sender.send(started).is_ok() && alive {
                    leave.cancelled().await;
                }
            });
            // Blocking work, such as writing a snapshot, is not waited for: a partly written snapshot does
            // not count.
            runtime.shutdown_timeout(Duration::ZERO);
        };
        std::thread::Builder::new().name("consensus".to_owned()).spawn(run).map_err(thread)?;
        started.await.map_err(|_| StartError::Consensus("its thread ended".to_owned()))?
    }

    async fn start_for(
        options: Options,
        callers: Handle,
        own_thread: Option<OwnThread>,
    ) -> Result<Self, StartError> {
        let disk_free_min_bytes = options.disk_free_min_bytes;
        let changes = ChangeLog::new(options.history_changes_max, options.history_bytes_max);
        let platform = Arc::clone(&options.platform);
        let options = Settled::new(options)?;
        let layout = Layout { dir: options.data_dir.clone() };
        let lock = platform.lock(&layout.dir)?;
        let dir = platform.disk(&layout.dir).map_err(io_error("the data directory"))?;
        let identity = own_identity(dir.as_ref(), &layout, &options.node_name)?;
        let snapshots = platform
            .disk(&layout.snapshots())
            .and_then(SnapshotStore::open)
            .map_err(io_error("the snapshots' directory"))?;
        if identity.is_none() {
            no_data_without_identity(platform.as_ref(), &layout, &snapshots)?;
        }
        let levels = Arc::new(Levels::new(options.level));
        let machine = Machine::open(snapshots.clone(), Arc::clone(&platform), changes, Arc::clone(&levels))?;
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            published: machine.published(),
            snapshots,
            disk: DiskWatch::start(Arc::clone(&dir), disk_free_min_bytes, stop.clone()),
            leader_heard: Arc::new(LeaderContact::new()),
            standstill: Standstill::new(),
            clock: Arc::new(ClusterClock::new(options.election_timeout_max())),
            boot_id: draw_boot_id()?,
            peer_left: Notify::new(),
            book: Arc::default(),
            standing: Standing::new(identity.clone()),
            levels,
            core: OnceLock::new(),
            core_set: watch::Sender::new(false),
            becoming: Mutex::new(Some(Prepared { machine })),
            fatal: watch::Sender::new(None),
            stop,
            entries: EntryStreams::default(),
            tasks: TaskTracker::new(),
            callers,
            own_thread,
            options,
            dir,
            platform,
            _lock: lock,
        });
        peer::serve(&inner);
        if let Some(identity) = identity
            && let Err(error) = start_again(&inner, identity).await
        {
            inner.stop.cancel();
            inner.tasks.close();
            inner.tasks.wait().await;
            return Err(error);
        }
        let settling = Arc::clone(&inner);
        inner.tasks.spawn(async move {
            let stop = settling.stop.clone();
            stop.run_until_cancelled(Box::pin(bootstrap::settle(&settling))).await;
        });
        let known = Arc::clone(&inner);
        inner.tasks.spawn(async move {
            let stop = known.stop.clone();
            stop.run_until_cancelled(Box::pin(hello::keep_in_touch(&known))).await;
        });
        Ok(Self { inner })
    }
}

/// Loads the identity from the data directory, which must be this node's.
fn own_identity(dir: &dyn Disk, layout: &Layout, name: &str) -> Result<Option<Identity>, StartError> {
    match Identity::load(dir)? {
        Some(identity) if identity.name != name => Err(StartError::OtherNode {
            path: layout.dir.clone(),
            found: identity.name,
            expected: name.to_owned(),
        }),
        identity => Ok(identity),
    }
}

/// Starts consensus over the data of an earlier start, unless a member that answers objects.
async fn start_again(inner: &Arc<Inner>, identity: Identity) -> Result<(), StartError> {
    hello::before_start(inner, &identity).await?;
    become_member(inner, identity, false).await
}

/// Refuses a directory whose identity file is gone: as a fresh node it would first ask to become a new
/// member, and find its old data only then.
fn no_data_without_identity(
    platform: &dyn Platform,
    layout: &Layout,
    snapshots: &SnapshotStore,
) -> Result<(), StartError> {
    let log = platform.disk(&layout.log()).map_err(io_error("the log's directory"))?;
    if snapshots.newest()?.is_some() || log::is_used(log.as_ref())? {
        return Err(identity_missing(layout));
    }
    Ok(())
}

fn identity_missing(layout: &Layout) -> StartError {
    let what = "the file is missing, but there are data of a member beside it: put it back, or move the whole data directory away and \
                start again; the node then joins again and fetches everything";
    StartError::Identity { path: layout.dir.join("identity"), what: what.to_owned() }
}

/// Refuses a log whose missing beginning is in no snapshot.
fn check_snapshot(log: &Log, applied: u64, layout: &Layout) -> Result<(), StartError> {
    match log.state().purged {
        Some((purged, _)) if purged > applied => {
            Err(StartError::SnapshotMissing { path: layout.dir.clone(), purged, found: applied })
        }
        _ => Ok(()),
    }
}

fn draw_boot_id() -> Result<u64, StartError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| io_error("drawing the id of this boot")(io::Error::other(error.to_string())))?;
    Ok(u64::from_le_bytes(random).max(1))
}

/// Starts consensus under an identity. A `fresh` node stores the identity for good before anything else. Does
/// nothing when the node is already a member.
pub(crate) async fn become_member(
    inner: &Arc<Inner>,
    identity: Identity,
    fresh: bool,
) -> Result<(), StartError> {
    let mut becoming = inner.becoming.lock().await;
    let Some(prepared) = becoming.take() else { return Ok(()) };
    let options = &inner.options;
    let layout = Layout { dir: options.data_dir.clone() };
    let log = open_log(inner.platform.as_ref(), &layout, options.segment_bytes, !fresh)?;
    if fresh {
        keep_identity(inner, &identity, &layout, &log)?;
    }
    check_snapshot(&log, prepared.machine.applied_index(), &layout)?;
    inner.standing.take_identity(&identity);
    let config = consensus_config(&identity.cluster_id, options)?;
    let store = open_store(&layout, log, &inner.levels)?;
    let commits = Commits::default();
    let integrity = Arc::new(Integrity::new(identity.node_id, prepared.machine.lineage(), store.end()));
    let network = Network {
        cluster_id: identity.cluster_id.clone(),
        platform: Arc::clone(&inner.platform),
        first_index: store.first_index(),
        commits: commits.clone(),
        clock: Arc::clone(&inner.clock),
        book: Arc::clone(&inner.book),
        integrity: Arc::clone(&integrity),
        disk: Arc::clone(&inner.disk),
    };
    let snapshot_due = prepared.machine.snapshot_due();
    let raft =
        Raft::new(identity.node_id, Arc::new(config), network, store, prepared.machine).await.map_err(
            |fatal| too_new(&inner.levels).unwrap_or_else(|| StartError::Consensus(fatal.to_string())),
        )?;
    let metrics = Metrics::new(raft.metrics());
    inner.book.follow(metrics.clone());
    let leads = watch::Sender::new(None);
    let proposer = start_proposer(inner, &identity, &raft, &metrics, leads.subscribe());
    let (platform, callers) = (Arc::clone(&inner.platform), inner.callers.clone());
    let forwarder = Forwarder::new(identity.cluster_id.clone(), platform, callers, leads.subscribe());
    let core = Core {
        leader_reads: Reads::start(leader_round(raft.clone()), inner.stop.clone()),
        reads: {
            let _callers = inner.callers.enter();
            Reads::start(any_round(inner), inner.stop.clone())
        },
        identity,
        proposer,
        forwarder: Arc::new(forwarder),
        commits,
        integrity,
        metrics,
        book: Arc::clone(&inner.book),
        changing_members: Mutex::new(()),
        raft,
    };
    recall::start(inner, &core, fresh);
    start_tasks(inner, &core, leads, snapshot_due);
    // `becoming` was taken above, so nobody else sets the core.
    if inner.core.set(core).is_err() {
        return Err(StartError::Consensus("started twice".to_owned()));
    }
    inner.core_set.send_replace(true);
    Ok(())
}

fn start_proposer(
    inner: &Inner,
    identity: &Identity,
    raft: &Raft,
    metrics: &Metrics,
    leads: watch::Receiver<Option<u64>>,
) -> Proposer {
    Proposer::start(Parts {
        raft: raft.clone(),
        metrics: metrics.clone(),
        published: Arc::clone(&inner.published),
        disk: Arc::clone(&inner.disk),
        levels: Arc::clone(&inner.levels),
        cluster_id: identity.cluster_id.clone(),
        secured_by: inner.options.secured_by.clone(),
        node_id: identity.node_id,
        leads,
        clock: Arc::clone(&inner.clock),
        heard: Arc::clone(&inner.leader_heard),
        step_max: inner.options.election_timeout_max(),
        silence_max: inner.options.silence_max(),
        stop: inner.stop.clone(),
    })
}

/// Starts the tasks that run alongside consensus for as long as the node is a member.
fn start_tasks(
    inner: &Arc<Inner>,
    core: &Core,
    leads: watch::Sender<Option<u64>>,
    snapshot_due: Arc<Notify>,
) {
    ticks::keep(inner, core, leads.subscribe());
    lost_nodes::watch_members(inner, core, leads.subscribe());
    disk_handover::keep(inner);
    standstill::watch(inner, core);
    membership::finish_changes(inner, core, leads.subscribe());
    watch_consensus(inner, core, leads);
    write_snapshots(inner, core, snapshot_due);
}

/// Why the data cannot be used, when they are of a newer version.
fn too_new(levels: &Levels) -> Option<StartError> {
    levels.reason().map(StartError::TooNew)
}

/// openraft's view of the log. Fails when entries noted as committed are missing.
fn open_store(layout: &Layout, log: Log, levels: &Arc<Levels>) -> Result<LogStore, StartError> {
    let store = LogStore::new(log, Arc::clone(levels));
    let store =
        store.map_err(|error| too_new(levels).unwrap_or_else(|| io_error("reading the log")(error)))?;
    let whole = store.check_committed();
    whole.map_err(|error| StartError::LostLog { path: layout.log(), what: error.to_string() })?;
    Ok(store)
}

/// Stores the identity of a fresh node before anything else is stored.
fn keep_identity(inner: &Inner, identity: &Identity, layout: &Layout, log: &Log) -> Result<(), StartError> {
    let state = log.state();
    if state.vote.is_some() || !state.entries.is_empty() {
        return Err(identity_missing(layout));
    }
    identity.save(inner.dir.as_ref()).map_err(io_error("saving the node's identity"))
}

fn open_log(
    platform: &dyn Platform,
    layout: &Layout,
    segment_bytes_max: u64,
    existing: bool,
) -> Result<Log, StartError> {
    let disk = platform.disk(&layout.log()).map_err(io_error("the log's directory"))?;
    let options =
        LogOptions { segment_bytes: FIRST_SEGMENT_BYTES.min(segment_bytes_max), segment_bytes_max, existing };
    let (log, torn) = platform.log(disk, options)?;
    if let Some(torn) = torn {
        tracing::warn!(
            segment = torn.segment,
            offset = torn.offset,
            bytes = torn.bytes,
            kept_as = torn.kept_as,
            "the last write before the stop was cut off; nobody was told that it was done"
        );
    }
    Ok(log)
}

fn consensus_config(cluster_id: &str, options: &Settled) -> Result<Config, StartError> {
    let (election_timeout_min, election_timeout_max) = options.election_timeout_ms;
    let config = Config {
        cluster_name: cluster_id.to_owned(),
        heartbeat_interval: options.heartbeat_ms,
        election_timeout_min,
        election_timeout_max,
        enable_pre_vote: Some(true),
        // Without this a leader that lost its quorum never finds out (openraft's note on the option).
        quorum_loss_probe_interval: Some(2 * election_timeout_max),
        // A leader sends entries while it still syncs them itself. A leader that lost such entries in a crash
        // must never continue in its old term: it would give their log ids to other entries
        // (docs/decisions/0012).
        enable_leader_restore: Some(false),
        install_snapshot_timeout: SNAPSHOT_WITHIN_MS,
        max_payload_entries: MESSAGE_ENTRIES_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        // A follower that was away briefly is served from the log.
        max_in_snapshot_log_to_keep: options.snapshot_entries / 2,
        purge_batch_size: (options.snapshot_entries / 8).max(1),
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Consensus(error.to_string()))
}

/// A round on the leader: asks a majority whether this node still leads.
fn leader_round(raft: Raft) -> Round {
    Arc::new(move || {
        let raft = raft.clone();
        Box::pin(async move {
            let round = raft.get_read_log_id(openraft::ReadPolicy::ReadIndex);
            match tokio::time::timeout(ROUND_WITHIN, round).await {
                Ok(Ok((read, _))) => Ok(read.index()),
                Ok(Err(_)) | Err(_) => Err(Failed::NotLeader),
            }
        })
    })
}

/// A round on any node: its own round if it leads, otherwise the leader's.
fn any_round(inner: &Arc<Inner>) -> Round {
    use batuta_proto::internal as wire;
    use batuta_proto::internal::forward_request::Call;
    use batuta_proto::internal::forward_response::Result as WireAnswer;

    let inner = Arc::downgrade(inner);
    Arc::new(move || {
        let inner = inner.clone();
        Box::pin(async move {
            let Some(inner) = inner.upgrade() else { return Err(Failed::NotLeader) };
            let Some(core) = inner.core() else { return Err(Failed::NotLeader) };
            match core.leader() {
                Leader::Unknown => Err(Failed::NotLeader),
                Leader::Me => core.leader_reads.index().await,
                Leader::Other { node_id, peer } => {
                    let call = core.forward(node_id, &peer, Call::ReadIndex(wire::ReadIndex {}));
                    match tokio::time::timeout(ROUND_WITHIN, call).await {
                        Ok(Ok(WireAnswer::ReadIndex(index))) => Ok(index),
                        Ok(Ok(WireAnswer::Refused(refused))) => Err(Failed::from_wire(refused)),
                        Ok(Err(failed)) => Err(failed),
                        Ok(Ok(_)) | Err(_) => Err(Failed::NotLeader),
                    }
                }
            }
        })
    })
}

/// Requests a snapshot whenever one is due because of the log's growth.
fn write_snapshots(inner: &Arc<Inner>, core: &Core, due: Arc<Notify>) {
    let (raft, stop) = (core.raft.clone(), inner.stop.clone());
    inner.tasks.spawn(stop.run_until_cancelled_owned(async move {
        loop {
            due.notified().await;
            if let Err(fatal) = raft.trigger().snapshot().await {
                tracing::debug!(%fatal, "consensus has ended");
                return;
            }
        }
    }));
}

/// Updates `leads` whenever the leader changes, and fails the node when consensus has stopped by itself (a
/// failed disk, a defect). openraft publishes metrics after everything it does, so one separate task reads
/// all of them.
fn watch_consensus(inner: &Arc<Inner>, core: &Core, leads: watch::Sender<Option<u64>>) {
    let (metrics, integrity) = (core.metrics.clone(), Arc::clone(&core.integrity));
    let inner = Arc::clone(inner);
    let stop = inner.stop.clone();
    let led = AtomicBool::new(false);
    inner.clone().tasks.spawn(async move {
        let ended = metrics.wait_for(|metrics| {
            integrity.retain(&metrics.membership_config);
            let now = metrics.current_leader;
            leads.send_if_modified(|leader| std::mem::replace(leader, now) != now);
            let leads_itself = metrics.state == ServerState::Leader;
            if leads_itself != led.swap(leads_itself, Ordering::Relaxed) {
                // Contact counts from here: from the followers' last message, or from the election.
                inner.leader_heard.note();
            }
            metrics.running_state.clone().err()
        });
        let reason = match stop.run_until_cancelled(ended).await {
            // Consensus was stopped on purpose.
            None | Some(Ok(Fatal::Stopped)) => return,
            Some(Ok(fatal)) => Some(fatal.to_string()),
            Some(Err(_)) => None,
        };
        // The task that watches for breaches ends the node, for that reason.
        let breach = integrity.breach();
        if !stop.is_cancelled() && breach.is_none() {
            let stopped =
                || format!("consensus stopped: {}", reason.unwrap_or_else(|| "its task is gone".to_owned()));
            inner.fail(inner.levels.reason().unwrap_or_else(stopped));
        }
    });
}
