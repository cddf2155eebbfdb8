//! The transport and the dialect that the options name.

use polywire::amqp::{Amqp, AmqpLayout};
use polywire::amqprpc::Amqprpc;
use polywire::nameko::Nameko;
use polywire::{AnyTransport, ErrorKind};

use crate::command::{CodecName, DialectName, WireOptions};
use crate::failure::Failure;

/// A wire format, with its settings.
pub(crate) enum Wire {
    Json,
    MessagePack,
    Nameko(Nameko),
    Amqprpc(Amqprpc),
}

/// Connects to the broker or the peer, and returns the transport of the wire format.
///
/// # Errors
///
/// Wrong usage, for a malformed URL, for a setting that the dialect does not have, and for a
/// dialect that the transport of the URL does not have. Nothing, if the broker is not reached.
pub(crate) async fn open(options: &WireOptions) -> Result<(AnyTransport, Wire), Failure> {
    match options.dialect {
        None => native(options).await,
        Some(DialectName::Nameko) => {
            let nameko = nameko(options)?;
            let transport = foreign(options, "nameko", nameko.clone()).await?;
            Ok((transport, Wire::Nameko(nameko)))
        }
        Some(DialectName::Amqprpc) => {
            let amqprpc = amqprpc(options)?;
            let transport = foreign(options, "amqprpc", amqprpc.clone()).await?;
            Ok((transport, Wire::Amqprpc(amqprpc)))
        }
    }
}

/// Connects on the native wire.
async fn native(options: &WireOptions) -> Result<(AnyTransport, Wire), Failure> {
    if let Some((key, _)) = options.settings.first() {
        return Err(Failure::Usage(format!("the native wire has no setting {key}")));
    }
    let wire = match options.codec {
        CodecName::Json => Wire::Json,
        CodecName::Msgpack => Wire::MessagePack,
    };
    Ok((polywire::connect(&options.url).await.map_err(failed)?, wire))
}

/// Connects to RabbitMQ, in the layout of the dialect `name`.
async fn foreign(
    options: &WireOptions,
    name: &str,
    layout: impl AmqpLayout,
) -> Result<AnyTransport, Failure> {
    if !options.url.starts_with("amqp") {
        return Err(Failure::Usage(format!("the dialect {name} needs an amqp:// URL")));
    }
    let amqp = Amqp::connect(&options.url).await.map_err(failed)?;
    Ok(AnyTransport::new(amqp.with_layout(layout)))
}

/// Returns the failure of a connection: a malformed URL is wrong usage.
fn failed(error: polywire::Error) -> Failure {
    match error.kind() {
        ErrorKind::Config => Failure::Usage(error.to_string()),
        _ => Failure::from(error),
    }
}

/// Returns nameko's wire format with its settings.
fn nameko(options: &WireOptions) -> Result<Nameko, Failure> {
    let nameko = match options.codec {
        CodecName::Json => Nameko::new(),
        CodecName::Msgpack => Nameko::new().message_pack(),
    };
    options.settings.iter().try_fold(nameko, |nameko, (key, value)| match key.as_str() {
        "rpc_exchange" => Ok(nameko.rpc_exchange(value)),
        _ => Err(Failure::Usage(format!("the dialect nameko has no setting {key}"))),
    })
}

/// Returns amqprpc's wire format with its settings.
fn amqprpc(options: &WireOptions) -> Result<Amqprpc, Failure> {
    let amqprpc = match options.codec {
        CodecName::Json => Amqprpc::new(),
        CodecName::Msgpack => Amqprpc::new().message_pack(),
    };
    options.settings.iter().try_fold(amqprpc, |amqprpc, (key, value)| {
        match (key.as_str(), value.as_str()) {
            ("object", object) => Ok(amqprpc.object(object)),
            ("durable", "true") => Ok(amqprpc.durable_queue()),
            ("durable", "false") => Ok(amqprpc),
            ("durable", _) => Err(Failure::Usage("durable is true or false".to_owned())),
            _ => Err(Failure::Usage(format!("the dialect amqprpc has no setting {key}"))),
        }
    })
}
