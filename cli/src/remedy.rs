//! What to do about an error, from the catalogue that the servers' own errors are documented in.

const CATALOGUE: &str = include_str!("../../docs/errors.md");

/// Where the command line has a shorter way to say it, or the error is the client's own.
const OF_THE_COMMAND_LINE: [(&str, &str); 7] = [
    (
        "lock_held",
        "Queue for it with --wait 30s; `batuta lock explain NAME` shows who holds it and who waits.",
    ),
    ("lock_delayed", "Queue for it with --wait, or come back when the lock-delay is over."),
    ("wait_timeout", "Wait longer with --wait; `batuta lock explain NAME` shows who is in the way."),
    ("namespace_mismatch", "Name the namespace it was made in with --namespace."),
    (
        "unavailable",
        "Check that the nodes run and that --endpoints (BATUTA_ENDPOINTS) names their gRPC addresses.",
    ),
    (
        "not_batuta",
        "Name gRPC addresses with --endpoints (BATUTA_ENDPOINTS), port 9090 unless configured, not those of REST or WebSocket.",
    ),
    (
        "timeout",
        "Read the state before doing a write again: it may have taken effect. --timeout sets how long to ask.",
    ),
];

/// What to do about the error `code`, if it is known.
pub(crate) fn of(code: &str) -> Option<&'static str> {
    let own = OF_THE_COMMAND_LINE.iter().find(|(known, _)| *known == code).map(|(_, remedy)| *remedy);
    own.or_else(|| from_catalogue(code))
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
    fn what_the_command_line_rewords_exists() {
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
