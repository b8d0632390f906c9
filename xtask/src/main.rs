//! `cargo xtask tidy` checks the project's rules that a machine can check. `cargo xtask sim` runs the simulation.

mod source;
mod tidy;

use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    // This crate is a direct subfolder of the workspace.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match arguments.split_first() {
        Some((task, [])) if task == "tidy" => tidy(&root),
        Some((task, rest)) if task == "sim" => sim(&root, rest),
        _ => {
            eprintln!(
                "usage: cargo xtask tidy | cargo xtask sim --seeds N [--from S] | cargo xtask sim --seed S [--trace]"
            );
            ExitCode::from(2)
        }
    }
}

fn tidy(root: &Path) -> ExitCode {
    let findings = tidy::run(root);
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

/// Builds the simulation in its own profile and runs it.
fn sim(root: &Path, arguments: &[String]) -> ExitCode {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--profile", "sim", "--package", "batuta-sim", "--"])
        .args(arguments)
        .current_dir(root)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: cargo does not run: {error}");
            ExitCode::FAILURE
        }
    }
}
