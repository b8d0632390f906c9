//! Finds the programs to compare, or explains how to get them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::machine::output;
use crate::system::Name;
use crate::zookeeper::JAVA;

/// The root of the source tree.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The path in Debian's package.
const ZOOKEEPER_JAR: &str = "/usr/share/java/zookeeper.jar";

/// The path of a program built by `scripts/bench`.
fn built(program: &str) -> PathBuf {
    Path::new(ROOT).join("target/peers").join(program)
}

/// The program of a system: the one that was named, or one found on this machine.
///
/// # Errors
/// When there is none; the error explains how to get one.
pub(crate) fn find(system: Name, named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(program) = named {
        return Ok(program);
    }
    match system {
        Name::Batuta | Name::BatutaSecured => batuta(),
        Name::Etcd => found([built("etcd")].into_iter().chain(on_path("etcd")), system),
        Name::Redis => found([built("redis-server")].into_iter().chain(on_path("redis-server")), system),
        Name::Zookeeper if on_path(JAVA).next().is_some() => {
            found([ZOOKEEPER_JAR.into()].into_iter(), system)
        }
        Name::Zookeeper => Err(nothing(system)),
    }
}

fn on_path(program: &'static str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(program)).collect::<Vec<_>>().into_iter()
}

fn found(mut places: impl Iterator<Item = PathBuf>, system: Name) -> Result<PathBuf> {
    places.find(|place| place.exists()).ok_or_else(|| nothing(system))
}

fn nothing(system: Name) -> Error {
    let ways = match system {
        Name::Etcd => {
            "(cd bench/peers/etcd && go build -o ../../../target/peers/etcd .)     builds it; needs Go\n  \
             apt-get install etcd-server                                           an older one, from Debian"
        }
        Name::Redis => "apt-get install redis-server",
        Name::Zookeeper => {
            "apt-get install zookeeper                  with Java; another jar with --zookeeper JAR"
        }
        Name::Batuta | Name::BatutaSecured => "cargo build --profile dist",
    };
    Error::other(format!(
        "there is no {system} to compare with. Get one:\n  \
         scripts/bench                 gets all of them and runs the comparison\n  {ways}\n\
         or name one with --{system} PATH, or choose the systems to measure with --systems"
    ))
}

/// The `batuta` beside this program. Under `cargo run` it is built first, with the same profile, so that it
/// is never outdated.
fn batuta() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::io("this program's path"))?;
    let directory = own.parent().unwrap_or(Path::new("."));
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "batuta"]).current_dir(ROOT);
        for profile in ["dist", "release"].iter().filter(|profile| directory.ends_with(profile)) {
            build.args(["--profile", profile]);
        }
        if !build.status().map_err(Error::io("cargo"))?.success() {
            return Err(Error::other("batuta does not build"));
        }
    }
    let program = directory.join("batuta");
    if program.exists() {
        return Ok(program);
    }
    let way = "build it (cargo build --profile dist) or name it with --batuta";
    Err(Error::other(format!("there is no {}: {way}", program.display())))
}

/// The version a system's program reports, and where the program came from if that is not obvious.
///
/// # Errors
/// When the program does not run.
pub(crate) fn version(system: Name, program: &Path) -> Result<String> {
    let path = program.display().to_string();
    let (runs, arguments) = match system {
        Name::Zookeeper => (JAVA, vec!["-cp", &path, "org.apache.zookeeper.version.VersionInfoMain"]),
        _ => (path.as_str(), vec!["--version"]),
    };
    let said = output(runs, &arguments).ok_or_else(|| Error::other(format!("{path} does not run")))?;
    let first = said.lines().next().unwrap_or_default();
    let number = first.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches("v=");
        word.starts_with(|first: char| first.is_ascii_digit()).then_some(word)
    });
    let number = number.unwrap_or(first);
    Ok(match system {
        Name::Batuta => number.to_owned(),
        Name::BatutaSecured => format!("{number} (access enforced, a token in every call)"),
        Name::Etcd if program == built("etcd") => format!("{number} (built from the Go module registry)"),
        // Reports are published, so a program of this tree is named from its root.
        _ => format!("{number} ({})", program.strip_prefix(ROOT).unwrap_or(program).display()),
    })
}
