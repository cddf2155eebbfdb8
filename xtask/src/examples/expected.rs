//! The lines that each example prints.
//!
//! A line without a `*` has to be equal to the line of the output, with its indentation. Lines of
//! standard error do not count.

/// An example with the lines that must be in its output, in this order. A `*` stands for any text.
pub(crate) struct Example {
    /// The name of the example.
    pub(crate) name: &'static str,
    /// The lines in the order of the output. Lines of other transports are skipped.
    lines: &'static [Line],
}

/// An expected line, and the transport on which alone it is printed.
///
/// With `None`, each transport prints the line.
pub(crate) struct Line(Option<On>, &'static str);

/// The transport of a run, which decides on the expected lines.
///
/// The arguments of the example decide on the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Memory,
    Amqp,
    Zmq,
}

impl Example {
    /// Returns the lines on a transport.
    pub(crate) fn lines_on(&self, on: On) -> impl Iterator<Item = &'static str> {
        let lines = self.lines.iter().filter(move |Line(only, _)| only.is_none_or(|it| it == on));
        lines.map(|Line(_, text)| *text)
    }
}

/// Returns true if a line is as expected. A `*` in `expected` stands for any text.
///
/// Any number of `*` may occur, and each may stand for nothing. All splits of the line are tried,
/// so the time grows with each `*`.
pub(crate) fn matches(line: &str, expected: &str) -> bool {
    let Some((start, rest)) = expected.split_once('*') else { return line == expected };
    let Some(line) = line.strip_prefix(start) else { return false };
    let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
    ends.into_iter().any(|at| matches(&line[at..], rest))
}

/// Creates a line that is printed on each transport.
const fn all(text: &'static str) -> Line {
    Line(None, text)
}

/// Examples that run over memory, or choose a transport themselves.
pub(crate) const MEMORY_ONLY: [Example; 7] = [
    Example {
        name: "quickstart",
        lines: &[
            all("2 + 3 = 5"),
            all("1 / 8 = 0.125"),
            all("1 / 0 = DivisionByZero: *"),
            all("client 0 *: 500500"),
            all("client 1 *: 500500"),
            all("client 2 *: 500500"),
            all("drained: 3003 *"),
        ],
    },
    Example { name: "cbor", lines: &[all("2 + 3 = 5, in CBOR"), all("*application/cbor)")] },
    Example {
        name: "layers",
        lines: &[
            all("ada gets a pear"),
            all("moon: OutOfStock: *"),
            all("ponder: *deadline*"),
            all("ada gets a quince, at the third attempt"),
            all("fig: *circuit is open: true"),
            all("ada gets a fig, later"),
            all("*: Unauthenticated: *"),
            all("ponder, by tower's timeout: *deadline*"),
        ],
    },
    Example {
        name: "prometheus",
        lines: &[all("polywire_server_answered_total{service=\"calculator\"} 20")],
    },
    Example { name: "testing", lines: &[all("two hats: 500"), all("*: Application: sold out")] },
    Example {
        name: "types",
        lines: &[
            all("application/json: 152 bytes*: true"),
            all("application/msgpack: 106 bytes*: true"),
        ],
    },
    Example {
        name: "validation",
        lines: &[
            all("Bill { cents: 750 }"),
            all("order: InvalidArguments: *greater than 99"),
            all("order: Internal: *greater than 10000"),
        ],
    },
];

/// Examples that run over each transport, unchanged.
pub(crate) const EVERYWHERE: [Example; 10] = [
    Example {
        name: "bank",
        lines: &[
            all("ada has 10"),
            all("ada is 5 short"),
            all("there is no account bob"),
            all("ada has 6"),
            all("ada's account: [-4, 10]"),
            all("BankError.Insufficient: 1 *"),
        ],
    },
    Example { name: "cancel", lines: &[all("the search is dropped"), all("the handler ended *")] },
    Example {
        name: "context",
        lines: &[
            all("shop.order → bank.pay → vault.open *Some(\"ada & sons\")"),
            all("4.*s are left of five seconds"),
            all("one trace: true"),
        ],
    },
    Example {
        name: "gather",
        lines: &[
            all("ending: gone"),
            all("north: 700 cents"),
            all("south: 500 cents"),
            all("west: Application: sold out"),
            all("ended as Deadline, without slow"),
        ],
    },
    Example {
        name: "decline",
        lines: &[
            all("cats.avi * rendered by the server for avi"),
            all("dogs.mov * rendered by the server for mov"),
            all("bees.avi * rendered by the server for avi"),
            all("* ants.gif: Some(Declined: Declined: only *"),
        ],
    },
    Example {
        name: "early_reply",
        lines: &[
            all("order 7"),
            all("order 8"),
            all("2 dishes are being cooked"),
            all("soup is served"),
            all("2 callers were answered early"),
        ],
    },
    Example {
        name: "faults",
        lines: &[
            all("1 page"),
            all("2 are missing"),
            all("printer/print_file: PrintError.Unreadable: *"),
            all("printer/count: NoNumber: *"),
            all("printer/count: Panic: *"),
            all("4 after all that"),
        ],
    },
    Example {
        name: "router",
        lines: &[
            all("*Some(\"about\")"),
            all("open: true"),
            all("2 hats for ada"),
            all("OutOfStock: only 1 left"),
            all("2 events were *"),
        ],
    },
    Example {
        name: "thumbnails",
        lines: &[
            Line(Some(On::Memory), "attempt 2: owl.jpg becomes 128 pixels wide"),
            Line(Some(On::Amqp), "attempt 2: owl.jpg becomes 128 pixels wide"),
            Line(Some(On::Memory), "WorkStats * done: 3, retried: 1,*"),
            Line(Some(On::Amqp), "WorkStats * done: 3, retried: 1,*"),
            // ZeroMQ cannot requeue a job.
            Line(Some(On::Zmq), "WorkStats * done: 3, retried: 0,*"),
        ],
    },
    Example {
        name: "weather",
        lines: &[
            all("paris.temperature: 21.5"),
            all("lyon.wind: 7"),
            all("lyon.temperature: *"),
            all("the latest of paris.temperature is 24.5, 3 older *"),
        ],
    },
];

/// Retries and dead letters.
pub(crate) const RETRIES: Example = Example {
    name: "retries",
    lines: &[
        all("bank is dead, exhausted after 3 attempts"),
        all("  first: Application: attempt 1: *"),
        all("  last:  Application: attempt 3: *"),
        all("1 *"),
        all("WorkStats * done: 2, retried: 2, discarded: 0, dead_lettered: 1,*"),
    ],
};

/// JSON-RPC 2.0 over RabbitMQ.
pub(crate) const JSON_RPC: Example = Example {
    name: "json_rpc",
    lines: &[
        all("{\"jsonrpc\":\"2.0\",\"method\":\"add\",\"params\":[2,3],\"id\":7}"),
        all("{\"jsonrpc\":\"2.0\",\"result\":5,\"id\":7}"),
        all("2 + 3 = 5"),
        all("the server is abacus"),
        all("1 / 0: DivisionByZero: cannot divide by zero"),
        all("4 + 5 = 9"),
        all("subtract: MethodNotFound: *"),
        all("an unknown service is unroutable: true"),
        all("drained: 5 calls were answered"),
    ],
};

/// The books of the shop, which agree. Every order was placed twice, and nothing charged twice.
pub(crate) const LOAD: Example = Example {
    name: "load",
    lines: &[
        all("placed: 200, 200 repeated"),
        all("reserved: 200, 200 repeated"),
        all("charged: 200, 200 repeated"),
        all("invoiced: 200, *"),
        all("mailed: 200, *"),
        all("on the dashboard: 200, *"),
        all("nothing was charged twice: 647801 cents"),
    ],
};

/// The whole shop in one process.
pub(crate) const SHOP: Example = Example {
    name: "shop",
    lines: &[
        all("placed: 200, 200 repeated"),
        all("charged: 200, 200 repeated"),
        all("invoiced: 200, *"),
        all("mailed: 200, *"),
        all("nothing was charged twice: 647801 cents"),
        all("inventory: drained"),
        all("dashboard: drained"),
    ],
};

/// All transports in one process.
pub(crate) const TRANSPORTS: Example = Example {
    name: "transports",
    lines: &[all("mem: the same *"), all("zmq+tcp: the same *"), all("amqp: the same *")],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_any_text() {
        assert!(matches("a line", "a line"));
        assert!(matches("4.99 s → left", "4.*→*"));
        assert!(matches("a", "*a*"));
        assert!(!matches("a line", "a"));
        assert!(!matches("5.00 s left", "4.* left"));
    }
}
