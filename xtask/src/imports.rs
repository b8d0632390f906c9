//! Which crate may know which: data flows one way.

use cargo_metadata::{DependencyKind, Metadata};

use crate::Findings;

/// A crate and what it may import of ours; `None` = anything.
const ALLOWED: &[(&str, Option<&[&str]>)] = &[
    ("batuta-statemachine", Some(&[])),
    ("batuta-proto", Some(&[])),
    ("batuta-config", Some(&[])),
    ("batuta-raft", Some(&["batuta-statemachine", "batuta-proto", "batuta-config"])),
    ("batuta-backends", Some(&["batuta-statemachine", "batuta-config"])),
    ("batuta-effects", Some(&["batuta-raft", "batuta-backends", "batuta-statemachine", "batuta-config"])),
    (
        "batuta-api",
        Some(&["batuta-raft", "batuta-backends", "batuta-proto", "batuta-statemachine", "batuta-config"]),
    ),
    ("batuta-client", Some(&["batuta-proto"])),
    ("batuta-cli", Some(&["batuta-client"])),
    ("batuta", None),
    ("batuta-tests", None),
    ("xtask", Some(&[])),
];

/// A crate and what it imports, outside its tests.
pub(crate) type Imports = Vec<(String, Vec<String>)>;

pub(crate) fn of_workspace(metadata: &Metadata) -> Imports {
    let packages = metadata.workspace_packages();
    let of = |package: &&cargo_metadata::Package| {
        let normal =
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        (package.name.to_string(), normal.map(|dependency| dependency.name.clone()).collect())
    };
    packages.iter().map(of).collect()
}

pub(crate) fn check(imports: &Imports) -> Findings {
    let ours = |name: &str| ALLOWED.iter().any(|(known, _)| *known == name);
    let mut findings = Findings::new();
    for (name, dependencies) in imports {
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| known == name) else {
            findings.push(format!(
                "{name}: not in the list of crates; say in xtask/src/imports.rs what it may import"
            ));
            continue;
        };
        for dependency in dependencies {
            let forbidden =
                allowed.is_some_and(|allowed| ours(dependency) && !allowed.contains(&dependency.as_str()));
            if forbidden {
                findings.push(format!(
                    "{name}: must not import {dependency}; see ARCHITECTURE.md, allowed imports"
                ));
            }
            if dependency == "openraft" && name != "batuta-raft" {
                findings.push(format!("{name}: only batuta-raft may name openraft"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::check;

    fn imports(name: &str, dependency: &str) -> super::Imports {
        vec![(name.to_owned(), vec![dependency.to_owned()])]
    }

    #[test]
    fn the_core_imports_nothing_of_ours_and_only_raft_names_openraft() {
        assert!(check(&imports("batuta-statemachine", "imbl")).is_empty());
        assert!(check(&imports("batuta-raft", "openraft")).is_empty());
        for (name, dependency) in [
            ("batuta-statemachine", "batuta-proto"),
            ("batuta-cli", "batuta-proto"),
            ("batuta-api", "openraft"),
            ("batuta-unheard-of", "imbl"),
        ] {
            assert_eq!(check(&imports(name, dependency)).len(), 1, "{name} → {dependency}");
        }
    }
}
