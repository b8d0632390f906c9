//! Failures of commands: their exit codes, and how they are printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use batuta_client::{Error, facts};
use serde_json::{Map, Value, json};

use crate::output::printable;
use crate::remedy;

/// Exit codes of the commands. They are part of the interface: docs/cli.md and `--help` list them.
pub(crate) mod exit {
    /// The command did what it was asked to.
    pub(crate) const DONE: u8 = 0;
    /// The answer is no: the token is not the newest, a node is not ready, or a principal may not.
    pub(crate) const NO: u8 = 1;
    /// The command line or an argument is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// There is no such lock, session, register, member, principal, group, role, grant or credential.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// The cluster refused the request.
    pub(crate) const REFUSED: u8 = 4;
    /// The cluster could not be reached, or cannot do it now; nothing was done.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// A defect of the command line or of the cluster.
    pub(crate) const INTERNAL: u8 = 70;
    /// It is unknown whether the request took effect.
    pub(crate) const UNKNOWN: u8 = 71;
    /// The lock was not acquired, or the candidate was not elected.
    pub(crate) const NOT_ACQUIRED: u8 = 73;
    /// Standard output could not be written.
    pub(crate) const OUTPUT: u8 = 74;
    /// `lock run`, `elect run`: the lock or leadership was lost, or may have been.
    pub(crate) const LOST: u8 = 75;
    /// `lock run`, `elect run`: the command exists but cannot be executed.
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    /// `lock run`, `elect run`: there is no such command.
    pub(crate) const NO_COMMAND: u8 = 127;
}

/// The failure of a command.
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
    /// Makes a failure that the command line itself found.
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

    /// Sets the remedy: what to do about the failure.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Sets the exit code.
    pub(crate) fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// Makes a failure for an answer that lacks a required part.
    pub(crate) fn without(what: &str) -> Self {
        Self::new(exit::INTERNAL, "internal", format!("the cluster answered without {what}"))
    }

    /// Makes a failure for an argument that the parser could not refuse.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, "invalid_argument", message)
    }

    /// Converts the error of an acquisition or a campaign. Errors that mean "not now" have their own exit code.
    pub(crate) fn acquiring(error: Error) -> Self {
        let not_now = matches!(
            error.code.as_str(),
            "lock_held" | "lock_delayed" | "wait_timeout" | "wait_cancelled" | "deadlock"
        );
        let failure = Self::from(error);
        if not_now { failure.exit(exit::NOT_ACQUIRED) } else { failure }
    }

    /// Renders the failure as JSON. `code`, `retryable` and `details` are those of a problem document of REST.
    pub(crate) fn to_json(&self) -> Value {
        let details: Map<String, Value> =
            self.details.iter().map(|(name, text)| (name.clone(), fact(name, text))).collect();
        json!({
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "details": details,
            "remedy": self.remedy,
        })
    }

    /// Renders the failure for people, on several lines.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("batuta: {}\n  code: {}\n", printable(&self.message), self.code);
        for (name, value) in &self.details {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}: {}", printable(name), printable(value));
        }
        if let Some(remedy) = &self.remedy {
            let _ = writeln!(text, "  what to do: {remedy}");
        }
        text
    }
}

/// Converts a detail of an error to its form in REST. An unknown detail, or one cut off for its length, stays text.
fn fact(name: &str, text: &str) -> Value {
    let parsed = if facts::is_json(name) { serde_json::from_str(text).ok() } else { None };
    parsed.unwrap_or_else(|| Value::from(text))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            exit: exit_of(&error.code),
            remedy: remedy::denied(&error).or_else(|| remedy::of(&error.code).map(str::to_owned)),
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
        "lock_not_found"
        | "session_not_found"
        | "register_not_found"
        | "unknown_member"
        | "principal_not_found"
        | "group_not_found"
        | "role_not_found"
        | "binding_not_found"
        | "token_not_found" => exit::NOT_FOUND,
        "unavailable" | "not_batuta" | "no_leader" | "node_lost" | "node_removed" | "overloaded"
        | "shutting_down" | "draining" | "disk_full" | "auth_busy" | "audit_unavailable" => exit::UNAVAILABLE,
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
            details: [("holder", "l-7"), ("holder_tokens", "[7]"), ("name", "42")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    #[test]
    fn codes_become_exit_codes() {
        for (code, plain, acquiring) in [
            ("invalid_argument", 2, 2),
            ("lock_not_found", 3, 3),
            ("unknown_member", 3, 3),
            ("principal_not_found", 3, 3),
            ("token_not_found", 3, 3),
            ("permission_denied", 4, 4),
            ("unauthenticated", 4, 4),
            ("token_expired", 4, 4),
            ("auth_busy", 69, 69),
            ("lock_not_held", 4, 4),
            ("token_superseded", 4, 4),
            ("limit_exceeded", 4, 4),
            ("lock_held", 4, 73),
            ("lock_delayed", 4, 73),
            ("wait_timeout", 4, 73),
            ("deadlock", 4, 73),
            ("no_leader", 69, 69),
            ("unavailable", 69, 69),
            ("not_batuta", 69, 69),
            ("internal", 70, 70),
            ("outcome_unknown", 71, 71),
            ("timeout", 71, 71),
        ] {
            assert_eq!(Failure::from(error(code)).exit, plain, "{code}");
            assert_eq!(Failure::acquiring(error(code)).exit, acquiring, "{code}");
        }
    }

    #[test]
    fn missing_permission_is_explained() {
        let denied = Error {
            details: [
                ("principal", "user/ann"),
                ("permission", "lock:acquire"),
                ("namespace", "shop"),
                ("name", "it's"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            ..error("permission_denied")
        };
        let text = Failure::from(denied.clone()).to_text();
        for part in [
            "  principal: user/ann\n",
            "  permission: lock:acquire\n",
            "  namespace: shop\n",
            "  name: it's\n",
            r"`batuta access explain lock:acquire 'it'\''s' --namespace shop`",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let nameless = Error { details: BTreeMap::new(), ..denied };
        assert!(Failure::from(nameless).remedy.is_some_and(|remedy| !remedy.is_empty()));
        for code in ["unauthenticated", "invalid_token", "token_expired", "token_revoked"] {
            assert!(Failure::from(error(code)).to_text().contains("`batuta login"), "{code}");
        }
    }

    #[test]
    fn failure_has_code_details_and_remedy() {
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
                "details": {"holder": "l-7", "holder_tokens": [7], "name": "42"},
                "remedy": "Stop the work that the lock protected. Acquire the lock again to get a new token.",
            })
        );
    }
}
