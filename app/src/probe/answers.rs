//! Answers to probes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use polywire_core::health::EndpointCanary;

use super::render::Render;
use crate::component::Component;

/// An answer over HTTP.
pub(super) type Answer = Response<Full<Bytes>>;

/// Sends a canary through the queue of each endpoint, and answers with the outcomes.
pub(super) async fn canary(component: Option<&Component>) -> Answer {
    let Some(component) = component else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "waiting for the broker\n");
    };
    let (mut body, mut is_ok, mut is_known) = (String::new(), true, false);
    for health in component.transport().healths() {
        is_known |= health.current().is_known();
        let report = health.canary(CANARY_MAX).await;
        is_ok &= report.is_ok();
        for EndpointCanary { role, name, outcome, .. } in report.endpoints {
            body += &match outcome {
                Ok(echo) => format!("{role} {name}: {} ms\n", echo.round_trip.as_millis()),
                Err(error) => format!("{role} {name}: {error}\n"),
            };
        }
    }
    match (is_known, is_ok) {
        (false, _) => text(StatusCode::NOT_IMPLEMENTED, "the transport has no canaries\n"),
        (true, true) => text(StatusCode::OK, body),
        (true, false) => text(StatusCode::SERVICE_UNAVAILABLE, body),
    }
}

/// Returns the answer to a canary that is asked for while another is on its way.
pub(super) fn busy() -> Answer {
    text(StatusCode::TOO_MANY_REQUESTS, "another canary is on its way\n")
}

/// Time for the canaries of one transport; less than a connection may take.
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
