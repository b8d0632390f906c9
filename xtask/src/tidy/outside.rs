//! Rule: no macros that panic when a line cannot be written, and no readers of environment and arguments that panic at bytes that
//! are not text.

use crate::source::{Finding, Source};

/// Crates whose code is part of the program.
const PROGRAM: &[&str] =
    &["api/", "cli/", "client/", "config/", "node/", "proto/src/", "raft/", "statemachine/"];

/// Macros that panic when the stream cannot be written.
const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// Functions of `std::env` that panic, with what to use instead.
const READING: &[(&str, &str)] = &[("vars", "vars_os"), ("args", "args_os")];

/// Checks one file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if source.is_test_file() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for window in source.tokens.windows(4) {
        let [first, second, third, fourth] = window else { continue };
        if PROGRAM.iter().any(|folder| source.path.starts_with(folder))
            && !source.path.ends_with("/build.rs")
            && PRINTING.contains(&first.text.as_str())
            && second.text == "!"
        {
            let message = format!(
                "{}! panics when nobody reads or the disk is full; use batuta_cli::lines, write_out or tracing",
                first.text
            );
            findings.push(source.finding(first.first_line, message));
        }
        let called = READING.iter().find(|(name, _)| *name == fourth.text);
        if let Some((name, instead)) = called
            && (first.text.as_str(), second.text.as_str(), third.text.as_str()) == ("env", ":", ":")
        {
            let message = format!("env::{name} panics at bytes that are no text; use {instead}");
            findings.push(source.finding(fourth.first_line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::parse(path, text).unwrap()).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn macros_that_panic_are_found() {
        for name in ["print", "println", "eprint", "eprintln", "dbg"] {
            let text = format!("fn f() {{\n    {name}!(\"x\");\n}}");
            assert_eq!(lines("node/src/a.rs", &text), [2], "{name}");
            assert_eq!(lines("bench/src/a.rs", &text), [0_usize; 0], "{name}: a tool");
            assert_eq!(lines("raft/tests/a.rs", &text), [0_usize; 0], "{name}: a test");
        }
        assert_eq!(lines("cli/src/a.rs", "fn print() { answer.print(out) }"), [0_usize; 0]);
        assert_eq!(lines("proto/build.rs", "fn f() { println!(\"x\"); }"), [0_usize; 0]);
    }

    #[test]
    fn readers_that_panic_are_found() {
        assert_eq!(lines("xtask/src/a.rs", "fn f() { let _ = std::env::args().count(); }"), [1]);
        assert_eq!(lines("node/src/a.rs", "fn f() {\nfor _ in env::vars() {}\n}"), [2]);
        assert_eq!(lines("node/src/a.rs", "fn f() { std::env::vars_os(); env::args_os(); }"), [0_usize; 0]);
    }
}
