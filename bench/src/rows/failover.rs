//! Row 7: how long nobody gets a lock when the leader dies.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Cases;
use super::locks::cycle_operations;
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::metrics::GRANT_AFTER;
use crate::system::{Locks, NODES, System};

/// Clients that work while the leader dies.
const CLIENTS: usize = 16;
/// How long they work before.
const LOAD_BEFORE: Duration = Duration::from_secs(1);
/// How often each survivor is asked for another lock.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// When nobody was granted anything for so long, the cluster counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// Kills the leader once.
pub(super) async fn run<S: System>(system: &mut S, leader: usize, cases: &mut Cases) -> Result<()> {
    let mut survivors = Vec::new();
    for node in (0..NODES).filter(|node| *node != leader) {
        survivors.push(system.connect(node).await?);
    }
    // Dropped, and with it the clients ended, when the first grant came.
    let mut load = JoinSet::new();
    for mut operation in cycle_operations(&survivors, CLIENTS, "load") {
        load.spawn(async move {
            loop {
                // While nobody leads, failures are what is expected.
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

/// When the first of many acquires was granted, each begun after this was called.
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
                            // Only the first is waited for.
                            let _ = tell.send(Instant::now());
                        }
                    });
                }
            }
        }
    }
    Err(Error::other(format!("no grant {LOST_AFTER:?} after the leader was killed")))
}
