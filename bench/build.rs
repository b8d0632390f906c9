//! Compiles the part of etcd's wire API that the comparison needs, with `protox`, so that no `protoc` is needed on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["mvccpb/kv.proto", "etcdserverpb/rpc.proto", "v3lockpb/v3lock.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
