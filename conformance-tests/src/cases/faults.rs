//! Faults: calls that fail at the peer, and how they are answered.
//!
//! A fault is a reply like any other for the transport, with a code, a kind, a message and details.
//! Core makes the faults. The transport must carry them, and the server must go on after each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use polywire_codec::{Json, MessagePack};
use polywire_core::rpc::Requester;
use polywire_core::{
    CallError, Client, Code, ErrorKind, Fault, Reply, Request, Router, Service, service_fn,
};
use serde::{Deserialize, Serialize, Serializer};

use super::panicking_payload::panic_with_panicking_payload;
use super::request::raw_request;
use crate::context::TestContext;
use crate::names::SERVICE;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// A fault keeps its code, kind, message and details.
///
/// Checked with every code, with text beyond ASCII, with binary details, and with a fault without
/// any text.
///
/// The text holds a line break, quotes and characters of three bytes; the details hold a zero byte
/// and bytes that are no UTF-8.
///
/// Catches wires that drop a field of a fault, that confuse an empty field with a missing one, or
/// that carry text only.
pub async fn faults_cross_whole(context: &TestContext) -> Verdict {
    let rich = Code::ALL.map(|code| {
        let details = Bytes::from_static(b"\x00\xffbinary\r\n");
        Fault::new(code, "über 3 Stück: 目\n\"quoted\"").with_kind("Épuisé").with_details(details)
    });
    let faults: Arc<[Fault]> =
        rich.into_iter().chain([Fault::new(Code::Application, "")]).collect();
    let thrown = faults.clone();
    let router = Router::new(MessagePack).method("fail", move |n: usize| {
        let fault = thrown.get(n).cloned();
        async move { fault.map_or(Ok(()), Err) }
    });
    let _server = context.serve(router).await?;
    let client = context.client().await?;
    for (n, fault) in faults.iter().enumerate() {
        let came = fault_of(client.call::<()>("fail", &n).await)?;
        ensure!(came == *fault, "{fault:?} arrived as {came:?}");
    }
    Ok(())
}

/// A fault that is marked as permanent arrives as such, and no other fault does.
///
/// Checked with a fault that has details, and with one that has none.
///
/// Catches wires that drop the mark, or set it on every fault.
pub async fn permanent_fault_stays_permanent(context: &TestContext) -> Verdict {
    let plain = Fault::new(Code::Application, "no such picture");
    let rich = plain.clone().with_kind("Missing").with_details(Bytes::from_static(b"\x00"));
    let faults = [plain.clone().permanent(), plain, rich.clone().permanent(), rich];
    let thrown = faults.clone();
    let router = Router::new(MessagePack).method("fail", move |n: usize| {
        let fault = thrown.get(n).cloned();
        async move { fault.map_or(Ok(()), Err) }
    });
    let _server = context.serve(router).await?;
    let client = context.client().await?;
    for (n, fault) in faults.iter().enumerate() {
        let came = fault_of(client.call::<()>("fail", &n).await)?;
        let (sent, came) = (fault.is_permanent(), came.is_permanent());
        ensure!(sent == came, "fault {n} is permanent: sent as {sent}, arrived as {came}");
    }
    Ok(())
}

/// A call of a method that the service does not have is answered with a fault.
///
/// The code is [`Code::MethodNotFound`], and the message names the method. The server answers the
/// next call.
///
/// Catches wires that lose the message of a fault, and backends that drop a request that they
/// cannot route.
pub async fn unknown_method_is_a_fault(context: &TestContext) -> Verdict {
    let _server = context.serve(doubling()).await?;
    let client = context.client().await?;
    let fault = fault_of(client.call::<()>("treble", &1).await)?;
    ensure!(fault.code == Code::MethodNotFound, "it was answered with {fault:?}");
    ensure!(fault.message.contains("treble"), "the fault does not name the method: {fault:?}");
    still_serves(&client).await
}

/// Arguments of the wrong type are answered with a fault that names the path.
///
/// The message names the field, as in `items[0].price`, and the type that was expected.
///
/// Catches wires that truncate the message of a fault.
pub async fn bad_arguments_name_the_path(context: &TestContext) -> Verdict {
    #[derive(Serialize, Deserialize)]
    struct Item<P> {
        price: P,
    }
    #[derive(Serialize, Deserialize)]
    struct Order<P> {
        items: Vec<Item<P>>,
    }
    let order = Order { items: vec![Item { price: "1.5" }, Item { price: "two" }] };
    let _server = context
        .serve(Router::new(MessagePack).method("total", |order: Order<f64>| async move {
            Ok(order.items.iter().map(|item| item.price).sum::<f64>())
        }))
        .await?;
    let fault = fault_of(context.client().await?.call::<f64>("total", &order).await)?;
    ensure!(fault.code == Code::InvalidArguments, "it was answered with {fault:?}");
    ensure!(
        fault.message.contains("items[0].price"),
        "the fault does not say where: {}",
        fault.message
    );
    ensure!(
        fault.message.contains("f64"),
        "the fault does not say what was expected: {}",
        fault.message
    );
    Ok(())
}

/// Arguments that cannot be decoded are answered with a fault, and the server lives.
///
/// Checked with bytes that are no MessagePack, with too few bytes, and with a length that announces
/// 4 GiB.
///
/// Catches responders that drop a request with a strange body instead of delivering it, and wires
/// that drop replies without a body.
pub async fn unreadable_arguments_are_a_fault(context: &TestContext) -> Verdict {
    let _server = context.serve(doubling()).await?;
    let requester = context.requester().await?;
    for garbage in [&b"\xc1"[..], b"", b"\x93\x01", b"\xdd\xff\xff\xff\xff", b"\x01\x02"] {
        let mut request = raw_request("double")?;
        request.message.body = Bytes::from_static(garbage).into();
        let reply = requester.call(request).await.or_fail("garbage is answered")?;
        let fault =
            reply.message.fault.or_fail(&format!("{garbage:?} is answered with a fault"))?;
        ensure!(fault.code == Code::InvalidArguments, "{garbage:?} was answered with {fault:?}");
    }
    still_serves(&context.client().await?).await
}

/// A call in another format than the server's is answered with a fault that names both.
///
/// A client with JSON calls a server with MessagePack.
///
/// Catches wires that lose the content type.
pub async fn foreign_format_is_named(context: &TestContext) -> Verdict {
    let _server = context.serve(doubling()).await?;
    let transport = context.calling().await?;
    let client = in_time(Client::connect(&transport, SERVICE, Json).timeout(PATIENCE)).await?;
    let fault = fault_of(client.call::<i64>("double", &1).await)?;
    ensure!(fault.code == Code::InvalidArguments, "it was answered with {fault:?}");
    for format in ["application/json", "application/msgpack"] {
        ensure!(
            fault.message.contains(format),
            "the fault does not name {format}: {}",
            fault.message
        );
    }
    Ok(())
}

/// A handler that panics answers with a fault, and the server lives.
///
/// The message holds the text of the panic, and no path of the source. The panic is counted.
///
/// Catches backends that lose the reply of a handler whose delivery was settled first.
pub async fn panicking_handler_answers(context: &TestContext) -> Verdict {
    let panicking = doubling().method("panic", |(): ()| async move {
        if true {
            // Unwinds as a panic does, but prints no backtrace into the report.
            std::panic::resume_unwind(Box::new("out of cheese"));
        }
        Ok(())
    });
    let server = context.serve(panicking).await?;
    let client = context.client().await?;
    let fault = fault_of(client.call::<()>("panic", &()).await)?;
    ensure!(fault.code == Code::Internal, "it was answered with {fault:?}");
    ensure!(
        fault.message.contains("out of cheese"),
        "the fault does not hold the text of the panic: {fault:?}"
    );
    ensure!(!fault.message.contains(".rs"), "the fault shows a path of the source: {fault:?}");
    ensure!(
        server.handle.stats().panicked == 1,
        "{} panics were counted",
        server.handle.stats().panicked
    );
    still_serves(&client).await
}

/// A handler whose panic has a payload that panics in turn answers with a fault, once.
///
/// The payload panics when it is dropped. The server answers the next call and drains, and the
/// request has run once by then.
///
/// Catches backends that deliver a request again whose handler panicked.
pub async fn panicking_payload_answers_once(context: &TestContext) -> Verdict {
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let panicking = doubling().method("panic", move |(): ()| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            if true {
                panic_with_panicking_payload();
            }
            Ok(())
        }
    });
    let server = context.serve(panicking).await?;
    let client = context.client().await?;
    let fault = fault_of(client.call::<()>("panic", &()).await)?;
    ensure!(fault.code == Code::Internal, "it was answered with {fault:?}");
    still_serves(&client).await?;
    within(PATIENCE, "the server drains", server.handle.drain()).await?;
    let (runs, panicked) = (runs.load(Ordering::SeqCst), server.handle.stats().panicked);
    ensure!(runs == 1, "the request whose handler panicked ran {runs} times");
    ensure!(panicked == 1, "{panicked} panics were counted");
    Ok(())
}

/// A result that cannot be encoded is answered with a fault, and the server lives.
///
/// The code is [`Code::Internal`], and the message holds the error of the encoder.
///
/// Catches wires that lose the message of a fault.
pub async fn unencodable_result_answers(context: &TestContext) -> Verdict {
    struct Unencodable;
    impl Serialize for Unencodable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no words for it"))
        }
    }
    let _server =
        context.serve(doubling().method("odd", |(): ()| async move { Ok(Unencodable) })).await?;
    let client = context.client().await?;
    let fault = fault_of(client.call::<()>("odd", &()).await)?;
    ensure!(fault.code == Code::Internal, "it was answered with {fault:?}");
    ensure!(fault.message.contains("no words for it"), "the fault does not say why: {fault:?}");
    still_serves(&client).await
}

/// A reply that cannot be decoded fails its own call and no other.
///
/// The call fails as [`ErrorKind::Codec`]. A concurrent call succeeds, and so does the next one.
///
/// Catches requesters that take a bad reply for the end of the connection.
pub async fn unreadable_reply_fails_its_call_alone(context: &TestContext) -> Verdict {
    let _server = context
        .serve(service_fn(|request: Request| async move {
            let garbled = request.message.method.is_some_and(|method| method.as_str() == "garble");
            let body =
                if garbled { Bytes::from_static(b"\xc1\xc1") } else { Bytes::from_static(b"\x02") };
            Ok::<_, CallError>(Reply::new(body))
        }))
        .await?;
    let client = context.client().await?;
    let (garbled, fine) =
        tokio::join!(client.call::<i64>("garble", &1), client.call::<i64>("double", &1));
    ensure!(fine.is_ok(), "the reply to another call went with it: {fine:?}");
    let Err(CallError::Failed(error)) = garbled else {
        return Err(Failure::new(format!("a garbled reply gave {garbled:?}")));
    };
    ensure!(error.kind() == ErrorKind::Codec, "a garbled reply failed as {error:?}");
    still_serves(&client).await
}

/// A service whose method `double` doubles a number.
fn doubling() -> Router<MessagePack> {
    Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) })
}

/// Checks that the server answers a call.
///
/// # Errors
///
/// [`Failure::Failed`], if the call fails or gets another reply.
async fn still_serves(client: &Client<MessagePack, Requester>) -> Verdict {
    let doubled: i64 = client.call("double", &1).await.or_fail("the server lives")?;
    ensure!(doubled == 2, "1 doubled is {doubled} now");
    Ok(())
}

/// Returns the fault that a call ended with.
///
/// # Errors
///
/// [`Failure::Failed`], if the call ended in another way.
fn fault_of<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> Verdict<Fault> {
    match outcome {
        Err(CallError::Fault(fault)) => Ok(fault),
        other => Err(Failure::new(format!("no fault came, but {other:?}"))),
    }
}
