//! The remedies of errors: what to do about them, from the catalogue that documents the server's errors.

use batuta_client::Error;

use crate::shell::quoted;

const CATALOGUE: &str = include_str!("../../docs/errors.md");

/// What to do without a valid token.
const LOG_IN: &str = "Log in with `batuta login USER`, or pass a valid token in BATUTA_TOKEN, BATUTA_TOKEN_FILE or --token-file.";

/// Remedies that the command line words in its own terms, and those of the client's own errors.
const OF_THE_COMMAND_LINE: [(&str, &str); 11] = [
    (
        "lock_held",
        "Wait for it with --wait 30s; `batuta lock explain NAME` shows who holds it and who waits.",
    ),
    ("lock_delayed", "Wait for it with --wait, or retry when the lock-delay is over."),
    ("wait_timeout", "Wait longer with --wait; `batuta lock explain NAME` shows what blocks it."),
    ("namespace_mismatch", "Pass the namespace in which it was created with --namespace."),
    ("unauthenticated", LOG_IN),
    ("invalid_token", LOG_IN),
    ("token_expired", LOG_IN),
    ("token_revoked", LOG_IN),
    (
        "unavailable",
        "Check that the nodes run and that --endpoints (BATUTA_ENDPOINTS) names their gRPC addresses.",
    ),
    (
        "not_batuta",
        "Pass gRPC addresses with --endpoints (BATUTA_ENDPOINTS), by default port 9090, not the addresses of REST or WebSocket.",
    ),
    (
        "timeout",
        "Read the state before repeating a write, which may have taken effect. --timeout sets how long to wait for an answer.",
    ),
];

/// Returns what to do about the error `code`, if the code is known.
pub(crate) fn of(code: &str) -> Option<&'static str> {
    let own = OF_THE_COMMAND_LINE.iter().find(|(known, _)| *known == code).map(|(_, remedy)| *remedy);
    own.or_else(|| from_catalogue(code))
}

/// Returns what to do about a missing permission: the command that explains what is missing.
pub(crate) fn denied(error: &Error) -> Option<String> {
    if error.code != "permission_denied" {
        return None;
    }
    let detail = |name: &str| error.details.get(name).map(|value| quoted(value));
    let permission = detail("permission")?;
    let name = detail("name").map(|name| format!(" {name}")).unwrap_or_default();
    let namespace = detail("namespace").map(|name| format!(" --namespace {name}")).unwrap_or_default();
    Some(format!(
        "Ask an administrator. `batuta access explain {permission}{name}{namespace}` tells what is missing."
    ))
}

fn from_catalogue(code: &str) -> Option<&'static str> {
    let mut lines = CATALOGUE.lines();
    lines.find(|line| line.strip_prefix("## ") == Some(code))?;
    lines.take_while(|line| !line.starts_with("## ")).find_map(|line| line.strip_prefix("**What to do.** "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documented_codes() -> Vec<&'static str> {
        CATALOGUE
            .lines()
            .filter_map(|line| line.strip_prefix("| [`"))
            .map(|row| row.split_once('`').expect("a row of the table of codes").0)
            .collect()
    }

    #[test]
    fn every_documented_code_has_a_remedy() {
        let codes = documented_codes();
        assert!(codes.contains(&"lock_held") && codes.len() > 20, "{codes:?}");
        for code in codes {
            assert!(of(code).is_some_and(|remedy| remedy.len() > 10), "{code}");
        }
    }

    #[test]
    fn reworded_codes_exist() {
        let codes = documented_codes();
        for (code, _) in OF_THE_COMMAND_LINE {
            assert!(
                codes.contains(&code) || ["unavailable", "not_batuta", "timeout"].contains(&code),
                "{code}"
            );
        }
        assert_eq!(of("no_such_code"), None);
        assert!(of("deadlock").expect("known").starts_with("Release what you hold"));
    }
}
