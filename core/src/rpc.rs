//! Request-reply, written once over the halves of any transport.

mod client;
mod desk;
mod early;
mod pending;
mod requester;
mod router;
mod server;
mod suppression;
mod underway;

use std::time::Duration;

pub use self::client::{Client, Connect, InFlight, Outgoing};
pub(crate) use self::early::Asker;
pub use self::early::Replier;
pub use self::requester::{ClientStats, Requester};
pub use self::router::{Extract, FromState, Handler, Router, State};
pub use self::server::{Server, ServerBind, ServerHandle, ServerStats};
pub use self::suppression::Suppression;

/// How long a call waits for its outcome, and what is pushed or published for being handed over,
/// unless it says otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
