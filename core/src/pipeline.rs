//! The pipeline: jobs that are pushed into a queue, each for exactly one worker.

mod dead_letters;
mod one_way_sender;
mod puller;
mod pusher;
mod unsettled;
mod worker;

pub use self::dead_letters::{DeadLetter, DeadLetters};
pub(crate) use self::one_way_sender::OneWaySender;
pub use self::puller::{Job, Puller, PullerBind};
pub(crate) use self::puller::{Read, reader};
pub use self::pusher::{Pusher, PusherConnect};
pub use self::unsettled::Unsettled;
pub use self::worker::{Worker, WorkerBind};
