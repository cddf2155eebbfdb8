//! Each letter as the name of a service, of an error and of an argument's type: the code that the
//! macros write uses none of these names for itself.

use polywire::{CallError, Json, Memory, Server, service};

macro_rules! services_named {
    ($($letter:ident)*) => {$(
        #[allow(non_snake_case, reason = "the module is named as its types")]
        mod $letter {
            use polywire::service;

            pub(super) mod kinds {
                use serde::{Deserialize, Serialize};

                /// An argument and a result.
                #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
                pub(crate) struct $letter(pub(crate) u32);
            }

            pub(super) mod errors {
                use polywire::Fault;

                /// An error.
                #[derive(Debug, Fault, thiserror::Error, PartialEq)]
                pub(crate) enum $letter {
                    /// A number is odd.
                    #[error("{0} is odd")]
                    Odd(u32),
                }
            }

            /// Types with the name in every position.
            pub(super) mod typed {
                use polywire::{Fault, service};

                use super::errors;
                use super::kinds::$letter;

                /// A service with its types in scope by name.
                #[service(call, push, publish)]
                pub(crate) trait Named {
                    /// Halves an even number.
                    async fn half(&self, number: $letter) -> Result<$letter, errors::$letter>;

                    /// Returns what it gets.
                    async fn echo(&self, number: $letter) -> Result<Vec<$letter>, Fault>;
                }
            }

            /// A service that is named by a letter, too.
            #[service(call, push, publish)]
            pub(crate) trait $letter {
                /// The service that has the types.
                fn typed(&self) -> impl typed::Named;
            }
        }
    )*};
}

services_named!(A B C D E F G H I J K L M N O P Q R S T U V W X Y Z);
services_named!(Arc Client Codec Context Deadline Dialect Message Outcome Request Router Transport);

macro_rules! halved_by {
    ($($letter:ident)*) => {$({
        use self::$letter::typed::{Named, NamedClient, NamedServer};
        use self::$letter::{errors, kinds};

        struct Halver;

        impl Named for Halver {
            async fn half(&self, number: kinds::$letter) -> Result<kinds::$letter, errors::$letter> {
                match number.0 % 2 {
                    0 => Ok(kinds::$letter(number.0 / 2)),
                    _ => Err(errors::$letter::Odd(number.0)),
                }
            }

            async fn echo(
                &self,
                number: kinds::$letter,
            ) -> Result<Vec<kinds::$letter>, polywire::Fault> {
                Ok(vec![number])
            }
        }

        let memory = Memory::new();
        let server = Server::bind(&memory, stringify!($letter)).await.unwrap();
        let _serving = tokio::spawn(server.serve(NamedServer::new(Halver, Json)));
        let client = NamedClient::connect(&memory, stringify!($letter), Json).await.unwrap();
        assert_eq!(client.half(kinds::$letter(8)).await.unwrap(), kinds::$letter(4));
        let failed = client.half(kinds::$letter(7)).await.unwrap_err();
        assert!(
            matches!(failed, CallError::Declared(errors::$letter::Odd(7))),
            "{failed:?}"
        );
        assert_eq!(client.echo(kinds::$letter(1)).await.unwrap(), [kinds::$letter(1)]);
    })*};
}

#[tokio::test]
async fn no_letter_of_a_user_collides_with_a_generated_name() {
    halved_by!(A B C D E F G H I J K L M N O P Q R S T U V W X Y Z);
}

#[tokio::test]
async fn no_type_of_a_user_collides_with_a_type_in_the_generated_code() {
    halved_by!(Arc Client Codec Context Deadline Dialect Message Outcome Request Router Transport);
}

/// A service whose names are those of the values in the generated code.
#[service]
trait Values {
    /// Concatenates.
    async fn router(
        &self,
        service: String,
        dialect: String,
        handler: String,
        arguments: String,
        outcome: String,
        transport: String,
    ) -> Result<String, polywire::Fault>;
}

struct Concatenation;

impl Values for Concatenation {
    async fn router(
        &self,
        service: String,
        dialect: String,
        handler: String,
        arguments: String,
        outcome: String,
        transport: String,
    ) -> Result<String, polywire::Fault> {
        Ok([service, dialect, handler, arguments, outcome, transport].concat())
    }
}

#[tokio::test]
async fn arguments_may_be_named_as_the_values_of_the_generated_code() {
    let memory = Memory::new();
    let server = Server::bind(&memory, "values").await.unwrap();
    let _serving = tokio::spawn(server.serve(ValuesServer::new(Concatenation, Json)));
    let client = ValuesClient::connect(&memory, "values", Json).await.unwrap();
    let [a, b, c, d, e, f] = ["a", "b", "c", "d", "e", "f"].map(String::from);
    assert_eq!(client.router(a, b, c, d, e, f).await.unwrap(), "abcdef");
}
