//! In-memory transport, the reference for every other backend.

mod broker;
mod canary_sender;
mod consumer;
mod dead_letter_store;
mod dead_letters;
mod event_channel;
mod lock;
mod open_handles;
mod publisher;
mod puller;
mod pusher;
mod queue;
mod reply_address;
mod reply_queue;
mod requester;
mod responder;
mod sender_close_signal;
mod subscriber;
mod transport;

pub use self::transport::Memory;
