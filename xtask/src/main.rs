//! `cargo xtask tidy`: the rules of the house that a machine can hold.

mod source;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["tidy"] {
        eprintln!("usage: cargo xtask tidy");
        return ExitCode::from(2);
    }
    // This crate lies directly in the workspace.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let findings = tidy::run(&root);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: nothing found");
        return ExitCode::SUCCESS;
    }
    eprintln!("tidy: {} finding(s)", findings.len());
    ExitCode::FAILURE
}
