//! The suite on RabbitMQ. It needs a broker: `cargo xtask test` starts one and says where in `POLYWIRE_AMQP_URL`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polywire_amqp::{Amqp, QueueKind};
use polywire_conformance::{Backend, Space, Suite};
use polywire_core::{
    Address, AnyTransport, Capabilities, Filters, Receiver, Result, Sender, Subscription, Transport, Window,
};

fn main() {
    let url = std::env::var("POLYWIRE_AMQP_URL").ok();
    if url.is_none() {
        println!(
            "not run: AMQP, for want of a broker (POLYWIRE_AMQP_URL is not set); `cargo xtask test` starts one"
        );
    }
    let suites = |url: String| {
        let rabbit = |name, kind| Suite::of(Rabbit { name, url: url.clone(), kind });
        vec![rabbit("amqp", QueueKind::Classic), rabbit("amqp-quorum", QueueKind::Quorum)]
    };
    polywire_conformance::main(|| url.map(suites).unwrap_or_default());
}

struct Rabbit {
    name: &'static str,
    url: String,
    kind: QueueKind,
}

impl Backend for Rabbit {
    type Space = Names;

    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn space(&self) -> Result<Names> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("case{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        Ok(Names { url: self.url.clone(), kind: self.kind, prefix: Address::new(prefix)? })
    }
}

/// A space of its own by its names: what other cases left in the broker has others.
struct Names {
    url: String,
    kind: QueueKind,
    prefix: Address,
}

impl Names {
    async fn transport(&self) -> Result<AnyTransport> {
        let builder = Amqp::builder(&self.url)?.connect_timeout(Duration::from_secs(10));
        let amqp = builder.queue_kind(self.kind).connect().await?;
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
}

/// Puts a prefix before every name.
struct Prefixed {
    amqp: Amqp,
    prefix: Address,
}

impl Transport for Prefixed {
    fn capabilities(&self) -> Capabilities {
        self.amqp.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.amqp.requester(&self.prefix.join(service)?).await
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.amqp.responder(&self.prefix.join(service)?, window).await
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.amqp.pusher(&self.prefix.join(queue)?).await
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.amqp.puller(&self.prefix.join(queue)?, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.amqp.publisher(&self.prefix.join(channel)?).await
    }

    async fn subscriber(&self, channel: &Address, subscription: Subscription) -> Result<(Receiver, Filters)> {
        self.amqp.subscriber(&self.prefix.join(channel)?, subscription).await
    }

    async fn close(&self) -> Result<()> {
        self.amqp.close().await
    }
}
