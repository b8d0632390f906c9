//! Combines all faults in force into the state of the network.

use super::Fault;
use super::run::Active;
use crate::network::Faults;

/// Combines the faults; `places` is the number of places in the network.
pub(super) fn faults(active: &[Active], places: usize) -> Faults {
    let mut faults = Faults::default();
    for active in active {
        let others: Vec<usize> = (0..places).filter(|place| !active.places.contains(place)).collect();
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
            _ => {}
        }
    }
    faults
}

/// Connects each node only to as many neighbours on both sides as make a majority with itself.
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
    fn ring_gives_every_node_another_majority() {
        let mut faults = Faults::default();
        ring(&mut faults, &[0, 1, 2, 3, 4]);
        for place in 0..5 {
            let heard = (0..5).filter(|&other| !faults.cut.contains(&(other, place))).count();
            assert_eq!(heard, 3, "{faults:?}");
        }
    }
}
