//! Generated code of the public contract (`batuta.v1`), and of the protocol between nodes and the file formats
//! (`batuta.internal.v1`). Conversions to and from our own types are written by hand, next to those types.

pub mod facts;
mod secrets;

/// The public contract.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("batuta.v1");

    /// Descriptors of the public contract, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.binpb"));
}

/// The protocol between nodes, and the file formats.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod internal {
    tonic::include_proto!("batuta.internal.v1");
}
