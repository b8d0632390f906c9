//! Generated code of the public contract (`batuta.v1`) and of the peers' own protocol and file formats
//! (`batuta.internal.v1`). Conversion from and to our own types is written by hand where the types live.

pub mod facts;

/// The public contract.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("batuta.v1");

    /// Descriptors of the public contract, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.binpb"));
}

/// What nodes say to each other and what they keep on disk.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod internal {
    tonic::include_proto!("batuta.internal.v1");
}
