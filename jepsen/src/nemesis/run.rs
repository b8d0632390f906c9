//! Carries a schedule out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Fault, Planned, Target};
use crate::client::Shared;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::history::Kind;
use crate::network::Faults;
use crate::random::Random;

/// Something a node did that no fault explains.
#[derive(Clone, Debug)]
pub struct Unexpected(pub String);

/// A fault in force and whom it hit.
struct Active {
    planned: Planned,
    places: Vec<usize>,
}

/// The one who breaks things; while it is at work the cluster is its own.
pub struct Nemesis {
    cluster: Cluster,
    shared: Arc<Shared>,
    random: Random,
    active: Vec<Active>,
    unexpected: Vec<Unexpected>,
}

impl Nemesis {
    /// A nemesis of a cluster.
    #[must_use]
    pub fn new(cluster: Cluster, shared: &Arc<Shared>) -> Self {
        let random = Random::new(shared.seed, u64::MAX - 1);
        Self { cluster, shared: Arc::clone(shared), random, active: Vec::new(), unexpected: Vec::new() }
    }

    /// Carries the schedule out, then stays until the workload's time is over, and heals everything.
    ///
    /// # Errors
    /// When a tool refuses: then nobody knows what was tested.
    pub async fn run(mut self, schedule: &[Planned], length: Duration) -> Result<(Cluster, Vec<Unexpected>)> {
        let began = Instant::now();
        let mut coming = schedule.iter().copied().peekable();
        loop {
            let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            while let Some(planned) = coming.next_if(|planned| planned.at_ms <= now_ms) {
                self.begin(planned).await?;
            }
            let (over, active): (Vec<Active>, Vec<Active>) = self
                .active
                .drain(..)
                .partition(|active| active.planned.at_ms + active.planned.for_ms <= now_ms);
            self.active = active;
            for over in over {
                self.end(&over)?;
            }
            self.look_after()?;
            if began.elapsed() >= length {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for over in std::mem::take(&mut self.active) {
            self.end(&over)?;
        }
        self.cluster.set_faults(Faults::default())?;
        Ok((self.cluster, self.unexpected))
    }

    /// Nodes that ended by themselves are started again, and told about.
    fn look_after(&mut self) -> Result<()> {
        for exit in self.cluster.exits()? {
            let what = format!("{} ended by itself: {}", self.cluster.nodes[exit.place].name, exit.status);
            self.shared.history.note(what.clone());
            self.unexpected.push(Unexpected(what));
            self.cluster.start(exit.place)?;
        }
        Ok(())
    }

    async fn places(&mut self, target: Target) -> Vec<usize> {
        let wanted = self.cluster.wanted();
        match target {
            Target::Leader => match self.cluster.leader().await {
                Some(leader) => vec![leader],
                None => vec![*self.random.one_of(&wanted)],
            },
            Target::One => vec![*self.random.one_of(&wanted)],
            Target::Minority => self.minority(&wanted),
            Target::All => wanted,
        }
    }

    fn minority(&mut self, wanted: &[usize]) -> Vec<usize> {
        let mut places = wanted.to_vec();
        self.random.shuffle(&mut places);
        places.truncate((wanted.len() - 1) / 2);
        places.sort_unstable();
        places
    }

    async fn begin(&mut self, planned: Planned) -> Result<()> {
        let places = match planned.fault {
            Fault::Kill(target)
            | Fault::Pause(target)
            | Fault::PartOne(target)
            | Fault::PartClients(target) => self.places(target).await,
            Fault::LeaderMute | Fault::LeaderDeaf => self.places(Target::Leader).await,
            Fault::PartHalves => self.places(Target::Minority).await,
            Fault::PartRing | Fault::Loss(_) | Fault::Slow(_) => self.cluster.wanted(),
        };
        let note =
            format!("begins: {:?} for {} ms: {}", planned.fault, planned.for_ms, self.cluster.names(&places));
        self.shared.history.tell(Kind::Nemesis, "begins", note);
        match planned.fault {
            Fault::Kill(_) => {
                for &place in &places {
                    self.cluster.kill(place)?;
                }
            }
            Fault::Pause(_) => {
                for &place in &places {
                    self.cluster.pause(place)?;
                }
            }
            _ => {}
        }
        self.active.push(Active { planned, places });
        self.apply_network()
    }

    fn end(&mut self, over: &Active) -> Result<()> {
        let note = format!("ends: {:?}: {}", over.planned.fault, self.cluster.names(&over.places));
        self.shared.history.tell(Kind::Nemesis, "ends", note);
        match over.planned.fault {
            Fault::Kill(_) => {
                // Another kill of the same node may still last.
                let dead = self.hit_by(|fault| matches!(fault, Fault::Kill(_)));
                for &place in over.places.iter().filter(|place| !dead.contains(place)) {
                    self.cluster.start(place)?;
                }
            }
            Fault::Pause(_) => {
                let paused = self.hit_by(|fault| matches!(fault, Fault::Pause(_)));
                for &place in over.places.iter().filter(|place| !paused.contains(place)) {
                    self.cluster.resume(place)?;
                }
            }
            _ => {}
        }
        self.apply_network()
    }

    fn hit_by(&self, which: impl Fn(&Fault) -> bool) -> BTreeSet<usize> {
        let hit = self.active.iter().filter(|active| which(&active.planned.fault));
        hit.flat_map(|active| active.places.iter().copied()).collect()
    }

    /// The network as all faults in force together make it.
    fn apply_network(&mut self) -> Result<()> {
        let everybody: Vec<usize> = (0..self.cluster.nodes.len()).collect();
        let mut faults = Faults::default();
        for active in &self.active {
            let others: Vec<usize> =
                everybody.iter().copied().filter(|place| !active.places.contains(place)).collect();
            let one = active.places.first().copied().unwrap_or_default();
            match active.planned.fault {
                Fault::PartOne(_) | Fault::PartHalves => faults.part(&active.places, &others),
                Fault::LeaderMute => faults.cut.extend(others.iter().map(|&other| (one, other))),
                Fault::LeaderDeaf => faults.cut.extend(others.iter().map(|&other| (other, one))),
                Fault::PartClients(_) => faults.clients_cut.extend(&active.places),
                Fault::PartRing => ring(&mut faults, &active.places),
                Fault::Loss(percent) => faults.loss_percent = faults.loss_percent.max(percent),
                Fault::Slow(kbit) => {
                    faults.slow_kbit = Some(faults.slow_kbit.map_or(kbit, |other| other.min(kbit)));
                }
                Fault::Kill(_) | Fault::Pause(_) => {}
            }
        }
        self.cluster.set_faults(faults)
    }
}

/// Each node hears its neighbours on both sides, as many as make a majority with itself.
fn ring(faults: &mut Faults, places: &[usize]) {
    let count = places.len();
    let reach = (count / 2).div_ceil(2);
    for (from, &left) in places.iter().enumerate() {
        for (to, &right) in places.iter().enumerate() {
            let apart = from.abs_diff(to);
            if apart.min(count - apart) > reach {
                faults.cut.insert((left, right));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_everybody_hears_another_majority() {
        let mut faults = Faults::default();
        ring(&mut faults, &[0, 1, 2, 3, 4]);
        for place in 0..5 {
            let heard = (0..5).filter(|&other| !faults.cut.contains(&(other, place))).count();
            assert_eq!(heard, 3, "{faults:?}");
        }
    }
}
