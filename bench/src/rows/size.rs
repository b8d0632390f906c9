//! Rows 8 and 9: the cost of many held locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::locks::{cycle_operations, cycles};
use super::{CLIENTS_PER_HOST, Cases, Plan, hosts, meter};
use crate::drive::{drive_while, number};
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::meter::resident_bytes;
use crate::metrics::{DISK, P99, RESIDENT, RESTART, SNAPSHOT, SNAPSHOT_P99, TAKE_RATE};
use crate::system::{Locks, NODES, System};

/// The sizes at which row 9 measures.
const STEPS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Row 8 measures from this size on.
const SIZE_FROM: usize = 100_000;
/// Clients that take the locks.
const TAKERS: usize = 256;
/// How often acquiring a lock is retried.
const TRIES: usize = 50;

/// Fills one cluster step by step and measures at each step.
pub(super) async fn run<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    let takers = hosts(system, leader, TAKERS).await?;
    let cyclers = hosts(system, leader, CLIENTS_PER_HOST).await?;
    let mut held = 0;
    for locks in STEPS.into_iter().filter(|&step| step <= plan.locks_max) {
        let begun = Instant::now();
        take(&takers, held, locks).await?;
        let rate = number((locks - held) as u64) / begun.elapsed().as_secs_f64();
        held = locks;
        let meter = meter(system, plan);
        let figures = cycles(&cyclers, CLIENTS_PER_HOST, "beside", &meter, plan.timing).await?;
        let name = format!("{locks} locks held");
        if locks >= SIZE_FROM {
            let figures = size(system, leader, &cyclers, rate, plan).await?;
            cases.add_to(8, name.clone(), figures);
        }
        cases.add_to(9, name, figures);
    }
    Ok(())
}

/// Acquires the locks from `held` up to `wanted` and keeps them.
async fn take<L: Locks>(takers: &[L], held: usize, wanted: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(held));
    let mut clients = JoinSet::new();
    for client in 0..TAKERS {
        let (host, next) = (takers[client % takers.len()].clone(), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= wanted {
                    return Ok(());
                }
                let mut tries = 0;
                while let Err(error) = host.lock(format!("held/{number:07}")).await {
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| Error::other(format!("a client broke: {error}")))??;
    }
    Ok(())
}

/// Measures the current cluster for row 8.
async fn size<S: System>(
    system: &mut S,
    leader: usize,
    cyclers: &[S::Host],
    rate: f64,
    plan: &Plan,
) -> Result<Figures> {
    let mut figures = Figures::default();
    figures.set(TAKE_RATE, rate);
    let meter = meter(system, plan);
    let resident = meter.pids.iter().map(|pid| resident_bytes(*pid)).collect::<Result<Vec<_>>>()?;
    figures.set(RESIDENT, number(resident.into_iter().max().unwrap_or_default()) / 1_048_576.0);
    figures.set(DISK, number(system.servers().disk_bytes()?) / 1_048_576.0);
    let mut snapshot_s = 0.0;
    let measured = async {
        let begun = Instant::now();
        let least = tokio::time::sleep(Duration::from_secs(1));
        system.snapshot(leader).await?;
        snapshot_s = begun.elapsed().as_secs_f64();
        least.await;
        Ok(())
    };
    let operations = cycle_operations(cyclers, CLIENTS_PER_HOST, "during");
    let during = drive_while(Arc::default(), &meter, plan.timing.warm, operations, measured).await?;
    figures.set(SNAPSHOT, snapshot_s);
    if let Some(p99_ms) = during.get(P99) {
        figures.set(SNAPSHOT_P99, p99_ms);
    }
    let follower = (leader + 1) % NODES;
    system.servers().stop(follower).await?;
    let begun = Instant::now();
    system.servers().launch(follower)?;
    system.serving(follower).await?;
    figures.set(RESTART, begun.elapsed().as_secs_f64());
    Ok(figures)
}
