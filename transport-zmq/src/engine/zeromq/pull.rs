//! PULL: jobs from all pushers. The routing id names the queue, so that pushers of another queue
//! can recognize the mismatch.
//!
//! Pushers read the id in the READY command. The socket itself sends nothing after its handshake
//! but heartbeats.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::{Address, Window};
use tokio::sync::mpsc;

use super::arrival_stream::{NoOwner, received};
use super::frame_conversion::frames_of;
use super::link::Arrival;
use super::link_set::LinkSet;
use super::link_set_options::{LinkSetOptions, QUEUED_MAX};
use super::linked_endpoints::LinkedEndpoints;
use super::socket_kind::SocketKind;
use crate::config::Settings;
use crate::engine::{HasEndpoints, Pull};
use crate::lock::lock;
use crate::wire::{Frames, unique};

/// A PULL socket. As many jobs wait for the reader as its window, at most 1,000.
pub(in crate::engine) struct ZeromqPull {
    /// The links, and the endpoints that the socket binds or connects to.
    endpoints: LinkedEndpoints,
    /// The jobs that arrive, until `jobs` takes them.
    arrivals: Mutex<Option<mpsc::Receiver<Arrival>>>,
    /// Frames that the body of a job may have. The decoder rejects a body with more.
    frames_max: usize,
}

impl ZeromqPull {
    /// Opens a socket for one queue, or for jobs of any queue. It has no endpoint yet.
    ///
    /// `window` bounds the jobs that wait for the reader, those of all pushers together. Each link
    /// holds one more, and the bytes in its buffers.
    pub(in crate::engine) fn open(
        settings: &Settings,
        queue: Option<&Address>,
        window: Window,
    ) -> Self {
        let identity = queue.map(identity_of_puller).unwrap_or_default();
        let arrivals_max = Some(window.messages().min(QUEUED_MAX));
        let options =
            LinkSetOptions { identity, arrivals_max, ..LinkSetOptions::of(SocketKind::Pull) };
        let (set, arrivals) = LinkSet::new(settings, options, Arc::new(NoOwner));
        Self {
            endpoints: LinkedEndpoints::new(settings, set),
            arrivals: Mutex::new(arrivals),
            frames_max: settings.limits.frames_max,
        }
    }
}

/// Returns the routing id of a puller: its queue and a unique suffix.
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

impl HasEndpoints for ZeromqPull {
    type Endpoints = LinkedEndpoints;

    fn endpoints(&self) -> &LinkedEndpoints {
        &self.endpoints
    }
}

impl Pull for ZeromqPull {
    /// Returns the jobs of all pushers. Jobs of one pusher keep their order. A second call returns
    /// an empty stream.
    fn jobs(&self) -> BoxStream<'static, Frames> {
        let frames_max = self.frames_max;
        let Some(arrivals) = lock(&self.arrivals).take() else { return stream::empty().boxed() };
        received(arrivals).map(move |(_, message)| frames_of(message, frames_max)).boxed()
    }

    /// Removes all endpoints. The stream of jobs ends when the links have handed over what they
    /// have read.
    fn stop(&self) {
        self.endpoints.stop();
    }
}
