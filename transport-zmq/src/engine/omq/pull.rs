//! PULL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use omq_tokio::SocketType;
use polywire_core::{Address, Result, Window};

use super::{HIGH_WATER_MARK, Intake, Port, frames_of, open, options};
use crate::config::Settings;
use crate::endpoint::EndpointChange;
use crate::engine::Ports;
use crate::wire::{Frames, unique};

pub(in crate::engine) struct Pull {
    port: Arc<Port>,
    frames_max: usize,
    intake: Intake,
}

impl Pull {
    /// For this queue, or for jobs of any.
    pub(in crate::engine) fn open(
        settings: &Settings,
        queue: Option<&Address>,
        window: Window,
    ) -> Result<Self> {
        let ahead = u32::try_from(window.messages()).unwrap_or(u32::MAX).min(HIGH_WATER_MARK);
        let options = options(settings)
            .identity(queue.map(name_of_puller).unwrap_or_default())
            .recv_hwm(ahead)
            // It sends nothing, and is not to take in jobs for a second that it does not hand out.
            .linger(Duration::ZERO);
        let port = Arc::new(Port::new(open(settings, SocketType::Pull, options)?));
        Ok(Self { intake: Intake::new(port.clone()), port, frames_max: settings.limits.frames_max })
    }
}

/// What a puller says of itself, so that a pusher of another queue leaves it alone: PULL sends
/// nothing but that.
fn name_of_puller(queue: &Address) -> Bytes {
    [queue.as_str().as_bytes(), &[0], &unique()].concat().into()
}

/// Whether who names itself so pulls from this queue. One that has no name may.
pub(super) fn is_of_queue(identity: &[u8], queue: &Address) -> bool {
    let name = identity.split(|byte| *byte == 0).next().unwrap_or_default();
    name.is_empty() || name == queue.as_str().as_bytes()
}

impl Ports for Pull {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::Pull for Pull {
    fn jobs(&self) -> BoxStream<'static, Frames> {
        let frames_max = self.frames_max;
        self.intake.messages().map(move |message| frames_of(message, frames_max)).boxed()
    }

    fn stop(&self) {
        self.intake.stop();
    }
}
