//! A simulated network and broker, which carry out the hooks without a flaw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use polywire_conformance::{Direction, Hook};
use polywire_core::message::CallId;
use polywire_core::transport::{
    Asked, Outbound, Outcome, Question, Receipt, Receiver, Sender, Sending, ServerAddress, Settle,
};
use polywire_core::{Error, ErrorKind, Message};
use tokio::sync::watch;

use crate::halves::received;
use crate::health::LinkHealth;

/// The state of the network. Clones share it.
#[derive(Clone)]
pub(crate) struct Network {
    state: Arc<watch::Sender<State>>,
    /// The time that a request, a push or a publish takes.
    latency: Option<Duration>,
    health: LinkHealth,
    /// The deliveries that pullers hold, which a cut takes back.
    held: Arc<Mutex<Vec<Weak<HeldReceipt>>>>,
}

/// The disturbances in force.
#[derive(Clone, Copy, Default)]
struct State {
    /// True where messages vanish, by direction.
    holes: [bool; 2],
    is_impatient: bool,
}

/// The time after which a cut link is back.
const RECONNECT: Duration = Duration::from_millis(10);

/// The time after which an impatient broker takes a delivery back.
const HELD_MAX: Duration = Duration::from_secs(1);

impl Network {
    /// Every hook.
    pub(crate) const HOOKS: [Hook; 8] = [
        Hook::Sever,
        Hook::BlackHole(Direction::ToServer),
        Hook::BlackHole(Direction::ToClient),
        Hook::CutMidFrame,
        Hook::KillBroker,
        Hook::FreezeBroker,
        Hook::ImpatientBroker,
        Hook::RestartBroker,
    ];

    /// A network without disturbances.
    pub(crate) fn new(latency: Option<Duration>) -> Self {
        let health = LinkHealth::default();
        Self { state: Arc::default(), latency, health, held: Arc::default() }
    }

    /// Returns the health of the links.
    pub(crate) fn health(&self) -> &LinkHealth {
        &self.health
    }

    /// Reports a disturbance to the health of all transports.
    pub(crate) fn report(&self, hook: Hook) {
        match hook {
            Hook::KillBroker | Hook::FreezeBroker => self.health.down(),
            Hook::Sever | Hook::RestartBroker => {
                self.health.down();
                let health = self.health.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(RECONNECT).await;
                    health.up();
                });
            }
            _ => {}
        }
    }

    /// Disturbs the network. Cuts and restarts lose nothing: memory has no connections. A cut takes
    /// back the deliveries that pullers hold, as a broker does.
    pub(crate) fn disturb(&self, hook: Hook) {
        if hook == Hook::Sever {
            let held = std::mem::take(&mut *self.held.lock().unwrap());
            held.iter().filter_map(Weak::upgrade).for_each(|held| held.settle(0, Outcome::Requeue));
        }
        self.state.send_modify(|state| match hook {
            Hook::BlackHole(direction) => state.holes[direction as usize] = true,
            Hook::KillBroker | Hook::FreezeBroker => state.holes = [true; 2],
            Hook::ImpatientBroker => state.is_impatient = true,
            _ => {}
        });
    }

    /// Ends all disturbances.
    pub(crate) fn heal(&self) {
        self.state.send_replace(State::default());
    }

    /// The half of a requester. Messages into a hole wait, and fail once it is healed.
    pub(crate) fn to_server(&self, sender: Sender) -> Sender {
        self.link(sender, Direction::ToServer, self.latency)
    }

    /// The half of a responder. Messages into a hole wait, and fail once it is healed.
    pub(crate) fn to_client(&self, sender: Sender) -> Sender {
        self.link(sender, Direction::ToClient, None)
    }

    /// The half of a pusher or a publisher.
    pub(crate) fn one_way(&self, sender: Sender) -> Sender {
        self.link(sender, Direction::ToServer, self.latency)
    }

    fn link(&self, sender: Sender, direction: Direction, latency: Option<Duration>) -> Sender {
        Sender::new(LinkedSender { sender, network: self.clone(), direction, latency })
    }

    fn swallows(&self, direction: Direction) -> bool {
        self.state.borrow().holes[direction as usize]
    }

    /// The deliveries of a puller. An impatient broker takes back those that are held for too long.
    pub(crate) fn deliveries(&self, receiver: Receiver) -> Receiver {
        let is_impatient = self.state.borrow().is_impatient;
        let all = self.held.clone();
        received(receiver, move |item| {
            item.map(|mut delivery| {
                let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
                let held = Arc::new(HeldReceipt(Mutex::new(Some(receipt))));
                delivery.receipt = Receipt::new(held.clone(), 0);
                let mut all = all.lock().unwrap();
                all.retain(|other| other.strong_count() > 0);
                all.push(Arc::downgrade(&held));
                if is_impatient {
                    tokio::spawn(async move {
                        tokio::time::sleep(HELD_MAX).await;
                        held.settle(0, Outcome::Requeue);
                    });
                }
                delivery
            })
        })
    }
}

struct LinkedSender {
    sender: Sender,
    network: Network,
    direction: Direction,
    latency: Option<Duration>,
}

impl Outbound for LinkedSender {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.network.swallows(self.direction) {
            return Sending::later(async {
                let direction = self.direction as usize;
                let mut state = self.network.state.subscribe();
                let _ = state.wait_for(|state| !state.holes[direction]).await;
                Err(Error::new(ErrorKind::Disconnected, "the message was swallowed"))
            });
        }
        let Some(latency) = self.latency else { return self.sender.send(message) };
        Sending::later(async move {
            tokio::time::sleep(latency).await;
            self.sender.send(message).await
        })
    }

    fn abandon(&self, call: CallId) {
        self.sender.abandon(call);
    }

    fn is_unsent_when_dropped(&self) -> bool {
        self.sender.is_unsent_when_dropped()
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

/// A receipt that the consumer or the broker settles, whichever comes first.
struct HeldReceipt(Mutex<Option<Receipt>>);

impl Settle for HeldReceipt {
    fn settle(&self, _: u64, outcome: Outcome) {
        if let Some(receipt) = self.0.lock().unwrap().take() {
            receipt.settle(outcome);
        }
    }
}

/// A disturbance that a flaw waits for. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Disturbed(Arc<AtomicBool>);

impl Disturbed {
    /// Returns true once the network was disturbed.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Records a disturbance.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
