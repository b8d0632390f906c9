//! Rule: which crate of the workspace may use which others.

use std::path::Path;

use cargo_metadata::MetadataCommand;

use crate::source::Finding;

/// A crate of the workspace.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) folder: String,
    /// Its dependencies, including those of tests; each with whether only tests use it.
    pub(crate) dependencies: Vec<(String, bool)>,
}

/// The crates of the workspace that each crate may use, by folder. Folders that are not listed may use any.
const ALLOWED: &[(&str, &[&str])] = &[
    ("statemachine", &[]),
    ("proto", &[]),
    ("config", &[]),
    ("raft", &["statemachine", "proto", "config"]),
    ("backends", &["statemachine", "config"]),
    ("effects", &["raft", "backends", "statemachine", "config"]),
    ("api", &["raft", "backends", "proto", "statemachine", "config"]),
    ("client", &["proto"]),
    ("cli", &["client"]),
];

/// The simulation: it replaces the operating system's clocks and randomness in every program it is linked into.
const SIM: &str = "tests/sim";
const ONLY_SIM: [&str; 2] = ["mad-turmoil", "turmoil"];

/// Reads the crates of the workspace.
pub(crate) fn members(root: &Path) -> Result<Vec<Member>, String> {
    let metadata =
        MetadataCommand::new().current_dir(root).no_deps().exec().map_err(|error| error.to_string())?;
    let members = metadata.workspace_packages().into_iter().map(|package| {
        // Every member is in the workspace.
        let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
        let folder = folder.strip_prefix(&metadata.workspace_root).unwrap_or(folder);
        let dependencies = package.dependencies.iter().map(|dependency| {
            (dependency.name.clone(), dependency.kind == cargo_metadata::DependencyKind::Development)
        });
        Member {
            name: package.name.to_string(),
            folder: folder.to_string(),
            dependencies: dependencies.collect(),
        }
    });
    Ok(members.collect())
}

/// Checks that every crate uses only the allowed crates, and that only raft uses openraft. Tests may use any crate of the workspace.
pub(crate) fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let path = format!("{}/Cargo.toml", member.folder);
        let mut refuse = |message| findings.push(Finding { path: path.clone(), line: 1, message });
        let allowed =
            ALLOWED.iter().find(|(folder, _)| *folder == member.folder).map(|(_, allowed)| *allowed);
        for (dependency, tests_only) in &member.dependencies {
            if dependency == "openraft" && member.folder != "raft" {
                refuse("only raft may depend on openraft; use batuta_raft::Replica".to_owned());
            }
            if ONLY_SIM.contains(&dependency.as_str()) && member.folder != SIM {
                refuse(format!("only {SIM} may depend on {dependency}: it replaces clocks and randomness"));
            }
            let ours = members.iter().find(|other| other.name == *dependency);
            if ours.is_some_and(|ours| ours.folder == SIM) {
                refuse(format!("nothing may depend on {SIM}: it replaces clocks and randomness"));
            }
            if let (Some(ours), Some(allowed), false) = (ours, allowed, tests_only)
                && !allowed.contains(&ours.folder.as_str())
            {
                refuse(format!("{} may not use {}; it may use {allowed:?}", member.folder, ours.folder));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(folder: &str, dependencies: &[(&str, bool)]) -> Member {
        let dependencies = dependencies.iter().map(|(name, tests)| ((*name).to_owned(), *tests)).collect();
        Member { name: format!("batuta-{folder}"), folder: folder.to_owned(), dependencies }
    }

    #[test]
    fn an_import_against_the_flow_is_found() {
        let raft = member("raft", &[("openraft", false), ("batuta-statemachine", false)]);
        let core = member("statemachine", &[("batuta-raft", false)]);
        let found = check(&[raft, core]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "statemachine/Cargo.toml");
    }

    #[test]
    fn openraft_belongs_to_raft_also_in_tests() {
        assert_eq!(check(&[member("api", &[("openraft", true)])]).len(), 1);
    }

    #[test]
    fn nothing_depends_on_the_simulation() {
        let sim = || Member { name: "batuta-sim".to_owned(), ..member("tests/sim", &[("turmoil", false)]) };
        assert_eq!(check(&[sim()]), []);
        assert_eq!(check(&[sim(), member("node", &[("batuta-sim", true)])]).len(), 1);
        assert_eq!(check(&[member("node", &[("mad-turmoil", true)])]).len(), 1);
    }

    #[test]
    fn tests_may_use_anything_of_ours() {
        let members = [member("client", &[("batuta-api", true)]), member("api", &[])];
        assert_eq!(check(&members), []);
    }
}
