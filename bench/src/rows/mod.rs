//! The rows of the comparison: the work of each, and the figures that are shown.

mod data;
mod failover;
mod locks;
mod sessions;
mod size;
mod watch;

use std::time::Duration;

use crate::drive::Timing;
use crate::error::{Error, Result};
use crate::figures::{Figures, Metric};
use crate::meter::{Device, Meter};
use crate::metrics::{
    BYTES, CPU, DIRTIED, DISK, ERRORS, GENERATOR, GRANT_AFTER, GROWTH, HANDOVER_P50, HANDOVER_P99,
    HANDOVER_P999, JAIN, LAST_P50, LAST_P99, LEAST, LOST, OPEN_RATE, OPS, P50, P99, P999, RESIDENT, RESTART,
    SERVER_CORES, SNAPSHOT, SNAPSHOT_P99, TAKE_RATE,
};
use crate::system::{NODES, Setup, System};

/// Clients of one host, which share its connection.
pub(crate) const CLIENTS_PER_HOST: usize = 64;

/// The extent of the measurement.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The programs and the data directory.
    pub(crate) setup: Setup,
    /// The disk under the servers' data.
    pub(crate) device: Option<Device>,
    /// How long each case runs.
    pub(crate) timing: Timing,
    /// Numbers of live sessions.
    pub(crate) sessions: Vec<usize>,
    /// How long sessions are observed; without a keep-alive they live two thirds of this.
    pub(crate) session_hold: Duration,
    /// Most locks held at once.
    pub(crate) locks_max: usize,
}

/// One row.
pub(crate) struct Row {
    /// Its number in reports and on the command line.
    pub(crate) number: u8,
    /// The row's heading.
    pub(crate) title: &'static str,
    /// The work, and how it is counted.
    pub(crate) method: &'static str,
    /// The columns of the table, in order.
    pub(crate) columns: &'static [&'static Metric],
    /// The metric in the chart.
    pub(crate) chart: &'static Metric,
}

/// The figures of one run of one case.
pub(crate) struct Case {
    /// The number of its row.
    pub(crate) row: u8,
    /// The name of the case inside the row.
    pub(crate) name: String,
    /// The measured figures.
    pub(crate) figures: Figures,
}

/// Columns of rows that are a plain closed loop.
const LOOP: &[&Metric] = &[OPS, P50, P99, P999, CPU, BYTES, DIRTIED, SERVER_CORES, GENERATOR, ERRORS];

/// All rows, in order.
pub(crate) static ROWS: [Row; 10] = [
    Row {
        number: 1,
        title: "Uncontended lock: acquire and release",
        method: "One operation is an acquire and its release, both durable on a majority, of a lock that belongs to the \
                 client. All hosts are connected to the leader. etcd: Lock and Unlock of its lock service, one lease a \
                 host. Batuta: Acquire and Release in one gRPC stream a host, as in its own client, \
                 and one session a host. ZooKeeper: the lock of its recipes (an ephemeral sequential node, \
                 then its siblings, requested together), one session a host. Redis: SET NX PX and a script that \
                 deletes, each with WAIT for one replica, one connection a client; Redis has no elections and no consensus, and \
                 its locks have no fencing token.",
        columns: LOOP,
        chart: OPS,
    },
    Row {
        number: 2,
        title: "One hot lock",
        method: "Every contender has its own lease or session, waits for the one lock, and releases it at \
                 once. A hand-over is timed from the sending of the release to the arrival of the next grant at \
                 another contender; p50 to p99.9 are of one contender's whole turn, including its wait. Fairness is \
                 computed over the turns each contender got during the measurement. Redis has no queue for a lock.",
        columns: &[
            OPS,
            HANDOVER_P50,
            HANDOVER_P99,
            HANDOVER_P999,
            JAIN,
            LEAST,
            P50,
            P99,
            P999,
            CPU,
            BYTES,
            GENERATOR,
            ERRORS,
        ],
        chart: OPS,
    },
    Row {
        number: 3,
        title: "Durable small writes (256 B)",
        method: "etcd: Put of a 240-byte value under a key of the client's own. Batuta has no values yet: \
                 AdvanceRegister with a token the register already has, under a name of 240 bytes. That changes \
                 nothing in the state, but the request is replicated, synced on a majority and applied like any \
                 other; etcd also updates its B-tree and its database file. ZooKeeper: setData of 240 bytes. Redis: SET \
                 of 240 bytes and WAIT for one replica.",
        columns: LOOP,
        chart: OPS,
    },
    Row {
        number: 4,
        title: "Linearizable reads",
        method: "Reads the holder of a lock, with all hosts connected to the leader, or all to one follower. etcd: Range \
                 over the lock's prefix, not serializable. Batuta: GetLock, linearizable. ZooKeeper: sync and \
                 getChildren together, which trusts a leader that may have been replaced without knowing it. Redis has no \
                 linearizable read.",
        columns: LOOP,
        chart: OPS,
    },
    Row {
        number: 5,
        title: "Live sessions with keep-alives",
        method: "500 sessions a host, hosts spread over the three nodes, each session kept alive three times in its \
                 time to live, spread evenly; leases and KeepAlive calls go through one \
                 stream a host. One operation is one keep-alive; the percentiles are of a host's batch (a tenth of its \
                 sessions). A last keep-alive of every session counts the lost ones. Redis: a key with a time to live \
                 and PEXPIRE, without WAIT, all at the primary. A session of ZooKeeper is a connection: \
                 not compared.",
        columns: &[
            OPS,
            P50,
            P99,
            P999,
            SERVER_CORES,
            CPU,
            BYTES,
            GROWTH,
            LOST,
            OPEN_RATE,
            RESIDENT,
            GENERATOR,
            ERRORS,
        ],
        chart: SERVER_CORES,
    },
    Row {
        number: 6,
        title: "Watch: fan-out of one change",
        method: "All watchers watch one name on the leader, 100 a connection, in one stream. The lock of that name is \
                 repeatedly acquired and released; the time is from \
                 sending the acquire to its arrival at a watcher. One operation is one arrival. ZooKeeper: a persistent \
                 recursive watch and a connection a watcher, since it notifies a connection only once.",
        columns: &[OPS, P50, P99, P999, LAST_P50, LAST_P99, CPU, BYTES, SERVER_CORES, GENERATOR],
        chart: LAST_P50,
    },
    Row {
        number: 7,
        title: "Failover: kill -9 of the leader under load",
        method: "16 clients work through the two followers; the leader is killed; from then on a new acquire is sent \
                 to each survivor every 10 ms, without waiting for the previous one. Time from the kill to the first of these \
                 grants. A fresh cluster each time. Redis holds no elections by itself.",
        columns: &[GRANT_AFTER],
        chart: GRANT_AFTER,
    },
    Row {
        number: 8,
        title: "Size: many held locks",
        method: "256 clients take the locks and keep them. Resident memory of etcd includes the mapped pages of its database \
                 file. The snapshot is taken on the leader (Batuta: TriggerSnapshot; etcd: the \
                 Snapshot call, read to its end) while 64 clients acquire and release; p99 covers the time it \
                 takes, at least a second. Restart: a follower is stopped and restarted, until it answers a \
                 linearizable read. Redis: BGSAVE on the primary; a replica, until it has everything its primary has. ZooKeeper \
                 3.8 writes no snapshot on request: not compared.",
        columns: &[RESIDENT, DISK, TAKE_RATE, SNAPSHOT, SNAPSHOT_P99, RESTART],
        chart: RESIDENT,
    },
    Row {
        number: 9,
        title: "Growth: acquire and release beside many held locks",
        method: "Like row 1 with 64 clients, while this many other locks are held: the costs must stay flat. Row 1 shows how they \
                 grow with the number of clients.",
        columns: LOOP,
        chart: CPU,
    },
    Row {
        number: 10,
        title: "Batuta's fronts: acquire and release",
        method: "Like row 1 with 64 clients on one connection (REST and GraphQL: HTTP/2), through each of Batuta's \
                 APIs; over gRPC both with many calls in one stream, as in its own client, and call by call. etcd only by gRPC.",
        columns: LOOP,
        chart: OPS,
    },
];

/// The cases of one run, collected as they come: figures measured before a failure are kept.
pub(crate) struct Cases {
    row: u8,
    /// All cases so far.
    pub(crate) done: Vec<Case>,
}

impl Cases {
    /// An empty list for a row.
    pub(crate) fn of(row: u8) -> Self {
        Self { row, done: Vec::new() }
    }

    /// The row's number.
    pub(crate) fn row(&self) -> u8 {
        self.row
    }

    fn add(&mut self, name: String, figures: Figures) {
        self.add_to(self.row, name, figures);
    }

    fn add_to(&mut self, row: u8, name: String, figures: Figures) {
        self.done.push(Case { row, name, figures });
    }
}

/// Runs the work for the row of `cases` on a fresh cluster; rows 8 and 9 share a run, which gives the cases
/// of both. Returns a note for the readers of the figures, if there is one.
///
/// # Errors
/// When the system failed; the cases before the failure are kept.
pub(crate) async fn run<S: System>(plan: &Plan, cases: &mut Cases) -> Result<Option<String>> {
    let mut system = S::start(&plan.setup).await?;
    for node in 0..NODES {
        system.serving(node).await?;
    }
    let leader = system.leader().await?;
    system.warm(leader).await?;
    let row = cases.row;
    match row {
        1 => locks::uncontended(&mut system, leader, plan, cases).await,
        2 => locks::hot(&mut system, leader, plan, cases).await,
        3 => data::writes(&mut system, leader, plan, cases).await,
        4 => data::reads(&mut system, leader, plan, cases).await,
        5 => sessions::run(&mut system, leader, plan, cases).await,
        6 => watch::run(&mut system, leader, plan, cases).await,
        7 => failover::run(&mut system, leader, cases).await,
        8 | 9 => size::run(&mut system, leader, plan, cases).await,
        10 => locks::fronts(&mut system, leader, plan, cases).await,
        _ => Err(Error::other(format!("there is no row {row}"))),
    }?;
    // Clients stay connected to the first leader: after a change, what they measure goes through a follower.
    let moved = row != 7 && system.leader().await? != leader;
    Ok(moved.then(|| "the leader changed while it ran".to_owned()))
}

/// The meter for a case of this system.
fn meter<S: System>(system: &mut S, plan: &Plan) -> Meter {
    Meter { pids: system.servers().pids(), device: plan.device }
}

/// A count with its noun.
fn count(count: usize, noun: &str) -> String {
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// As many hosts as this number of clients needs, connected to the node.
async fn hosts<S: System>(system: &S, node: usize, clients: usize) -> Result<Vec<S::Host>> {
    let mut hosts = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_PER_HOST) {
        hosts.push(system.connect(node).await?);
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_and_charts_are_columns() {
        for (row, number) in ROWS.iter().zip(1..) {
            assert_eq!(row.number, number);
            assert!(row.columns.iter().any(|column| column.key == row.chart.key), "{}", row.title);
        }
    }
}
