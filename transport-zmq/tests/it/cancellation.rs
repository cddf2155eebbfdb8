//! Calls that their clients abandon.

#[cfg(feature = "engine-omq")]
use polywire_zmq::Side;
use tokio::time::timeout;

#[cfg(feature = "engine-omq")]
use crate::support::context::{Medium, Setup};
use crate::support::context::{connect_all, setups, start};
use crate::support::engine::ENGINE;
use crate::support::wait::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_call_alone_is_cancelled_while_the_window_is_full() {
    for setup in setups() {
        let (served, client, _calling) = connect_all(&setup, 1, 2).await;
        let server = &served[0];
        let (kept, abandoned) = (start(&client, "hang", false), start(&client, "hang", false));
        until("the window is full", || server.running() == 2).await;
        // Further calls wait behind the window. One of them is abandoned, too.
        let mut waiting: Vec<_> = (0..10).map(|_| start(&client, "id", false)).collect();
        for call in &mut waiting {
            timeout(PATIENCE, call.sent()).await.unwrap();
        }
        drop(waiting.pop());
        drop(abandoned);
        for call in waiting {
            assert_eq!(
                timeout(PATIENCE, call).await.expect("the window has room").unwrap(),
                0,
                "{setup:?}"
            );
        }
        until("the server counts the abandoned call", || {
            server.server.handle.stats().cancelled == 1
        })
        .await;
        until("its handler is dropped", || server.running() == 1).await;
        assert!(!kept.is_finished(), "{setup:?}");
    }
}

/// A peer that guesses the call ids of other clients cancels none of their calls.
#[cfg(feature = "engine-omq")]
#[tokio::test(flavor = "multi_thread")]
async fn peer_cannot_cancel_the_calls_of_others() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let setup = Setup(ENGINE, Side::Connect, Medium::Tcp);
    let (served, client, _calling) = connect_all(&setup, 1, 2).await;
    let [one, other] = [(); 2].map(|()| start(&client, "hang", false));
    until("the calls are in handlers", || served[0].running() == 2).await;
    let peer = Socket::try_new(SocketType::Dealer, Options::default()).unwrap();
    peer.connect(served[0].transport.local_endpoints()[0].as_str()).await.unwrap();
    for call in 0..100 {
        // A cancellation of this call of service "a".
        let cancel = [&b"P\x01\x06\x01\0\0\0\0\0\0\0"[..], &[call], b"\0\0\0\0\x01\x01a"].concat();
        peer.send(Message::from(cancel)).await.unwrap();
    }
    // A malformed request after the cancellations. Its error reply needs no room in the window, and
    // proves that the server has read the cancellations.
    peer.send(Message::from(b"P\x01\x01\x01\0\0\0\0\0\0\0\x09\0\0\0\0".to_vec())).await.unwrap();
    timeout(PATIENCE, peer.recv()).await.expect("the malformed request has a reply").unwrap();
    assert!(!one.is_finished() && !other.is_finished());
    assert_eq!((served[0].running(), served[0].server.handle.stats().cancelled), (2, 0));
}
