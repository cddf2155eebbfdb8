//! The trait of flaws: the places where a broken backend differs from memory.

use polywire_conformance::Hook;
use polywire_core::transport::{DeadLetterQueue, Filters, Receiver, Sender, Subscription};
use polywire_core::{Address, Capabilities, Error, Limits, Memory, Result, Transport, Window};

/// A flaw of a backend. The defaults are those of memory, without any flaw.
pub(crate) trait Flaw: Clone + Send + Sync + 'static {
    /// The limits that are enforced. The capabilities may claim others.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// The capabilities that are claimed. Memory outlives the disturbances, so they add `durable`.
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Memory::new().capabilities();
        capabilities.durable = true;
        capabilities
    }

    /// The refusal of a pattern, of groups, or of dead letters.
    fn refuses(&self, pattern: &'static str) -> Option<Error> {
        let _ = pattern;
        None
    }

    /// The name of a service, a queue or a channel, as it is used.
    fn name(&self, name: &Address) -> Result<Address> {
        Ok(name.clone())
    }

    /// The window of a receiving half.
    fn window(&self, asked: Window) -> Window {
        asked
    }

    /// The halves of a requester.
    fn calling(&self, halves: Halves) -> Halves {
        halves
    }

    /// The halves of a responder.
    fn serving(&self, halves: Halves) -> Halves {
        halves
    }

    /// The half of a pusher or a publisher.
    fn pushing(&self, sender: Sender) -> Sender {
        sender
    }

    /// The sending half of a requester, in front of the network.
    fn calling_locally(&self, sender: Sender) -> Sender {
        sender
    }

    /// The half of a pusher, in front of the network.
    fn pushing_locally(&self, sender: Sender) -> Sender {
        sender
    }

    /// The half of a publisher, in front of the network.
    fn publishing_locally(&self, sender: Sender) -> Sender {
        sender
    }

    /// The half of a puller.
    fn pulling(&self, receiver: Receiver) -> Receiver {
        receiver
    }

    /// The request of a subscriber.
    fn subscription(&self, subscription: Subscription) -> Subscription {
        subscription
    }

    /// The half and the filters of a subscriber.
    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        (receiver, filters)
    }

    /// A session at dead letters.
    fn dead_letters(&self, session: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        session
    }

    /// The error of dead letters of a source that does not exist.
    fn no_dead_letters(&self, error: Error) -> Result<Box<dyn DeadLetterQueue>> {
        Err(error)
    }

    /// The flaw of the health that is reported.
    fn health(&self) -> HealthFlaw {
        HealthFlaw::None
    }

    /// Reacts to a disturbance. The reaction has ended when the case goes on.
    fn disturb(&self, hook: Hook) -> impl Future<Output = ()> + Send {
        let _ = hook;
        std::future::ready(())
    }

    /// False, if disturbances are announced and not made.
    fn obeys_hooks(&self) -> bool {
        true
    }

    /// Closes a transport.
    fn close(&self, memory: &Memory) -> impl Future<Output = Result<()>> + Send {
        memory.close()
    }
}

/// A flaw of the health that a transport reports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealthFlaw {
    /// No flaw.
    None,
    /// Handles are bound and never reported as consuming.
    NeverConsumes,
    /// Core cannot report drains.
    HidesDrains,
    /// Canaries are answered without passing the receiver.
    AnswersForTheReceiver,
    /// A cut link is not reported.
    StaysConnected,
    /// The end of a disturbance is not reported.
    StaysOff,
}

/// The two halves of an endpoint handle.
pub(crate) type Halves = (Sender, Receiver);

/// No flaw at all.
#[derive(Clone)]
pub(crate) struct Sound;

impl Flaw for Sound {}
