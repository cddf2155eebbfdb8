//! The pipeline: jobs that are pushed into a queue, each for exactly one worker.

mod dead_letters;
mod puller;
mod pusher;
mod worker;

pub use self::dead_letters::{DeadLetter, DeadLetters};
pub use self::puller::{Job, Puller, PullerBind};
pub(crate) use self::puller::{Read, reader};
pub(crate) use self::pusher::{Priority, hand_over};
pub use self::pusher::{Pusher, PusherConnect};
pub use self::worker::{Worker, WorkerBind};
