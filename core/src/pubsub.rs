//! Publish-subscribe: what is published under a topic goes to everybody who wants it.

mod dropped;
mod event_stream;
mod listener;
mod overflow;
mod publisher;
mod subscriber;

pub use self::listener::{Listener, ListenerBind};
pub use self::overflow::Overflow;
pub use self::publisher::{Publisher, PublisherConnect};
pub use self::subscriber::{Event, Subscriber, SubscriberBind};
