//! Processes of nameko: a service, and a client that makes calls.

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::environment::peer;
use crate::patience::PATIENCE;
use crate::peer::Peer;

impl Peer {
    /// Starts a service, and waits until it consumes. `None` without nameko.
    pub(crate) async fn serve(
        test: &'static str,
        url: &str,
        service: &str,
        serializer: &str,
    ) -> Option<Self> {
        let arguments = ["serve", url, service, serializer].map(ToOwned::to_owned);
        Self::start(test, peer, arguments.to_vec()).await
    }

    /// Starts a client. `None` without nameko.
    pub(crate) async fn client(test: &'static str, url: &str, serializer: &str) -> Option<Self> {
        let arguments = ["call", url, serializer].map(ToOwned::to_owned);
        Self::start(test, peer, arguments.to_vec()).await
    }

    /// Calls a method with positional arguments.
    pub(crate) async fn call(&mut self, service: &str, method: &str, args: Value) -> Value {
        self.ask(json!({ "service": service, "method": method, "args": args })).await
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(&mut self) {
        timeout(PATIENCE, self.child.wait()).await.expect("the program ends").unwrap();
    }
}
