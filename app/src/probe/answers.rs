//! Answers to probes.
//!
//! | path | status |
//! |---|---|
//! | `/live` | 200 |
//! | `/ready` | 200; 503 with the reason |
//! | `/metrics` | 200; 404 without a writer of metrics |
//! | `/canary` | 200; 503 with the reason; 501 without canaries; 429 during another one |
//! | others | 404 |
//!
//! Before the first connection, `/ready` and `/canary` answer 503. HEAD is answered like GET,
//! without the text; other methods get 405.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use polywire_core::health::CanaryEcho;
use polywire_core::{ErrorKind, Result};

use super::render::Render;
use crate::canaries::send_canaries;
use crate::component::Component;

/// The component that the answers are about, or the reason for which there is none.
pub(crate) type Subject = Result<Component, String>;

/// An answer over HTTP.
pub(super) type Answer = Response<Full<Bytes>>;

/// Sends a canary through the queue of each endpoint, and answers with the outcomes. A component
/// without endpoints passes unless a connection of it is lost, blocked, refused or closed.
pub(super) async fn canary(subject: Result<&Component, &String>) -> Answer {
    let component = match subject {
        Ok(component) => component,
        Err(reason) => return text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    let transport = component.transport();
    let is_known = transport.healths().any(|health| health.current().is_known());
    let outcomes = send_canaries(transport).await;
    // Nothing goes through the queues of a component of clients, pushers and publishers alone.
    if outcomes.is_empty()
        && let Some(connection) = transport.troubled_connection()
    {
        return text(StatusCode::SERVICE_UNAVAILABLE, format!("{connection}\n"));
    }
    canaries(is_known, outcomes)
}

/// Returns the answer with the outcomes by endpoint. A transport may have canaries for some
/// endpoints alone.
///
/// Endpoints without canaries neither pass nor fail. If no transport knows its health, or no
/// endpoint has canaries, the status is 501. No outcomes pass.
fn canaries(is_known: bool, outcomes: Vec<(String, Result<CanaryEcho>)>) -> Answer {
    let (mut body, mut is_ok, mut has_none) = (String::new(), true, !outcomes.is_empty());
    for (endpoint, outcome) in outcomes {
        body += &match &outcome {
            Ok(echo) => format!("{endpoint}: {} ms\n", echo.round_trip.as_millis()),
            Err(error) => format!("{endpoint}: {error}\n"),
        };
        let is_unsupported =
            outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported);
        has_none &= is_unsupported;
        is_ok &= is_unsupported || outcome.is_ok();
    }
    let has_none = has_none || !is_known;
    match (has_none, is_ok) {
        (true, _) => text(StatusCode::NOT_IMPLEMENTED, "the transport has no canaries\n"),
        (false, true) => text(StatusCode::OK, body),
        (false, false) => text(StatusCode::SERVICE_UNAVAILABLE, body),
    }
}

/// Returns the answer to a canary that is asked for while another is on its way.
pub(super) fn busy() -> Answer {
    text(StatusCode::TOO_MANY_REQUESTS, "another canary is on its way\n")
}

/// Answers the request for `path`.
pub(super) fn answer(
    method: &Method,
    path: &str,
    subject: Result<&Component, &String>,
    render: Option<&Render>,
) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    }
    match path {
        // The runtime answers, so the process is alive. A restart would not bring a broker back.
        "/live" => text(StatusCode::OK, "alive\n"),
        "/ready" => match unreadiness(subject) {
            None => text(StatusCode::OK, "ready\n"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/metrics" => match render {
            Some(render) => {
                #[cfg(feature = "metrics")]
                if let Ok(component) = subject {
                    component.record();
                }
                text(StatusCode::OK, render.text())
            }
            None => text(StatusCode::NOT_FOUND, "the program exports no metrics\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "/live, /ready, /metrics, /canary\n"),
    }
}

/// Returns the reason for which the component is not ready; `None` if it is.
fn unreadiness(subject: Result<&Component, &String>) -> Option<String> {
    match subject {
        Ok(component) => component.unreadiness(),
        Err(reason) => Some(reason.clone()),
    }
}

/// Returns a text, which no cache keeps.
fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use polywire_codec::MessagePack;
    use polywire_core::health::CanaryReceiver;
    use polywire_core::{AnyTransport, Client, Error, Memory, Router, Transport, Window};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::canaries::CANARY_MAX;
    use crate::layers::Layers;
    use crate::routes::Routes;
    use crate::transport::AppTransport;

    #[test]
    fn endpoints_without_canaries_do_not_count() {
        let row = |kind: Option<ErrorKind>| {
            let echo = CanaryEcho::new(Duration::ZERO, CanaryReceiver::ThisEndpoint);
            let outcome = kind.map_or(Ok(echo), |kind| Err(Error::new(kind, "a test")));
            ("server a".to_owned(), outcome)
        };
        let (echo, unsupported) = (None, Some(ErrorKind::Unsupported));
        let late = Some(ErrorKind::DeadlineExceeded);
        for (kinds, status) in [
            (vec![], 200),
            (vec![echo, unsupported], 200),
            (vec![unsupported, unsupported], 501),
            (vec![unsupported, late], 503),
            (vec![echo, late], 503),
        ] {
            let outcomes = || kinds.iter().copied().map(row).collect();
            assert_eq!(canaries(true, outcomes()).status(), status, "{kinds:?}");
            assert_eq!(canaries(false, outcomes()).status(), 501, "{kinds:?}");
        }
    }

    #[tokio::test]
    async fn canary_of_a_component_of_clients_alone_fails_with_its_connection() {
        let mut routes = Routes::new();
        routes.add(None, AnyTransport::new(Memory::new()));
        let transport = AppTransport::new(routes);
        let grace = Duration::from_secs(1);
        let component = Component::new("shop", grace, transport.clone(), Layers::new());
        assert_eq!(canary(Ok(&component)).await.status(), 200);
        transport.close().await.unwrap();
        assert_eq!(canary(Ok(&component)).await.status(), 503);
    }

    #[tokio::test(start_paused = true)]
    async fn canaries_of_several_transports_are_sent_at_the_same_time() {
        let (mut routes, names) = (Routes::new(), ["a", "b", "c"]);
        for name in names {
            routes.add(Some(name.to_uppercase()), AnyTransport::new(Memory::new()));
        }
        let transport = AppTransport::new(routes);
        let grace = Duration::from_secs(1);
        let component = Component::new("shop", grace, transport.clone(), Layers::new());
        let (begins, mut begun) = mpsc::channel(1);
        for name in names {
            let begins = begins.clone();
            let router = Router::new(MessagePack).method("wait", move |(): ()| {
                let begins = begins.clone();
                async move {
                    let _ = begins.send(()).await;
                    std::future::pending::<()>().await;
                    Ok(())
                }
            });
            component
                .serve_with(name, |server| server.window(Window::new(1)), router)
                .await
                .unwrap();
            let client = Client::connect(&transport, name, MessagePack).await.unwrap();
            tokio::spawn(async move { client.call::<()>("wait", &()).await });
            begun.recv().await.unwrap();
        }
        // No canary comes back while the windows are full.
        let asked = Instant::now();
        assert_eq!(canary(Ok(&component)).await.status(), 503);
        assert_eq!(asked.elapsed().as_secs(), CANARY_MAX.as_secs());
    }
}
