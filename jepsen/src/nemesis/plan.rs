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
}

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Who leads.
    Leader,
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

/// Time to live that pauses are measured against.
const TTL_MS: u64 = 1500;
/// The first fault comes after this.
const QUIET_MS: u64 = 2500;

/// The schedule of a run. Faults mostly come one at a time with rest between them; now and then two overlap.
#[must_use]
pub fn plan(seed: u64, length_ms: u64, families: &[Family], nodes: usize) -> Vec<Planned> {
    let mut random = Random::new(seed, u64::MAX);
    let mut planned = Vec::new();
    let mut at_ms = QUIET_MS;
    // Each family comes once in every round, in another order each time: a short run has all of them too.
    let mut round: Vec<Family> = Vec::new();
    while !families.is_empty() {
        let family = round.pop().unwrap_or_else(|| {
            round = families.to_vec();
            random.shuffle(&mut round);
            round.pop().unwrap_or(families[0])
        });
        let (fault, for_ms) = fault(&mut random, family, nodes);
        let for_ms = for_ms.min(length_ms.saturating_sub(at_ms));
        if for_ms < 300 {
            break;
        }
        planned.push(Planned { at_ms, for_ms, fault });
        let overlap = families.len() > 1 && random.chance(25);
        let rest_ms = random.between(800, 3000);
        at_ms += if overlap { for_ms / 2 } else { for_ms + rest_ms };
    }
    planned
}

fn fault(random: &mut Random, family: Family, nodes: usize) -> (Fault, u64) {
    let target = |random: &mut Random| *random.one_of(&[Target::Leader, Target::One, Target::Minority]);
    match family {
        Family::Kill => {
            let targets = [Target::Leader, Target::Leader, Target::One, Target::Minority, Target::All];
            (Fault::Kill(*random.one_of(&targets)), random.between(300, 4000))
        }
        Family::Pause => {
            let targets = [Target::Leader, Target::Leader, Target::One, Target::Minority, Target::All];
            // Half, twice and ten times the time to live.
            let tenths = *random.one_of(&[5, 5, 20, 20, 20, 100]);
            (Fault::Pause(*random.one_of(&targets)), TTL_MS * tenths / 10)
        }
        Family::Partition => {
            let mut forms = vec![
                Fault::PartOne(Target::Leader),
                Fault::PartOne(Target::One),
                Fault::PartHalves,
                Fault::LeaderMute,
                Fault::LeaderDeaf,
                Fault::PartClients(target(random)),
            ];
            if nodes > 3 {
                forms.push(Fault::PartRing);
            }
            (*random.one_of(&forms), random.between(1500, 6000))
        }
        Family::Loss => (Fault::Loss(*random.one_of(&[5, 15, 30])), random.between(2000, 6000)),
        Family::Slow => (Fault::Slow(*random.one_of(&[64, 256, 1024])), random.between(2000, 6000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: [Family; 5] =
        [Family::Partition, Family::Kill, Family::Pause, Family::Loss, Family::Slow];

    #[test]
    fn a_seed_gives_one_schedule() {
        assert_eq!(plan(7, 60_000, &FAMILIES, 5), plan(7, 60_000, &FAMILIES, 5));
        assert_ne!(plan(7, 60_000, &FAMILIES, 5), plan(8, 60_000, &FAMILIES, 5));
        assert_eq!(plan(7, 60_000, &[], 5), []);
    }

    #[test]
    fn faults_end_with_the_run_and_every_family_comes() {
        for seed in 0..50 {
            let planned = plan(seed, 60_000, &FAMILIES, 5);
            assert!(planned.iter().all(|fault| fault.at_ms + fault.for_ms <= 60_000), "{planned:?}");
            let kills = planned.iter().filter(|planned| matches!(planned.fault, Fault::Kill(_)));
            assert!(planned.len() >= 5 && kills.count() >= 1, "{planned:?}");
        }
    }
}
