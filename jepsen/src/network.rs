//! Faults of the network between the nodes: cuts, packet loss, slow links.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use crate::error::{Error, Result};
use crate::sandbox::{CLIENTS, Sandbox, address, tool};

/// The faults of the network. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Packets from the first place to the second are dropped.
    pub cut: BTreeSet<(usize, usize)>,
    /// Packets between clients and these places are dropped.
    pub clients_cut: BTreeSet<usize>,
    /// Percentage of the packets between nodes that is dropped on arrival.
    pub loss_percent: u64,
    /// The rate of slow outgoing links, in kilobits per second.
    pub slow_kbit: Option<u64>,
}

impl Faults {
    /// Cuts both ways between every node of one group and every node of another.
    pub fn part(&mut self, one: &[usize], other: &[usize]) {
        for &left in one {
            for &right in other {
                self.cut.insert((left, right));
                self.cut.insert((right, left));
            }
        }
    }

    /// The rules of a place for `nft -f`. Packets are dropped where they arrive.
    fn rules(&self, place: usize, places: usize) -> String {
        let mut rules =
            "table inet jepsen {}\ndelete table inet jepsen\ntable inet jepsen {\n chain arriving {\n  \
             type filter hook input priority 0; policy accept;\n"
                .to_owned();
        let mut add = |from: &str, how: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(rules, "  ip saddr {from} {how}drop");
        };
        for from in (0..places).filter(|&from| from != place) {
            if self.cut.contains(&(from, place)) {
                add(&address(from), "");
            } else if self.loss_percent > 0 {
                add(&address(from), &format!("numgen random mod 100 < {} ", self.loss_percent));
            }
        }
        if self.clients_cut.contains(&place) {
            add(CLIENTS, "");
        }
        rules + " }\n}\n"
    }

    /// Applies these faults in place of those in `before`.
    ///
    /// # Errors
    /// When `nft` or `tc` is missing or fails.
    pub fn apply(&self, sandbox: &Sandbox, before: &Self) -> Result<()> {
        for place in 0..sandbox.places {
            nft(&sandbox.node(place), &self.rules(place, sandbox.places))?;
            if self.slow_kbit != before.slow_kbit {
                shape(&sandbox.node(place), self.slow_kbit)?;
            }
        }
        Ok(())
    }
}

fn nft(namespace: &str, rules: &str) -> Result<()> {
    let failed = |said: String| Error::Tool { command: format!("nft -f - in {namespace}"), said };
    let mut child = Sandbox::inside(namespace, "nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{}\n{rules}", String::from_utf8_lossy(&output.stderr))))
}

fn shape(namespace: &str, slow_kbit: Option<u64>) -> Result<()> {
    let device = ["-n", namespace, "qdisc"];
    match slow_kbit {
        Some(kbit) => {
            let rate = format!("{kbit}kbit");
            let how =
                ["replace", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "8kb", "latency", "400ms"];
            tool("tc", &[&device[..], &how].concat()).map(drop)
        }
        None => tool("tc", &[&device[..], &["del", "dev", "eth0", "root"]].concat()).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_drops_packets_on_arrival() {
        let mut faults = Faults::default();
        faults.part(&[0], &[1]);
        faults.cut.insert((2, 0));
        faults.clients_cut.insert(1);
        let drops = |place| {
            let rules = faults.rules(place, 3);
            rules
                .lines()
                .filter(|line| line.ends_with("drop"))
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(drops(0), ["ip saddr 10.77.0.2 drop", "ip saddr 10.77.0.3 drop"]);
        assert_eq!(drops(1), ["ip saddr 10.77.0.1 drop", "ip saddr 10.77.0.100 drop"]);
        assert_eq!(drops(2), [""; 0]);
    }

    #[test]
    fn loss_is_a_share_of_packets_from_nodes() {
        let faults = Faults { loss_percent: 20, ..Faults::default() };
        let rules = faults.rules(0, 2);
        assert!(rules.contains("ip saddr 10.77.0.2 numgen random mod 100 < 20 drop"), "{rules}");
    }
}
