use polywire::Fault;

/// An empty error.
#[derive(Debug, Fault)]
struct Silent;

#[derive(Debug, Fault)]
#[fault(code = Teapot)]
struct Tea;

impl std::fmt::Display for Tea {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("short and stout")
    }
}

impl std::error::Error for Tea {}

fn main() {}
