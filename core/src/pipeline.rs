//! Pipeline: jobs that are pushed to a queue, each for exactly one worker.
//!
//! A [`Pusher`] pushes jobs. A [`Worker`] runs a handler for each job; a [`Puller`] is a stream of
//! jobs for programs that drive the work themselves. [`DeadLetters`] manage the jobs that failed
//! for good, which `worker::job_processor` decides, and [`WaitingRetries`] counts those that wait
//! for their next attempt.

mod dead_letter;
mod dead_letters;
mod job;
mod one_way_sender;
mod puller;
mod pusher;
mod settle_error;
mod waiting_retries;
mod worker;

pub use self::dead_letter::DeadLetter;
pub use self::dead_letters::DeadLetters;
pub use self::job::Job;
pub(crate) use self::job::{DecodeFn, decode_fn};
pub(crate) use self::one_way_sender::OneWaySender;
pub use self::puller::{Puller, PullerBind};
pub use self::pusher::{Pusher, PusherConnect};
pub use self::settle_error::SettleError;
pub use self::waiting_retries::WaitingRetries;
pub use self::worker::{Worker, WorkerBind};
