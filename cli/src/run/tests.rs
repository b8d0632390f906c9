//! The options of a command that is run, and the messages for its ends.

use std::collections::BTreeMap;

use clap::Parser;

use super::*;

#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    args: CommandArgs,
}

fn parsed(line: &str) -> CommandArgs {
    let words = ["run"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).args
}

fn error(code: &str) -> Error {
    Error {
        code: code.to_owned(),
        message: "said so".to_owned(),
        retryable: true,
        field: None,
        details: BTreeMap::new(),
    }
}

#[test]
fn command_follows_the_dashes() {
    let args = parsed("--ttl 1m --owner me -- sh -c true --owner you");
    assert_eq!(args.command, ["sh", "-c", "true", "--owner", "you"]);
    assert_eq!((args.ttl, args.owner.as_str()), (Duration::from_mins(1), "me"));
    for line in ["", "--", "true"] {
        let words = ["run"].into_iter().chain(line.split_whitespace());
        assert!(Line::try_parse_from(words).is_err(), "{line}");
    }
}

#[test]
fn lock_delay_covers_the_grace_period() {
    for (line, expected_s) in [
        ("-- true", 11),
        ("--grace 3s -- true", 4),
        ("--grace 5m -- true", 60),
        ("--grace 5m --lock-delay 0 -- true", 0),
    ] {
        assert_eq!(parsed(line).lock_delay(), Duration::from_secs(expected_s), "{line}");
    }
}

#[test]
fn options_reach_the_work() {
    let environment = vec![("BATUTA_LOCK_TOKEN", "17".to_owned())];
    let work = parsed("--grace 3s -- true").work(Kind::Lock, environment.clone());
    assert_eq!((work.grace, work.foreground), (Duration::from_secs(3), false));
    assert_eq!(work.environment, environment);
}

#[test]
fn failed_acquisitions_share_one_exit_code() {
    for code in
        ["lock_held", "wait_timeout", "deadlock", "unavailable", "no_leader", "timeout", "invalid_argument"]
    {
        let failure = not_acquired("a", error(code).into());
        assert_eq!((failure.exit, failure.code.as_str()), (73, code));
        assert_eq!(failure.message, "a was not acquired and nothing was run: said so");
    }
    assert_eq!(not_acquired("a", interrupted(Kind::Lock, Signal::TERM)).exit, 73);
}

#[test]
fn a_loss_is_never_a_success() {
    for end in [End::NeverRan, End::Terminated, End::Killed, End::Unkillable] {
        assert_eq!(lost("a", &error("session_expired"), end).exit, 75, "{end:?}");
    }
    for code in
        ["lock_not_held", "session_not_found", "unavailable", "timeout", "outcome_unknown", "internal"]
    {
        for ended in [0, 3] {
            assert_eq!(unconfirmed("a", error(code), Ok(ended)).exit, 75, "{code}");
        }
    }
    let gone = unconfirmed("a", error("lock_not_held"), Ok(0)).message;
    assert_eq!(gone, "a was lost before the command ended (the command ended with exit code 0): said so");
    let unknown = unconfirmed("a", error("unavailable"), Ok(0)).message;
    assert!(unknown.contains("it is unknown whether"), "{unknown}");
}

#[test]
fn command_that_never_ran_is_reported_as_such() {
    let command = [OsString::from("nothing")];
    for (kind, expected) in [(io::ErrorKind::NotFound, 127), (io::ErrorKind::PermissionDenied, 126)] {
        let failure = not_started(&command, &kind.into());
        assert_eq!(failure.exit, expected);
        assert_eq!(unconfirmed("a", error("unavailable"), Err(failure.clone())), failure);
    }
}
