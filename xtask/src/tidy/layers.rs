//! Rule: every job has a file of its name in every layer.

use std::collections::BTreeSet;

use crate::source::Finding;

/// The one list of jobs.
const LIST: &str = "statemachine/src/jobs.rs";
/// Where a job has a file, `<layer>/<job>.rs`, or a folder, `<layer>/<job>/mod.rs`.
const LAYERS: [&str; 9] = [
    "statemachine/src",
    "raft/src/codec",
    "api/src/service",
    "api/src/contract",
    "api/src/rest",
    "api/src/graphql",
    "api/src/grpc",
    "api/src/ws",
    "cli/src",
];
/// Layers that a job leaves out, and why.
const LEFT_OUT: [(&str, &str, &str); 1] = [(
    "cluster",
    "api/src/ws",
    "operators change the cluster by calls, not over a connection that leases locks",
)];

/// Checks the layers of each job. `paths` are all Rust files of the workspace, `list` is the text of the list of jobs.
pub(crate) fn check(paths: &BTreeSet<&str>, list: &str) -> Vec<Finding> {
    let finding = |path: &str, message: String| Finding { path: path.to_owned(), line: 1, message };
    let jobs = jobs(list);
    if jobs.is_empty() {
        return vec![finding(
            LIST,
            "lists no job: the rule expects `$callback! { Lock = lock, … }`".to_owned(),
        )];
    }
    let mut findings = Vec::new();
    for job in jobs {
        for layer in LAYERS {
            let there = [format!("{layer}/{job}.rs"), format!("{layer}/{job}/mod.rs")]
                .iter()
                .any(|path| paths.contains(path.as_str()));
            let excused = LEFT_OUT.iter().any(|(left_out, of, _)| (*left_out, *of) == (job, layer));
            match (there, excused) {
                (false, false) => {
                    findings
                        .push(finding(layer, format!("job {job} has no file here: add {layer}/{job}.rs")));
                }
                (true, true) => {
                    findings.push(finding(layer, format!("job {job} needs no exception any more")));
                }
                (true, false) | (false, true) => {}
            }
        }
    }
    findings
}

/// The modules in `$callback! { Session = session, Lock = lock }`.
fn jobs(list: &str) -> Vec<&str> {
    let Some((_, rest)) = list.split_once("$callback! {") else { return Vec::new() };
    let Some((jobs, _)) = rest.split_once('}') else { return Vec::new() };
    jobs.split(',').filter_map(|job| job.split_once('=')).map(|(_, module)| module.trim()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str =
        "macro_rules! jobs { ($callback:ident) => { $callback! { Lock = lock, Cluster = cluster } }; }";

    fn all() -> Vec<String> {
        let jobs = jobs(TWO).into_iter().flat_map(|job| LAYERS.map(|layer| format!("{layer}/{job}.rs")));
        jobs.filter(|path| path != "api/src/ws/cluster.rs").collect()
    }

    fn said(paths: &[String]) -> Vec<String> {
        let paths = paths.iter().map(String::as_str).collect();
        check(&paths, TWO).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn job_with_a_file_in_every_layer_passes() {
        assert!(said(&all()).is_empty());
        let folder = all().into_iter().map(|path| path.replace("cli/src/lock.rs", "cli/src/lock/mod.rs"));
        assert!(said(&folder.collect::<Vec<_>>()).is_empty());
    }

    #[test]
    fn missing_layer_is_found() {
        let paths: Vec<String> = all().into_iter().filter(|path| path != "api/src/grpc/lock.rs").collect();
        assert_eq!(said(&paths), ["job lock has no file here: add api/src/grpc/lock.rs"]);
    }

    #[test]
    fn exception_that_is_not_needed_is_found() {
        let mut paths = all();
        paths.push("api/src/ws/cluster.rs".to_owned());
        assert_eq!(said(&paths), ["job cluster needs no exception any more"]);
    }

    #[test]
    fn list_that_cannot_be_read_is_found() {
        assert_eq!(check(&BTreeSet::new(), "").len(), 1);
    }
}
