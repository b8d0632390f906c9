//! Rows 3 and 4: writes and reads.

use std::sync::Arc;

use super::{Cases, Plan, count, hosts, meter};
use crate::drive::drive;
use crate::error::Result;
use crate::system::{Host as _, Locks as _, NODES, System};

/// Row 3: durable writes.
pub(super) async fn writes<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    for clients in [1, 16, 64, 256] {
        let hosts = hosts(system, leader, clients).await?;
        let operations = (0..clients).map(|client| {
            let host = hosts[client % hosts.len()].clone();
            move || {
                let host = host.clone();
                async move { host.write(client).await }
            }
        });
        let meter = meter(system, plan);
        let figures = drive(Arc::default(), &meter, plan.timing, operations.collect()).await?;
        cases.add(count(clients, "client"), figures);
    }
    Ok(())
}

/// Row 4: linearizable reads.
pub(super) async fn reads<S: System>(
    system: &mut S,
    leader: usize,
    plan: &Plan,
    cases: &mut Cases,
) -> Result<()> {
    const NAME: &str = "read";
    let _held = system.connect(leader).await?.lock(NAME.to_owned()).await?;
    let follower = (leader + 1) % NODES;
    for (node, place) in [(leader, "leader"), (follower, "follower")] {
        for clients in [64, 256] {
            let hosts = hosts(system, node, clients).await?;
            let operations = (0..clients).map(|client| {
                let host = hosts[client % hosts.len()].clone();
                move || {
                    let host = host.clone();
                    async move { host.read(NAME.to_owned()).await }
                }
            });
            let meter = meter(system, plan);
            let figures = drive(Arc::default(), &meter, plan.timing, operations.collect()).await?;
            cases.add(format!("{place}, {clients} clients"), figures);
        }
    }
    Ok(())
}
