//! The independent referee: porcupine, a linearizability checker in Go, with its own model (`jepsen/checker`).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The output of the referee.
#[derive(Debug, Deserialize)]
struct Ruling {
    names: u64,
    operations: u64,
    unknown: Vec<String>,
    illegal: Vec<Illegal>,
}

#[derive(Debug, Deserialize)]
struct Illegal {
    name: String,
    operations: u64,
    picture: String,
}

/// The directory of the referee's source.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checker")
}

fn program() -> Result<PathBuf> {
    let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
    Ok(exe.with_file_name("jepsen-checker"))
}

/// Builds the referee if needed. Called before a run, so that a run never ends without a verdict.
///
/// # Errors
/// When Go is missing, or the checker does not build.
pub fn build() -> Result<PathBuf> {
    let program = program()?;
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source())
        .output()
        .map_err(|error| Error::Tool {
            command: "go build".to_owned(),
            said: format!(
                "{error}: the linearizability referee is written in Go (1.22 or newer); install it"
            ),
        })?;
    if output.status.success() {
        return Ok(program);
    }
    Err(Error::Tool {
        command: "go build".to_owned(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

pub(super) fn check(dir: &Path) -> Result<(Vec<String>, String)> {
    let program = build()?;
    let failed = |said: String| Error::Tool { command: program.display().to_string(), said };
    let output = Command::new(&program).arg(dir).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let ruling: Ruling = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    let mut problems: Vec<String> = ruling
        .illegal
        .iter()
        .map(|found| {
            let Illegal { name, operations, picture } = found;
            format!("{name}: {operations} operations are not linearizable; picture: {picture}")
        })
        .collect();
    problems.extend(ruling.unknown.iter().map(|name| format!("{name}: no verdict in time")));
    Ok((problems, format!("{} operations on {} names", ruling.operations, ruling.names)))
}
