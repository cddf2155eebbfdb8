//! A service and an error whose parts a `macro_rules` macro passes on: the compiler puts each part
//! into a group.

use polywire::{CallError, Client, Code, Fault, MessagePack, service};

macro_rules! greeting {
    ($name:expr, $nothing:ty, $manners:ty, $code:expr) => {
        /// A greeting.
        #[service]
        trait Greeting {
            /// Greets by name.
            async fn greet(&self, #[arg(default = $name)] name: String) -> Result<String, Shy>;

            /// Greets without a reply.
            #[method(oneway)]
            async fn wave(&self) -> Result<$nothing, Fault>;

            /// The manners.
            fn manners(&self) -> $manners;
        }

        /// The error of a greeting.
        #[derive(Debug, Fault, thiserror::Error)]
        #[error("too shy")]
        #[fault(code = $code)]
        struct Shy;
    };
}

greeting!("world", (), impl Manners, Code::Unavailable);

/// Manners.
#[service]
trait Manners {
    /// Bows.
    async fn bow(&self) -> Result<u32, Fault>;
}

struct Host;

impl Greeting for Host {
    async fn greet(&self, name: String) -> Result<String, Shy> {
        if name.is_empty() { Err(Shy) } else { Ok(format!("hello, {name}")) }
    }

    async fn wave(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn manners(&self) -> impl Manners {
        Polite
    }
}

struct Polite;

impl Manners for Polite {
    async fn bow(&self) -> Result<u32, Fault> {
        Ok(30)
    }
}

#[tokio::test]
async fn parts_that_a_macro_passes_on_count_as_written() -> Result<(), CallError> {
    let server = std::sync::Arc::new(GreetingServer::new(Host, MessagePack));
    let greeting = GreetingClient::from(Client::new(server, MessagePack));
    assert_eq!(greeting.as_ref().call::<String>("greet", &()).await?, "hello, world");
    assert_eq!(greeting.manners()?.bow().await?, 30);
    greeting.wave().await?;
    let shy = greeting.as_ref().call::<String>("greet", &[""]).await.unwrap_err();
    assert_eq!(shy.fault().map(|fault| fault.code), Some(Code::Unavailable));
    Ok(())
}
