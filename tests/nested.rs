//! Services within services, as the macro writes them.

#![cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
#![deny(missing_docs, warnings)]
#![allow(clippy::unwrap_used, reason = "tests fail by them")]

use std::sync::Arc;

use polywire::{
    CallError, Client, Code, Fault, Json, Listener, Memory, MessagePack, Server, Worker, service,
};
use tokio::sync::mpsc;

/// Keeps money.
#[service(call, push, publish)]
trait Bank {
    /// What it is called.
    async fn name(&self) -> Result<String, Fault>;

    /// What it lends.
    fn loans(&self) -> impl office::Loans;

    /// The same, by another name.
    #[method(name = "old.loans")]
    fn old_loans(&self) -> impl office::Loans;
}

mod office {
    //! A service of which another one knows.

    use polywire::{Fault, service};

    /// Lends money.
    #[service(call, push, publish)]
    pub(crate) trait Loans {
        /// Lends this much; how much is lent then.
        async fn grant(&self, amount: u64) -> Result<u64, Fault>;

        /// Who decides.
        fn desk(&self) -> impl Desk;
    }

    /// Decides.
    #[service(call, push, publish)]
    pub(crate) trait Desk {
        /// Who sits there.
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

    fn desk(&self) -> impl office::Desk {
        Chair(self.rate)
    }
}

struct Chair(u64);

impl office::Desk for Chair {
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
    let transport = Memory::new();
    let (server, _told) = bank();
    tokio::spawn(Server::bind(&transport, "bank").await?.serve(server));
    let bank = BankClient::connect(&transport, "bank", MessagePack).await?;
    assert_eq!(bank.name().await?, "house");
    assert_eq!(bank.loans()?.grant(5).await?, 10);
    assert_eq!(bank.old_loans()?.grant(5).await?, 15);
    assert_eq!(bank.old_loans()?.desk()?.clerk().await?, "number 3");
    Ok(())
}

#[test]
fn methods_of_nested_services_have_a_word_before_their_names() {
    let (server, _told) = bank();
    let router = server.into_router();
    assert_eq!(
        router.methods(),
        ["loans.desk.clerk", "loans.grant", "name", "old.loans.desk.clerk", "old.loans.grant"]
    );
}

#[tokio::test]
async fn client_of_a_nested_service_says_in_full_what_failed() -> Result<(), CallError> {
    let nobody = Arc::new(polywire::Router::new(Json));
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
    // Topics are the same wherever they are: both loans hear of it.
    let publisher = BankPublisher::connect(&transport, "bank", MessagePack).await?;
    publisher.loans()?.grant(1).await?;
    let mut heard = [told.recv().await.unwrap(), told.recv().await.unwrap()];
    heard.sort();
    assert_eq!(heard, ["granted 2", "granted 3"]);
    Ok(())
}
