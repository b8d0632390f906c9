//! Starts and ends each kind of fault.

use super::run::{Active, Nemesis};
use super::{Fault, member};
use crate::clock::Wrong;
use crate::error::Result;

impl Nemesis {
    /// Does what happens once when a fault starts.
    pub(super) async fn strike(&mut self, fault: Fault, places: &[usize]) -> Result<()> {
        match fault {
            Fault::Kill(_) => self.kill(places),
            Fault::PowerCut(_) => self.cut_power(places),
            Fault::FlipBit if self.is_whole().await => self.flip_bit(places),
            Fault::Pause(_) => places.iter().try_for_each(|&place| self.cluster.pause(place)),
            Fault::SyncError(_) | Fault::WriteError(_) | Fault::DiskFull(_) => {
                self.excuse(places);
                Ok(())
            }
            Fault::Grow => places.iter().try_for_each(|&place| self.cluster.start(place)),
            Fault::Shrink if self.is_whole().await => member::leave(self, places).await,
            Fault::Replace if self.is_whole().await => {
                places.iter().try_for_each(|&place| self.cluster.wipe(place))
            }
            Fault::Transfer => {
                member::transfer(self).await;
                Ok(())
            }
            Fault::Snapshot => {
                member::snapshots(self, places).await;
                Ok(())
            }
            Fault::Delay(ms) => self.cluster.delay(ms),
            _ => Ok(()),
        }
    }

    /// Does what happens once when a fault ends. The nemesis's periodic check restarts the nodes that must run.
    pub(super) async fn end(&mut self, over: &Active) -> Result<()> {
        match over.planned.fault {
            Fault::Pause(_) => {
                let paused = self.hit_by(|fault| matches!(fault, Fault::Pause(_)));
                let woken: Vec<usize> =
                    over.places.iter().copied().filter(|place| !paused.contains(place)).collect();
                woken.into_iter().try_for_each(|place| self.cluster.resume(place))
            }
            Fault::SyncError(_) | Fault::WriteError(_) | Fault::DiskFull(_) => {
                self.excuse(&over.places);
                Ok(())
            }
            Fault::Grow => member::leave(self, &over.places).await,
            Fault::Shrink => over.places.iter().try_for_each(|&place| self.cluster.start(place)),
            Fault::Delay(_) => self.cluster.delay(0),
            _ => Ok(()),
        }
    }

    /// Whether every member votes and follows. Only then may a node lose its data; otherwise a majority could lose theirs, and a
    /// cluster that lost a majority of its disks is promised nothing.
    async fn is_whole(&mut self) -> bool {
        match member::what_is_missing(self).await {
            None => {
                // Bits flipped earlier have done no harm.
                self.damaged.clear();
                true
            }
            Some(missing) => {
                self.shared.history.note(format!("left alone: {missing}"));
                false
            }
        }
    }

    fn kill(&mut self, places: &[usize]) -> Result<()> {
        places.iter().try_for_each(|&place| self.cluster.kill(place))
    }

    fn cut_power(&mut self, places: &[usize]) -> Result<()> {
        // Stop all nodes at once, with syncs in progress, so that no node sees its sync fail.
        for &place in places {
            self.cluster.pause(place)?;
        }
        for &place in places {
            if let Some(disk) = self.cluster.disk(place) {
                disk.power_off();
            }
        }
        self.kill(places)?;
        for &place in places {
            if let Some(disk) = self.cluster.disk(place) {
                let cut = disk.cut_power(&mut self.random)?;
                let name = &self.cluster.nodes[place].name;
                let note = format!(
                    "{name}: {} of {} bytes that were not synced are gone",
                    cut.lost_bytes, cut.unsynced_bytes
                );
                self.shared.history.note(note);
            }
        }
        Ok(())
    }

    fn flip_bit(&mut self, places: &[usize]) -> Result<()> {
        self.kill(places)?;
        for &place in places {
            let Some(disk) = self.cluster.disk(place) else { continue };
            if let Some(flipped) = disk.flip_bit(&mut self.random)? {
                self.shared.history.note(format!("{}: {flipped} is flipped", self.cluster.nodes[place].name));
                self.damaged.insert(place);
            }
        }
        Ok(())
    }

    /// Sets disks and clocks to the combination of all faults in force.
    pub(super) fn apply_to_machines(&mut self) -> Result<()> {
        for place in 0..self.cluster.nodes.len() {
            let (mut trouble, mut wrong) = (self.everyday, Wrong::default());
            for active in self.active.iter().filter(|active| active.places.contains(&place)) {
                match active.planned.fault {
                    Fault::SlowSync(_, ms) => trouble.sync_ms = trouble.sync_ms.max(ms),
                    Fault::SyncError(_) => trouble.sync_fails = true,
                    Fault::WriteError(_) => trouble.write_fails = true,
                    Fault::DiskFull(_) => trouble.full = true,
                    Fault::NearlyFull(_) => trouble.nearly_full = true,
                    Fault::ClockJump(_, ms) => wrong.wall_ms = ms,
                    Fault::ClockStrobe(_, ms) => wrong.wall_ms = if self.is_off() { ms } else { 0 },
                    Fault::ClockRate(_, ppm) => wrong.rate_ppm = ppm,
                    _ => {}
                }
            }
            if let Some(disk) = self.cluster.disk(place) {
                disk.set(trouble);
            }
            self.cluster.set_clock(place, wrong)?;
        }
        Ok(())
    }
}
