//! Carries out a schedule of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{Fault, Planned, Target, network_faults};
use crate::client::Shared;
use crate::cluster::Cluster;
use crate::disk::Trouble;
use crate::error::Result;
use crate::history::Kind;
use crate::ledger::Ledger;
use crate::network::Faults;
use crate::random::Random;

/// How long after a fault of its disk a node may still end because of it.
const EXCUSED_FOR: Duration = Duration::from_secs(10);

/// Behaviour of a node that no fault explains.
#[derive(Clone, Debug)]
pub struct Unexpected(pub String);

/// A fault in force, and the nodes it hit.
pub(super) struct Active {
    pub(super) planned: Planned,
    pub(super) places: Vec<usize>,
}

/// Carries out the faults; it owns the cluster while it runs.
pub struct Nemesis {
    pub(super) cluster: Cluster,
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) random: Random,
    pub(super) active: Vec<Active>,
    /// Nodes that may end by themselves, with the time until which they may.
    pub(super) excused: BTreeMap<usize, Instant>,
    /// Nodes whose data may be damaged; a node that reports it is replaced.
    pub(super) damaged: BTreeSet<usize>,
    /// The state of the disks when no fault is in force.
    pub(super) everyday: Trouble,
    unexpected: Vec<Unexpected>,
    ticks: u64,
}

impl Nemesis {
    /// Makes a nemesis for a cluster.
    #[must_use]
    pub fn new(cluster: Cluster, shared: &Arc<Shared>, ledger: &Arc<Mutex<Ledger>>) -> Self {
        Self {
            cluster,
            shared: Arc::clone(shared),
            ledger: Arc::clone(ledger),
            random: Random::new(shared.seed, u64::MAX - 1),
            active: Vec::new(),
            excused: BTreeMap::new(),
            damaged: BTreeSet::new(),
            everyday: Trouble::default(),
            unexpected: Vec::new(),
            ticks: 0,
        }
    }

    /// Sets how long syncs take without a fault, in milliseconds, so that some are in progress when the power is cut.
    #[must_use]
    pub fn with_sync_ms(mut self, sync_ms: u64) -> Self {
        self.everyday.sync_ms = sync_ms;
        self
    }

    /// Carries out the schedule, waits until the workload's time is over, and ends all faults.
    ///
    /// # Errors
    /// When a tool fails, because then it is unknown what was tested.
    pub async fn run(mut self, schedule: &[Planned], length: Duration) -> Result<(Cluster, Vec<Unexpected>)> {
        self.apply()?;
        let began = Instant::now();
        let mut coming = schedule.iter().copied().peekable();
        while began.elapsed() < length {
            let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            while let Some(planned) = coming.next_if(|planned| planned.at_ms <= now_ms) {
                self.begin(planned).await?;
            }
            self.end_what_is_over(now_ms).await?;
            self.look_after()?;
            self.flicker()?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.end_what_is_over(u64::MAX).await?;
        self.cluster.set_faults(Faults::default())?;
        // A node with damaged data reports it when it starts.
        let settled = Instant::now() + Duration::from_secs(3);
        while Instant::now() < settled {
            self.look_after()?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok((self.cluster, self.unexpected))
    }

    async fn end_what_is_over(&mut self, now_ms: u64) -> Result<()> {
        let over = |active: &Active| active.planned.at_ms + active.planned.for_ms <= now_ms;
        let (over, active): (Vec<Active>, Vec<Active>) = self.active.drain(..).partition(over);
        self.active = active;
        for over in over {
            let note = format!("ends: {:?}: {}", over.planned.fault, self.cluster.names(&over.places));
            self.shared.history.tell(Kind::Nemesis, "ends", note);
            self.end(&over).await?;
            self.apply()?;
        }
        Ok(())
    }

    async fn begin(&mut self, planned: Planned) -> Result<()> {
        let places = self.places(planned.fault).await;
        let names = self.cluster.names(&places);
        let note = format!("begins: {:?} for {} ms: {names}", planned.fault, planned.for_ms);
        self.shared.history.tell(Kind::Nemesis, "begins", note);
        self.active.push(Active { planned, places: places.clone() });
        self.strike(planned.fault, &places).await?;
        self.apply()
    }

    /// Applies the faults in force to network, disks and clocks.
    fn apply(&mut self) -> Result<()> {
        self.cluster.set_faults(network_faults::faults(&self.active, self.cluster.nodes.len()))?;
        self.apply_to_machines()
    }

    /// Handles nodes that ended by themselves, and starts nodes that must run and do not.
    fn look_after(&mut self) -> Result<()> {
        for exit in self.cluster.exits()? {
            let name = self.cluster.nodes[exit.place].name.clone();
            let what = format!("{name} ended by itself: {}", exit.status);
            self.shared.history.note(what.clone());
            if self.damaged.remove(&exit.place) {
                self.shared
                    .history
                    .note(format!("{name} found its data damaged; it starts again without them"));
                self.cluster.wipe(exit.place)?;
            } else if self.excused.get(&exit.place).is_none_or(|until| *until < Instant::now()) {
                self.unexpected.push(Unexpected(what));
            }
        }
        let down = self.down();
        for place in self.cluster.wanted() {
            if !self.cluster.runs(place) && !down.contains(&place) {
                self.cluster.start(place)?;
            }
        }
        Ok(())
    }

    /// The nodes that a fault keeps down.
    fn down(&self) -> BTreeSet<usize> {
        self.hit_by(|fault| {
            matches!(
                fault,
                Fault::Kill(_)
                    | Fault::PowerCut(_)
                    | Fault::FlipBit
                    | Fault::SyncError(_)
                    | Fault::WriteError(_)
                    | Fault::DiskFull(_)
            )
        })
    }

    /// Makes clocks jump that jump back and forth.
    fn flicker(&mut self) -> Result<()> {
        self.ticks += 1;
        if self.active.iter().any(|active| matches!(active.planned.fault, Fault::ClockStrobe(..))) {
            self.apply_to_machines()?;
        }
        Ok(())
    }

    /// Whether a clock that jumps back and forth is off right now.
    pub(super) fn is_off(&self) -> bool {
        self.ticks.is_multiple_of(2)
    }

    /// Notes that these nodes may end because of a fault of their disks.
    pub(super) fn excuse(&mut self, places: &[usize]) {
        for &place in places {
            self.excused.insert(place, Instant::now() + EXCUSED_FOR);
        }
    }

    pub(super) fn hit_by(&self, which: impl Fn(&Fault) -> bool) -> BTreeSet<usize> {
        let hit = self.active.iter().filter(|active| which(&active.planned.fault));
        hit.flat_map(|active| active.places.iter().copied()).collect()
    }

    async fn places(&mut self, fault: Fault) -> Vec<usize> {
        match fault {
            Fault::Kill(target)
            | Fault::Pause(target)
            | Fault::PartOne(target)
            | Fault::PartClients(target)
            | Fault::ClockJump(target, _)
            | Fault::ClockStrobe(target, _)
            | Fault::ClockRate(target, _)
            | Fault::PowerCut(target)
            | Fault::SlowSync(target, _)
            | Fault::SyncError(target)
            | Fault::WriteError(target)
            | Fault::DiskFull(target)
            | Fault::NearlyFull(target) => self.targets(target).await,
            Fault::LeaderMute | Fault::LeaderDeaf => self.targets(Target::Leader).await,
            Fault::PartHalves => self.targets(Target::Minority).await,
            Fault::FlipBit | Fault::Replace | Fault::Shrink => self.targets(Target::One).await,
            Fault::Grow => self.cluster.unused().into_iter().take(1).collect(),
            Fault::PartRing
            | Fault::Loss(_)
            | Fault::Slow(_)
            | Fault::Delay(_)
            | Fault::Transfer
            | Fault::Snapshot => self.cluster.wanted(),
        }
    }

    async fn targets(&mut self, target: Target) -> Vec<usize> {
        let wanted = self.cluster.wanted();
        match target {
            Target::Leader => match self.cluster.leader().await {
                Some(leader) => vec![leader],
                None => vec![*self.random.one_of(&wanted)],
            },
            Target::Holder => {
                let holder = self.shared.holder.load(Ordering::Relaxed);
                let running = wanted.contains(&holder);
                vec![if running { holder } else { *self.random.one_of(&wanted) }]
            }
            Target::One => vec![*self.random.one_of(&wanted)],
            Target::Minority => {
                let mut places = wanted.clone();
                self.random.shuffle(&mut places);
                places.truncate((wanted.len() - 1) / 2);
                places.sort_unstable();
                places
            }
            Target::All => wanted,
        }
    }
}
