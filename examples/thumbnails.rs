//! A pipeline: pushed jobs, workers that share them, and a retry of a failed job.
//!
//! ```text
//! cargo run --example thumbnails
//! cargo run --example thumbnails -- mem://demo
//! cargo run --features amqp --example thumbnails -- amqp://guest:guest@localhost
//! ```

use std::error::Error;

use polywire::{Code, Context, Fault, MessagePack, Pusher, Transport, Window, Worker};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Thumbnail {
    picture: String,
    pixels: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "zmq+tcp://127.0.0.1:5561".to_owned());

    // A worker. In another process it needs the URL and nothing else.
    let transport = polywire::connect(&url).await?;
    let settles = transport.capabilities().settlement;
    let worker = Worker::bind(&transport, "thumbnails", MessagePack).window(Window::new(4)).await?;
    let handle = worker.handle();
    tokio::spawn(worker.work(move |context: Context, job: Thumbnail| async move {
        // Where failed jobs can be requeued, the first attempt at the owl fails.
        if settles && job.picture == "owl.jpg" && context.attempt == 1 {
            return Err(Fault::new(Code::Application, "the owl blinked"));
        }
        println!("attempt {}: {} becomes {} pixels wide", context.attempt, job.picture, job.pixels);
        Ok(())
    }));

    // The program that has the work to do.
    let transport = polywire::connect(&url).await?;
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await?;
    for picture in ["cat.jpg", "owl.jpg", "fox.jpg"] {
        pusher.push(&Thumbnail { picture: picture.to_owned(), pixels: 128 }).await?;
    }

    // A retry is counted when the broker has confirmed it, which may be after the second attempt.
    let retries = u64::from(settles);
    while handle.stats().done < 3 || handle.stats().retried < retries {
        tokio::task::yield_now().await;
    }
    handle.drain().await;
    println!("{:?}", handle.stats());
    Ok(())
}
