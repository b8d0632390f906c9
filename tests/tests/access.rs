//! Access under attack, on clusters of real processes: each file is one way to get at what is somebody else's.

#[path = "access/admins.rs"]
mod admins;
#[path = "access/audit.rs"]
mod audit;
#[path = "access/calls.rs"]
mod calls;
#[path = "access/command.rs"]
mod command;
#[path = "access/flood.rs"]
mod flood;
#[path = "access/grpc_calls.rs"]
mod grpc_calls;
#[path = "access/matrix.rs"]
mod matrix;
#[path = "access/modes.rs"]
mod modes;
#[path = "access/names.rs"]
mod names;
#[path = "access/owners.rs"]
mod owners;
#[path = "access/paths.rs"]
mod paths;
#[path = "access/renewed.rs"]
mod renewed;
#[path = "access/revoked.rs"]
mod revoked;
#[path = "access/secrets.rs"]
mod secrets;
#[path = "access/secure.rs"]
mod secure;
#[path = "access/streams.rs"]
mod streams;
