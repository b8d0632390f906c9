//! The schedule of faults. The seed alone decides it; the nodes that are hit (the leader, for example) are chosen when a fault starts.

use clap::ValueEnum;

use crate::random::Random;

/// Kinds of faults that can be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// Partitions of every kind.
    Partition,
    /// Nodes are killed with SIGKILL.
    Kill,
    /// Nodes are paused with SIGSTOP.
    Pause,
    /// Packets are lost.
    Loss,
    /// Links are slow.
    Slow,
    /// Messages between nodes arrive late and out of order.
    Delay,
    /// Clocks jump, jump back and forth, and run too fast or too slow.
    Clock,
    /// Power cuts: nodes are killed, and any part of their unsynced data is lost.
    Power,
    /// Disks: slow syncs, failing syncs and writes, no space.
    Disk,
    /// A bit flips in a log or snapshot of a node that is down.
    Flip,
    /// Membership: add and remove nodes, replace a wiped node, transfer leadership, take snapshots and purge logs.
    Member,
}

impl Family {
    /// Whether the nodes' data must be on simulated disks.
    #[must_use]
    pub fn needs_disk(self) -> bool {
        matches!(self, Self::Power | Self::Disk | Self::Flip)
    }
}

/// The nodes that a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader.
    Leader,
    /// The node through which the last lock was taken.
    Holder,
    /// Any one node.
    One,
    /// A minority of the nodes.
    Minority,
    /// All nodes.
    All,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nodes are killed, and started at the end.
    Kill(Target),
    /// Nodes are paused with SIGSTOP, and resumed with SIGCONT at the end.
    Pause(Target),
    /// One node is cut off from all others.
    PartOne(Target),
    /// A minority is cut off from a majority.
    PartHalves,
    /// Every node reaches a majority, and no two reach the same one.
    PartRing,
    /// Packets from the leader are dropped.
    LeaderMute,
    /// Packets to the leader are dropped.
    LeaderDeaf,
    /// Clients cannot reach some nodes; the nodes reach each other.
    PartClients(Target),
    /// This percentage of packets between nodes is lost.
    Loss(u64),
    /// Every node sends at most this many kilobits per second.
    Slow(u64),
    /// Messages between nodes are delayed by up to this many milliseconds.
    Delay(u64),
    /// The wall clock is off by this many milliseconds.
    ClockJump(Target, i64),
    /// The wall clock jumps back and forth by this many milliseconds.
    ClockStrobe(Target, i64),
    /// All clocks run faster by this many millionths; slower when negative.
    ClockRate(Target, i64),
    /// The power of nodes is cut.
    PowerCut(Target),
    /// Syncs take this many milliseconds longer.
    SlowSync(Target, u64),
    /// Syncs fail.
    SyncError(Target),
    /// Writes fail.
    WriteError(Target),
    /// No space is left.
    DiskFull(Target),
    /// The disk reports no free space, but writes succeed.
    NearlyFull(Target),
    /// A bit flips on one node's disk while it is down. The node is replaced if it notices.
    FlipBit,
    /// A node joins, and leaves at the end.
    Grow,
    /// A node leaves, and joins again with empty disks at the end.
    Shrink,
    /// A node loses its data and starts again.
    Replace,
    /// Leadership is transferred.
    Transfer,
    /// Every node takes a snapshot and purges its log.
    Snapshot,
}

/// A fault with its start and duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When the fault starts, in milliseconds after the start of the workload.
    pub at_ms: u64,
    /// How long the fault lasts, in milliseconds.
    pub for_ms: u64,
    /// The fault itself.
    pub fault: Fault,
}

/// The kind of pauses in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    /// Pauses of half, twice and ten times the TTL of most locks; of any node, and of all nodes at once.
    OfAnybody,
    /// Pauses longer than the TTL of every lock; never of a majority, and mostly of the leader.
    LongOfMinority,
}

/// The TTL that pauses are measured against, in milliseconds.
const TTL_MS: u64 = 1500;
/// Time before the first fault, in milliseconds.
const QUIET_MS: u64 = 2500;
/// A fault that would be shorter than this at the end of a run is left out.
const SHORT_MS: u64 = 300;
/// How much faster or slower a clock runs at most, in millionths.
pub const RATE_PPM_MAX: i64 = 100_000;

/// Makes the schedule of a run. Faults mostly come one at a time, with pauses between them; sometimes two overlap.
#[must_use]
pub fn plan(seed: u64, length_ms: u64, families: &[Family], nodes: usize, pauses: Pauses) -> Vec<Planned> {
    let mut random = Random::new(seed, u64::MAX);
    let mut planned = Vec::new();
    let mut at_ms = QUIET_MS;
    // Each family occurs once in every round, in a random order, so that a short run has all of them, too.
    let mut round: Vec<Family> = Vec::new();
    while !families.is_empty() && at_ms + SHORT_MS < length_ms {
        let family = round.pop().unwrap_or_else(|| {
            round = families.to_vec();
            random.shuffle(&mut round);
            round.pop().unwrap_or(families[0])
        });
        let (fault, for_ms) = match (family, pauses) {
            (Family::Pause, Pauses::LongOfMinority) => long_pause(&mut random),
            _ => fault(&mut random, family, nodes),
        };
        let for_ms = for_ms.min(length_ms - at_ms);
        planned.push(Planned { at_ms, for_ms, fault });
        let overlap = families.len() > 1 && random.chance(25);
        let rest_ms = random.between(800, 3000);
        at_ms += if overlap { for_ms / 2 } else { for_ms + rest_ms };
    }
    planned
}

/// Makes a pause longer than any TTL of the keeper workload.
fn long_pause(random: &mut Random) -> (Fault, u64) {
    use Target::{Leader, Minority, One};
    let target = *random.one_of(&[Leader, Leader, Leader, One, Minority]);
    (Fault::Pause(target), random.between(5500, 9000))
}

fn fault(random: &mut Random, family: Family, nodes: usize) -> (Fault, u64) {
    use Target::{All, Holder, Leader, Minority, One};
    let some = *random.one_of(&[Leader, Leader, One, Minority]);
    let any = *random.one_of(&[Leader, Leader, One, Minority, All]);
    let paused = *random.one_of(&[Leader, Leader, Holder, One, Minority, All, All]);
    match family {
        Family::Kill => (Fault::Kill(any), random.between(300, 4000)),
        Family::Pause => {
            // Half, twice and ten times the TTL.
            let tenths = *random.one_of(&[5, 5, 20, 20, 20, 100]);
            (Fault::Pause(paused), TTL_MS * tenths / 10)
        }
        Family::Partition => (partition(random, some, nodes), random.between(1500, 6000)),
        Family::Loss => (Fault::Loss(*random.one_of(&[5, 15, 30])), random.between(2000, 6000)),
        Family::Slow => (Fault::Slow(*random.one_of(&[64, 256, 1024])), random.between(2000, 6000)),
        Family::Delay => (Fault::Delay(*random.one_of(&[20, 100, 400])), random.between(2000, 6000)),
        Family::Clock => (clock(random, any), random.between(1500, 6000)),
        Family::Power => (Fault::PowerCut(any), random.between(200, 2500)),
        Family::Disk => {
            let slow = Fault::SlowSync(any, *random.one_of(&[20, 100, 600]));
            let faults = [
                slow,
                slow,
                Fault::SyncError(some),
                Fault::WriteError(some),
                Fault::DiskFull(some),
                Fault::NearlyFull(any),
            ];
            (*random.one_of(&faults), random.between(1500, 5000))
        }
        Family::Flip => (Fault::FlipBit, random.between(300, 1000)),
        Family::Member => {
            let faults = [Fault::Grow, Fault::Shrink, Fault::Replace, Fault::Transfer, Fault::Snapshot];
            (*random.one_of(&faults), random.between(2000, 5000))
        }
    }
}

fn partition(random: &mut Random, some: Target, nodes: usize) -> Fault {
    let mut forms = vec![
        Fault::PartOne(Target::Leader),
        Fault::PartOne(Target::One),
        Fault::PartHalves,
        Fault::LeaderMute,
        Fault::LeaderDeaf,
        Fault::PartClients(some),
    ];
    if nodes > 3 {
        forms.push(Fault::PartRing);
    }
    *random.one_of(&forms)
}

fn clock(random: &mut Random, any: Target) -> Fault {
    const HOUR_MS: i64 = 3_600_000;
    let far = *random.one_of(&[-24 * 365 * HOUR_MS, -HOUR_MS, -2000, 2000, HOUR_MS, 24 * 365 * HOUR_MS]);
    let rate = *random.one_of(&[-RATE_PPM_MAX, -1000, 1000, RATE_PPM_MAX / 2, RATE_PPM_MAX]);
    *random.one_of(&[Fault::ClockJump(any, far), Fault::ClockStrobe(any, far), Fault::ClockRate(any, rate)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        Family::value_variants().to_vec()
    }

    #[test]
    fn a_seed_gives_one_schedule() {
        let of = |seed| plan(seed, 60_000, &families(), 5, Pauses::OfAnybody);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_eq!(plan(7, 60_000, &[], 5, Pauses::OfAnybody), []);
    }

    #[test]
    fn faults_end_with_the_run_and_all_families_occur() {
        for seed in 0..50 {
            let planned = plan(seed, 240_000, &families(), 5, Pauses::OfAnybody);
            assert!(planned.iter().all(|fault| fault.at_ms + fault.for_ms <= 240_000), "{planned:?}");
            let cuts = planned.iter().filter(|planned| matches!(planned.fault, Fault::PowerCut(_)));
            assert!(planned.len() >= 11 && cuts.count() >= 1, "{planned:?}");
        }
    }

    #[test]
    fn keeper_runs_have_long_pauses_of_a_minority() {
        for seed in 0..50 {
            let planned = plan(seed, 60_000, &[Family::Pause], 3, Pauses::LongOfMinority);
            let of_all = |one: &Planned| matches!(one.fault, Fault::Pause(Target::All | Target::Holder));
            assert!(planned.len() >= 4 && !planned.iter().any(of_all), "{planned:?}");
            let (_, whole) = planned.split_last().unwrap();
            assert!(whole.iter().all(|one| one.for_ms >= 5500), "{planned:?}");
        }
    }
}
