//! Row 5: sessions with keep-alives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;

use super::{Cases, Plan, meter};
use crate::drive::{costs, latencies, number};
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::histogram::Histogram;
use crate::meter::resident_bytes;
use crate::metrics::{ERRORS, GROWTH, LOST, OPEN_RATE, RESIDENT};
use crate::system::{Host, NODES, System};

/// Number of sessions of one host.
const SESSIONS_PER_HOST: usize = 500;
/// A host keeps its sessions alive in this many parts, one after the other.
const PARTS: u32 = 10;
/// Sessions being opened at once, over all hosts.
const OPENING: usize = 256;

/// State shared by the hosts of a case.
#[derive(Default)]
struct Shared {
    counts: AtomicBool,
    ended: AtomicBool,
    kept: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
    latency: Histogram,
}

impl Shared {
    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Runs one case for each number of sessions, each on its own hosts, spread over the nodes.
pub(super) async fn run<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    for &sessions in &plan.sessions {
        cases.add(format!("{sessions} sessions"), live(system, leader, sessions, plan).await?);
    }
    Ok(())
}

async fn live<S: System>(system: &mut S, leader: usize, sessions: usize, plan: &Plan) -> Result<Figures> {
    let ttl = plan.session_hold * 2 / 3;
    let shared = Arc::new(Shared::default());
    let mut keepers = JoinSet::new();
    let opening = Instant::now();
    for first in (0..sessions).step_by(SESSIONS_PER_HOST) {
        let host = system.connect((leader + first / SESSIONS_PER_HOST) % NODES).await?;
        let count = SESSIONS_PER_HOST.min(sessions - first);
        let opened: Vec<String> = stream::iter((0..count).map(|_| host.open_session(ttl)))
            .buffer_unordered(OPENING)
            .try_collect()
            .await?;
        // Kept alive from here on, because opening the rest may take long.
        keepers.spawn(keep(host, opened, ttl / 3, Arc::clone(&shared)));
    }
    let opened_per_s = number(sessions as u64) / opening.elapsed().as_secs_f64();
    tokio::time::sleep(plan.timing.warm).await;
    let meter = meter(system, plan);
    let before = meter.read()?;
    let begun = Instant::now();
    shared.counts.store(true, Ordering::Relaxed);
    tokio::time::sleep(plan.session_hold).await;
    shared.counts.store(false, Ordering::Relaxed);
    let elapsed_s = begun.elapsed().as_secs_f64();
    let used = meter.since(&before)?;
    shared.ended.store(true, Ordering::Relaxed);
    while let Some(ended) = keepers.join_next().await {
        ended.map_err(|error| Error::other(format!("a host broke: {error}")))??;
    }
    let kept = shared.kept.load(Ordering::Relaxed);
    if kept == 0 {
        return Err(Error::other("no session was kept alive"));
    }
    let mut figures = Figures::default();
    costs(&mut figures, kept, elapsed_s, &used);
    latencies(&mut figures, &shared.latency);
    if let Some(bytes) = used.disk_bytes {
        figures.set(GROWTH, number(bytes) / 1_048_576.0 / (elapsed_s / 60.0));
    }
    figures.set(LOST, number(shared.lost.load(Ordering::Relaxed)));
    figures.set(ERRORS, number(shared.errors.load(Ordering::Relaxed)));
    figures.set(OPEN_RATE, opened_per_s);
    let resident = meter.pids.iter().map(|pid| resident_bytes(*pid)).collect::<Result<Vec<_>>>()?;
    figures.set(RESIDENT, number(resident.into_iter().max().unwrap_or_default()) / 1_048_576.0);
    Ok(figures)
}

/// Keeps a host's sessions alive, each once in `every`, until the end; then sends one more keep-alive for
/// each session, so that no lost session is missed.
async fn keep<H: Host>(host: H, sessions: Vec<String>, every: Duration, shared: Arc<Shared>) -> Result<()> {
    let mut ticks = tokio::time::interval(every / PARTS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let part = sessions.len().div_ceil(PARTS as usize).max(1);
    while !shared.ended() {
        for some in sessions.chunks(part) {
            ticks.tick().await;
            if shared.ended() {
                break;
            }
            let begun = Instant::now();
            match host.keep_alive(some).await {
                // Lost sessions are counted once, at the end.
                Ok(_) if shared.counts.load(Ordering::Relaxed) => {
                    shared.kept.fetch_add(some.len() as u64, Ordering::Relaxed);
                    shared.latency.record(begun.elapsed());
                }
                Ok(_) => {}
                Err(error) => {
                    if shared.errors.fetch_add(1, Ordering::Relaxed) == 0 {
                        eprintln!("    a keep-alive failed: {error}");
                    }
                }
            }
        }
    }
    for some in sessions.chunks(part) {
        shared.lost.fetch_add(host.keep_alive(some).await?, Ordering::Relaxed);
    }
    Ok(())
}
