//! Row 7: how long nobody gets a lock when the leader dies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::locks::cycle_operations;
use crate::drive::{Run, drive_while};
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::meter::Meter;
use crate::metrics::GRANT_AFTER;
use crate::system::{Locks, NODES, System};

/// Clients that work while the leader dies.
const CLIENTS: usize = 16;
/// How often each survivor is asked for another lock.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// When nobody was granted anything for so long, the cluster counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// Kills the leader once.
pub(super) async fn run<S: System>(system: &mut S, leader: usize) -> Result<Vec<(String, Figures)>> {
    let mut survivors = Vec::new();
    for node in (0..NODES).filter(|node| *node != leader) {
        survivors.push(system.connect(node).await?);
    }
    let operations = cycle_operations(&survivors, CLIENTS, "load")
        .into_iter()
        .map(|mut operation| {
            // While nobody leads, failures are what is expected.
            move || {
                let done = operation();
                async move {
                    if done.await.is_err() {
                        tokio::time::sleep(PROBE_EVERY).await;
                    }
                    Ok(())
                }
            }
        })
        .collect();
    let mut took = None;
    let killing = async {
        let killed = Instant::now();
        system.servers().kill(leader)?;
        took = Some(first_grant(&survivors).await?.saturating_duration_since(killed));
        Ok(())
    };
    // The servers' own use is not asked for: one of them is gone at the end.
    drive_while(Arc::<Run>::default(), &Meter::default(), Duration::from_secs(1), operations, killing)
        .await?;
    let mut figures = Figures::default();
    figures.set(GRANT_AFTER, took.ok_or_else(|| Error::other("nobody was killed"))?.as_secs_f64());
    Ok(vec![("kill -9 of the leader".to_owned(), figures)])
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
