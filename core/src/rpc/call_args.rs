//! Arguments by position and by name in one call.

use std::fmt;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// The arguments of a call, some by position and others by name.
///
/// For a call of a method whose trait the program does not have; any other value that serde can
/// write serves as well, such as a tuple or a struct. The methods of
/// [`#[service]`](https://docs.rs/polywire/latest/polywire/attr.service.html) take their arguments
/// by position, by name, or mixed. An argument that has a default may be left out.
///
/// ```
/// # use polywire_codec::Json;
/// # use polywire_core::{Client, CallError, Router};
/// use polywire_core::rpc::Args;
///
/// # #[derive(serde::Deserialize)]
/// # struct Statement { #[serde(alias = "0")] account: String, #[serde(alias = "1")] last: u32 }
/// # async fn statement(client: &Client<Json, Router<Json>>) -> Result<(), CallError> {
/// let args = Args::new().arg("ada").named("last", 10);
/// let lines: Vec<String> = client.call("statement", &args).await?;
/// # assert_eq!(lines, ["ada 10"]);
/// # Ok(())
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let router = Router::new(Json).method("statement", async |args: Statement| {
/// #     Ok([format!("{} {}", args.account, args.last)])
/// # });
/// # statement(&Client::new(router, Json)).await
/// # }
/// ```
///
/// # Format
///
/// Arguments by position alone are an array, and arguments by name alone a map. Mixed ones are a
/// map in which a position is a name: `{"0": "ada", "last": 10}`. No arguments are an empty array.
///
/// An argument that is given twice, or that is missing, is answered with a fault of
/// [`Code::InvalidArguments`](crate::Code::InvalidArguments) that names it. A handler that takes a
/// tuple has no names, and answers named arguments with such a fault, too.
#[derive(Clone, Copy)]
pub struct Args<L = NoArgs> {
    list: L,
    positional: usize,
    named: usize,
}

impl Args {
    /// Creates an empty list of arguments.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: NoArgs(()), positional: 0, named: 0 }
    }
}

impl Default for Args {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: ArgList> Args<L> {
    /// Adds the next argument by position.
    #[must_use]
    pub fn arg<T: Serialize>(self, value: T) -> Args<Arg<L, T>> {
        let list = Arg { earlier: self.list, key: Key::Position(self.positional), value };
        Args { list, positional: self.positional + 1, named: self.named }
    }

    /// Adds an argument by its name.
    #[must_use]
    pub fn named<T: Serialize>(self, name: &'static str, value: T) -> Args<Arg<L, T>> {
        let list = Arg { earlier: self.list, key: Key::Name(name), value };
        Args { list, positional: self.positional, named: self.named + 1 }
    }
}

impl<L: ArgList> Serialize for Args<L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.named == 0 {
            let mut seq = serializer.serialize_seq(Some(self.positional))?;
            self.list.write_values(&mut seq)?;
            return seq.end();
        }
        let mut map = serializer.serialize_map(Some(self.positional + self.named))?;
        self.list.write_entries(&mut map)?;
        map.end()
    }
}

impl<L> fmt::Debug for Args<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Args")
            .field("positional", &self.positional)
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

/// A list of arguments: [`NoArgs`], or one with a further [`Arg`]. Programs do not implement it.
pub trait ArgList: sealed::List {}

impl<L: sealed::List> ArgList for L {}

/// The list without an argument.
#[derive(Clone, Copy, Debug)]
pub struct NoArgs(());

/// A list with one more argument than another.
#[derive(Clone, Copy, Debug)]
pub struct Arg<L, T> {
    earlier: L,
    key: Key,
    value: T,
}

#[derive(Clone, Copy, Debug)]
enum Key {
    Position(usize),
    Name(&'static str),
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Position(position) => serializer.collect_str(position),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

mod sealed {
    use serde::ser::{SerializeMap, SerializeSeq};

    /// The serialization of a list.
    pub trait List {
        /// Writes the values, in their order.
        fn write_values<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error>;

        /// Writes the values with their names or positions, in their order.
        fn write_entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
    }
}

impl sealed::List for NoArgs {
    fn write_values<S: SerializeSeq>(&self, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }

    fn write_entries<M: SerializeMap>(&self, _: &mut M) -> Result<(), M::Error> {
        Ok(())
    }
}

impl<L: sealed::List, T: Serialize> sealed::List for Arg<L, T> {
    fn write_values<S: SerializeSeq>(&self, seq: &mut S) -> Result<(), S::Error> {
        self.earlier.write_values(seq)?;
        seq.serialize_element(&self.value)
    }

    fn write_entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.earlier.write_entries(map)?;
        map.serialize_entry(&self.key, &self.value)
    }
}
