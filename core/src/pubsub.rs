//! Publish-subscribe: a published event goes to every subscriber with a matching filter.
//!
//! A [`Publisher`] publishes events on a channel, each under a topic. A [`Subscriber`] is a stream
//! of events; a [`Listener`] runs a handler for each event. The subscribers of a
//! [`Group`](crate::Group) share the events. The [`Overflow`] policy decides about a subscriber
//! that is slower than its publishers. A [`MultiPublisher`] sends an event to several channels.

mod dropped_events;
mod event;
mod event_stream;
mod event_stream_bind;
mod listener;
mod multi_publisher;
mod overflow;
mod overflow_buffer;
mod publisher;
mod subscriber;

pub use self::event::Event;
pub(crate) use self::event_stream::EventStream;
pub use self::listener::{Listener, ListenerBind};
pub use self::multi_publisher::{Destination, MultiPublisher, MultiPublisherConnect, Published};
pub use self::overflow::Overflow;
pub use self::publisher::{Publisher, PublisherConnect};
pub use self::subscriber::{Subscriber, SubscriberBind};
