//! Server and worker processes that scenarios start and kill.

mod process;
mod role;
mod run;

pub(crate) use self::process::Peer;
pub use self::role::ARGUMENT;
pub(crate) use self::role::{PeerRole, is_poison};
pub(crate) use self::run::input_ended;
pub use self::run::run;
