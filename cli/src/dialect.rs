//! The transport and the dialect that the options name.

use polywire::amqp::Amqp;
use polywire::nameko::Nameko;
use polywire::{AnyTransport, ErrorKind};

use crate::command::{CodecName, DialectName, WireOptions};
use crate::failure::Failure;

/// A wire format, with its settings.
pub(crate) enum Wire {
    Json,
    MessagePack,
    Nameko(Nameko),
}

/// Connects to the broker or the peer, and returns the transport of the wire format.
///
/// # Errors
///
/// Wrong usage, for a malformed URL, for a setting that the dialect does not have, and for a
/// dialect that the transport of the URL does not have. Nothing, if the broker is not reached.
pub(crate) async fn open(options: &WireOptions) -> Result<(AnyTransport, Wire), Failure> {
    let failed = |error: polywire::Error| match error.kind() {
        ErrorKind::Config => Failure::Usage(error.to_string()),
        _ => Failure::from(error),
    };
    let Some(DialectName::Nameko) = options.dialect else {
        if let Some((key, _)) = options.settings.first() {
            return Err(Failure::Usage(format!("the native wire has no setting {key}")));
        }
        let wire = match options.codec {
            CodecName::Json => Wire::Json,
            CodecName::Msgpack => Wire::MessagePack,
        };
        return Ok((polywire::connect(&options.url).await.map_err(failed)?, wire));
    };
    let nameko = nameko(options)?;
    if !options.url.starts_with("amqp") {
        return Err(Failure::Usage("the dialect nameko needs an amqp:// URL".to_owned()));
    }
    let amqp = Amqp::connect(&options.url).await.map_err(failed)?;
    Ok((AnyTransport::new(amqp.with_layout(nameko.clone())), Wire::Nameko(nameko)))
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
