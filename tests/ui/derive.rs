use polywire::Fault;

#[derive(Debug, Fault)]
enum Generic<T> {
    Of(T),
}

#[derive(Fault)]
union Either {
    a: u8,
}

#[derive(Debug, Fault)]
enum Options {
    #[fault(status = 404)]
    NotFound,
    #[fault(code = 404)]
    Gone,
}

#[derive(Debug, Fault)]
enum Fields {
    Left(#[fault(leave)] u8),
    #[fault(kind = "")]
    Away,
}

#[derive(Debug, Fault)]
enum Twice {
    #[fault(kind = "Twice.B")]
    A,
    B,
}

#[derive(Debug, Fault)]
enum Conditional {
    #[fault(kind = "Conditional.B")]
    A,
    #[cfg(all())]
    B,
}

fn main() {}
