//! Standard output and standard error that cannot be written: a closed pipe, a full disk, a reader that does not read. Lines are lost
//! and counted, and nothing else happens.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeWriter, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use batuta_tests::{Alone, Dev, Process, Rest, eventually, is_alive, program};
use rustix::process::{Signal, kill_process};
use serde_json::json;

/// Takes this many locks, each with its own name.
async fn take_locks(rest: &Rest, prefix: &str, count: usize) {
    for number in 0..count {
        let name = format!("{prefix}/{number}");
        let _ = rest.post("/api/v1/locks", &json!({"name": name, "ttl_ms": 60_000})).await.expect(201);
    }
}

/// A pipe that is already full.
fn full_pipe() -> (std::io::PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe can be non-blocking");
    while rustix::io::write(&writer, &[b'\n'; 4096]).is_ok() {}
    while rustix::io::write(&writer, b"\n").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("and blocking");
    (reader, writer)
}

/// Checks that the node answers and stops cleanly.
async fn works_and_stops(mut node: Alone) {
    take_locks(&node.rest, "works", 50).await;
    let _ = node.rest.get("/readyz").await.expect(200);
    node.process.signal(Signal::TERM);
    assert_eq!(node.process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_outlives_reader_of_its_log() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Like `2>&1 | head -1`: one line is read, then the reader closes.
    let first = std::thread::spawn(move || BufReader::new(reader).lines().next());
    let node = Alone::start(writer.into(), &["--log-level=trace"], |_| {}).await;
    assert!(first.join().expect("no panic").is_some_and(|line| line.is_ok()));
    works_and_stops(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_outlives_full_disk_of_its_log() {
    let full = File::options().write(true).open("/dev/full").expect("Linux has /dev/full");
    works_and_stops(Alone::start(full.into(), &["--log-level=trace", "--set=log.format=json"], |_| {}).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_runs_without_standard_streams() {
    let node = Alone::start(Stdio::null(), &["--log-level=debug"], |command| {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" <&- >&- 2>&-"#]).arg(program()).args(arguments);
    })
    .await;
    works_and_stops(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_log_reader_does_not_block_the_node() {
    let (_reader, writer) = full_pipe();
    let everything = |command: &mut Command| {
        command.env("RUST_LOG", "trace");
    };
    works_and_stops(Alone::start(writer.into(), &[], everything).await).await;
}

/// A named pipe, whose reader can leave and come back.
#[tokio::test(flavor = "multi_thread")]
async fn lost_log_lines_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("log");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let open = {
        let fifo = fifo.clone();
        move || {
            let fifo = fifo.clone();
            std::thread::spawn(move || File::open(fifo).expect("a reader"))
        }
    };
    let reader = open();
    let writer = File::options().write(true).open(&fifo).expect("a writer");
    let reader = reader.join().expect("no panic");
    let drain =
        std::thread::spawn(move || BufReader::new(reader).lines().map_while(Result::ok).take(1).count());
    let node = Alone::start(writer.into(), &["--log-level=trace"], |_| {}).await;
    assert_eq!(drain.join().expect("no panic"), 1);
    // Nobody reads, so lines are lost.
    take_locks(&node.rest, "unread", 5).await;
    let lines = BufReader::new(open().join().expect("no panic")).lines();
    let counted = tokio::task::spawn_blocking(move || {
        lines.map_while(Result::ok).find(|line| line.contains("could not be written here"))
    });
    // The next log line says how many are missing.
    take_locks(&node.rest, "read", 5).await;
    let counted =
        tokio::time::timeout(batuta_tests::PATIENCE, counted).await.expect("it is said").expect("no panic");
    let counted = counted.expect("the lost lines are reported before the log ends");
    let number = counted.rsplit_once("lost=").expect("how many").1;
    let number: String = number.chars().filter(char::is_ascii_digit).collect();
    assert!(number.parse::<u64>().expect("a number") > 0, "{counted}");
}

async fn dev_survives_loss_of_a_node(mut dev: Dev) {
    kill_process(dev.pids[0], Signal::KILL).expect("a node of ours");
    for (rest, _) in &dev.nodes[1..] {
        let _ = eventually("the other nodes continue", || async {
            let lock = json!({"name": "left", "ttl_ms": 60_000, "wait_ms": 0});
            let answer = rest.try_send("POST", "/api/v1/locks", &[], Some(&lock)).await.ok()?;
            (answer.status < 500).then_some(answer)
        })
        .await;
    }
    assert!(dev.process.runs(), "dev continues");
    dev.process.signal(Signal::TERM);
    assert_eq!(dev.process.ended().await.code(), Some(0));
    for pid in dev.pids {
        eventually("no node outlives dev", || async { (!is_alive(pid)).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_outlives_its_reader() {
    let directory = tempfile::tempdir().expect("a directory");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Like `2>&1 | grep -m1 ready`.
    let grep = std::thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).any(|line| line.contains("is ready"))
    });
    let stdout = writer.try_clone().expect("another end");
    let dev = Dev::start(directory.path(), &[], stdout, writer).await;
    assert!(grep.join().expect("no panic"));
    dev_survives_loss_of_a_node(dev).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_output_reader_does_not_block_dev() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_reader, writer) = full_pipe();
    let stdout = writer.try_clone().expect("another end");
    let dev = Dev::start(directory.path(), &["--log-level=debug"], stdout, writer).await;
    dev_survives_loss_of_a_node(dev).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn normal_stop_logs_no_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let file = File::create(&log).expect("a file");
    let mut dev = Dev::start(directory.path(), &["--log-level=info"], Stdio::null(), file).await;
    for (place, pid) in dev.pids.clone().into_iter().enumerate() {
        let (rest, _) = dev.nodes[place].clone();
        // Keep entries in flight while there is a majority.
        let writes = tokio::spawn(async move {
            for number in 0.. {
                let lock = json!({"name": format!("stop/{place}/{number}"), "ttl_ms": 60_000});
                if rest.try_send("POST", "/api/v1/locks", &[], Some(&lock)).await.is_err() {
                    break;
                }
            }
        });
        tokio::task::yield_now().await;
        kill_process(pid, Signal::TERM).expect("a node of ours");
        eventually("the node stops", || async { (!is_alive(pid)).then_some(()) }).await;
        writes.abort();
    }
    dev.process.signal(Signal::TERM);
    assert_eq!(dev.process.ended().await.code(), Some(0));
    let said = std::fs::read_to_string(&log).expect("the log");
    assert!(!said.contains("ERROR"), "{said}");
}

/// Runs a line of shell with a node as the endpoint. Returns its exit code and its standard error.
async fn shell(node: &Alone, script: &str) -> (Option<i32>, String) {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .env("BATUTA", program())
        .env("BATUTA_ENDPOINTS", &node.grpc)
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a shell");
    let mut stderr = child.stderr.take().expect("a pipe");
    let said = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).map(|_| said)
    });
    let said = tokio::time::timeout(batuta_tests::PATIENCE, said).await.expect("it ends");
    (child.wait().expect("a shell").code(), said.expect("no panic").expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_ends_quietly_with_its_reader() {
    let node = Alone::start(Stdio::inherit(), &["--log-level=warn"], |_| {}).await;
    take_locks(&node.rest, "seen", 1).await;
    // There is only one change to print, so no later write would fail.
    let ended = shell(&node, r#""$BATUTA" watch --from 1 --name seen/0 | head -1 | grep -q granted"#).await;
    assert_eq!(ended, (Some(0), String::new()));
    let ended = shell(&node, r#""$BATUTA" watch --from 1 | true"#).await;
    assert_eq!(ended, (Some(0), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_without_panic_when_output_fails() {
    let node = Alone::start(Stdio::inherit(), &["--log-level=warn"], |_| {}).await;
    let commands = [
        "config show --peers=batuta-0=127.0.0.1:1",
        "config validate --peers=batuta-0=127.0.0.1:1",
        "schema",
        "completion bash",
        "lock list",
        "health",
        "--help",
    ];
    for command in commands {
        for to in ["| true", "2>&1 | true", "2>/dev/full >/dev/null", ">&- 2>&-"] {
            let (code, said) = shell(&node, &format!(r#""$BATUTA" {command} {to}"#)).await;
            assert_eq!((code, said.as_str()), (Some(0), ""), "{command} {to}");
        }
        // The error cannot be printed. The exit code reports a failure that is not a panic.
        for to in [">/dev/full", ">/dev/full 2>/dev/full", ">/dev/full 2>&-"] {
            let (code, said) = shell(&node, &format!(r#""$BATUTA" {command} {to}"#)).await;
            assert!(!said.contains("panicked") && code != Some(101), "{command} {to}: {code:?} {said}");
        }
    }
    let (code, said) = shell(&node, r#""$BATUTA" config show --peers=batuta-0=127.0.0.1:1 >/dev/full"#).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("standard output"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_without_standard_error_is_an_exit_code() {
    let full = || File::options().write(true).open("/dev/full").expect("Linux has /dev/full");
    for arguments in
        [&["server", "--name=a/b"][..], &["config", "validate", "--set=x"], &["dev", "--rest-port=65530"]]
    {
        let mut process =
            Process::start(Command::new(program()).args(arguments).stdout(full()).stderr(full()));
        assert_eq!(process.ended().await.code(), Some(1), "{arguments:?}");
    }
}
