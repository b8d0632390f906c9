//! `cargo xtask tidy`: the rules of the house that a machine can hold.

mod docs;
mod imports;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

/// A broken rule: where, and what to do.
type Findings = Vec<String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments != ["tidy"] {
        eprintln!("usage: cargo xtask tidy");
        return ExitCode::from(2);
    }
    match tidy() {
        Ok(findings) if findings.is_empty() => {
            println!("tidy: nothing to say");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            eprintln!("tidy: {} rule(s) broken", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> Result<Findings, Box<dyn std::error::Error>> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let root = metadata.workspace_root.as_std_path().to_owned();
    let mut findings = imports::check(&imports::of_workspace(&metadata));
    let mut functions = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(directory) = package.manifest_path.parent() else { continue };
        for path in rust_files(directory.as_std_path())? {
            let text = fs::read_to_string(&path)?;
            let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            findings.extend(source::check(&shown, &text));
            functions.extend(source::functions(&text));
        }
    }
    findings.extend(docs::check_invariants(&fs::read_to_string(root.join("ARCHITECTURE.md"))?, &functions));
    let rejections = fs::read_to_string(root.join("statemachine/src/rejection.rs"))?;
    findings.extend(docs::check_error_codes(&fs::read_to_string(root.join("docs/errors.md"))?, &rejections));
    Ok(findings)
}

fn rust_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for item in fs::read_dir(directory)? {
        let path = item?.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
