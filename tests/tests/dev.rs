//! `batuta dev` over existing data.

use std::process::Stdio;

use batuta_tests::{Dev, Process};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_cluster_size_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    for arguments in [&["--nodes=1"][..], &["--nodes=1"], &[]] {
        let mut dev = Dev::start(directory.path(), arguments, Stdio::null(), Stdio::inherit()).await;
        assert_eq!(dev.nodes.len(), 1);
        dev.process.signal(Signal::TERM);
        assert_eq!(dev.process.ended().await.code(), Some(0));
        std::fs::remove_file(directory.path().join("ready")).expect("it was written");
    }
    for wanted in ["3", "5"] {
        let (mut command, _) = Dev::command(directory.path(), &["--nodes", wanted]);
        let mut process =
            Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped()));
        let (_, stderr) = process.take_output();
        assert_eq!(process.ended().await.code(), Some(1));
        let said = std::io::read_to_string(stderr).expect("text");
        for part in ["1 node(s)", &format!("--nodes says {wanted}"), "--nodes 1", "--data-dir"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
