//! A disk that fills up: writes are refused before the log is harmed, what frees space goes on, and it clears by itself.

use std::path::Path;
use std::process::Command;

use batuta_tests::{Cluster, eventually};
use serde_json::json;

/// A small file system in memory, gone with the value.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, with the reason printed, where this process may not mount.
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            Ok(output) => {
                println!("skipped: mount says {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("skipped: mount can not be run: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(64 << 20) else { return };
    let mut cluster = Cluster::start_with(0, &["--set=storage.disk_free_min_bytes=16777216"]).await;
    let place = cluster.add("n1");
    cluster.place(place, disk.path().join("data"));
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let rest = cluster.nodes[place].rest.clone();
    let take = |name: &'static str| {
        let rest = rest.clone();
        async move { rest.post("/api/v1/locks", &json!({"name": name, "ttl_ms": 3_600_000})).await }
    };
    let kept = take("kept").await.expect(201);
    let given_back = take("given-back").await.expect(201);

    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 44 << 20]).expect("there is room for the filler");
    let refused = eventually("writes are refused", || async {
        let answer = take("refused").await;
        (answer.status >= 500).then_some(answer)
    })
    .await;
    assert_eq!(refused.code(), "disk_full", "{refused:?}");
    assert_eq!(cluster.nodes[place].status().await["disk_full"], true);
    let released = format!("/api/v1/locks/given-back?lock_id={}", given_back.text("lock_id"));
    let _ = rest.delete(&released).await.expect(200);
    let _ = rest.get("/api/v1/locks/kept").await.expect(200);

    std::fs::remove_file(&filler).expect("the filler goes");
    let _ = eventually("writes are taken again", || async {
        let answer = take("after").await;
        (answer.status == 201).then_some(answer)
    })
    .await;
    cluster.nodes[place].kill();
    cluster.launch(place, &[]);
    cluster.nodes[place].ready().await;
    let seen = rest.get("/api/v1/locks/kept").await.expect(200);
    assert_eq!(seen.body["holders"][0]["fencing_token"], kept.number("fencing_token"));
    assert_eq!(rest.get("/api/v1/locks/given-back").await.status, 404);
    drop(cluster);
}
