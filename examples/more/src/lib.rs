//! Examples of polywire with other crates: checked values, metrics, tower's layers, a codec of
//! another format. `cargo run -p polywire-examples --example validation` runs one of them.
