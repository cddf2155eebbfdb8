//! The JSON objects of JSON-RPC 2.0, whose bodies are the whole envelope.

use polywire::{Code, Codec, Dialect, Fault, Json, Message, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Kind of the fault of a request that is no JSON-RPC.
pub(crate) const INVALID_REQUEST: &str = "InvalidRequest";

/// Id of a request, which its reply repeats.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum RequestId {
    Number(u64),
    Negative(i64),
    Text(String),
}

/// A request without the types of its parameters. A notification has no id.
#[derive(Deserialize)]
pub(crate) struct RequestHead {
    pub(crate) jsonrpc: String,
    pub(crate) method: String,
    pub(crate) id: Option<RequestId>,
    pub(crate) params: Option<IgnoredAny>,
}

/// The parameters of a request.
#[derive(Deserialize)]
pub(crate) struct Params<T> {
    pub(crate) params: T,
}

/// A reply without the type of its result.
#[derive(Deserialize)]
pub(crate) struct ReplyHead {
    pub(crate) id: Option<RequestId>,
    pub(crate) error: Option<ErrorHead>,
}

/// An error without its data.
#[derive(Deserialize)]
pub(crate) struct ErrorHead {
    code: i64,
    message: String,
}

/// The result of a reply.
#[derive(Deserialize)]
pub(crate) struct Success<T> {
    pub(crate) result: T,
}

/// A reply with an error that has data.
#[derive(Deserialize)]
pub(crate) struct Failure<D> {
    pub(crate) error: ErrorData<D>,
}

/// The data of an error.
#[derive(Deserialize)]
pub(crate) struct ErrorData<D> {
    pub(crate) data: D,
}

/// The data of an error of a polywire server: the kind of the fault.
#[derive(Deserialize)]
struct FaultKind {
    kind: String,
}

/// The details in the data of an error of a polywire server.
#[derive(Deserialize)]
pub(crate) struct FaultDetails<T> {
    pub(crate) details: T,
}

/// Writes a value as JSON.
pub(crate) fn text_of<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut message = Message::default();
    Json.encode_call(value, &mut message)?;
    Ok(String::from_utf8_lossy(&message.body.into_bytes()).into_owned())
}

/// Writes a request. Parameters are an array or an object, or left out; a plain value becomes an
/// array.
pub(crate) fn request(method: &str, params: &str, id: Option<u64>) -> Result<String> {
    let params = match params.as_bytes().first() {
        Some(b'[' | b'{') => format!(r#","params":{params}"#),
        _ if params == "null" => String::new(),
        _ => format!(r#","params":[{params}]"#),
    };
    let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
    Ok(format!(r#"{{"jsonrpc":"2.0","method":{}{params}{id}}}"#, text_of(method)?))
}

/// Writes a reply with a result.
pub(crate) fn success(result: &str, id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{id}}}"#)
}

/// Writes a reply with an error. Details that are no JSON are left out.
pub(crate) fn failure(fault: &Fault, id: &str) -> Result<String> {
    let code = match fault.code {
        Code::InvalidArguments if fault.kind == INVALID_REQUEST => -32600,
        Code::MethodNotFound => -32601,
        Code::InvalidArguments => -32602,
        Code::Internal => -32603,
        _ => -32000,
    };
    let details = match Json.decode::<IgnoredAny>(&fault.details) {
        Ok(_) => String::from_utf8_lossy(&fault.details).into_owned(),
        Err(_) => "null".to_owned(),
    };
    let (message, kind) = (text_of(&fault.message)?, text_of(&fault.kind)?);
    let data = format!(r#"{{"kind":{kind},"details":{details}}}"#);
    let error = format!(r#"{{"code":{code},"message":{message},"data":{data}}}"#);
    Ok(format!(r#"{{"jsonrpc":"2.0","error":{error},"id":{id}}}"#))
}

/// Returns the fault of an error. `body` is the whole reply.
pub(crate) fn fault(error: ErrorHead, body: &[u8]) -> Fault {
    let code = match error.code {
        -32601 => Code::MethodNotFound,
        -32700 | -32600 | -32602 => Code::InvalidArguments,
        -32603 => Code::Internal,
        _ => Code::Application,
    };
    let fault = Fault::new(code, error.message);
    match Json.decode::<Failure<FaultKind>>(body) {
        Ok(failure) => fault.with_kind(failure.error.data.kind),
        // Another server, whose data are of another form.
        Err(_) => fault,
    }
}
