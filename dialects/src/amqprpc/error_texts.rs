//! Error texts, and the faults that stand for them.

use polywire_core::{Code, Fault};

/// Table of the error texts that have a code and a kind of their own.
#[derive(Clone, Debug)]
pub(super) struct ErrorTexts(Vec<ErrorText>);

/// Beginning of an error text, with the fault that stands for the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ErrorText {
    start: String,
    code: Code,
    kind: String,
    /// Set if faults are written so. The message of such a fault is the rest of the text; that of
    /// another one is the whole text.
    is_written: bool,
}

/// Texts of the servers of Python and of Go. Faults of an unknown method are written as the first.
const OF_AMQPRPC: [(&str, Code, bool); 6] = [
    ("unknown function ", Code::MethodNotFound, true),
    ("rpc: can't find method ", Code::MethodNotFound, false),
    ("rpc: can't find service ", Code::MethodNotFound, false),
    ("rpc: service/method request ill-formed: ", Code::MethodNotFound, false),
    ("unexpected end of JSON input", Code::InvalidArguments, false),
    ("json: cannot unmarshal ", Code::InvalidArguments, false),
];

/// Beginning of the text of a fault with another code than [`Code::Application`].
const OURS: &str = "polywire.";

/// Longest text in bytes. A longer one is cut, since a header has to fit into a frame.
const TEXT_MAX: usize = 8192;

impl ErrorTexts {
    /// Creates the table of the texts of amqprpc itself.
    pub(super) fn standard() -> Self {
        let entry = |(start, code, is_written): &(&str, Code, bool)| ErrorText {
            start: (*start).to_owned(),
            code: *code,
            kind: code.as_str().to_owned(),
            is_written: *is_written,
        };
        Self(OF_AMQPRPC.iter().map(entry).collect())
    }

    /// Adds a text, in front of all others.
    pub(super) fn add(&mut self, start: &str, code: Code, kind: &str) {
        self.0.retain(|other| other.start != start);
        let (start, kind) = (start.to_owned(), kind.to_owned());
        self.0.insert(0, ErrorText { start, code, kind, is_written: true });
    }

    /// Returns the text of a fault. `method` is the name of the called method on the wire.
    pub(super) fn text(&self, fault: &Fault, method: &str) -> String {
        let Fault { code, kind, .. } = fault;
        let is_plain = kind == code.as_str();
        let mut message = fault.message.as_str();
        // As the servers of amqprpc name the method. The message of the router ends with its name.
        if *code == Code::MethodNotFound && is_plain {
            let last = method.rsplit('.').next().unwrap_or_default();
            if !last.is_empty() && message.ends_with(last) {
                message = method;
            }
        }
        let known = self.0.iter().find(|it| it.is_written && it.code == *code && it.kind == *kind);
        let text = match (known, code) {
            (Some(known), _) if known.start == message => message.to_owned(),
            (Some(known), _) => format!("{}{message}", known.start),
            // An empty text is no error to a client of Go.
            (None, Code::Application) if is_plain && !message.is_empty() => message.to_owned(),
            (None, Code::Application) if is_type_name(kind) => format!("{kind}: {message}"),
            (None, _) if is_plain => format!("{OURS}{}: {message}", code.as_str()),
            (None, _) => format!("{OURS}{}.{kind}: {message}", code.as_str()),
        };
        cut(text)
    }

    /// Returns the fault of a text.
    pub(super) fn fault(&self, text: &str) -> Fault {
        for known in &self.0 {
            if let Some(rest) = text.strip_prefix(known.start.as_str()) {
                let message = if known.is_written && !rest.is_empty() { rest } else { text };
                return Fault::new(known.code, message).with_kind(&*known.kind);
            }
        }
        if let Some((code, kind, message)) = parse_ours(text) {
            return Fault::new(code, message).with_kind(kind);
        }
        match text.split_once(": ") {
            Some((kind, message)) if is_type_name(kind) => {
                Fault::new(Code::Application, message).with_kind(kind)
            }
            _ => Fault::new(Code::Application, text),
        }
    }
}

/// Reads the text of a fault with a code: its code, its kind and its message.
fn parse_ours(text: &str) -> Option<(Code, &str, &str)> {
    let (head, message) = text.strip_prefix(OURS)?.split_once(": ")?;
    let (name, kind) = head.split_once('.').unwrap_or((head, head));
    // Not `Code::from_name`: a text with an unknown code is not one of ours.
    let code = Code::ALL.into_iter().find(|code| code.as_str() == name)?;
    Some((code, kind, message))
}

/// Returns whether a text is like the name of a type, such as `ValueError` or `BankError.Closed`.
fn is_type_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
}

/// Cuts a text at the end of a character.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(table: &ErrorTexts, fault: &Fault) -> Fault {
        table.fault(&table.text(fault, "Peer.Add"))
    }

    #[test]
    fn each_code_survives_both_ways() {
        let table = ErrorTexts::standard();
        for code in Code::ALL {
            for kind in [code.as_str(), "OutOfStock", "BankError.Closed", "two words"] {
                for message in ["only 3 left", "", "a: b"] {
                    let fault = Fault::new(code, message).with_kind(kind);
                    let read = through(&table, &fault);
                    let expected = match (code, kind, message) {
                        // The text of an unknown method has a rest.
                        (Code::MethodNotFound, "MethodNotFound", "") => "unknown function ",
                        _ => message,
                    };
                    assert_eq!((read.code, &*read.kind, &*read.message), (code, kind, expected));
                }
            }
        }
    }

    #[test]
    fn error_without_a_text_is_no_success_for_a_client_of_go() {
        let text = ErrorTexts::standard().text(&Fault::new(Code::Application, ""), "Peer.Add");
        assert_eq!(text, "Application: ");
    }

    #[test]
    fn texts_of_peers_have_codes() {
        let table = ErrorTexts::standard();
        for (text, code, kind, message) in [
            ("('boom', 42)", Code::Application, "Application", "('boom', 42)"),
            ("boom 42", Code::Application, "Application", "boom 42"),
            ("", Code::Application, "Application", ""),
            ("open x: no such file", Code::Application, "Application", "open x: no such file"),
            ("ValueError: boom", Code::Application, "ValueError", "boom"),
            ("polywire.org: down", Code::Application, "Application", "polywire.org: down"),
            ("unknown function Peer.X", Code::MethodNotFound, "MethodNotFound", "Peer.X"),
            (
                "rpc: can't find method Peer.X",
                Code::MethodNotFound,
                "MethodNotFound",
                "rpc: can't find method Peer.X",
            ),
            (
                "unexpected end of JSON input",
                Code::InvalidArguments,
                "InvalidArguments",
                "unexpected end of JSON input",
            ),
        ] {
            let fault = table.fault(text);
            assert_eq!((fault.code, &*fault.kind, &*fault.message), (code, kind, message));
        }
    }

    #[test]
    fn unknown_method_is_named_as_on_the_wire() {
        let table = ErrorTexts::standard();
        let missing = Fault::new(Code::MethodNotFound, "the service has no method Add");
        assert_eq!(table.text(&missing, "Peer.Add"), "unknown function Peer.Add");
        let other = Fault::new(Code::MethodNotFound, "billing has none");
        assert_eq!(table.text(&other, "Peer.Add"), "unknown function billing has none");
    }

    #[test]
    fn later_text_wins() {
        let mut table = ErrorTexts::standard();
        let fault = Fault::new(Code::Application, "only 3 left").with_kind("OutOfStock");
        assert_eq!(table.text(&fault, ""), "OutOfStock: only 3 left");
        table.add("out of stock: ", Code::Application, "OutOfStock");
        assert_eq!(table.text(&fault, ""), "out of stock: only 3 left");
        assert_eq!(through(&table, &fault), fault);
        table.add("out of ", Code::Denied, "Missing");
        assert_eq!(table.fault("out of stock: only 3 left").kind, "Missing");
        // A whole text.
        table.add("sold out", Code::Unavailable, "SoldOut");
        let whole = Fault::new(Code::Unavailable, "sold out").with_kind("SoldOut");
        assert_eq!(table.text(&whole, ""), "sold out");
        assert_eq!(through(&table, &whole), whole);
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let fault = Fault::new(Code::Application, "é".repeat(TEXT_MAX));
        let text = ErrorTexts::standard().text(&fault, "");
        assert_eq!(text.len(), TEXT_MAX);
        let fault = Fault::new(Code::Application, format!("x{}", fault.message));
        assert_eq!(ErrorTexts::standard().text(&fault, "").len(), TEXT_MAX - 1);
    }
}
