//! Publish-subscribe: topics, filters that change at run time, and a subscriber that keeps only the
//! latest event.
//!
//! ```text
//! cargo run --example weather
//! cargo run --example weather -- mem://demo
//! cargo run --features amqp --example weather -- amqp://guest:guest@localhost
//! ```

use std::error::Error;

use polywire::{MessagePack, Overflow, Publisher, Subscriber, Window};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "zmq+tcp://127.0.0.1:5562".to_owned());

    // The publisher of a channel and two subscribers, each with a connection of its own.
    let station = polywire::connect(&url).await?;
    let weather = Publisher::connect(&station, "weather", MessagePack).await?;

    let reader = polywire::connect(&url).await?;
    let mut readings: Subscriber<f64> = Subscriber::bind(&reader, "weather", MessagePack)
        .filter("paris.*")
        .filter("#.wind")
        .await?;

    let display = polywire::connect(&url).await?;
    let mut latest: Subscriber<f64> = Subscriber::bind(&display, "weather", MessagePack)
        .filter("paris.temperature")
        .window(Window::new(1))
        .overflow(Overflow::DropOldest)
        .await?;

    for (topic, value) in
        [("paris.temperature", 21.5), ("lyon.wind", 7.0), ("lyon.temperature", 24.0)]
    {
        weather.publish(topic, &value).await?;
    }
    for _ in 0..2 {
        let reading = readings.next().await.ok_or("the transport was closed")??;
        println!("{}: {}", reading.topic(), *reading);
    }

    readings.filters().add("lyon.#").await?;
    readings.filters().remove("paris.*").await?;
    for degrees in [22.0, 23.0, 24.5] {
        weather.publish("paris.temperature", &degrees).await?;
    }
    weather.publish("lyon.temperature", &25.0).await?;
    let reading = readings.next().await.ok_or("the transport was closed")??;
    println!("{}: {}", reading.topic(), *reading);

    // The display was slow: three events were dropped, the fourth is there.
    while latest.dropped() < 3 {
        tokio::task::yield_now().await;
    }
    let reading = latest.next().await.ok_or("the transport was closed")??;
    println!(
        "the latest of {} is {}, {} older ones were dropped",
        reading.topic(),
        *reading,
        latest.dropped()
    );
    Ok(())
}
