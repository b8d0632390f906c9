//! Rule: the tree names no host of a package registry. Package managers know their registries, and users may have configured
//! others.

use std::io;
use std::path::{Path, PathBuf};

use crate::source::Finding;

/// The hosts, in two parts: this file is in the tree as well.
const HOSTS: &[(&str, &str)] = &[
    ("proxy.golang", ".org"),
    ("sum.golang", ".org"),
    ("crates", ".io"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("registry.npmjs", ".org"),
    ("registry.yarnpkg", ".com"),
    ("maven.apache", ".org"),
    ("repo1.maven", ".org"),
    ("nuget", ".org"),
    ("rubygems", ".org"),
    ("deb.debian", ".org"),
];
/// The lock file, in which cargo names its registry.
const LOCK_FILE: &str = "Cargo.lock";
/// Folders without files written by people.
const LEFT_OUT: [&str; 4] = [".git", "target", "node_modules", ".venv"];

/// Checks one file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, words) in (1..).zip(text.lines()) {
        for (name, rest) in HOSTS {
            let host = format!("{name}{rest}");
            if words.to_ascii_lowercase().contains(&host) {
                let message =
                    format!("names the package registry's host {host}: leave it to the package manager");
                findings.push(Finding { path: path.to_owned(), line, message });
            }
        }
    }
    findings
}

/// Checks all texts below `root`.
///
/// # Errors
/// When a directory or a file cannot be read.
pub(crate) fn check_all(root: &Path) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files(root)? {
        // A file that is not text is not a source.
        if let Ok(text) = String::from_utf8(std::fs::read(&path)?) {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            findings.extend(check(&inside.display().to_string(), &text));
        }
    }
    Ok(findings)
}

fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                folders.push(entry.path());
            } else if kind.is_file() && name != LOCK_FILE {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_host_is_found_in_any_text() {
        for (name, rest) in HOSTS {
            let text = format!("# Words.\ncurl https://{name}{rest}/x\n");
            let found = check("scripts/a", &text);
            assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2], "{name}");
        }
        assert_eq!(
            check("scripts/a", "go mod download golang.org/toolchain@v0.0.1\nhttps://docs.rs/x\n"),
            []
        );
    }

    #[test]
    fn only_what_people_write_is_read() {
        let root = tempfile::tempdir().expect("a directory");
        let text = format!("source = \"{}{}\"\n", HOSTS[2].0, HOSTS[2].1);
        for folder in ["target", ".git", "scripts"] {
            std::fs::create_dir(root.path().join(folder)).expect("a directory");
            std::fs::write(root.path().join(folder).join("file"), &text).expect("written");
        }
        std::fs::write(root.path().join(LOCK_FILE), &text).expect("written");
        std::fs::write(root.path().join("picture"), b"\xff\xfe").expect("written");
        let found = check_all(root.path()).expect("read");
        assert_eq!(found.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["scripts/file"]);
    }
}
