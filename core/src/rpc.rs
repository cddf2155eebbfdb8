//! Request-reply, written once over the halves of any transport.

mod cancellations;
mod client;
mod deduplication;
mod pending_calls;
mod replier;
mod request_processor;
mod requester;
mod router;
mod server;

use std::time::Duration;

pub use self::client::{CallBuilder, Client, ClientConnect, InFlight};
pub use self::deduplication::Deduplication;
pub use self::replier::Replier;
pub(crate) use self::replier::ReplySlot;
pub use self::requester::{ClientStats, Requester};
pub use self::router::{Extract, FromState, Handler, Router, State};
pub use self::server::{Server, ServerBind, ServerHandle, ServerStats};

/// How long a call waits for its outcome, and what is pushed or published for being handed over,
/// unless it says otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
