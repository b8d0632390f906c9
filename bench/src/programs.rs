//! The programs that are compared: where they are, and how to get them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::machine::output;

/// The root of the source tree.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Where `scripts/bench` builds etcd.
fn built_etcd() -> PathBuf {
    Path::new(ROOT).join("target/peers/etcd")
}

/// The `batuta` beside this program. Under `cargo run` it is built first, with the same profile, so that it is never an old one.
///
/// # Errors
/// When it does not build, or is not there.
pub(crate) fn batuta(named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(program) = named {
        return Ok(program);
    }
    let own = std::env::current_exe().map_err(Error::io("this program's path"))?;
    let directory = own.parent().unwrap_or(Path::new("."));
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "batuta"]).current_dir(ROOT);
        if directory.ends_with("release") {
            build.arg("--release");
        }
        if !build.status().map_err(Error::io("cargo"))?.success() {
            return Err(Error::other("batuta does not build"));
        }
    }
    let program = directory.join("batuta");
    if program.exists() {
        return Ok(program);
    }
    let way = "build it (cargo build --release) or name it with --batuta";
    Err(Error::other(format!("there is no {}: {way}", program.display())))
}

/// The etcd that was named, or the one `scripts/bench` built, or the one on the path.
///
/// # Errors
/// When there is none; says how to get one.
pub(crate) fn etcd(named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(program) = named {
        return Ok(program);
    }
    if built_etcd().exists() {
        return Ok(built_etcd());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed =
        std::env::split_paths(&path).map(|directory| directory.join("etcd")).find(|at| at.exists());
    installed.ok_or_else(|| {
        Error::other(
            "there is no etcd to compare with. Get one:\n  \
             scripts/bench                                        builds it from the Go module registry and runs the comparison\n  \
             (cd bench/peers/etcd && go build -o ../../../target/peers/etcd .)          builds it only; needs Go\n  \
             apt-get install etcd-server                          an older one, from Debian\n\
             or name one with --etcd PATH, or measure Batuta alone with --systems batuta",
        )
    })
}

/// What `batuta --version` says of its version.
///
/// # Errors
/// When it does not run.
pub(crate) fn batuta_version(program: &Path) -> Result<String> {
    version(program, "batuta ")
}

/// Likewise for etcd, with where it came from.
///
/// # Errors
/// When it does not run.
pub(crate) fn etcd_version(program: &Path) -> Result<String> {
    let version = version(program, "etcd Version: ")?;
    let origin = if program == built_etcd() {
        "built from the Go module registry".to_owned()
    } else {
        program.display().to_string()
    };
    Ok(format!("{version} ({origin})"))
}

fn version(program: &Path, before: &str) -> Result<String> {
    let said = output(&program.display().to_string(), &["--version"])
        .ok_or_else(|| Error::other(format!("{} does not run", program.display())))?;
    let first = said.lines().next().unwrap_or_default();
    Ok(first.strip_prefix(before).unwrap_or(first).to_owned())
}
