//! Disks that lose synced data and old copies of directories: a node that lost what it acknowledged, or applied entries that the
//! cluster does not have, stops. The node and the leader both log the reason.

use std::path::Path;
use std::time::Duration;

use batuta_tests::{Cluster, eventually};

async fn take_some(cluster: &Cluster, place: usize, what: &str) {
    for number in 0..6 {
        cluster.take(place, &format!("{what}/{number}")).await;
    }
}

/// Waits until the leader knows that a member has everything, and one heartbeat longer.
async fn acknowledged(cluster: &Cluster, leader: usize, member: usize) {
    let name = cluster.nodes[member].name.clone();
    eventually("the member has everything", || async {
        let status = cluster.nodes[leader].status().await;
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let known = members.iter().find(|known| known["name"].as_str() == Some(name.as_str()))?.clone();
        let all = status["last_log_index"]
            .as_u64()
            .filter(|last| Some(*last) == status["committed_index"].as_u64())?;
        (known["matched_index"].as_u64() == Some(all)).then_some(())
    })
    .await;
    cluster.converged().await;
    // The other members learn it with the leader's heartbeats, which cannot be observed from outside.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Removes the newest groups from a node's log, as if its disk had never had them, until this many entries are gone
/// (raft/src/log/format.rs describes groups).
fn lose_entries(data_dir: &Path, entries: usize) {
    let mut segments: Vec<_> = std::fs::read_dir(data_dir.join("log"))
        .expect("a log")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-")))
        .collect();
    segments.sort();
    let path = segments.pop().expect("a segment");
    let mut bytes = std::fs::read(&path).expect("readable");
    let (mut at, mut groups) = (512, Vec::new());
    while u32_at(&bytes, at) == 0x5052_4742 && u32_at(&bytes, at + 4) != 3 {
        let end = at + 32 + u32_at(&bytes, at + 8) as usize;
        let (mut record, mut found) = (at + 32, 0);
        while record < end {
            found += usize::from(bytes[record + 8] == 1);
            record += 8 + u32_at(&bytes, record) as usize;
        }
        groups.push((at, found));
        at = end.next_multiple_of(8);
    }
    let mut lost = 0;
    while lost < entries {
        let (start, found) = groups.pop().expect("more groups in this segment");
        lost += found;
        bytes[start..].fill(0);
    }
    assert!(groups.len() > 1, "the whole segment would be gone");
    std::fs::write(path, bytes).expect("writable");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copied");
        }
    }
}

async fn stops_and_says(cluster: &mut Cluster, place: usize, what: &str) {
    let code = cluster.nodes[place].ends().await;
    let said = cluster.nodes[place].log();
    assert!(code.is_some_and(|code| code != 0) && said.contains(what), "{code:?}: {said}");
    assert!(said.contains("move it away") || said.contains("Move the data directory away"), "{said}");
}

/// Waits until a node has logged this error about a member.
async fn accuses(cluster: &Cluster, place: usize, member: usize, what: &str) {
    let member = cluster.nodes[member].name.clone();
    eventually(&format!("{} logs it about {member}", cluster.nodes[place].name), || async {
        let said = cluster.nodes[place].log();
        let mut lines = said.lines();
        lines
            .any(|line| line.contains("ERROR") && line.contains(&member) && line.contains(what))
            .then_some(())
    })
    .await;
}

/// Moves the data directory away and starts the node again, as the message says. Then checks that the third node may fail.
async fn replace(cluster: &mut Cluster, place: usize, third: usize) {
    let lost = cluster.nodes[place].data_dir.with_extension("lost");
    std::fs::rename(&cluster.nodes[place].data_dir, lost).expect("moved away");
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    // In a joint configuration, the vote of the old member would be missing.
    eventually("the old member is removed", || async {
        let status = cluster.nodes[place].status().await;
        let members = status["members"].as_array()?;
        (members.len() == 3 && members.iter().all(|member| member["voter"] == true)).then_some(())
    })
    .await;
    cluster.converged().await;
    cluster.nodes[third].kill();
    take_some(cluster, place, "with the new one").await;
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_tail_is_noticed_and_replaced() {
    let mut cluster = Cluster::start_listening(3).await;
    let leader = cluster.leader().await;
    let place = cluster.follower().await;
    let third = 3 - leader - place;
    take_some(&cluster, leader, "before").await;
    acknowledged(&cluster, leader, place).await;
    cluster.nodes[place].kill();
    lose_entries(&cluster.nodes[place].data_dir, 3);
    cluster.launch(place, &[]);
    stops_and_says(&mut cluster, place, "it had acknowledged entry").await;
    take_some(&cluster, leader, "meanwhile").await;
    // Every further start is refused with the same reason.
    cluster.launch(place, &[]);
    stops_and_says(&mut cluster, place, "it had acknowledged entry").await;
    accuses(&cluster, leader, place, "had acknowledged entry").await;
    let status = cluster.nodes[leader].status().await;
    let members = status["members"].as_array().expect("members");
    let faults = members.iter().filter(|member| member["fault"].is_string()).collect::<Vec<_>>();
    assert!(
        faults.len() == 1 && faults[0]["name"].as_str() == Some(cluster.nodes[place].name.as_str()),
        "{status}"
    );
    replace(&mut cluster, place, third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_members_notice_an_old_copy_of_a_directory() {
    let mut cluster = Cluster::start_listening(3).await;
    let leader = cluster.leader().await;
    let place = cluster.follower().await;
    let third = 3 - leader - place;
    take_some(&cluster, leader, "before").await;
    let (data_dir, old) =
        (cluster.nodes[place].data_dir.clone(), cluster.nodes[place].data_dir.with_extension("old"));
    cluster.nodes[place].kill();
    copy(&data_dir, &old);
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    take_some(&cluster, leader, "behind its back").await;
    acknowledged(&cluster, leader, place).await;
    cluster.nodes[place].kill();
    std::fs::rename(&data_dir, data_dir.with_extension("new")).expect("moved away");
    std::fs::rename(&old, &data_dir).expect("put back");
    // The leader's memory is gone with its process, but the third node still knows.
    cluster.nodes[leader].kill();
    cluster.launch(leader, &[]);
    cluster.nodes[leader].ready().await;
    cluster.launch(place, &[]);
    stops_and_says(&mut cluster, place, "it had acknowledged entry").await;
    replace(&mut cluster, place, third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_lost_its_tail_does_not_return() {
    let mut cluster = Cluster::start_listening(3).await;
    let leader = cluster.leader().await;
    let (place, third) = ((leader + 1) % 3, (leader + 2) % 3);
    take_some(&cluster, leader, "before").await;
    acknowledged(&cluster, leader, place).await;
    cluster.nodes[leader].kill();
    lose_entries(&cluster.nodes[leader].data_dir, 3);
    cluster.launch(leader, &[]);
    stops_and_says(&mut cluster, leader, "it had acknowledged entry").await;
    take_some(&cluster, place, "without it").await;
    replace(&mut cluster, leader, third).await;
}

/// No running node knows what was lost. The old leader comes back with acknowledged writes that the cluster no longer has.
#[tokio::test(flavor = "multi_thread")]
async fn last_holder_of_a_lost_write_stops_on_return() {
    let mut cluster = Cluster::start_listening(3).await;
    let leader = cluster.leader().await;
    let (place, third) = ((leader + 1) % 3, (leader + 2) % 3);
    take_some(&cluster, leader, "before").await;
    cluster.converged().await;
    cluster.nodes[third].kill();
    take_some(&cluster, leader, "lost").await;
    cluster.converged().await;
    cluster.nodes[place].kill();
    cluster.nodes[leader].kill();
    lose_entries(&cluster.nodes[place].data_dir, 4);
    cluster.launch(place, &[]);
    cluster.launch(third, &[]);
    cluster.nodes[third].ready().await;
    take_some(&cluster, third, "other").await;
    cluster.launch(leader, &[]);
    stops_and_says(&mut cluster, leader, "has applied other entries than the leader").await;
    let now = cluster.leader().await;
    accuses(&cluster, now, leader, "applied other entries").await;
    replace(&mut cluster, leader, 3 - leader - now).await;
}
