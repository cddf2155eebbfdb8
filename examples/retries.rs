//! Failing jobs: retries after a delay, dead letters, and an operator who redrives them.
//!
//! ```text
//! cargo run --example retries
//! cargo run --features amqp --example retries -- amqp://guest:guest@localhost
//! ```

use std::error::Error;
use std::time::Duration;

use polywire::{Code, Context, DeadLetters, Fault, MessagePack, Pusher, Retries, Worker};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mem://demo".to_owned());
    let transport = polywire::connect(&url).await?;

    // One retry at once, one after a delay; then the job is dead-lettered.
    let pause = Duration::from_millis(200);
    let retries = Retries::new(3).backoff(pause, pause).then_dead_letter();
    let worker = Worker::bind(&transport, "payments", MessagePack).retries(retries).await?;
    let handle = worker.handle();
    tokio::spawn(worker.work(|context: Context, payment: String| async move {
        // The bank fails every payment until an operator reopens it and redrives the payments.
        if payment == "bank" && context.redriven() == 0 {
            return Err(Fault::new(
                Code::Application,
                format!("attempt {}: the bank is shut", context.attempt),
            ));
        }
        println!("attempt {}: {payment} is paid", context.attempt);
        Ok(())
    }));

    let pusher = Pusher::connect(&transport, "payments", MessagePack).await?;
    for payment in ["cash", "bank"] {
        pusher.push(payment).await?;
    }

    let dead = DeadLetters::of_queue(&transport, "payments")?;
    let letters = loop {
        let letters = dead.look(10).await?;
        if !letters.is_empty() {
            break letters;
        }
        tokio::time::sleep(pause).await;
    };
    for letter in letters {
        let payment: String = letter.read(&MessagePack)?;
        println!("{payment} is dead, {} after {} attempts", letter.reason(), letter.attempts());
        println!("  first: {}", letter.first_error().unwrap_or_default());
        println!("  last:  {}", letter.last_error().unwrap_or_default());
    }

    let redriven = dead
        .redrive(10, |letter| letter.last_error().is_some_and(|error| error.contains("bank")))
        .await?;
    println!("{redriven} goes on its way again");
    while handle.stats().done < 2 {
        tokio::task::yield_now().await;
    }
    handle.drain().await;
    println!("{:?}", handle.stats());
    Ok(())
}
