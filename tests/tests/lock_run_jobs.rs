//! `batuta lock run` as a shell job: on a terminal, with ignored signals, and when its keeper is killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use batuta_tests::{Alone, Process, eventually, is_alive, pid, program, written};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

async fn node() -> Alone {
    Alone::start(Stdio::inherit(), &["--log-level=warn"], |_| {}).await
}

async fn is_free(node: &Alone, lock: &str) -> bool {
    node.rest.get(&format!("/api/v1/locks/{lock}")).await.status == 404
}

async fn held(node: &Alone, lock: &str) {
    eventually("the lock is held", || async { (!is_free(node, lock).await).then_some(()) }).await;
}

async fn free(node: &Alone, lock: &str) {
    eventually("the lock is free", || async { is_free(node, lock).await.then_some(()) }).await;
}

fn lock_run(node: &Alone, options: &[&str], command: &[&str]) -> Command {
    // The process that runs the tests may ignore these signals (`nohup`, a background job), and children inherit that.
    let mut run = Command::new("env");
    run.arg("--default-signal=HUP,INT,QUIT,TERM").arg(program());
    run.env("BATUTA_ENDPOINTS", &node.grpc).args(["lock", "run"]).args(options).arg("--").args(command);
    run.stdin(Stdio::null());
    run
}

/// A foreground job on its own terminal.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    job: Process,
}

impl Terminal {
    fn start(run: &Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("the terminal has another end");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let open = || -> Stdio {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(&name, flags, Mode::empty()).expect("the other end opens").into()
        };
        // A new session with this controlling terminal, whose foreground job is the process.
        let mut command = Command::new("setsid");
        // Under a shell with job control, as users run it: the system does not stop a job that nothing could continue.
        command
            .args(["--ctty", "bash", "-mc", r#""$0" "$@"; exit $?"#])
            .arg(run.get_program())
            .args(run.get_args());
        command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let job = Process::start(command.stdin(open()).stdout(open()).stderr(open()));
        drop(command);
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let mut shown = keyboard.try_clone().expect("another handle of the terminal");
        let on = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = shown.read(&mut bytes) {
                on.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { keyboard, screen, job }
    }

    /// The shell's only child.
    fn keeper(&self) -> Pid {
        let shell = self.job.pid().as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        pid(children
            .expect("Linux reports the children")
            .split_whitespace()
            .next()
            .expect("a child")
            .parse()
            .expect("an id"))
    }

    fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("the terminal takes keys");
    }

    fn screen(&self) -> String {
        self.screen.lock().expect("no panic").clone()
    }

    async fn shows(&self, words: &str) {
        eventually(&format!("the terminal shows {words}"), || async {
            self.screen().contains(words).then_some(())
        })
        .await;
    }
}

const CTRL_C: &[u8] = b"\x03";
const CTRL_D: &[u8] = b"\x04";
const CTRL_Z: &[u8] = b"\x1a";

#[tokio::test(flavor = "multi_thread")]
async fn command_reading_the_terminal_is_stopped() {
    let node = node().await;
    for command in [&["cat"][..], &["stty", "sane"], &["sh", "-c", "read line"], &["sh", "-c", "cat; true"]] {
        for end in [CTRL_C, b"TERM", b"HUP"] {
            let mut terminal = Terminal::start(&lock_run(&node, &["x"], command));
            terminal.shows("the command was stopped by SIGTT").await;
            terminal.shows("--foreground").await;
            assert!(!is_free(&node, "x").await, "a stopped command keeps its lock");
            let signal = match end {
                CTRL_C => {
                    terminal.types(CTRL_C);
                    Signal::INT
                }
                b"TERM" => Signal::TERM,
                _ => Signal::HUP,
            };
            if end != CTRL_C {
                kill_process(terminal.keeper(), signal).expect("the keeper is there");
            }
            let status = terminal.job.ended().await;
            assert_eq!(status.code(), Some(128 + signal.as_raw()), "{command:?}: {}", terminal.screen());
            free(&node, "x").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn external_stop_is_reported_and_signals_arrive() {
    let node = node().await;
    let mut run = lock_run(&node, &["stopped"], &["sh", "-c", "echo $$; exec sleep 600"]);
    let mut keeper = Process::start(run.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (stdout, stderr) = keeper.take_output();
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("the command's id");
    let command = pid(line.trim().parse().expect("a number"));
    kill_process(command, Signal::STOP).expect("a process of ours");
    let mut said = BufReader::new(stderr);
    let mut stopped = String::new();
    said.read_line(&mut stopped).expect("the stop is reported");
    assert!(stopped.contains("stopped by SIGSTOP") && stopped.contains("SIGCONT"), "{stopped}");
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.ended().await.code(), Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn command_in_the_foreground_reads_the_terminal() {
    let node = node().await;
    let mut terminal = Terminal::start(&lock_run(&node, &["x", "--foreground"], &["cat"]));
    held(&node, "x").await;
    terminal.types(b"hello\n");
    // Shown twice: as typed (echo), and as the command's output.
    eventually("the command reads", || async {
        (terminal.screen().matches("hello").count() == 2).then_some(())
    })
    .await;
    terminal.types(CTRL_Z);
    terminal.shows("stopped by SIGTSTP").await;
    terminal.types(b"again\n");
    eventually("the command continues", || async {
        (terminal.screen().matches("again").count() == 2).then_some(())
    })
    .await;
    terminal.types(CTRL_D);
    assert_eq!(terminal.job.ended().await.code(), Some(0));
    let mut terminal = Terminal::start(&lock_run(&node, &["x", "--foreground"], &["cat"]));
    held(&node, "x").await;
    terminal.types(b"hello\n");
    // The lock is held before the keeper knows it. Ctrl-C must reach the command, so wait until the command runs.
    eventually("the command reads", || async {
        (terminal.screen().matches("hello").count() == 2).then_some(())
    })
    .await;
    terminal.types(CTRL_C);
    assert_eq!(terminal.job.ended().await.code(), Some(130), "{}", terminal.screen());
    free(&node, "x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_keyboard_stop_is_reported() {
    let node = node().await;
    let mut terminal = Terminal::start(&lock_run(&node, &["x"], &["sh", "-c", "echo up; exec sleep 600"]));
    terminal.shows("up").await;
    terminal.types(CTRL_Z);
    terminal.shows("Ctrl-Z is ignored").await;
    terminal.types(CTRL_C);
    assert_eq!(terminal.job.ended().await.code(), Some(130));
}

/// A script for a shell that starts the program `$0` with its arguments.
fn scripted(node: &Alone, script: &str, lock: &str, command: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(program()).args(["lock", "run", lock, "--"]).args(command);
    shell.env("BATUTA_ENDPOINTS", &node.grpc).stdin(Stdio::null());
    shell
}

/// A shell script that writes its process id to `FILE.pid` and waits for the file to exist.
fn waits_for(file: &Path) -> String {
    format!("echo $$ > {0}.pid; while ! test -e {0}; do sleep 0.1; done", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_signals_stay_ignored() {
    let node = node().await;
    let directory = tempfile::tempdir().expect("a directory");
    for (script, ignored) in [
        (r#"exec nohup "$0" "$@""#, &[Signal::HUP][..]),
        (r#"trap "" HUP; exec "$0" "$@""#, &[Signal::HUP]),
        (r#"trap "" TERM USR1 QUIT; exec "$0" "$@""#, &[Signal::TERM, Signal::USR1, Signal::QUIT]),
        // Background processes of a script without a terminal ignore INT and QUIT.
        (r#""$0" "$@" & echo $! > keeper; wait $!"#, &[Signal::INT, Signal::QUIT]),
    ] {
        let go = directory.path().join("go");
        let command = waits_for(&go);
        let mut shell = scripted(&node, script, "ignored", &["sh", "-c", &command]);
        let mut shell = Process::start(shell.current_dir(directory.path()).stderr(Stdio::inherit()));
        let command = pid(written(&go.with_extension("pid")).await.trim().parse().expect("an id"));
        let keeper = if script.contains("keeper") {
            pid(written(&directory.path().join("keeper")).await.trim().parse().expect("an id"))
        } else {
            shell.pid()
        };
        for signal in ignored {
            kill_process(keeper, *signal).expect("the keeper is there");
            kill_process_group(command, *signal).expect("its command is there");
        }
        // Both processes survived the signals only if they see this file.
        std::fs::write(&go, "").expect("a file");
        assert_eq!(shell.ended().await.code(), Some(0), "{script}");
        std::fs::remove_file(&go).expect("it is there");
        std::fs::remove_file(go.with_extension("pid")).expect("it is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_ignored_at_the_start_stay_ignored() {
    let mut node = Alone::start(Stdio::inherit(), &["--log-level=warn"], |command| {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command.args(["-c", r#"trap "" INT HUP; exec "$0" "$@""#]).arg(program()).args(arguments);
    })
    .await;
    node.process.signal(Signal::INT);
    node.process.signal(Signal::HUP);
    let _ = node.rest.get("/readyz").await.expect(200);
    node.process.signal(Signal::TERM);
    assert_eq!(node.process.ended().await.code(), Some(0));
}

/// Starts a command of two processes in a directory, and returns their ids.
async fn two_processes(
    node: &Alone,
    directory: &Path,
    options: &[&str],
    script: &str,
) -> (Process, Vec<Pid>) {
    let ids = directory.join("ids");
    let script = format!("{script} echo $$ $! > {}; wait", ids.display());
    let keeper = Process::start(&mut lock_run(node, options, &["sh", "-c", &script]));
    let found = written(&ids).await;
    std::fs::remove_file(&ids).expect("it is there");
    (keeper, found.split_whitespace().map(|id| pid(id.parse().expect("an id"))).collect())
}

async fn dead(process: Pid) {
    eventually(&format!("process {process:?} is gone"), || async { (!is_alive(process)).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_does_not_outlive_its_keeper() {
    let node = node().await;
    let directory = tempfile::tempdir().expect("a directory");
    for (signal, lock) in [(Signal::KILL, "kill"), (Signal::ALARM, "alarm"), (Signal::ABORT, "abort")] {
        let (mut keeper, processes) = two_processes(&node, directory.path(), &[lock], "sleep 600 &").await;
        keeper.signal(signal);
        assert_eq!(keeper.ended().await.code(), None);
        for process in processes {
            dead(process).await;
        }
    }
    // A process that ignores TERM gets KILL after the grace period. Until then nobody else gets the lock.
    let stubborn = r#"trap "" TERM; sh -c 'while :; do sleep 1; done' &"#;
    let (keeper, processes) =
        two_processes(&node, directory.path(), &["b", "--grace=1s", "--ttl=60s"], stubborn).await;
    keeper.signal(Signal::KILL);
    for process in processes {
        dead(process).await;
    }
    assert!(!is_free(&node, "b").await);
    // With --foreground the keeper ends only the command itself.
    let (keeper, processes) =
        two_processes(&node, directory.path(), &["c", "--foreground"], "sleep 600 &").await;
    keeper.signal(Signal::KILL);
    dead(processes[0]).await;
    kill_process(processes[1], Signal::KILL).expect("a process of ours");
    // A stopped command ends as well.
    let (keeper, processes) = two_processes(&node, directory.path(), &["d"], "sleep 600 &").await;
    for process in &processes {
        kill_process(*process, Signal::STOP).expect("a process of ours");
    }
    keeper.signal(Signal::KILL);
    for process in processes {
        dead(process).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guard_ends_with_its_command() {
    let node = node().await;
    let directory = tempfile::tempdir().expect("a directory");
    let guards = || {
        let processes = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
        let name = |process: std::fs::DirEntry| std::fs::read(process.path().join("cmdline")).ok();
        processes.filter_map(name).filter(|name| name.starts_with(b"run-guard\x00123456\0")).count()
    };
    let go = directory.path().join("go");
    // The unusual grace period distinguishes this guard from those of other tests.
    let mut run = lock_run(&node, &["x", "--grace=123456ms"], &["sh", "-c", &waits_for(&go)]);
    let mut keeper = Process::start(&mut run);
    written(&go.with_extension("pid")).await;
    assert_eq!(guards(), 1);
    std::fs::write(&go, "").expect("a file");
    assert_eq!(keeper.ended().await.code(), Some(0));
    eventually("the guard is gone", || async { (guards() == 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeper_without_standard_error_does_its_work() {
    let node = node().await;
    let full = File::options().write(true).open("/dev/full").expect("Linux has /dev/full");
    let mut run = lock_run(&node, &["x"], &["sh", "-c", "kill -STOP $$; exit 3"]);
    let mut keeper = Process::start(run.stderr(full));
    held(&node, "x").await;
    // The stop cannot be reported; the command continues with the next signal.
    eventually("the command continues", || {
        keeper.signal(Signal::CONT);
        let runs = keeper.runs();
        async move { (!runs).then_some(()) }
    })
    .await;
    assert_eq!(keeper.ended().await.code(), Some(3));
    free(&node, "x").await;
}
