use polywire::service;

#[service]
struct Calculator;

fn main() {}
