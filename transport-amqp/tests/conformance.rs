//! The conformance suite on RabbitMQ, with classic and with quorum queues.
//!
//! It starts a node of its own, which cases may kill. `cargo xtask test` installs RabbitMQ and sets
//! `POLYWIRE_AMQP_URL`, without which the suite is skipped.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_amqp::{Amqp, CallBatching, QueueKind, QueueOptions};
use polywire_conformance::{Backend, Direction, FaultProxy, Hook, Space, Suite, URGENT};
use polywire_core::health::HealthReader;
use polywire_core::transport::{
    DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
};
use polywire_core::{
    Address, AnyTransport, Capabilities, Error, ErrorKind, Result, Transport, Window,
};
use polywire_rabbitmq_node::Node;

fn main() -> ExitCode {
    if std::env::var_os("POLYWIRE_AMQP_URL").is_none() {
        println!(
            "not run: conformance: no broker (POLYWIRE_AMQP_URL is not set); `cargo xtask test` starts one"
        );
        return polywire_conformance::run(Vec::new);
    }
    // The node starts when the arguments have been read.
    polywire_conformance::run(|| match start_broker() {
        Ok(broker) => suites(&Arc::new(broker)),
        Err(error) => {
            println!("cannot start a broker: {error}");
            std::process::exit(1);
        }
    })
}

/// Starts the broker of this run.
fn start_broker() -> std::io::Result<Broker> {
    // The node checks the age of unsettled deliveries twice a second, instead of once a minute.
    let advanced = "[{rabbit, [{channel_tick_interval, 500}]}].";
    Broker::new(Node::start_with_advanced("", advanced)?)
}

/// The suites that run on the broker.
fn suites(broker: &Arc<Broker>) -> Vec<Suite> {
    let rabbit =
        |name, kind, batching| Suite::of(Rabbit { name, broker: broker.clone(), kind, batching });
    let mut suites = vec![
        rabbit("amqp", QueueKind::Classic, CallBatching::Off),
        rabbit("amqp-quorum", QueueKind::Quorum, CallBatching::Off),
    ];
    // Not in the matrix, which has the defaults.
    if std::env::var_os(BATCHED).is_some() {
        suites.push(rabbit("amqp-batched", QueueKind::Classic, CallBatching::Auto));
    }
    suites
}

/// The variable that adds the suite with batches of calls: `POLYWIRE_AMQP_BATCHED=1 cargo xtask
/// test -p polywire-amqp --all-features --test conformance -- amqp-batched`.
const BATCHED: &str = "POLYWIRE_AMQP_BATCHED";

/// The broker of this run. Cases run one after the other, so each may kill it.
struct Broker {
    node: Mutex<Node>,
    /// The first two numbers of its version.
    version: (u32, u32),
}

impl Broker {
    fn new(node: Node) -> std::io::Result<Self> {
        let version = node.ctl(&["version"])?;
        let mut numbers = version.trim().split('.').map_while(|number| number.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Ok(Self { node: Mutex::new(node), version })
    }

    /// Returns whether the broker requeues a delivery of such a queue that is unsettled for too
    /// long. RabbitMQ 4.3 does so for quorum queues alone.
    fn has_consumer_timeout(&self, kind: QueueKind) -> bool {
        kind == QueueKind::Quorum || self.version < (4, 3)
    }

    /// Runs a blocking operation on the node.
    fn with<T>(&self, act: impl FnOnce(&mut Node) -> std::io::Result<T>) -> Result<T> {
        tokio::task::block_in_place(|| {
            let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
            act(&mut node).map_err(|error| {
                Error::new(ErrorKind::Disconnected, "cannot control the broker").with_source(error)
            })
        })
    }

    fn kill(&self) -> Result<()> {
        self.with(|node| {
            node.remember_queues()?;
            node.kill()
        })
    }

    /// Sets the age at which the broker requeues an unsettled delivery and closes its channel.
    fn set_consumer_timeout(&self, milliseconds: u32) -> Result<()> {
        let setting = format!("application:set_env(rabbit, consumer_timeout, {milliseconds}).");
        self.with(|node| node.ctl(&["eval", &setting])).map(drop)
    }
}

struct Rabbit {
    name: &'static str,
    broker: Arc<Broker>,
    kind: QueueKind,
    batching: CallBatching,
}

impl Backend for Rabbit {
    type Space = Names;

    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn space(&self) -> Result<Names> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("case{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let port = self.broker.with(|node| Ok(node.port()))?;
        let proxy = FaultProxy::start(format!("127.0.0.1:{port}")).await;
        let proxy = proxy.map_err(|error| {
            Error::new(ErrorKind::Disconnected, "cannot start the proxy").with_source(error)
        })?;
        let (broker, is_impatient) = (self.broker.clone(), AtomicBool::new(false));
        let (kind, batching, prefix) = (self.kind, self.batching, Address::new(prefix)?);
        Ok(Names { broker, proxy, kind, batching, prefix, is_impatient })
    }
}

/// A space whose names have a prefix of their own, and whose transports connect through one proxy.
///
/// Queues of earlier cases remain at the broker, under other prefixes.
struct Names {
    broker: Arc<Broker>,
    proxy: FaultProxy,
    kind: QueueKind,
    batching: CallBatching,
    prefix: Address,
    is_impatient: AtomicBool,
}

/// Consumer timeout between the cases: RabbitMQ's default, half an hour.
const PATIENT_MS: u32 = 1_800_000;
/// Consumer timeout of [`Hook::ImpatientBroker`].
const IMPATIENT_MS: u32 = 1_000;

impl Names {
    async fn transport(&self) -> Result<AnyTransport> {
        let url = format!("amqp://guest:guest@{}", self.proxy.address());
        let builder = Amqp::builder(&url)?.connect_timeout(Duration::from_secs(10));
        // Before 4.3, quorum queues have no levels, or two.
        let has_levels = self.broker.version >= (4, 3);
        let kind = if has_levels { self.kind } else { QueueKind::Classic };
        let urgent = QueueOptions::new().kind(kind).priorities(3);
        let builder = builder.job_queue(self.prefix.join(&Address::new(URGENT)?)?, urgent);
        let amqp = builder.queue_kind(self.kind).batching(self.batching).build().await?;
        Ok(AnyTransport::new(Prefixed { amqp, prefix: self.prefix.clone() }))
    }
}

impl Space for Names {
    async fn serving(&self) -> Result<AnyTransport> {
        self.transport().await
    }

    async fn calling(&self) -> Result<AnyTransport> {
        self.transport().await
    }

    fn hooks(&self) -> Vec<Hook> {
        let links = [Hook::Sever, Hook::CutMidFrame];
        let holes = [Direction::ToServer, Direction::ToClient].map(Hook::BlackHole);
        let brokers = [Hook::KillBroker, Hook::FreezeBroker, Hook::RestartBroker];
        let has_timeout = self.broker.has_consumer_timeout(self.kind);
        let impatient = has_timeout.then_some(Hook::ImpatientBroker);
        links.into_iter().chain(holes).chain(brokers).chain(impatient).collect()
    }

    async fn disturb(&self, hook: Hook) -> Result<()> {
        match hook {
            Hook::Sever => self.proxy.sever(),
            Hook::BlackHole(direction) => self.proxy.black_hole(direction),
            Hook::CutMidFrame => self.proxy.cut_mid_frame(Direction::ToServer),
            Hook::KillBroker => self.broker.kill()?,
            Hook::FreezeBroker => self.broker.with(|node| node.freeze())?,
            Hook::RestartBroker => {
                self.broker.kill()?;
                self.broker.with(Node::restart)?;
            }
            Hook::ImpatientBroker => {
                self.is_impatient.store(true, Ordering::Release);
                self.broker.set_consumer_timeout(IMPATIENT_MS)?;
            }
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "cannot run the hook: RabbitMQ has no such hook",
                )
                .with("hook", other));
            }
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.proxy.heal();
        self.broker.with(|node| node.thaw())?;
        self.broker.with(Node::restart)?;
        match self.is_impatient.swap(false, Ordering::AcqRel) {
            true => self.broker.set_consumer_timeout(PATIENT_MS),
            false => Ok(()),
        }
    }
}

/// A transport that prefixes every name.
struct Prefixed {
    amqp: Amqp,
    prefix: Address,
}

impl Prefixed {
    /// Returns the name with the prefix. A name that has no room for it loses its first letters, so
    /// that it keeps its length.
    fn named(&self, name: &Address) -> Result<Address> {
        let text = name.as_str();
        let surplus = (text.len() + self.prefix.as_str().len() + 1).saturating_sub(Address::MAX);
        let rest = (surplus..).find_map(|at| text.get(at..)).unwrap_or_default();
        self.prefix.join(&Address::new(rest)?)
    }
}

impl Transport for Prefixed {
    fn capabilities(&self) -> Capabilities {
        self.amqp.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.amqp.requester(&self.named(service)?).await
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.amqp.responder(&self.named(service)?, window).await
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.amqp.pusher(&self.named(queue)?).await
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.amqp.puller(&self.named(queue)?, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.amqp.publisher(&self.named(channel)?).await
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.amqp.subscriber(&self.named(channel)?, subscription).await
    }

    async fn dead_letters(&self, origin: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        let prefixed = |name: &Address| self.named(name);
        let origin = match origin {
            DeadLetterSource::Queue(queue) => DeadLetterSource::Queue(prefixed(queue)?),
            DeadLetterSource::Service(service) => DeadLetterSource::Service(prefixed(service)?),
            DeadLetterSource::Group { channel, group } => {
                DeadLetterSource::Group { channel: prefixed(channel)?, group: group.clone() }
            }
            _ => return Err(Error::unsupported("dead_letters")),
        };
        self.amqp.dead_letters(&origin).await
    }

    fn health(&self) -> HealthReader {
        self.amqp.health()
    }

    async fn close(&self) -> Result<()> {
        self.amqp.close().await
    }
}
