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
    Right(#[fault(skip, skip)] u8),
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

#[derive(Debug, Fault)]
enum Empty {
    #[fault(kind = "")]
    A,
}

#[derive(Debug, Fault)]
#[fault(kind = "")]
enum Prefix {
    A,
}

#[derive(Debug, Fault)]
#[fault(opaque, code = Internal)]
#[fault(code = Unavailable)]
struct Repeated;

fn main() {}
