//! Sessions: a single keep-alive keeps everything alive that a client owns.

mod close;
mod command;
mod job;
mod keep_alive;
mod limits;
mod open;
mod outcome;
mod record;
mod table;
mod validate;

pub use command::{CloseSession, Command, KeepAlive, OpenSession};
pub use limits::Limits;
pub use outcome::{Change, KeptAlive, Refusal, Reply, SessionClosed, SessionEnd, SessionOpened, Usage};
pub use record::{Record, SessionView};

pub(crate) use close::end_session;
pub(crate) use job::Session;
pub(crate) use table::{Owned, Table};
