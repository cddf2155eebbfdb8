//! Answers to probes.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::render::Render;
use crate::component::Component;

/// An answer over HTTP.
pub(super) type Answer = Response<Full<Bytes>>;

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
        _ => text(StatusCode::NOT_FOUND, "/live, /ready, /metrics\n"),
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
