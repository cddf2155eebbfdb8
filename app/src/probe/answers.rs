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

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use polywire_core::health::{CanaryEcho, EndpointCanary};
use polywire_core::{ErrorKind, Result};

use super::render::Render;
use crate::component::Component;

/// An answer over HTTP.
pub(super) type Answer = Response<Full<Bytes>>;

/// Sends a canary through the queue of each endpoint, and answers with the outcomes.
pub(super) async fn canary(component: Option<&Component>) -> Answer {
    let Some(component) = component else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "waiting for the broker\n");
    };
    // At the same time, so that all are back before the connection ends.
    let healths: Vec<_> = component.transport().healths().collect();
    let is_known = healths.iter().any(|health| health.current().is_known());
    let reports = join_all(healths.iter().map(|health| health.canary(CANARY_MAX))).await;
    let endpoints = reports.into_iter().flat_map(|report| report.endpoints);
    let outcome = |EndpointCanary { role, name, outcome, .. }| (format!("{role} {name}"), outcome);
    canaries(is_known, endpoints.map(outcome).collect())
}

/// Returns the answer with the outcomes by endpoint. A transport may have canaries for some
/// endpoints alone.
///
/// Endpoints without canaries neither pass nor fail. If no transport knows its health, or no
/// endpoint has canaries, the status is 501. A component without endpoints passes.
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

/// Time for the canaries; less than a connection may take.
const CANARY_MAX: Duration = Duration::from_secs(5);

/// Answers the request for `path`. There is no component before the first connection.
pub(super) fn answer(
    method: &Method,
    path: &str,
    component: Option<&Component>,
    render: Option<&Render>,
) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    }
    match path {
        // The runtime answers, so the process is alive. A restart would not bring a broker back.
        "/live" => text(StatusCode::OK, "alive\n"),
        "/ready" => match unreadiness(component) {
            None => text(StatusCode::OK, "ready\n"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/metrics" => match render {
            Some(render) => {
                #[cfg(feature = "metrics")]
                component.inspect(|component| component.record());
                text(StatusCode::OK, render.text())
            }
            None => text(StatusCode::NOT_FOUND, "the program exports no metrics\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "/live, /ready, /metrics, /canary\n"),
    }
}

/// Returns the reason for which the component is not ready; `None` if it is.
fn unreadiness(component: Option<&Component>) -> Option<String> {
    match component {
        None => Some("waiting for the broker".to_owned()),
        Some(component) => component.unreadiness(),
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
    use polywire_codec::MessagePack;
    use polywire_core::health::CanaryReceiver;
    use polywire_core::{AnyTransport, Client, Error, Memory, Router, Window};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
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
        assert_eq!(canary(Some(&component)).await.status(), 503);
        assert_eq!(asked.elapsed().as_secs(), CANARY_MAX.as_secs());
    }
}
