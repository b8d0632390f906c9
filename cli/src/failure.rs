//! What a command can fail with, how it is told, and the exit codes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use batuta_client::Error;
use serde_json::{Value, json};

use crate::output::printable;
use crate::remedy;

/// Exit codes of the commands. They are part of the interface: docs/cli.md and `--help` list them.
pub(crate) mod exit {
    /// It is done.
    pub(crate) const DONE: u8 = 0;
    /// The answer is no.
    pub(crate) const NO: u8 = 1;
    /// The command line, or an argument, is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// There is no such thing.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// The cluster refused.
    pub(crate) const REFUSED: u8 = 4;
    /// The cluster could not be asked, or can not do it now; nothing was done.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// A defect, here or there.
    pub(crate) const INTERNAL: u8 = 70;
    /// Whether it took effect is not known.
    pub(crate) const UNKNOWN: u8 = 71;
    /// The lock was not acquired.
    pub(crate) const NOT_ACQUIRED: u8 = 73;
    /// Standard output could not be written.
    pub(crate) const OUTPUT: u8 = 74;
    /// `lock run`: the lock was lost, or may have been.
    pub(crate) const LOST: u8 = 75;
    /// `lock run`: the command is there and can not be executed.
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    /// `lock run`: there is no such command.
    pub(crate) const NO_COMMAND: u8 = 127;
}

/// How a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    pub(crate) details: BTreeMap<String, String>,
    pub(crate) remedy: Option<String>,
}

impl Failure {
    /// A failure of the command line's own.
    pub(crate) fn new(exit: u8, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
            retryable: false,
            details: BTreeMap::new(),
            remedy: remedy::of(code).map(str::to_owned),
        }
    }

    /// The same, with what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same under another exit code.
    pub(crate) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// What was missing in an answer that must have it.
    pub(crate) fn without(what: &str) -> Self {
        Self::new(exit::INTERNAL, "internal", format!("the cluster answered without {what}"))
    }

    /// An argument that no parser could refuse by itself.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, "invalid_argument", message)
    }

    /// An acquisition that failed: the answers that say "not now" have an exit code of their own.
    pub(crate) fn acquiring(error: Error) -> Self {
        let not_now = matches!(
            error.code.as_str(),
            "lock_held" | "lock_delayed" | "wait_timeout" | "wait_cancelled" | "deadlock"
        );
        let failure = Self::from(error);
        if not_now { failure.exit(exit::NOT_ACQUIRED) } else { failure }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "details": self.details,
            "remedy": self.remedy,
        })
    }

    /// For people, several lines.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("batuta: {}\n  code: {}\n", printable(&self.message), self.code);
        for (name, value) in &self.details {
            // Writing to a String can not fail.
            let _ = writeln!(text, "  {}: {}", printable(name), printable(value));
        }
        if let Some(remedy) = &self.remedy {
            let _ = writeln!(text, "  what to do: {remedy}");
        }
        text
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            exit: exit_of(&error.code),
            remedy: remedy::of(&error.code).map(str::to_owned),
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            details: error.details,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(exit::OUTPUT, "output", format!("standard output: {error}"))
    }
}

fn exit_of(code: &str) -> u8 {
    match code {
        "invalid_argument" | "unknown_field" | "malformed_body" | "body_too_large" | "key_reused" => {
            exit::USAGE
        }
        "lock_not_found" | "session_not_found" | "register_not_found" | "unknown_member" => exit::NOT_FOUND,
        "unavailable" | "no_leader" | "node_lost" | "overloaded" | "shutting_down" | "draining"
        | "disk_full" => exit::UNAVAILABLE,
        "outcome_unknown" | "timeout" => exit::UNKNOWN,
        "internal" => exit::INTERNAL,
        _ => exit::REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> Error {
        Error {
            code: code.to_owned(),
            message: "said so".to_owned(),
            retryable: true,
            field: None,
            details: BTreeMap::from([("holder".to_owned(), "l-7".to_owned())]),
        }
    }

    #[test]
    fn codes_become_exit_codes() {
        for (code, plain, acquiring) in [
            ("invalid_argument", 2, 2),
            ("lock_not_found", 3, 3),
            ("unknown_member", 3, 3),
            ("lock_not_held", 4, 4),
            ("token_superseded", 4, 4),
            ("limit_exceeded", 4, 4),
            ("lock_held", 4, 73),
            ("lock_delayed", 4, 73),
            ("wait_timeout", 4, 73),
            ("deadlock", 4, 73),
            ("no_leader", 69, 69),
            ("unavailable", 69, 69),
            ("internal", 70, 70),
            ("outcome_unknown", 71, 71),
            ("timeout", 71, 71),
        ] {
            assert_eq!(Failure::from(error(code)).exit, plain, "{code}");
            assert_eq!(Failure::acquiring(error(code)).exit, acquiring, "{code}");
        }
    }

    #[test]
    fn is_told_with_code_details_and_remedy() {
        let failure = Failure::from(error("lock_not_held"));
        let text = failure.to_text();
        for part in
            ["batuta: said so\n", "  code: lock_not_held\n", "  holder: l-7\n", "  what to do: Stop the work"]
        {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert_eq!(
            failure.to_json(),
            json!({
                "code": "lock_not_held",
                "message": "said so",
                "retryable": true,
                "details": {"holder": "l-7"},
                "remedy": "Stop the work the lock protected. Acquire again for a new token.",
            })
        );
    }
}
