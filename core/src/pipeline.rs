//! The pipeline: jobs that are pushed into a queue, each for exactly one worker.

mod dead_letters;
mod outlet;
mod puller;
mod pusher;
mod unsettled;
mod worker;

pub use self::dead_letters::{DeadLetter, DeadLetters};
pub(crate) use self::outlet::{Outlet, hand_over};
pub use self::puller::{Job, Puller, PullerBind};
pub(crate) use self::puller::{Read, reader};
pub use self::pusher::{Pusher, PusherConnect};
pub use self::unsettled::Unsettled;
pub use self::worker::{Worker, WorkerBind};
