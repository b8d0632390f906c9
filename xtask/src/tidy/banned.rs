//! Rule: the pure core does not name clocks, randomness, I/O or logging; only raft names openraft.

use crate::source::{Finding, Source, Token};

/// Names that the core must not use, each with a replacement.
const NAMES: &[(&str, &str)] = &[
    ("SystemTime", "the stamp of the entry"),
    ("Instant", "the stamp of the entry"),
    ("HashMap", "imbl::OrdMap or BTreeMap: iteration must have one order everywhere"),
    ("HashSet", "imbl::OrdSet or BTreeSet: iteration must have one order everywhere"),
    ("rand", "ids come from the log position"),
    ("getrandom", "ids come from the log position"),
    ("tokio", "apply is synchronous"),
    ("tracing", "outcomes and changes say what happened"),
    ("println", "outcomes and changes say what happened"),
    ("eprintln", "outcomes and changes say what happened"),
    ("dbg", "outcomes and changes say what happened"),
];

/// Modules of `std` that the core must not use.
const MODULES: &[&str] = &["time", "fs", "env", "net", "process", "thread"];

/// Checks one file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.path.starts_with("raft/") {
        let named = source.tokens.iter().filter(|token| token.text == "openraft");
        findings.extend(named.map(|token| {
            source.finding(token.first_line, "only raft may name openraft; use batuta_raft::Replica")
        }));
    }
    if source.path.starts_with("statemachine/src/") {
        for token in &source.tokens {
            if let Some((name, instead)) = NAMES.iter().find(|(name, _)| *name == token.text) {
                findings.push(
                    source.finding(token.first_line, format!("the core must not use {name}: {instead}")),
                );
            }
        }
        for (line, module) in std_modules(&source.tokens) {
            findings.push(
                source.finding(line, format!("the core must not use std::{module}: it has no outside")),
            );
        }
    }
    findings
}

/// Banned modules after `std::`, also in a `use std::{…}`.
fn std_modules(tokens: &[Token]) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (place, window) in tokens.windows(4).enumerate() {
        let [root, first, second, next] = window else { continue };
        if root.text != "std" || first.text != ":" || second.text != ":" {
            continue;
        }
        let named: Vec<&Token> =
            if next.text == "{" { group_heads(&tokens[place + 4..]) } else { vec![next] };
        found.extend(
            named
                .into_iter()
                .filter(|token| MODULES.contains(&token.text.as_str()))
                .map(|token| (token.first_line, token.text.as_str())),
        );
    }
    found
}

/// The first token of every item of a group whose opening brace came just before.
fn group_heads(tokens: &[Token]) -> Vec<&Token> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut at_head = true;
    for token in tokens {
        if at_head {
            heads.push(token);
        }
        at_head = depth == 0 && token.text == ",";
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 0 => break,
            "}" => depth -= 1,
            _ => {}
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::parse(path, text).unwrap()).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn the_core_has_no_outside() {
        for text in [
            "fn f() { let _ = std::time::Duration::ZERO; }",
            "use std::{fmt, fs};",
            "use std::{fmt::{self, Write}, env::var};",
            "use std::collections::HashMap;",
            "fn f() { println!(\"x\"); }",
            "fn f() { std::thread::yield_now(); }",
            "use tracing as t;",
        ] {
            assert_eq!(lines("statemachine/src/a.rs", text), [1], "{text}");
            assert_eq!(lines("node/src/a.rs", text), [0_usize; 0], "{text}");
        }
    }

    #[test]
    fn words_and_tests_are_free() {
        let text = "/// A HashMap of the thread.\n// Instant\nfn time() { let fs = \"std::fs\"; let thread = fs; }\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(lines("statemachine/src/a.rs", text), [0_usize; 0]);
    }

    #[test]
    fn only_raft_names_openraft() {
        assert_eq!(lines("api/src/a.rs", "\nuse openraft::Raft;"), [2]);
        assert_eq!(lines("raft/src/a.rs", "use openraft::Raft;"), [0_usize; 0]);
    }
}
