//! PULL: jobs from all pushers. The routing id names the queue, so that pushers of another queue
//! can recognize the mismatch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use omq_tokio::SocketType;
use polywire_core::{Address, Result, Window};

use super::frame_conversion::frames_of;
use super::options::{HIGH_WATER_MARK, open, pulling};
use super::receive::DrainingReceiver;
use super::socket_endpoints::SocketEndpoints;
use crate::config::Settings;
use crate::engine::{HasEndpoints, Pull};
use crate::wire::{Frames, unique};

/// A PULL socket. Its high-water mark is the window, at most 1,000 messages for each pusher.
pub(in crate::engine) struct OmqPull {
    /// The socket, and its endpoints. Shared with the task that stops the receiver.
    endpoints: Arc<SocketEndpoints>,
    /// The reader of jobs.
    receiver: DrainingReceiver,
    /// Frames that the body of a job may have. The decoder rejects a body with more.
    frames_max: usize,
}

impl OmqPull {
    /// Opens a socket for one queue, or for jobs of any queue. It has no endpoint yet.
    ///
    /// The socket sends no heartbeats, see [`pulling`].
    ///
    /// # Errors
    ///
    /// `Config` if the engine rejects an option.
    pub(in crate::engine) fn open(
        settings: &Settings,
        queue: Option<&Address>,
        window: Window,
    ) -> Result<Self> {
        let queued = u32::try_from(window.messages()).unwrap_or(u32::MAX).min(HIGH_WATER_MARK);
        let options = pulling(settings)
            .identity(queue.map(identity_of_puller).unwrap_or_default())
            .recv_hwm(queued)
            // The socket sends nothing. While it lingers, it would receive jobs that nothing reads.
            .linger(Duration::ZERO);
        let endpoints = Arc::new(SocketEndpoints::new(open(settings, SocketType::Pull, options)?));
        let receiver = DrainingReceiver::new(endpoints.clone());
        Ok(Self { endpoints, receiver, frames_max: settings.limits.frames_max })
    }
}

/// Returns the routing id of a puller: its queue and a unique suffix. It is all that a PULL socket
/// sends, so that a pusher of another queue can disconnect it.
///
/// The queue and the suffix of 16 bytes are separated by a zero byte, which no address contains.
fn identity_of_puller(queue: &Address) -> Bytes {
    [queue.as_str().as_bytes(), &[0], &unique()].concat().into()
}

/// Returns whether a puller with this routing id may pull from a queue. One without an id may.
pub(super) fn is_of_queue(identity: &[u8], queue: &Address) -> bool {
    let name = identity.split(|byte| *byte == 0).next().unwrap_or_default();
    name.is_empty() || name == queue.as_str().as_bytes()
}

impl HasEndpoints for OmqPull {
    type Endpoints = SocketEndpoints;

    fn endpoints(&self) -> &SocketEndpoints {
        &self.endpoints
    }
}

impl Pull for OmqPull {
    /// Returns the jobs of all pushers. Jobs of one pusher keep their order.
    fn jobs(&self) -> BoxStream<'static, Frames> {
        let frames_max = self.frames_max;
        self.receiver.messages().map(move |message| frames_of(message, frames_max)).boxed()
    }

    fn stop(&self) {
        self.receiver.stop();
    }
}
