//! Row 7: how long no lock can be acquired after the leader dies.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Cases;
use super::locks::cycle_operations;
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::metrics::GRANT_AFTER;
use crate::system::{Locks, NODES, System};

/// Clients that run while the leader dies.
const CLIENTS: usize = 16;
/// How long they run before that.
const LOAD_BEFORE: Duration = Duration::from_secs(1);
/// How often each survivor is asked for another lock.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// If no lock was granted for this long, the cluster counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// Kills the leader once and times the next grant.
pub(super) async fn run<S: System>(system: &mut S, leader: usize, cases: &mut Cases) -> Result<()> {
    let mut survivors = Vec::new();
    for node in (0..NODES).filter(|node| *node != leader) {
        survivors.push(system.connect(node).await?);
    }
    // Dropped after the first grant, which ends the clients.
    let mut load = JoinSet::new();
    for mut operation in cycle_operations(&survivors, CLIENTS, "load") {
        load.spawn(async move {
            loop {
                // While nobody leads, failures are expected.
                if operation().await.is_err() {
                    tokio::time::sleep(PROBE_EVERY).await;
                }
            }
        });
    }
    tokio::time::sleep(LOAD_BEFORE).await;
    let killed = Instant::now();
    system.servers().kill(leader)?;
    let took = first_grant(&survivors).await?.saturating_duration_since(killed);
    drop::<JoinSet<()>>(load);
    let mut figures = Figures::default();
    figures.set(GRANT_AFTER, took.as_secs_f64());
    cases.add("kill -9 of the leader".to_owned(), figures);
    Ok(())
}

/// The time of the first grant among many acquires, each begun after this call.
async fn first_grant<L: Locks>(survivors: &[L]) -> Result<Instant> {
    let (tell, mut granted) = mpsc::unbounded_channel();
    let mut probes = JoinSet::new();
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    let begun = Instant::now();
    let mut probe = 0_u64;
    while begun.elapsed() < LOST_AFTER {
        tokio::select! {
            at = granted.recv() => return at.ok_or_else(|| Error::other("the probes are gone")),
            _ = ticks.tick() => {
                for survivor in survivors {
                    probe += 1;
                    let (survivor, tell) = (survivor.clone(), tell.clone());
                    probes.spawn(async move {
                        if survivor.lock(format!("probe-{probe}")).await.is_ok() {
                            // Only the first one is waited for.
                            let _ = tell.send(Instant::now());
                        }
                    });
                }
            }
        }
    }
    Err(Error::other(format!("no grant {LOST_AFTER:?} after the leader was killed")))
}
