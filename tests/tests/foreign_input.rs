//! Environment variables and arguments that are not UTF-8 or belong to other programs: ignored, or a clear error, never a panic.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output, Stdio};

use batuta_tests::{Alone, program};
use rustix::process::Signal;

const PEERS: &str = "--peers=batuta-0=127.0.0.1:7070";

fn bytes(text: &[u8]) -> &OsStr {
    OsStr::from_bytes(text)
}

fn run(arguments: &[&OsStr], environment: &[(&[u8], &[u8])]) -> (Option<i32>, String) {
    let variables = environment.iter().map(|(name, value)| (bytes(name), bytes(value)));
    let output: Output = Command::new(program())
        .args(arguments)
        .envs(variables)
        .stdin(Stdio::null())
        .output()
        .expect("the program under test runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn foreign_variables_are_left_alone() {
    let validate = ["config", "validate", PEERS].map(OsStr::new);
    for variable in [
        (&b"FOO"[..], &b"\xff"[..]),
        (b"F\xffO", b"\xfe"),
        (b"BATUTA_CLUSTER_SERVICE_HOST", b"10.0.0.1"),
        (b"BATUTA_CLUSTER_SERVICE_PORT_PEER", b"7070"),
        (b"BATUTA_CLUSTER_PORT", b"tcp://10.0.0.1:7070"),
        (b"BATUTA_CLUSTER_PORT_7070_TCP_ADDR", b"10.0.0.1"),
        (b"BATUTA_LISTEN_PORT_53_UDP", b"udp://10.0.0.1:53"),
        (b"BATUTA_LOCK_ID", b"\xff"),
    ] {
        assert_eq!(run(&validate, &[variable]), (Some(0), String::new()), "{variable:?}");
    }
}

#[test]
fn our_variables_must_be_text() {
    let validate = ["config", "validate", PEERS].map(OsStr::new);
    let server = ["server", "--data-dir=/nonexistent/batuta", PEERS].map(OsStr::new);
    let list = ["lock", "list"].map(OsStr::new);
    for (arguments, name, code, words) in [
        (&validate[..], &b"BATUTA_LOG_LEVEL"[..], 1, "env BATUTA_LOG_LEVEL: `log.level` must be UTF-8"),
        (&server, b"BATUTA_NODE_NAME", 1, "env BATUTA_NODE_NAME: `node.name` must be UTF-8"),
        (&server, b"RUST_LOG", 1, "RUST_LOG is not UTF-8"),
        (&list, b"BATUTA_ENDPOINTS", 2, "UTF-8"),
        (&list, b"BATUTA_NAMESPACE", 2, "UTF-8"),
        (&validate, b"BATUTA_CONFIG", 1, "configuration file"),
    ] {
        let (ended, said) = run(arguments, &[(name, b"a\xff")]);
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn arguments_may_be_any_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let bad = directory.path().join(bytes(b"d\xff"));
    let option = [b"--data-dir=", bad.as_os_str().as_bytes()].concat();
    for (arguments, code) in [
        (vec![bytes(b"lock"), bytes(b"get"), bytes(b"\xff")], 2),
        (vec![bytes(b"\xff")], 2),
        (vec![bytes(b"server"), OsStr::new(PEERS), bytes(&option)], 2),
        (vec![bytes(b"config"), bytes(b"validate"), bytes(b"--config"), bytes(b"/nowhere/\xff")], 1),
        (vec![bytes(b"dev"), bytes(b"--nodes=1"), bytes(&option)], 1),
    ] {
        let (ended, said) = run(&arguments, &[]);
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.is_empty(), "{said}");
    }
    let (_, said) = run(&[bytes(b"dev"), bytes(b"--nodes=1"), bytes(&option)], &[]);
    assert!(said.contains("is not UTF-8"), "{said}");
}

#[test]
fn files_may_hold_any_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("node.toml");
    for content in [&b"\xff\xfe"[..], b"[node]\nname = \"\xff\"\n", b"\0\0", b""] {
        std::fs::write(&file, content).expect("a file");
        let (ended, said) = run(
            &["config", "validate", "--config"]
                .map(OsStr::new)
                .into_iter()
                .chain([file.as_os_str()])
                .collect::<Vec<_>>(),
            &[],
        );
        assert_eq!(ended, Some(1), "{said}");
        assert!(said.starts_with("batuta: ") && !said.contains("panicked"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_starts_beside_a_service_of_its_name() {
    let mut node = Alone::start(Stdio::inherit(), &["--log-level=warn"], |command| {
        command
            .env("BATUTA_CLUSTER_SERVICE_HOST", "10.0.0.1")
            .env("BATUTA_CLUSTER_PORT_7070_TCP_PROTO", "tcp");
        command.env(bytes(b"FOO\xff"), bytes(b"\xff"));
    })
    .await;
    node.process.signal(Signal::TERM);
    assert_eq!(node.process.ended().await.code(), Some(0));
}
