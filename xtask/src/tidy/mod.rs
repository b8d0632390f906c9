//! The rules, one per module. A rule takes its input as arguments, so that its tests are small texts.

mod admit;
mod banned;
mod codes;
mod hosts;
mod imports;
mod invariants;
mod layers;
mod outside;
mod size;

use std::path::Path;

use crate::source::{Finding, Source, rust_files};

/// Checks the workspace at `root`.
pub(crate) fn run(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let failed = |path: &str, message: String| Finding { path: path.to_owned(), line: 1, message };
    let members = match imports::members(root) {
        Ok(members) => members,
        Err(problem) => return vec![failed("Cargo.toml", problem)],
    };
    findings.extend(imports::check(&members));
    match hosts::check_all(root) {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(failed(".", error.to_string())),
    }
    let mut sources = Vec::new();
    for member in &members {
        match read(root, &member.folder) {
            Ok(found) => found.into_iter().for_each(|source| match source {
                Ok(source) => sources.push(source),
                Err(finding) => findings.push(finding),
            }),
            Err(error) => findings.push(failed(&member.folder, error.to_string())),
        }
    }
    for source in &sources {
        findings.extend(size::check(source));
        findings.extend(banned::check(source));
        findings.extend(outside::check(source));
    }
    findings.extend(admit::check(&sources));
    let mut page =
        |path: &str, check: &dyn Fn(&str) -> Vec<Finding>| match std::fs::read_to_string(root.join(path)) {
            Ok(text) => findings.extend(check(&text)),
            Err(error) => findings.push(failed(path, error.to_string())),
        };
    let paths = sources.iter().map(|source| source.path.as_str()).collect();
    page("statemachine/src/jobs.rs", &|text| layers::check(&paths, text));
    page("docs/errors.md", &|text| codes::check(&sources, text));
    page("ARCHITECTURE.md", &|text| invariants::check("ARCHITECTURE.md", text, &sources));
    findings
}

fn read(root: &Path, folder: &str) -> std::io::Result<Vec<Result<Source, Finding>>> {
    let directory = root.join(folder);
    rust_files(&directory)?
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path)?;
            // Every file was found below the directory.
            let inside = path.strip_prefix(&directory).unwrap_or(&path);
            Ok(Source::parse(&format!("{folder}/{}", inside.display()), &text))
        })
        .collect()
}
