//! The `#[service]` macro of [polywire](https://docs.rs/polywire), which re-exports it.

mod expand;
mod parse;

use proc_macro::TokenStream;

use self::parse::ServiceTrait;

/// Makes a service of a trait: writes a client that calls its methods, and a server that carries them out.
///
/// For a trait `Calculator` it writes, beside the trait:
///
/// - `CalculatorClient`, with an async function for each method. It is connected by `connect`, or made from a
///   `polywire::Client` that was connected with options, or that calls through middleware.
/// - `CalculatorServer`, a `polywire::Service` made of an implementation of the trait and a dialect.
///
/// ```
/// use polywire::{CallError, Fault, Memory, MessagePack, Server, service};
///
/// /// Does sums.
/// #[service]
/// pub trait Calculator {
///     /// Adds two numbers.
///     async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
/// }
///
/// struct Abacus;
///
/// impl Calculator for Abacus {
///     async fn add(&self, a: i64, b: i64) -> Result<i64, Fault> {
///         Ok(a + b)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let server = Server::bind(&transport, "calculator").await?;
/// tokio::spawn(server.serve(CalculatorServer::new(Abacus, MessagePack)));
///
/// let calculator = CalculatorClient::connect(&transport, "calculator", MessagePack).await?;
/// assert_eq!(calculator.add(2, 3).await?, 5);
/// # Ok(())
/// # }
/// ```
///
/// # The Trait
///
/// Its methods are async, take `&self` and arguments by value, and answer `Result<_, Fault>`. The arguments and the
/// result are types that serde can write and read. There are no generics, no default bodies, and nothing but methods.
/// Implementations must be `Send + Sync + 'static`, and so must be what their methods hold across an await.
///
/// # On The Wire
///
/// A method has the name of its function, or the one that `#[method(name = "math.add")]` gives it. Arguments travel
/// as a map by their names, so an argument that is an `Option` can be added without breaking older callers, and one
/// that the server does not know is ignored. A server also takes them as an array, in their order. Without
/// arguments, an empty map is sent, and an empty map, an empty array or nothing (null) is taken.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    match ServiceTrait::parse(&options.into(), item.into()) {
        Ok(service) => expand::expand(&service).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
