//! Tests of batches of replies, with a socket without room.

use std::future::{pending, ready};
use std::pin::pin;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_util::stream;

use super::*;
use crate::config::{Batching, ZmqBuilder};
use crate::endpoint::EndpointChange;
use crate::wire::Batch;

/// A socket without room, which receives scripted messages.
struct FullRouter(Mutex<Vec<(RequestOrigin, Frames)>>);

#[async_trait]
impl SocketControl for FullRouter {
    async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
        Ok(None)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

impl Router for FullRouter {
    fn send(&self, _: Bytes, _: Frames) -> Sending<'_> {
        Sending::later(pending())
    }

    fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
        stream::iter(std::mem::take(&mut *lock(&self.0))).boxed()
    }
}

/// Returns the replies to a peer that reads batches, and has sent one.
async fn replies() -> ReplyRouter {
    let bounds = StatedBounds { message_max: None, batch_max: Some(1000) };
    let mut batch = Batch::default();
    for head in ["one", "two"] {
        batch.push(&Frames { head: head.into(), body: None });
    }
    let origin = RequestOrigin { address: "peer".into(), identity: None };
    let received = [wire::bound_question(bounds), batch.take()];
    let received = received.map(|frames| (origin.clone(), frames)).to_vec();
    let builder = ZmqBuilder::new().bind("tcp://127.0.0.1:*").batching(Batching::Auto);
    let (settings, _) = builder.settings().unwrap();
    let replies = ReplyRouter::new(Arc::new(FullRouter(Mutex::new(received))), &settings);
    assert_eq!(replies.requests().count().await, 3);
    replies
}

/// Sends a reply. Returns whether it counts as sent.
fn send(replies: &ReplyRouter) -> bool {
    let reply = Message::new("reply").with_id(CallId(1)).with_reply_to(ReplyTo::new("peer"));
    matches!(replies.send(reply).now_or_never(), Some(Ok(())))
}

#[tokio::test(start_paused = true)]
async fn replies_that_count_as_sent_are_counted_if_they_find_no_room_at_the_end() {
    let peer = ReplyTo::new("peer");
    let waiting = replies().await;
    assert!(send(&waiting) && send(&waiting));
    assert_eq!(waiting.send_last_batches(), Some((peer.clone(), 2)));
    assert!(!send(&waiting), "no later reply counts as sent");
    assert_eq!(waiting.send_last_batches(), None);

    let blocked = replies().await;
    assert!(send(&blocked) && send(&blocked));
    {
        let mut sending = pin!(blocked.send_batches());
        // The batch waits for the tasks that are ready, and then for room.
        for _ in 0..2 {
            assert!(sending.as_mut().now_or_never().is_none());
        }
    }
    assert!(!send(&blocked));
    assert_eq!(blocked.send_last_batches(), Some((peer, 2)));
}
