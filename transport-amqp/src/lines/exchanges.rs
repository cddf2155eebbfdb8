//! The exchanges that are published to, which have to be there before anything is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use lapin::types::ShortString;
use polywire_core::{ErrorKind, Result};

use crate::connection::supervised::SupervisedConnection;
use crate::error::lock;
use crate::topology::exchange::declare_exchange;

/// An exchange that somebody publishes to.
pub(crate) struct Exchange {
    pub(crate) name: ShortString,
    /// Whether it may not be there: publishing to one that is not costs the line, and whatever is
    /// on its way there.
    is_doubtful: AtomicBool,
}

impl Exchange {
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Relaxed)
    }

    /// Makes it, or finds it as it should be.
    pub(crate) async fn declare(&self, session: &SupervisedConnection) -> Result<()> {
        declare_exchange(&session.channel().await?, &self.name).await?;
        self.is_doubtful.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Those that somebody holds on to.
#[derive(Default)]
pub(super) struct Exchanges(Mutex<Vec<Weak<Exchange>>>);

impl Exchanges {
    pub(super) fn add(&self, name: ShortString) -> Arc<Exchange> {
        let exchange = Arc::new(Exchange { name, is_doubtful: AtomicBool::new(false) });
        let mut all = lock(&self.0);
        all.retain(|exchange| exchange.strong_count() > 0);
        all.push(Arc::downgrade(&exchange));
        exchange
    }

    /// Makes them all. One that cannot be made is for its publisher to find out, and holds up
    /// nobody else.
    pub(super) async fn declare(&self, session: &SupervisedConnection) -> Result<()> {
        let all: Vec<_> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
        for exchange in all {
            match exchange.declare(session).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Disconnected => return Err(error),
                Err(error) => {
                    exchange.is_doubtful.store(true, Ordering::Relaxed);
                    tracing::warn!(?error, exchange = %exchange.name, "cannot make an exchange again");
                }
            }
        }
        Ok(())
    }
}
