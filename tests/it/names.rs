//! Names in services that could collide with names in the generated code, and items without uses.

use std::collections::BTreeMap;

use polywire::{CallError, Client, Fault, Json, service};

#[tokio::test]
async fn any_name_that_rust_takes_will_do() -> Result<(), CallError> {
    /// Names that could collide with names in the generated code.
    #[service]
    trait r#Match: Clone {
        async fn r#type(&self, r#fn: u8, self_: u8) -> Result<u8, Fault>;
        async fn clone(
            &self,
            arguments: u8,
            service: u8,
            router: u8,
            dialect: u8,
        ) -> Result<u8, Fault>;
        #[allow(non_snake_case)]
        async fn camelCase(&self, someThing: u8) -> Result<u8, Fault>;
        #[deprecated]
        async fn call(&self) -> Result<u8, Fault>;
        #[cfg(any())]
        async fn absent(&self, nothing: Nowhere) -> Result<Nowhere, Fault>;
        #[cfg(not(any()))]
        #[method(name = "absent")]
        async fn present(&self) -> Result<u8, Fault>;
    }

    #[derive(Clone)]
    struct Names;

    impl r#Match for Names {
        async fn r#type(&self, r#fn: u8, self_: u8) -> Result<u8, Fault> {
            Ok(r#fn + self_)
        }
        async fn clone(
            &self,
            arguments: u8,
            service: u8,
            router: u8,
            dialect: u8,
        ) -> Result<u8, Fault> {
            Ok(arguments + service + router + dialect)
        }
        async fn camelCase(&self, something: u8) -> Result<u8, Fault> {
            Ok(something)
        }
        async fn call(&self) -> Result<u8, Fault> {
            Ok(1)
        }
        async fn present(&self) -> Result<u8, Fault> {
            Ok(2)
        }
    }

    let server = MatchServer::new(Clone::clone(&Names), Json);
    let names = MatchClient::from(Client::new(server, Json));
    assert_eq!(names.r#type(1, 2).await?, 3);
    assert_eq!(names.clone(1, 2, 3, 4).await?, 10);
    assert_eq!(names.camelCase(5).await?, 5);
    assert_eq!(names.present().await?, 2);
    assert_eq!(
        names.as_ref().call::<u8>("type", &BTreeMap::from([("fn", 1), ("self_", 2)])).await?,
        3
    );
    Ok(())
}

mod public {
    //! A public service whose generated items are unused in this crate.

    use polywire::{Fault, service};

    /// A clock.
    #[service]
    pub(crate) trait Clock: std::fmt::Debug {
        /// Returns the time in seconds.
        async fn seconds(&self) -> Result<u64, Fault>;
    }

    /// Does nothing.
    #[service]
    trait Idle {}
}
