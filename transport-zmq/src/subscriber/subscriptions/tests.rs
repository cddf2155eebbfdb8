//! Tests of the synchronization, with a publisher that answers no marker.

use std::pin::pin;

use futures_util::StreamExt;
use polywire_core::{Address, Window};

use super::*;
use crate::config::ZmqBuilder;
use crate::engine;

#[tokio::test]
async fn endpoint_change_holds_off_other_markers_while_its_own_has_no_answer() {
    let (settings, endpoints) = ZmqBuilder::new().bind("tcp://127.0.0.1:*").settings().unwrap();
    let publishing = engine::open_xpub(&settings).unwrap();
    let mut markers = publishing.sync_markers();
    let bound = engine::add_endpoints(&*publishing, &endpoints.serving).await.unwrap();

    let (settings, endpoints) = ZmqBuilder::new().connect(&bound[0]).settings().unwrap();
    let socket = engine::open_sub(&settings, Window::new(1)).unwrap();
    let buffer = Arc::new(EventBuffer::new(socket.messages()));
    let channel = Channel::new(&Address::new("weather").unwrap());
    let give_up = Duration::from_secs(60);
    let subscriptions = Subscriptions::new(socket.clone(), buffer, channel, give_up);
    engine::add_endpoints(&*socket, &endpoints.calling).await.unwrap();
    let mut settling = pin!(subscriptions.settle());
    tokio::select! {
        settled = &mut settling => panic!("settled without an answer: {settled:?}"),
        marker = markers.next() => assert!(marker.is_some()),
    }
    // Filters and canaries lock the number before they send a marker.
    assert!(subscriptions.synced.try_lock().is_err());
}
