//! Which faults come when. Decided by the seed alone; who is hit (the leader, say) is found out when it comes.

use clap::ValueEnum;

use crate::random::Random;

/// Kinds of faults that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// Partitions of every form.
    Partition,
    /// kill -9.
    Kill,
    /// SIGSTOP.
    Pause,
    /// Packets are lost.
    Loss,
    /// Links are slow.
    Slow,
    /// Messages between nodes are late and out of order.
    Delay,
    /// Clocks jump, flicker, and go too fast or too slow.
    Clock,
    /// Power cuts: kill -9, and any part of what was not synced is gone.
    Power,
    /// Disks: slow syncs, failing syncs and writes, no space.
    Disk,
    /// A bit flips in a log or snapshot of a node that is down.
    Flip,
    /// Membership: grow, shrink, replace a wiped node, hand leadership over, snapshots and purges.
    Member,
}

impl Family {
    /// Whether the nodes' data must lie on disks of the harness.
    #[must_use]
    pub fn needs_disk(self) -> bool {
        matches!(self, Self::Power | Self::Disk | Self::Flip)
    }
}

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Who leads.
    Leader,
    /// Through whom a lock was taken last.
    Holder,
    /// Any one.
    One,
    /// As many as may be missing.
    Minority,
    /// Everybody.
    All,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and a start at the end.
    Kill(Target),
    /// SIGSTOP, and SIGCONT at the end.
    Pause(Target),
    /// One node against all others.
    PartOne(Target),
    /// A minority against a majority.
    PartHalves,
    /// Every node sees a majority, no two the same one.
    PartRing,
    /// What the leader sends does not arrive.
    LeaderMute,
    /// What is sent to the leader does not arrive.
    LeaderDeaf,
    /// Clients do not reach some nodes; the nodes reach each other.
    PartClients(Target),
    /// Of a hundred packets between nodes this many are lost.
    Loss(u64),
    /// Every node sends at most so many kilobits in a second.
    Slow(u64),
    /// Messages between nodes are held back for up to so many milliseconds.
    Delay(u64),
    /// The wall clock is off by so many milliseconds.
    ClockJump(Target, i64),
    /// The wall clock jumps to and fro by so many milliseconds.
    ClockStrobe(Target, i64),
    /// All clocks go faster by so many millionths, or slower.
    ClockRate(Target, i64),
    /// A power cut.
    PowerCut(Target),
    /// Syncs take so many milliseconds longer.
    SlowSync(Target, u64),
    /// Syncs fail.
    SyncError(Target),
    /// Writes fail.
    WriteError(Target),
    /// No space is left.
    DiskFull(Target),
    /// Hardly any space is left.
    NearlyFull(Target),
    /// A bit flips on one node's disk while it is down; it is replaced if it notices.
    FlipBit,
    /// A node joins, and leaves at the end.
    Grow,
    /// A node leaves, and joins again, empty, at the end.
    Shrink,
    /// A node loses its disk and starts again.
    Replace,
    /// Leadership is handed over.
    Transfer,
    /// Every node takes a snapshot and purges its log.
    Snapshot,
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it comes, milliseconds after the workload's beginning.
    pub at_ms: u64,
    /// How long it stays.
    pub for_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// Which pauses a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    /// Half, twice and ten times the time to live of most locks, of anybody and of all nodes at once.
    OfAnybody,
    /// Longer than the time to live of every lock, and never of a majority: mostly of the leader.
    LongOfMinority,
}

/// Time to live that pauses are measured against.
const TTL_MS: u64 = 1500;
/// The first fault comes after this.
const QUIET_MS: u64 = 2500;
/// What is shorter than this at the end of a run is not begun.
const SHORT_MS: u64 = 300;
/// How much faster or slower a clock goes at most.
pub const RATE_PPM_MAX: i64 = 100_000;

/// The schedule of a run. Faults mostly come one at a time with rest between them; now and then two overlap.
#[must_use]
pub fn plan(seed: u64, length_ms: u64, families: &[Family], nodes: usize, pauses: Pauses) -> Vec<Planned> {
    let mut random = Random::new(seed, u64::MAX);
    let mut planned = Vec::new();
    let mut at_ms = QUIET_MS;
    // Each family comes once in every round, in another order each time: a short run has all of them too.
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

/// Longer than any time to live of the keeper workload.
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
            // Half, twice and ten times the time to live.
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
    fn faults_end_with_the_run_and_every_family_comes() {
        for seed in 0..50 {
            let planned = plan(seed, 240_000, &families(), 5, Pauses::OfAnybody);
            assert!(planned.iter().all(|fault| fault.at_ms + fault.for_ms <= 240_000), "{planned:?}");
            let cuts = planned.iter().filter(|planned| matches!(planned.fault, Fault::PowerCut(_)));
            assert!(planned.len() >= 11 && cuts.count() >= 1, "{planned:?}");
        }
    }

    #[test]
    fn keepers_meet_long_pauses_of_a_minority() {
        for seed in 0..50 {
            let planned = plan(seed, 60_000, &[Family::Pause], 3, Pauses::LongOfMinority);
            let of_all = |one: &Planned| matches!(one.fault, Fault::Pause(Target::All | Target::Holder));
            assert!(planned.len() >= 4 && !planned.iter().any(of_all), "{planned:?}");
            let (_, whole) = planned.split_last().unwrap();
            assert!(whole.iter().all(|one| one.for_ms >= 5500), "{planned:?}");
        }
    }
}
