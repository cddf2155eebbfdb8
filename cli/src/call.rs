//! `polywire call`: one call, whose outcome is printed.

use polywire::{Address, AnyTransport, CallError, Client, Codec, Dialect, Fault, Transport};
use polywire::{Json, MessagePack};
use serde_json::{Value, json};

use crate::arguments::arguments;
use crate::command::{CallOptions, CodecName};
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
    let arguments = arguments(&options.arguments, options.named.as_deref())?;
    let (transport, wire) = open(&options.wire).await?;
    let call = Call { service, method, arguments };
    let called = match wire {
        Wire::Json => call.send(&transport, Json, options).await,
        Wire::MessagePack => call.send(&transport, MessagePack, options).await,
        Wire::Nameko(nameko) => call.send(&transport, nameko, options).await,
    };
    let closed = transport.close().await;
    println!("{}", called?);
    Ok(closed?)
}

/// A call that was checked.
struct Call {
    service: Address,
    method: Address,
    arguments: Value,
}

impl Call {
    async fn send<D: Dialect>(
        self,
        transport: &AnyTransport,
        dialect: D,
        options: &CallOptions,
    ) -> Result<Value, Failure> {
        let client = Client::connect(transport, self.service, dialect).await?;
        let calling = client.request(self.method).timeout(options.timeout);
        calling.call(&self.arguments).await.map_err(|error| match error {
            CallError::Fault(fault) => Failure::Fault(described(&fault, options.wire.codec)),
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
