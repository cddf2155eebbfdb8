//! The client of any service.

use std::time::Duration;

use polywire_codec::Json;
use polywire_core::{CallError, Client, ErrorKind, Memory, Router, Server, Transport};

async fn serve(transport: &Memory, service: &'static str) -> Result<(), CallError> {
    let router = Router::new(Json)
        .method("name", move |(): ()| async move { Ok(service) })
        .method("wait", async |(): ()| Ok(std::future::pending::<u32>().await));
    tokio::spawn(Server::bind(transport, service).await?.serve(router));
    Ok(())
}

#[tokio::test]
async fn service_that_was_not_called_for_long_makes_room() -> Result<(), CallError> {
    let transport = Memory::new();
    for service in ["one", "two", "three"] {
        serve(&transport, service).await?;
    }
    let any = Client::any(&transport, Json).with_services_max(2);
    for service in ["one", "two", "one", "three", "two", "one"] {
        assert_eq!(any.call::<String>(service, "name", &()).await?, service);
    }
    // A clone of the client of `two` is open, although others have taken its place.
    let two = any.service("two").await?;
    let waiting = two.request("wait").start::<u32>(&())?;
    for service in ["one", "three", "one"] {
        assert_eq!(any.call::<String>(service, "name", &()).await?, service);
    }
    assert_eq!(two.stats().in_flight, usize::from(!waiting.is_finished()));
    assert_eq!(any.service("two").await?.stats().in_flight, 0, "a new client");
    Ok(())
}

#[tokio::test]
async fn client_of_a_service_is_opened_once() -> Result<(), CallError> {
    let transport = Memory::new();
    serve(&transport, "one").await?;
    let any = Client::any(&transport, Json);
    let waiting = any.service("one").await?.request("wait").start::<u32>(&())?;
    while any.service("one").await?.stats().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    drop(waiting);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn timeout_holds_for_each_service() -> Result<(), CallError> {
    let transport = Memory::new();
    serve(&transport, "one").await?;
    let any = Client::any(&transport, Json).with_timeout(Duration::from_secs(2));
    let begin = tokio::time::Instant::now();
    let outcome = any.call::<u32>("one", "wait", &()).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn names_and_closed_transports_are_refused() -> Result<(), CallError> {
    let transport = Memory::new();
    let any = Client::any(&transport, Json);
    for (name, kind) in [("no name", ErrorKind::Config), ("missing", ErrorKind::Unroutable)] {
        let Err(CallError::Failed(error)) = any.call::<u32>(name, "name", &()).await else {
            panic!("{name} is answered");
        };
        assert_eq!(error.kind(), kind, "{error}");
    }
    transport.close().await?;
    let Err(CallError::Failed(error)) = any.call::<u32>("other", "name", &()).await else {
        panic!("a closed transport answers");
    };
    assert_eq!(error.kind(), ErrorKind::Closed);
    Ok(())
}
