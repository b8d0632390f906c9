//! How a cluster gets its first administrator, and one more when the others are locked out. Both need the disk of a member.

pub(crate) mod admin_key;
pub(crate) mod birth;
pub(crate) mod private_file;
pub(crate) mod recover_command;
pub(crate) mod recovery;
