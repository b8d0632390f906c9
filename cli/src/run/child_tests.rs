//! Supervises real shells; the test decides when the lock is lost.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use super::*;

/// A directory for the files of one test, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("batuta-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a scratch directory");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover temporary directory does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shell(script: &str, grace: Duration) -> Work {
    Work {
        command: ["sh", "-c", script].map(OsString::from).to_vec(),
        environment: Vec::new(),
        grace,
        foreground: false,
        guard: None,
        kind: Kind::Lock,
    }
}

fn gone(since: Instant) -> Loss {
    let reason = batuta_client::Error {
        code: "session_expired".to_owned(),
        message: "gone".to_owned(),
        retryable: false,
        field: None,
        details: std::collections::BTreeMap::new(),
    };
    Loss { since, reason }
}

fn no_signals() -> Signals {
    let (sender, receiver) = mpsc::unbounded_channel();
    drop(sender);
    Signals::of(receiver)
}

fn lines() -> Lines {
    Lines::for_people(crate::lines::Stream::Error).expect("a thread")
}

async fn written(path: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(text) = fs::read_to_string(path)
            && text.ends_with('\n')
        {
            return text;
        }
        assert!(Instant::now() < deadline, "{} was never written", path.display());
        sleep(Duration::from_millis(5)).await;
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie is dead, even if its status has not been read yet.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

async fn unlost(script: &str) -> ExitStatus {
    let work = shell(script, Duration::from_secs(30));
    match supervise(&work, std::future::pending(), &mut no_signals(), &lines()).await {
        Ended::Exited(status) => status,
        other => panic!("{script}: {other:?}"),
    }
}

#[tokio::test]
async fn exit_codes_pass_through() {
    for (script, expected) in
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    {
        assert_eq!(exit_code(unlost(script).await), expected, "{script}");
    }
}

#[tokio::test]
async fn the_environment_is_added_to() {
    let mut work = shell(r#"test "$BATUTA_LOCK_TOKEN" = 17 && test -n "$PATH""#, Duration::ZERO);
    work.environment = vec![("BATUTA_LOCK_TOKEN", "17".to_owned())];
    let ended = supervise(&work, std::future::pending(), &mut no_signals(), &lines()).await;
    assert!(matches!(ended, Ended::Exited(status) if status.success()), "{ended:?}");
}

#[tokio::test]
async fn command_that_cannot_start_is_reported() {
    let work = Work { command: vec!["/no/such/command".into()], ..shell("", Duration::ZERO) };
    let ended = supervise(&work, std::future::pending(), &mut no_signals(), &lines()).await;
    assert!(
        matches!(&ended, Ended::NotStarted(error) if error.kind() == io::ErrorKind::NotFound),
        "{ended:?}"
    );
}

#[tokio::test]
async fn nothing_starts_after_a_loss() {
    let scratch = Scratch::new("never");
    let mark = scratch.file("mark");
    let work = shell(&format!("echo started > {}", mark.display()), Duration::from_secs(30));
    let losing = std::future::ready(gone(Instant::now()));
    let ended = supervise(&work, losing, &mut no_signals(), &lines()).await;
    assert!(matches!(ended, Ended::Lost { end: End::NeverRan, .. }), "{ended:?}");
    assert!(!mark.exists());
}

#[tokio::test]
async fn loss_terminates_the_group_and_overrides_its_success() {
    let scratch = Scratch::new("term");
    let pids = scratch.file("pids");
    // The shell exits with success on TERM, as a well-behaved program may. A second process of the group dies with it.
    let script = format!("trap 'exit 0' TERM; sleep 600 & echo $$ $! > {}; wait", pids.display());
    let work = shell(&script, Duration::from_mins(1));
    let (lose, told) = oneshot::channel();
    let losing = async { told.await.expect("the test decides") };
    let supervised = tokio::spawn(async move { supervise(&work, losing, &mut no_signals(), &lines()).await });
    let pids = written(&pids).await;
    lose.send(gone(Instant::now())).expect("still supervised");
    let ended = supervised.await.expect("no panic");
    assert!(
        matches!(&ended, Ended::Lost { end: End::Terminated, loss } if loss.reason.message == "gone"),
        "{ended:?}"
    );
    for pid in pids.split_whitespace() {
        assert!(!is_alive(pid), "{pid} of {pids}");
    }
}

#[tokio::test]
async fn process_that_ignores_term_is_killed() {
    let scratch = Scratch::new("kill");
    let pids = scratch.file("pids");
    // The leader of the group ends on TERM at once; the process that it leaves behind ignores TERM.
    let script = format!(
        "trap 'exit 0' TERM; sh -c 'trap \"\" TERM; echo $$ > {0}.inner; while :; do sleep 600; done' & \
         while ! test -s {0}.inner; do sleep 0.01; done; echo $! > {0}; wait",
        pids.display()
    );
    let work = shell(&script, Duration::from_millis(300));
    let (lose, told) = oneshot::channel();
    let losing = async { told.await.expect("the test decides") };
    let supervised = tokio::spawn(async move { supervise(&work, losing, &mut no_signals(), &lines()).await });
    let stubborn = written(&pids).await;
    assert!(is_alive(stubborn.trim()));
    let since = Instant::now();
    lose.send(gone(since)).expect("still supervised");
    let ended = supervised.await.expect("no panic");
    assert!(matches!(ended, Ended::Lost { end: End::Killed, .. }), "{ended:?}");
    assert!(since.elapsed() >= Duration::from_millis(300), "the grace is a lower bound");
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_alive(stubborn.trim()) {
        assert!(Instant::now() < deadline, "{stubborn} is alive");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn grace_period_counts_from_the_loss() {
    let scratch = Scratch::new("late");
    let mark = scratch.file("mark");
    let script = format!("trap '' TERM; echo ready > {}; while :; do sleep 600; done", mark.display());
    let grace = Duration::from_mins(2);
    let work = shell(&script, grace);
    let (lose, told) = oneshot::channel();
    let losing = async { told.await.expect("the test decides") };
    let supervised = tokio::spawn(async move { supervise(&work, losing, &mut no_signals(), &lines()).await });
    written(&mark).await;
    let since = Instant::now().checked_sub(grace).expect("the machine runs for longer than the grace");
    lose.send(gone(since)).expect("still supervised");
    // This would not be enough if the grace period counted from now.
    let ended = timeout(grace / 2, supervised).await.expect("killed at once").expect("no panic");
    assert!(matches!(ended, Ended::Lost { end: End::Killed, .. }), "{ended:?}");
}

#[tokio::test]
async fn signals_are_handed_on() {
    let scratch = Scratch::new("signals");
    let mark = scratch.file("mark");
    let script =
        format!("trap 'exit 42' TERM; echo ready > {}; while :; do sleep 0.01; done", mark.display());
    let work = shell(&script, Duration::from_secs(30));
    let (sender, receiver) = mpsc::unbounded_channel();
    let supervised = tokio::spawn(async move {
        supervise(&work, std::future::pending(), &mut Signals::of(receiver), &lines()).await
    });
    written(&mark).await;
    sender.send(Signal::TERM).expect("still supervised");
    let ended = supervised.await.expect("no panic");
    // TERM also ends `sleep`, which is in the same group; the shell then runs its trap.
    assert!(matches!(ended, Ended::Exited(status) if exit_code(status) == 42), "{ended:?}");
}

#[tokio::test]
async fn only_the_command_is_signalled_in_the_foreground() {
    let scratch = Scratch::new("foreground");
    let mark = scratch.file("mark");
    let script = format!(
        "trap 'exit 42' TERM; trap 'exit 41' INT; echo ready > {}; while :; do sleep 0.01; done",
        mark.display()
    );
    let work = Work { foreground: true, ..shell(&script, Duration::from_secs(30)) };
    let (sender, receiver) = mpsc::unbounded_channel();
    let supervised = tokio::spawn(async move {
        supervise(&work, std::future::pending(), &mut Signals::of(receiver), &lines()).await
    });
    written(&mark).await;
    // In the foreground the terminal delivers INT itself; only TERM is forwarded.
    sender.send(Signal::INT).expect("still supervised");
    sender.send(Signal::TERM).expect("still supervised");
    let ended = supervised.await.expect("no panic");
    assert!(matches!(ended, Ended::Exited(status) if exit_code(status) == 42), "{ended:?}");
}
