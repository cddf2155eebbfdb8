//! The wire log: a line for each message.

use std::time::Duration;

use polywire_codec::Json;
use polywire_core::{
    CallError, Client, Fault, Listener, Memory, Publisher, Pusher, Router, Server, Worker,
};
use tracing_subscriber::filter::LevelFilter;

use crate::watching::{Fields, Seen, watch, watch_at};

const TARGET: &str = "polywire::wire";

/// Returns the lines of the wire log.
fn lines(seen: &Seen) -> Vec<Fields> {
    seen.events().into_iter().filter(|event| event["target"] == TARGET).collect()
}

/// Returns these fields of each line.
fn lines_of<const N: usize>(seen: &Seen, fields: [&str; N]) -> Vec<String> {
    let text =
        |line: &Fields| fields.map(|field| line.get(field).map_or("-", String::as_str)).join(" ");
    lines(seen).iter().map(text).collect()
}

/// Makes a call of the service `echo` with this text.
async fn call(text: &str) -> Result<(), CallError> {
    let transport = Memory::new();
    let router = Router::new(Json).method("say", async |text: String| Ok(text));
    let serving = tokio::spawn(Server::bind(&transport, "echo").await?.serve(router));
    let client = Client::connect(&transport, "echo", Json).await?;
    client.call::<String>("say", text).await?;
    serving.abort();
    Ok(())
}

#[tokio::test]
async fn each_message_of_a_call_has_a_line_at_each_end() -> Result<(), CallError> {
    let (seen, _guard) = watch();
    call("hi").await?;
    let fields = ["level", "message", "kind", "name", "method", "bytes", "content_type", "body"];
    let request = "request echo say 4 application/json \\\"hi\\\"";
    let reply = "reply echo - 4 application/json \\\"hi\\\"";
    assert_eq!(
        lines_of(&seen, fields),
        [
            format!("DEBUG sent {request}"),
            format!("DEBUG received {request}"),
            format!("DEBUG sent {reply}"),
            format!("DEBUG received {reply}"),
        ]
    );
    let lines = lines(&seen);
    assert!(lines.iter().all(|line| line["id"] == lines[0]["id"]), "{lines:?}");
    assert_eq!((&*lines[1]["attempt"], &*lines[1]["headers"]), ("1", "0"));
    assert!(lines[0]["left_ms"].parse::<u64>().unwrap() > 20_000, "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn jobs_events_and_one_way_calls_have_lines() -> Result<(), CallError> {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "jobs", Json).await?;
    let listener = Listener::bind(&transport, "events", Json).await?;
    let server = Server::bind(&transport, "service").await?;
    let (worked, listened) = (worker.handle(), listener.handle());
    let (ran, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let note = move |n: u32| {
        ran.send(n).unwrap();
        async { Ok(()) }
    };
    tokio::spawn(worker.work(async |_: u32| Ok(())));
    tokio::spawn(listener.listen(async |_: u32| Ok(())));
    tokio::spawn(server.serve(Router::new(Json).method("note", note)));
    Pusher::connect(&transport, "jobs", Json).await?.push(&1).await?;
    while worked.stats().done == 0 {
        tokio::task::yield_now().await;
    }
    Publisher::connect(&transport, "events", Json).await?.publish("a.b", &1).await?;
    while listened.stats().done == 0 {
        tokio::task::yield_now().await;
    }
    Client::connect(&transport, "service", Json).await?.request("note").send(&1).await?;
    assert_eq!(runs.recv().await, Some(1));
    assert_eq!(
        lines_of(&seen, ["message", "kind", "name", "topic"]),
        [
            "sent job jobs -",
            "received job jobs -",
            "sent event events a.b",
            "received event events a.b",
            "sent one-way call service -",
            "received one-way call service -",
        ]
    );
    assert!(lines(&seen).iter().all(|line| line.contains_key("message_id")));
    Ok(())
}

#[tokio::test]
async fn cancel_has_a_line_at_each_end() -> Result<(), CallError> {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let hang = move |(): ()| {
        begun.send(()).unwrap();
        std::future::pending::<Result<(), Fault>>()
    };
    let router = Router::new(Json).method("hang", hang);
    tokio::spawn(Server::bind(&transport, "echo").await?.serve(router));
    let client = Client::connect(&transport, "echo", Json).await?;
    let call = client.request("hang").start::<()>(&()).unwrap();
    begins.recv().await.unwrap();
    drop(call);
    let cancels = || {
        let lines = lines_of(&seen, ["message", "kind", "name", "is_expired"]);
        lines.into_iter().filter(|line| line.contains("cancel")).collect::<Vec<_>>()
    };
    let both = async {
        while cancels().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), both).await;
    assert_eq!(cancels(), ["sent cancel echo false", "received cancel echo false"]);
    let ids: Vec<_> = lines(&seen).iter().map(|line| line["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    Ok(())
}

#[tokio::test]
async fn message_that_is_refused_has_a_second_line_with_the_error() -> Result<(), CallError> {
    let (seen, _guard) = watch();
    let client = Client::connect(&Memory::new(), "nobody", Json).await?;
    client.call::<u32>("say", &1).await.unwrap_err();
    let lines = lines_of(&seen, ["message", "kind", "name", "error"]);
    assert_eq!(lines[0], "sent request nobody -");
    assert!(lines[1].starts_with("not sent request nobody "), "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn long_body_is_cut() -> Result<(), CallError> {
    let (seen, _guard) = watch();
    call(&"x".repeat(5_000)).await?;
    for line in lines(&seen) {
        assert_eq!(line["bytes"], "5002");
        assert_eq!(line["body"], format!("\\\"{} …", "x".repeat(1_023)));
    }
    Ok(())
}

#[tokio::test]
async fn log_is_off_unless_it_is_asked_for_and_shows_bodies_at_trace_alone() -> Result<(), CallError>
{
    for (level, expected) in [(LevelFilter::INFO, 0), (LevelFilter::DEBUG, 4)] {
        let (seen, _guard) = watch_at(level);
        call("hi").await?;
        let lines = lines(&seen);
        assert_eq!(lines.len(), expected, "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains_key("body")), "{lines:?}");
    }
    Ok(())
}
