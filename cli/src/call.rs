//! `polywire call`: one call, whose outcome is printed.

use std::io::Write;

use polywire::{Address, AnyTransport, CallError, Client, Codec, Deadline, Dialect, Fault};
use polywire::{Json, MessagePack, Transport};
use serde_json::{Value, json};
use tokio::time::timeout_at;

use crate::arguments::arguments;
use crate::command::{CallOptions, CodecName, DialectName};
use crate::dialect::{Wire, open};
use crate::failure::Failure;

/// Calls a method, and prints the result.
///
/// # Errors
///
/// Those of [`open`]; a fault of the peer; wrong usage, for names and arguments; nothing, for any
/// other failure.
pub(crate) async fn run(options: &CallOptions) -> Result<(), Failure> {
    let usage = |error: polywire::Error| Failure::Usage(error.to_string());
    let service = Address::new(options.service.clone()).map_err(usage)?;
    let method = Address::new(options.method.clone()).map_err(usage)?;
    let is_mixed = !options.arguments.is_empty() && options.named.is_some();
    if is_mixed && matches!(options.wire.dialect, Some(DialectName::Amqprpc)) {
        let text = "a method of amqprpc has one argument: JSON alone, or --named alone";
        return Err(Failure::Usage(text.to_owned()));
    }
    let arguments = arguments(&options.arguments, options.named.as_deref())?;
    let deadline = Deadline::after(options.timeout);
    let opening = timeout_at(deadline.instant(), open(&options.wire));
    let (transport, wire) = opening.await.map_err(|_| too_late())??;
    let call = Call { service, method, arguments, deadline };
    let called = match wire {
        Wire::Json => call.send(&transport, Json, options).await,
        Wire::MessagePack => call.send(&transport, MessagePack, options).await,
        Wire::Nameko(nameko) => call.send(&transport, nameko, options).await,
        Wire::Amqprpc(amqprpc) => call.send(&transport, amqprpc, options).await,
    };
    let closed = transport.close().await;
    print(&called?)?;
    if let Err(error) = closed {
        // The call is done, so its exit status stays. Standard error may be closed.
        let _ = writeln!(std::io::stderr(), "polywire: {error}");
    }
    Ok(())
}

/// Prints the result.
///
/// # Errors
///
/// Nothing, if standard output is closed.
fn print(result: &Value) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{result}")
        .map_err(|error| Failure::Nothing(format!("cannot write the result: {error}")))
}

/// Returns the failure of a connection that was not there in time.
fn too_late() -> Failure {
    Failure::Nothing("cannot connect: the time of --timeout has passed".to_owned())
}

/// A call that was checked.
struct Call {
    service: Address,
    method: Address,
    arguments: Value,
    deadline: Deadline,
}

impl Call {
    async fn send<D: Dialect>(
        self,
        transport: &AnyTransport,
        dialect: D,
        options: &CallOptions,
    ) -> Result<Value, Failure> {
        let connecting = Client::connect(transport, self.service, dialect);
        let connected = timeout_at(self.deadline.instant(), connecting).await;
        let client = connected.map_err(|_| too_late())??;
        let calling = client.request(self.method).deadline(self.deadline);
        calling.call(&self.arguments).await.map_err(|error| match error {
            CallError::Fault(fault) => Failure::Fault(described(&fault, options.wire.codec)),
            CallError::Failed(error) => error.into(),
            other => Failure::Nothing(other.to_string()),
        })
    }
}

/// Describes a fault as JSON. Details that are no value of the codec are left out.
fn described(fault: &Fault, codec: CodecName) -> Value {
    let details = match codec {
        CodecName::Json => Json.decode::<Value>(&fault.details),
        CodecName::Msgpack => MessagePack.decode::<Value>(&fault.details),
    };
    json!({
        "code": fault.code.as_str(),
        "kind": fault.kind,
        "message": fault.message,
        "details": details.ok(),
    })
}
