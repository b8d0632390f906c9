//! Access under attack, on clusters of real processes: each file is one way to get at what is somebody else's.

#[path = "access/calls.rs"]
mod calls;
#[path = "access/grpc_calls.rs"]
mod grpc_calls;
#[path = "access/matrix.rs"]
mod matrix;
#[path = "access/secure.rs"]
mod secure;
#[path = "access/streams.rs"]
mod streams;
