//! Malformed and oversized messages: requests, replies, faults and headers.

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{CallError, Code, ErrorKind, Fault, Router, Server};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, until};
use crate::endpoints::{client, serve};
use crate::engine::{channel, consume, malformed_headers, publish, reply};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker malformed_requests_are_answered_or_rejected,
        broker malformed_reply_fails_its_call_alone,
        broker oversized_fault_is_replaced_by_a_small_one,
        broker reserved_headers_are_refused,
        node message_over_the_size_limit_of_the_broker_is_too_large,
    ]
}

async fn malformed_requests_are_answered_or_rejected(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let handle = serve(&amqp, "malformed").await;
    let channel = channel(&url).await;
    let mut answers = consume(&channel, "answers").await;
    let good =
        || BasicProperties::default().with_type("double".into()).with_correlation_id("x".into());
    let malformed = [
        BasicProperties::default().with_correlation_id("x".into()),
        good().with_type("two words".into()),
        good().with_headers(malformed_headers()),
    ];
    for (before, properties) in (0..).zip(malformed) {
        publish(&channel, "polywire.malformed", properties.clone().with_reply_to("answers".into()))
            .await;
        let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        let fault =
            answer.properties.headers().as_ref().unwrap().inner().get("polywire.fault").cloned();
        assert_eq!(
            fault,
            Some(AMQPValue::LongString(Code::InvalidArguments.as_str().into())),
            "{properties:?}"
        );
        assert_eq!(answer.properties.correlation_id(), properties.correlation_id());
        assert_eq!(answer.properties.delivery_mode(), &Some(2));
        publish(&channel, "polywire.malformed", properties).await;
        until(|| handle.stats().rejected == before + 1).await;
    }
    assert_eq!(client(&amqp, "malformed").await.call::<u32>("double", &2).await.unwrap(), 4);
}

async fn malformed_reply_fails_its_call_alone(url: String) {
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.malformed.replies").await;
    let amqp = Amqp::connect(&url).await.unwrap();
    let client = client(&amqp, "malformed.replies").await;
    let malformed = client.request("say").start::<u32>(&1).unwrap();
    reply(&channel, &mut requests, malformed_headers()).await;
    let error = malformed.await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Codec), "{error:?}");

    let (first, second) = (client.request("say").start::<u32>(&1), client.request("say").start(&1));
    reply(&channel, &mut requests, FieldTable::default()).await;
    reply(&channel, &mut requests, FieldTable::default()).await;
    assert_eq!((first.unwrap().await.unwrap(), second.unwrap().await.unwrap()), (1, 1_u32));
}

async fn oversized_fault_is_replaced_by_a_small_one(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let server = Server::bind(&amqp, "verbose").await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("fail", |(): ()| async {
        Err::<u32, _>(Fault::new(Code::Application, "x".repeat(200_000)))
    });
    tokio::spawn(server.serve(router));
    let client = client(&amqp, "verbose").await;
    let outcome = client.request("fail").timeout(PATIENCE).call::<u32>(&()).await;
    let Err(CallError::Fault(fault)) = outcome else { panic!("the call ended with {outcome:?}") };
    assert_eq!(fault.code, Code::Internal);
    assert!(fault.message.contains("do not fit"), "{}", fault.message);
    // The reply may arrive before its confirm.
    until(|| handle.stats().answered == 1).await;
}

async fn reserved_headers_are_refused(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "headers").await;
    let client = client(&amqp, "headers").await;
    let call = client.request("double").header("polywire.fault", "Internal");
    assert_eq!(call.call::<u32>(&1).await.unwrap_err().kind(), Some(ErrorKind::Config));
    let call = client.request("double").header("x".repeat(300), "");
    assert_eq!(call.call::<u32>(&1).await.unwrap_err().kind(), Some(ErrorKind::TooLarge));
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
}

async fn message_over_the_size_limit_of_the_broker_is_too_large() {
    let node = Node::start_with("max_message_size = 1048576").unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    // A transport of its own: an oversized reply closes its channel, with all unconfirmed requests.
    let servers = Amqp::connect(&node.url()).await.unwrap();
    let server = Server::bind(&servers, "large").await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("grow", |bytes: usize| async move { Ok("x".repeat(bytes)) })
        .method("measure", |text: String| async move { Ok(text.len()) });
    tokio::spawn(server.serve(router));
    let client = client(&amqp, "large").await;
    let error = client.call::<usize>("measure", &"x".repeat(2 << 20)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::TooLarge), "{error:?}");
    let error = client.call::<String>("grow", &(2 << 20)).await.unwrap_err();
    let CallError::Fault(fault) = error else { panic!("{error:?}") };
    assert_eq!(fault.code, Code::Internal);
    assert!(fault.message.contains("no message of this size"), "{fault}");
    // The server goes on.
    assert_eq!(client.call::<String>("grow", &5).await.unwrap(), "xxxxx");
    // A reply may arrive before its confirm.
    until(|| handle.stats().answered == 2).await;
    assert_eq!(handle.stats().undelivered, 0);
}
