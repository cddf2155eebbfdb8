//! The transport of a component, with a gate in front of everything that it sends.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use polywire_core::health::{ConnectionState, HealthReader};
use polywire_core::message::CallId;
use polywire_core::transport::{
    Asked, DeadLetterQueue, DeadLetterSource, Filters, Outbound, Question, Receiver, Sender,
    Sending, ServerAddress, Subscription,
};
use polywire_core::{Address, Capabilities, Error, ErrorKind, Message, Result, Transport, Window};

use crate::routes::Routes;

/// Transport of a component, to connect clients, pushers and publishers.
///
/// It consists of the transports of all [URLs](crate::Settings::url_of) of the component: each
/// handle is opened on the transport of its name. It has a gate: after
/// [`Component::stop_publishing`](crate::Component::stop_publishing), each call, job and event
/// fails with [`ErrorKind::Closed`] and is [unsent](Error::is_unsent). Replies are sent in any
/// case. Clones share the transports and the gate.
#[derive(Clone)]
pub struct AppTransport {
    routes: Arc<Routes>,
    /// Set while the gate is closed. Read before each send, with no lock: a message that passed the
    /// gate earlier is still sent.
    is_stopped: Arc<AtomicBool>,
    /// The canary that the component has lost last; `None` once all have come back since.
    lost_canary: Arc<Mutex<Option<String>>>,
    /// The queues of the component's workers and the groups of its listeners, each of them once.
    #[cfg(feature = "metrics")]
    failed_at: Arc<Mutex<Vec<DeadLetterSource>>>,
    /// True in a clone whose subscribers are listeners of the component.
    #[cfg(feature = "metrics")]
    is_of_listeners: bool,
}

impl AppTransport {
    /// Puts a gate in front of the transports. The gate is open.
    pub(crate) fn new(routes: Routes) -> Self {
        Self {
            routes: Arc::new(routes),
            is_stopped: Arc::default(),
            lost_canary: Arc::default(),
            #[cfg(feature = "metrics")]
            failed_at: Arc::default(),
            #[cfg(feature = "metrics")]
            is_of_listeners: false,
        }
    }

    /// Opens or closes the gate.
    ///
    /// Applies to handles that are open as well as to later ones.
    pub(crate) fn set_publishing(&self, is_open: bool) {
        self.is_stopped.store(!is_open, Ordering::SeqCst);
    }

    /// Returns whether the gate is open.
    pub(crate) fn is_publishing(&self) -> bool {
        !self.is_stopped.load(Ordering::SeqCst)
    }

    /// Returns the readers of the health of the transports on which handles were opened; of the
    /// first transport if there are none.
    pub(crate) fn healths(&self) -> impl Iterator<Item = HealthReader> {
        self.routes.used().into_iter().map(Transport::health)
    }

    /// Returns the variables of the URLs of single names on which no handle was opened.
    pub(crate) fn unused_variables(&self) -> impl Iterator<Item = String> {
        self.routes.unused_variables()
    }

    /// Returns the state of a connection that is lost, blocked, refused or closed; `None` if there
    /// is none.
    pub(crate) fn troubled_connection(&self) -> Option<String> {
        let mut connections = self.healths().map(|health| health.current().connection);
        connections.find(ConnectionState::is_troubled).map(|connection| connection.to_string())
    }

    /// Waits until a transport that is in use is refused for good.
    pub(crate) async fn refused(&self) -> Error {
        self.routes.refused().await
    }

    /// Notes the outcome of the last canaries: one that was lost, or none.
    pub(crate) fn note_canaries(&self, lost: Option<String>) {
        *self.lost_canary.lock().unwrap_or_else(PoisonError::into_inner) = lost;
    }

    /// Notes that a worker or a listener of the component has its dead letters at `source`.
    #[cfg(feature = "metrics")]
    pub(crate) fn note_dead_letters(&self, source: DeadLetterSource) {
        let mut sources = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains(&source) {
            sources.push(source);
        }
    }

    /// Returns the queues of the component's workers, and the groups of its listeners.
    #[cfg(feature = "metrics")]
    pub(crate) fn dead_letter_sources(&self) -> Vec<DeadLetterSource> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a clone on which the component binds a listener. The group of the listener is noted.
    #[cfg(feature = "metrics")]
    pub(crate) fn for_listener(&self) -> Self {
        Self { is_of_listeners: true, ..self.clone() }
    }

    /// Returns the health of a transport that is not ready, or the canary that was lost last.
    ///
    /// Over ZeroMQ, the transport of a client is connected only while its server is. It does not
    /// turn off the readiness of a component that has endpoints on other transports.
    pub(crate) fn unready(&self) -> Option<String> {
        let mut healths: Vec<_> = self.healths().map(|health| health.current()).collect();
        if healths.iter().any(|health| health.bound() > 0) {
            healths.retain(|health| health.bound() > 0);
        }
        // A backend that does not report its health cannot turn readiness off.
        let unready = healths.into_iter().find(|health| health.is_known() && !health.is_ready());
        unready.map(|health| health.to_string()).or_else(|| {
            let lost = self.lost_canary.lock().unwrap_or_else(PoisonError::into_inner);
            lost.as_ref().map(|canary| format!("a canary was lost: {canary}"))
        })
    }

    /// Puts a sender of calls, jobs or events behind the gate. Senders of replies have none.
    fn gated(&self, sender: Sender) -> Sender {
        Sender::new(Gated { sender, is_stopped: self.is_stopped.clone() })
    }
}

impl Transport for AppTransport {
    /// Returns the capabilities of the first transport. All are of the same kind.
    fn capabilities(&self) -> Capabilities {
        let first = self.routes.iter().next();
        first.map_or_else(|| Capabilities::least(0), Transport::capabilities)
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let route = self.routes.of(service)?;
        let opened = route.transport().requester(service).await;
        let (sender, receiver) = route.opened(service, opened)?;
        Ok((self.gated(sender), receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let route = self.routes.of(service)?;
        route.opened(service, route.transport().responder(service, window).await)
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        let route = self.routes.of(queue)?;
        Ok(self.gated(route.opened(queue, route.transport().pusher(queue).await)?))
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        let route = self.routes.of(queue)?;
        route.opened(queue, route.transport().puller(queue, window).await)
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        let route = self.routes.of(channel)?;
        Ok(self.gated(route.opened(channel, route.transport().publisher(channel).await)?))
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        let route = self.routes.of(channel)?;
        #[cfg(feature = "metrics")]
        let group = subscription.group.as_ref().map(|group| group.name().clone());
        let opened = route.transport().subscriber(channel, subscription).await;
        let opened = route.opened(channel, opened)?;
        #[cfg(feature = "metrics")]
        if self.is_of_listeners
            && let Some(group) = group
        {
            self.note_dead_letters(DeadLetterSource::Group { channel: channel.clone(), group });
        }
        Ok(opened)
    }

    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        let Some(name) = name_of(source) else { return Err(Error::unsupported("dead_letters")) };
        self.routes.of(name)?.transport().dead_letters(source).await
    }

    async fn waiting_retries(&self, source: &DeadLetterSource) -> Result<u64> {
        let Some(name) = name_of(source) else { return Err(Error::unsupported("retries")) };
        self.routes.of(name)?.transport().waiting_retries(source).await
    }

    /// Returns the health of the first transport, without that of the others:
    /// [`health_of`](Transport::health_of) returns that of a name.
    fn health(&self) -> HealthReader {
        self.routes.iter().next().map_or_else(HealthReader::unknown, Transport::health)
    }

    /// Returns the health of the transport of `name`; an unknown one if `name` has no URL.
    fn health_of(&self, name: &Address) -> HealthReader {
        let route = self.routes.of(name);
        route.map_or_else(|_| HealthReader::unknown(), |route| route.transport().health_of(name))
    }

    async fn close(&self) -> Result<()> {
        self.routes.close().await
    }
}

impl fmt::Debug for AppTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppTransport")
            .field("is_publishing", &self.is_publishing())
            .finish_non_exhaustive()
    }
}

/// A sender behind the gate.
///
/// Only sending is gated: cancelling, expiring and answering questions go on, since they concern
/// calls that were sent before.
struct Gated {
    sender: Sender,
    is_stopped: Arc<AtomicBool>,
}

impl Outbound for Gated {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.is_stopped.load(Ordering::SeqCst) {
            return Sending::ready(Err(stopped()));
        }
        self.sender.send(message)
    }

    /// Keeps the box of a message, which the transport may need as well.
    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        if self.is_stopped.load(Ordering::SeqCst) {
            return Sending::ready(Err(stopped()));
        }
        self.sender.send_boxed(message)
    }

    fn is_unsent_when_dropped(&self) -> bool {
        self.sender.is_unsent_when_dropped()
    }

    fn abandon(&self, call: CallId) {
        self.sender.abandon(call);
    }

    fn expire(&self, call: CallId) {
        self.sender.expire(call);
    }

    fn ask(&self, question: &Question) -> bool {
        self.sender.ask(question)
    }

    fn answer(&self, asked: &Asked, is_permitted: bool) {
        self.sender.answer(asked, is_permitted);
    }

    fn check(&self, server: &ServerAddress) {
        self.sender.check(server);
    }
}

/// Returns the name by which the URL of a source is chosen; `None` for an unknown kind of source.
fn name_of(source: &DeadLetterSource) -> Option<&Address> {
    match source {
        DeadLetterSource::Queue(name) | DeadLetterSource::Service(name) => Some(name),
        DeadLetterSource::Group { channel, .. } => Some(channel),
        _ => None,
    }
}

/// Returns the error of a closed gate.
fn stopped() -> Error {
    let text = "cannot send the message: the component has stopped publishing";
    Error::new(ErrorKind::Closed, text).unsent()
}
