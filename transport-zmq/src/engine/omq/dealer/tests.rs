//! Tests of a pusher whose puller comes and goes.

use std::time::Duration;

use bytes::Bytes;
use omq_tokio::{MonitorEvent, Socket};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::config::ZmqBuilder;
use crate::engine::omq::options::pulling;
use crate::security::plain::{PlainClient, PlainServer};

/// The time after which a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const ANY: &str = "tcp://127.0.0.1:*";

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.expect("the wait ends")
}

/// Binds a puller with the security of a builder, as soon as its endpoint is free. Returns the
/// puller and its endpoint.
async fn bind(builder: ZmqBuilder, endpoint: &str) -> (Socket, String) {
    let (settings, _) = builder.bind(ANY).settings().unwrap();
    within(async {
        loop {
            let (socket, _) = open(&settings, SocketType::Pull, pulling(&settings)).unwrap();
            match socket.bind(endpoint).await {
                Ok(real) => return (socket, real.to_string()),
                Err(_) => yield_now().await,
            }
        }
    })
    .await
}

/// Opens a pusher with the security of a builder, and connects it.
async fn connect(builder: ZmqBuilder, endpoint: &str) -> OmqDealer {
    let (settings, _) = builder.connect(endpoint).settings().unwrap();
    let endpoint = Endpoint::parse(endpoint).unwrap();
    let dealer = OmqDealer::connect(&settings, &Traffic::AnyJobs, &endpoint).unwrap();
    within(dealer.up()).await.unwrap();
    dealer
}

#[tokio::test]
async fn puller_that_comes_back_has_one_connection() {
    let (puller, endpoint) = bind(ZmqBuilder::new(), ANY).await;
    let dealer = connect(ZmqBuilder::new(), &endpoint).await;
    let mut events = dealer.endpoints.socket.monitor();
    puller.close().await.unwrap();
    within(dealer.down()).await;
    let mut attempts = Vec::new();
    let comes_back = async {
        while attempts.last() != Some(&3) {
            if let MonitorEvent::ConnectDelayed { attempt, .. } = events.recv().await.unwrap() {
                attempts.push(attempt);
            }
        }
        bind(ZmqBuilder::new(), &endpoint).await.0
    };
    let (puller, up) = within(async { tokio::join!(comes_back, dealer.up()) }).await;
    up.unwrap();
    assert_eq!(attempts, [1, 2, 3], "the attempts of one connection");
    assert_eq!(dealer.endpoints.socket.connections().await.unwrap().len(), 1);
    let job = Frames { head: Bytes::from_static(b"job"), body: None };
    assert_eq!(dealer.try_send(job), Ok(()));
    assert!(within(puller.recv()).await.is_ok());
}

#[tokio::test]
async fn denial_between_two_waits_is_not_missed() {
    let allowing =
        |password: &str| ZmqBuilder::new().plain_server(PlainServer::new([("a", password)]));
    let (puller, endpoint) = bind(allowing("old"), ANY).await;
    let client = ZmqBuilder::new().plain_client(PlainClient::new("a", "old"));
    let dealer = connect(client, &endpoint).await;
    let mut events = dealer.endpoints.socket.monitor();
    puller.close().await.unwrap();
    let _puller = bind(allowing("new"), &endpoint).await;
    within(dealer.down()).await;
    let stopped = async {
        while !matches!(events.recv().await.unwrap(), MonitorEvent::ConnectStopped { .. }) {}
    };
    within(stopped).await;
    let denied = async {
        while !dealer.is_denied() {
            yield_now().await;
        }
    };
    let denied = async {
        tokio::select! {
            up = dealer.up() => panic!("up returned {up:?} without a connection"),
            () = denied => {}
        }
    };
    within(denied).await;
}
