//! Drives a run: cluster, workload, nemesis, recovery, verdict.

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::check::{self, GOAL, Problem};
use crate::client::{Ask, Client, FRONTS, Shared};
use crate::clock;
use crate::cluster::{Cluster, Observer, Settings};
use crate::error::{Error, Result};
use crate::history::{self, Event, History, Kind};
use crate::ledger::Ledger;
use crate::nemesis::{Family, Nemesis, RATE_PPM_MAX, plan};
use crate::report::{self, HISTORY};
use crate::run::{DriveArgs, RunArgs};
use crate::sandbox::Sandbox;
use crate::watch::{self, Goal};
use crate::workload::{Stores, Workload, leave_everywhere};

/// How long the cluster may take to work again once all faults have ended, and then how long to get rid of what clients left behind.
const RECOVER_WITHIN: Duration = Duration::from_mins(1);
/// How long watchers may take to receive the remaining changes.
const HEAR_WITHIN: Duration = Duration::from_mins(1);
/// How often the status of the nodes is read.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// A node's log is gathered whenever it has grown by this fraction of the entries between two snapshots. A node keeps half of them behind
/// a snapshot, so no entry is purged before it is gathered unless many attempts in a row fail.
const GATHER_PARTS: u64 = 16;
/// A log is gathered at the latest after this many entries.
const GATHER_EVERY_MAX: u64 = 1000;

/// How often reading a log is attempted at the end.
const GATHER_TRIES: u32 = 10;
/// How long a sync takes when power cuts are part of the run, in milliseconds.
const SYNC_MS: u64 = 12;

/// A run in progress.
pub struct Drive {
    args: RunArgs,
    dir: PathBuf,
    sandbox: Sandbox,
    settings: Settings,
    ledger: Arc<Mutex<Ledger>>,
}

impl Drive {
    /// Prepares a run.
    ///
    /// # Errors
    /// When the program under test does not exist.
    pub fn new(args: &DriveArgs) -> Result<Self> {
        let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
        let batuta = args.run.batuta.clone().unwrap_or_else(|| exe.with_file_name("batuta"));
        if !batuta.exists() {
            let text = format!(
                "{} does not exist: run cargo build -p batuta, or pass --batuta PATH",
                batuta.display()
            );
            return Err(Error::Usage(text));
        }
        let settings = Settings {
            batuta,
            dir: args.dir.clone(),
            nodes: args.run.nodes,
            snapshot_entries: args.run.workload.snapshot_entries(),
            disks: args.run.nemesis.iter().any(|family| family.needs_disk()),
            clocks: if args.run.nemesis.contains(&Family::Clock) { Some(clock::build()?) } else { None },
            proxies: args.run.nemesis.contains(&Family::Delay),
            secured: args.run.workload.is_secured(),
        };
        Ok(Self {
            args: args.run.clone(),
            dir: args.dir.clone(),
            sandbox: Sandbox { owner: args.owner, places: args.places },
            settings,
            ledger: Arc::default(),
        })
    }

    /// Runs and checks; returns whether every promise held.
    ///
    /// # Errors
    /// When the machine lacks something the run needs, or the cluster does not even start.
    pub async fn run(self) -> Result<bool> {
        let asked = std::env::args_os().skip(2).map(|word| word.to_string_lossy().into_owned());
        let asked: Vec<String> = asked.filter(|word| !word.starts_with("--owner=")).collect();
        let history = History::create(&self.dir.join(HISTORY))?;
        let mut cluster = Cluster::new(self.sandbox.clone(), self.settings.clone())?;
        for place in cluster.wanted() {
            cluster.start(place)?;
        }
        cluster.ready().await?;
        let keys = if self.settings.secured { Some(access::secure(&cluster).await?) } else { None };
        let (places, seed) = (self.args.nodes, self.args.seed);
        let shared = Arc::new(Shared {
            history,
            places,
            seed,
            stop: CancellationToken::new(),
            stores: Stores::default(),
            holder: AtomicUsize::default(),
            keys,
        });
        if shared.keys.is_some() {
            shared.history.tell(Kind::Note, access::SECURED, "the cluster enforces access");
        }
        if self.args.nemesis.contains(&Family::Clock) {
            // The leader's monotonic clock counts TTLs, so a clock that is fast by a tenth gives a tenth less.
            let value = json!({"ttl_percent": 100 - RATE_PPM_MAX / 10_000 - 2});
            shared.history.write(Event { f: check::PROMISE.to_owned(), value, ..Event::new(Kind::Note) });
        }
        let goal = Arc::new(Goal::default());
        let (at_least, restless) = self.args.workload.watchers();
        let watchers = watch::start(self.args.watchers.max(at_least), restless, &self.dir, &shared, &goal)?;
        let (cluster, mut problems) = self.work(cluster, &shared).await?;
        problems.extend(self.finish(&cluster, &shared, watchers, &goal).await?);
        shared.history.flush()?;
        drop(cluster);
        let events = history::read(&self.dir.join(HISTORY))?;
        let operations = history::operations(&events);
        let mut findings = check::check(&self.dir, &events, &operations, self.args.rate_min)?;
        findings.problems.splice(0..0, problems);
        report::minimal(&self.dir, &events, &operations, &findings)?;
        report::conclude(&self.dir, &format!("jepsen run {}", asked.join(" ")), &findings)
    }

    /// Runs workload and nemesis concurrently, while the nodes are observed.
    async fn work(&self, cluster: Cluster, shared: &Arc<Shared>) -> Result<(Cluster, Vec<Problem>)> {
        let length = Duration::from_secs(self.args.seconds);
        let pauses = self.args.workload.pauses();
        let schedule =
            plan(self.args.seed, self.args.seconds * 1000, &self.args.nemesis, self.args.nodes, pauses);
        let lookers: JoinSet<()> = cluster
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| {
                let looker = Looker {
                    observer: cluster.observer(),
                    place,
                    name: node.name.clone(),
                    data_dir: node.data_dir.clone(),
                    gather_every: (self.settings.snapshot_entries / GATHER_PARTS).min(GATHER_EVERY_MAX),
                    ledger: Arc::clone(&self.ledger),
                    shared: Arc::clone(shared),
                };
                looker.run()
            })
            .collect();
        let mut clients = self.args.workload.start(shared, self.args.processes);
        let sync_ms = if self.args.nemesis.contains(&Family::Power) { SYNC_MS } else { 0 };
        let nemesis = Nemesis::new(cluster, shared, &self.ledger).with_sync_ms(sync_ms);
        let outcome = nemesis.run(&schedule, length).await;
        shared.stop.cancel();
        let (cluster, unexpected) = outcome?;
        let mut problems: Vec<Problem> =
            unexpected.into_iter().map(|unexpected| Problem::new("nodes", unexpected.0)).collect();
        while let Some(ended) = clients.join_next().await {
            if let Err(error) = ended {
                problems.push(Problem::new("clients", format!("a client process failed: {error}")));
            }
        }
        lookers.join_all().await;
        Ok((cluster, problems))
    }

    /// Checks recovery after all faults have ended: the cluster works again, nothing that clients left behind stays, all nodes have the same
    /// state, and every watcher receives every change.
    async fn finish(
        &self,
        cluster: &Cluster,
        shared: &Arc<Shared>,
        watchers: JoinSet<Result<()>>,
        goal: &Arc<Goal>,
    ) -> Result<Vec<Problem>> {
        shared.history.note("all faults have ended");
        let began = Instant::now();
        let mut problems = Vec::new();
        if let Err(error) = cluster.ready().await {
            problems.push(Problem::new("recovery", error.to_string()));
        }
        read_everywhere(shared).await;
        match self.args.workload {
            Workload::Queue => leave_everywhere(shared).await,
            Workload::Resource => {
                let value = shared.stores.summary();
                shared.history.write(Event { f: check::STORES.to_owned(), value, ..Event::new(Kind::Note) });
            }
            _ => {}
        }
        match alike(cluster, shared).await {
            Ok(revision) => {
                let took = began.elapsed().as_secs_f64();
                let note =
                    format!("all nodes are alike at {revision}, and nothing is held, {took:.1} s later");
                shared.history.write(Event {
                    f: GOAL.to_owned(),
                    value: json!({ "revision": revision }),
                    ..Event::new(Kind::Note)
                });
                shared.history.note(note);
                goal.set(revision);
            }
            Err(problem) => {
                problems.push(problem);
                goal.set(0);
            }
        }
        if let Ok(heard) = tokio::time::timeout(HEAR_WITHIN, watchers.join_all()).await {
            heard.into_iter().collect::<Result<Vec<()>>>()?;
        }
        self.gather_all(cluster, &mut problems).await?;
        Ok(problems)
    }

    async fn gather_all(&self, cluster: &Cluster, problems: &mut Vec<Problem>) -> Result<()> {
        for place in cluster.wanted() {
            let node = &cluster.nodes[place];
            let applied =
                cluster.observer().status(place).await.and_then(|status| status["applied_index"].as_u64());
            let mut left = GATHER_TRIES;
            loop {
                let applied = applied.unwrap_or_default();
                let gathered = Ledger::gather(&self.ledger, &node.name, &node.data_dir, applied);
                let Err(error) = gathered else { break };
                left -= 1;
                if left == 0 {
                    let detail = format!("the log of {} cannot be read: {error}", node.name);
                    problems.push(Problem::new("replay", detail));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).save(&self.dir)
    }
}

/// Reads through every node and front, so that the history contains what each of them answers at the end.
async fn read_everywhere(shared: &Arc<Shared>) {
    let mut client = Client::new(shared, 1_000_000);
    for place in 0..shared.places {
        for front in FRONTS {
            client.connect(place, front);
            client.call(&Ask::new("get_lock", json!({"name": "m/0/0"}))).await;
        }
    }
}

/// Waits until all nodes have applied the same entries and no session, lock or wait is left; returns the revision. Anything that
/// clients left behind must end by itself; an orphan would not.
async fn alike(cluster: &Cluster, shared: &Arc<Shared>) -> std::result::Result<u64, Problem> {
    let deadline = Instant::now() + RECOVER_WITHIN;
    loop {
        let mut seen = Vec::new();
        for place in cluster.wanted() {
            let status = cluster.observer().status(place).await.unwrap_or(Value::Null);
            note_status(shared, &cluster.nodes[place].name, &status);
            seen.push(status);
        }
        let of = |field: &str| seen.iter().map(|status| status[field].clone()).collect::<Vec<_>>();
        let same = |field: &str| of(field).windows(2).all(|pair| pair[0] == pair[1]);
        let applied = seen.first().and_then(|status| status["applied_index"].as_u64());
        if same("applied_index") && applied.is_some() && !same("state_hash") {
            return Err(Problem::new(
                "hashes",
                format!("at {applied:?} states differ: {:?}", of("state_hash")),
            ));
        }
        let empty =
            ["sessions", "grants", "waiters"].iter().all(|field| of(field).iter().all(|count| count == 0));
        if let Some(applied) = applied
            && same("applied_index")
            && empty
        {
            return Ok(applied);
        }
        if Instant::now() > deadline {
            let told = ["applied_index", "sessions", "grants", "waiters"]
                .map(|field| format!("{field} {:?}", of(field)));
            let detail = format!("not alike and empty within {RECOVER_WITHIN:?}: {}", told.join(", "));
            return Err(Problem::new("recovery", detail));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn note_status(shared: &Arc<Shared>, node: &str, status: &Value) {
    if status.is_null() {
        return;
    }
    let fields =
        ["role", "term", "applied_index", "state_hash", "cluster_time_ms", "sessions", "grants", "waiters"];
    let value = fields.iter().map(|&field| (field.to_owned(), status[field].clone())).collect();
    shared.history.write(Event {
        node: node.to_owned(),
        value: Value::Object(value),
        ..Event::new(Kind::Status)
    });
}

/// Observes a node during the run: records its status and gathers its log.
struct Looker {
    observer: Observer,
    place: usize,
    name: String,
    data_dir: PathBuf,
    /// The log is gathered after this many new entries.
    gather_every: u64,
    ledger: Arc<Mutex<Ledger>>,
    shared: Arc<Shared>,
}

impl Looker {
    async fn run(self) {
        let mut gathered = 0;
        while !self.shared.stop.is_cancelled() {
            if let Some(status) = self.observer.status(self.place).await {
                note_status(&self.shared, &self.name, &status);
                let applied = status["applied_index"].as_u64().unwrap_or_default();
                if applied >= gathered + self.gather_every && self.gather(applied).await {
                    gathered = applied;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Gathers the log; returns whether that worked. A log that cannot be read while it is written is read at the next attempt.
    async fn gather(&self, applied: u64) -> bool {
        let (ledger, name, data_dir) = (Arc::clone(&self.ledger), self.name.clone(), self.data_dir.clone());
        let gather = move || Ledger::gather(&ledger, &name, &data_dir, applied).is_ok();
        tokio::task::spawn_blocking(gather).await.unwrap_or(false)
    }
}
