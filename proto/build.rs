//! Compiles the `.proto` files with `protox`, so that no `protoc` is needed on the machine.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

/// The messages that hold a password or a token.
const SECRETS: [&str; 11] = [
    ".batuta.v1.Authenticate",
    ".batuta.v1.PipelineRequest",
    ".batuta.v1.BootstrapRequest",
    ".batuta.v1.BootstrapResponse",
    ".batuta.v1.CreateKeyResponse",
    ".batuta.v1.LoginRequest",
    ".batuta.v1.LoginResponse",
    ".batuta.v1.SetPasswordRequest",
    ".batuta.internal.v1.TokenSecret",
    ".batuta.internal.v1.SetPassword",
    ".batuta.internal.v1.Password",
];

fn protos(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.is_dir() {
            protos(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=batuta");
    let mut files = Vec::new();
    protos(Path::new("batuta"), &mut files)?;
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection shows the public contract only, not the peers' protocol.
    let public: Vec<_> = files.iter().filter(|file| !file.starts_with("batuta/internal")).collect();
    fs::write(out.join("public.binpb"), protox::compile(public, ["."])?.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".batuta.internal.v1")
        // Their `Debug` is written by hand and shows no secret.
        .skip_debug(SECRETS)
        .compile_fds(descriptors)?;
    Ok(())
}
