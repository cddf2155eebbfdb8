//! Exceptions of Python, and the faults that stand for them.

use polywire_core::Code;

/// Table of the exceptions that have a code and a kind of their own.
#[derive(Clone, Debug)]
pub(super) struct Exceptions(Vec<Exception>);

/// Exception with the fault that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    /// Module and class, such as `builtins.ValueError`.
    path: String,
    code: Code,
    kind: String,
}

/// Module of the exceptions that stand for faults without an exception of their own.
const OURS: &str = "polywire.";

/// Exceptions of nameko itself. The first of a code stands for its faults.
const OF_NAMEKO: [(&str, Code, &str); 4] = [
    ("nameko.exceptions.MethodNotFound", Code::MethodNotFound, "MethodNotFound"),
    ("nameko.exceptions.IncorrectSignature", Code::InvalidArguments, "InvalidArguments"),
    ("nameko.exceptions.MalformedRequest", Code::InvalidArguments, "MalformedRequest"),
    ("nameko.exceptions.UnserializableValueError", Code::Internal, "UnserializableValueError"),
];

/// Classes of Python's module `builtins` that a handler may raise by their names.
const BUILTINS: [&str; 17] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "ConnectionError",
    "Exception",
    "IndexError",
    "KeyError",
    "LookupError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "RuntimeError",
    "TimeoutError",
    "TypeError",
    "ValueError",
    "ZeroDivisionError",
];

impl Exceptions {
    /// Creates the table of nameko's own exceptions and the common ones of Python.
    pub(super) fn standard() -> Self {
        let mut table = Self(Vec::new());
        for name in BUILTINS {
            table.add(&format!("builtins.{name}"), Code::Application, name);
        }
        for (path, code, kind) in OF_NAMEKO {
            table.add(path, code, kind);
        }
        table
    }

    /// Adds an exception, in front of all others.
    pub(super) fn add(&mut self, path: &str, code: Code, kind: &str) {
        self.0.retain(|other| other.path != path);
        self.0.insert(0, Exception { path: path.to_owned(), code, kind: kind.to_owned() });
    }

    /// Returns the path of the exception for a fault. The flag is set if the exception is one of
    /// the table, whose arguments are those of its constructor.
    pub(super) fn path(&self, code: Code, kind: &str) -> (String, bool) {
        let known = self.0.iter().find(|other| other.code == code && other.kind == kind);
        match known {
            Some(known) => (known.path.clone(), true),
            None => (format!("{OURS}{}", code.as_str()), false),
        }
    }

    /// Returns the code and the kind for an exception of this path and this class. The flag is set
    /// if a fault without an exception of its own was sent.
    pub(super) fn fault(&self, path: &str, class: &str) -> (Code, String, bool) {
        if let Some(known) = self.0.iter().find(|other| other.path == path) {
            return (known.code, known.kind.clone(), false);
        }
        match path.strip_prefix(OURS) {
            Some(code) => (Code::from_name(code), class.to_owned(), true),
            None => (Code::Application, class.to_owned(), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_survives_both_ways() {
        let table = Exceptions::standard();
        for code in Code::ALL {
            for kind in [code.as_str(), "OutOfStock"] {
                let (path, is_known) = table.path(code, kind);
                let class = if is_known { path.rsplit('.').next().unwrap() } else { kind };
                let (read, read_kind, _) = table.fault(&path, class);
                assert_eq!((read, &*read_kind), (code, kind), "{path}");
            }
        }
    }

    #[test]
    fn later_exception_wins() {
        let mut table = Exceptions::standard();
        assert_eq!(
            table.path(Code::Application, "ValueError"),
            ("builtins.ValueError".into(), true)
        );
        table.add("shop.BadValue", Code::Application, "ValueError");
        assert_eq!(table.path(Code::Application, "ValueError").0, "shop.BadValue");
        table.add("builtins.ValueError", Code::Denied, "Refused");
        let read = table.fault("builtins.ValueError", "ValueError");
        assert_eq!(read, (Code::Denied, "Refused".to_owned(), false));
        let unknown = table.fault("shop.errors.Broken", "Broken");
        assert_eq!(unknown, (Code::Application, "Broken".to_owned(), false));
    }
}
