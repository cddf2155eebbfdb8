//! Parts that several tests share: an app over memory, a service, a client.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polywire::app::{App, Settings};
use polywire::{AnyTransport, CallError, Client, Memory, MessagePack, Router};

/// Returns a URL of a namespace that no other test uses.
pub(crate) fn memory_url() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("mem://app-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns an app at `url`.
pub(crate) fn app(url: &str) -> App {
    App::new(Settings::new("adder").url(url), polywire::connect)
}

/// Returns a service that adds numbers.
pub(crate) fn adder() -> Router<MessagePack> {
    Router::new(MessagePack).method("add", async |(a, b): (i64, i64)| Ok(a + b))
}

/// Calls the service `name` of another process, as it were: over a transport of its own.
pub(crate) async fn add(url: &str, name: &str) -> Result<i64, CallError> {
    let transport = polywire::connect(url).await.unwrap();
    let client = Client::connect(&transport, name, MessagePack).await.unwrap();
    client.with_timeout(PATIENCE).call("add", &(2, 3)).await
}

/// Returns another transport in the namespace of `url`.
pub(crate) fn peer(url: &str) -> AnyTransport {
    AnyTransport::new(Memory::named(url.strip_prefix("mem://").unwrap()))
}

/// The longest wait for one step.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
