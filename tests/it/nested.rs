//! Nested services as the macro generates them.

use std::sync::Arc;

use polywire::{
    CallError, Client, Code, Fault, Json, Listener, Memory, MessagePack, Router, Server, Worker,
    service,
};
use tokio::sync::mpsc;

use crate::backends::Backend;

/// A bank.
#[service(call, push, publish)]
trait Bank {
    /// Returns its name.
    async fn name(&self) -> Result<String, Fault>;

    /// The loans.
    fn loans(&self) -> impl office::Loans;

    /// The same service under another name.
    #[method(name = "old.loans")]
    fn old_loans(&self) -> impl office::Loans;
}

mod office {
    //! A service that is nested in another module's service.

    use polywire::{Fault, service};

    /// Loans.
    #[service(call, push, publish)]
    pub(crate) trait Loans {
        /// Grants an amount and returns the total.
        async fn grant(&self, amount: u64) -> Result<u64, Fault>;

        /// The counter that decides.
        fn counter(&self) -> impl Counter;
    }

    /// A clerk.
    #[service(call, push, publish)]
    pub(crate) trait Counter {
        /// Returns the name of the clerk.
        async fn clerk(&self) -> Result<String, Fault>;
    }
}

struct House {
    told: mpsc::UnboundedSender<String>,
}

impl Bank for House {
    async fn name(&self) -> Result<String, Fault> {
        self.told.send("name".into()).unwrap();
        Ok("house".into())
    }

    fn loans(&self) -> impl office::Loans {
        Office { told: self.told.clone(), rate: 2 }
    }

    fn old_loans(&self) -> impl office::Loans {
        Office { told: self.told.clone(), rate: 3 }
    }
}

struct Office {
    told: mpsc::UnboundedSender<String>,
    rate: u64,
}

impl office::Loans for Office {
    async fn grant(&self, amount: u64) -> Result<u64, Fault> {
        let granted = amount * self.rate;
        self.told.send(format!("granted {granted}")).unwrap();
        Ok(granted)
    }

    fn counter(&self) -> impl office::Counter {
        Chair(self.rate)
    }
}

struct Chair(u64);

impl office::Counter for Chair {
    async fn clerk(&self) -> Result<String, Fault> {
        Ok(format!("number {}", self.0))
    }
}

fn bank() -> (BankServer<House, MessagePack>, mpsc::UnboundedReceiver<String>) {
    let (told, tell) = mpsc::unbounded_channel();
    (BankServer::new(House { told }, MessagePack), tell)
}

#[tokio::test]
async fn methods_of_nested_services_are_called_through_their_own_clients() -> Result<(), CallError>
{
    for backend in Backend::all() {
        let (transport, name) = (backend.open("bank").await?, backend.name("bank"));
        let (server, _told) = bank();
        tokio::spawn(Server::bind(&transport, &*name).await?.serve(server));
        let bank = BankClient::connect(&transport, &*name, MessagePack).await?;
        assert_eq!(bank.name().await?, "house");
        assert_eq!(bank.loans()?.grant(5).await?, 10);
        assert_eq!(bank.old_loans()?.grant(5).await?, 15);
        assert_eq!(bank.old_loans()?.counter()?.clerk().await?, "number 3");
        backend.close().await?;
    }
    Ok(())
}

#[test]
fn methods_of_nested_services_have_a_word_before_their_names() {
    let (server, _told) = bank();
    let router = server.into_router();
    assert_eq!(
        router.methods(),
        [
            "loans.counter.clerk",
            "loans.grant",
            "name",
            "old.loans.counter.clerk",
            "old.loans.grant"
        ]
    );
}

#[tokio::test]
async fn several_services_share_one_address() -> Result<(), CallError> {
    let transport = Memory::new();
    let (bank, _told) = bank();
    let services = Router::new(MessagePack)
        .nest("bank", bank.into_router())
        .nest("counter", office::CounterServer::new(Chair(7), MessagePack).into_router());
    tokio::spawn(Server::bind(&transport, "street").await?.serve(services));
    let street = Client::connect(&transport, "street", MessagePack).await?;
    let bank = BankClient::from(street.nested("bank")?);
    assert_eq!(bank.name().await?, "house");
    assert_eq!(bank.loans()?.counter()?.clerk().await?, "number 2");
    assert_eq!(office::CounterClient::from(street.nested("counter")?).clerk().await?, "number 7");
    Ok(())
}

#[tokio::test]
async fn client_of_a_nested_service_says_in_full_what_failed() -> Result<(), CallError> {
    let nobody = Arc::new(Router::new(Json));
    let bank = BankClient::from(Client::new(nobody, Json));
    let error = bank.loans()?.grant(5).await.unwrap_err();
    assert_eq!(error.fault().unwrap().code, Code::MethodNotFound);
    assert_eq!(
        error.to_string(),
        "loans.grant: MethodNotFound: the service has no method loans.grant"
    );
    Ok(())
}

#[tokio::test]
async fn jobs_and_events_reach_nested_services() -> Result<(), CallError> {
    let transport = Memory::new();
    let (server, mut told) = bank();
    let server = Arc::new(server);
    tokio::spawn(Worker::bind(&transport, "bank", MessagePack).await?.serve(server.clone()));
    tokio::spawn(
        Listener::bind(&transport, "bank", MessagePack).filter("grant").await?.serve(server),
    );
    let pusher = BankPusher::connect(&transport, "bank", MessagePack).await?;
    pusher.old_loans()?.grant(5).await?;
    assert_eq!(told.recv().await.unwrap(), "granted 15");
    // Topics have no prefix, so both nested services receive the event.
    let publisher = BankPublisher::connect(&transport, "bank", MessagePack).await?;
    publisher.loans()?.grant(1).await?;
    let mut heard = [told.recv().await.unwrap(), told.recv().await.unwrap()];
    heard.sort();
    assert_eq!(heard, ["granted 2", "granted 3"]);
    Ok(())
}

#[test]
#[should_panic(expected = "two methods are named loans.grant")]
fn server_with_two_methods_of_one_full_name_is_refused() {
    /// A service with the name of a nested method.
    #[service]
    trait Collision {
        #[method(name = "loans.grant")]
        async fn grant(&self, amount: u64) -> Result<u64, Fault>;

        fn loans(&self) -> impl office::Loans;
    }

    struct Both(mpsc::UnboundedSender<String>);

    impl Collision for Both {
        async fn grant(&self, amount: u64) -> Result<u64, Fault> {
            Ok(amount)
        }

        fn loans(&self) -> impl office::Loans {
            Office { told: self.0.clone(), rate: 1 }
        }
    }

    drop(CollisionServer::new(Both(mpsc::unbounded_channel().0), Json));
}
