//! Clocks that agree, differ, drift and fall silent.

use super::*;

const SECOND: i128 = 1_000;
const HOUR: i128 = 60 * 60 * SECOND;
const TIMEOUT: Duration = Duration::from_secs(4);
/// The system time of the server when its own clock is at zero.
const START: i128 = 1_700_000_000_000;

/// A client whose clock is ahead of that of the server by so many milliseconds.
#[derive(Clone, Copy)]
struct Sender<'t> {
    times: &'t WaitingTimes,
    clock: u64,
    ahead: i128,
}

impl<'t> Sender<'t> {
    /// A client on another machine.
    fn new(times: &'t WaitingTimes, ahead: i128) -> Self {
        Self { times, clock: SentAt::now().clock ^ 1 << 40, ahead }
    }

    /// A client on this machine.
    fn beside(times: &'t WaitingTimes) -> Self {
        Self { times, clock: SentAt::now().clock, ahead: 0 }
    }

    /// Returns the estimate for a request that arrives `at` this time on the clock of the server,
    /// after `waiting`.
    fn request(self, at: i128, waiting: i128) -> i128 {
        self.request_after_jump(at, waiting, 0)
    }

    /// Returns the estimate for a request that was sent before the system time of the server was
    /// set forward by `jump`.
    fn request_after_jump(self, at: i128, waiting: i128, jump: i128) -> i128 {
        let sent = START + at - waiting + self.ahead;
        let sent = SentAt { clock: self.clock, ms: sent.try_into().unwrap() };
        let now = Arrival { even: at, system: START + at + jump };
        self.times.waited(sent, now, || Some(TIMEOUT)).as_millis().try_into().unwrap()
    }
}

/// An estimator that begins at zero on the clock of the server.
fn begin() -> WaitingTimes {
    WaitingTimes::since(Arrival { even: 0, system: START })
}

#[test]
fn waiting_time_is_exact_to_the_shortest_transit_time_with_any_clocks() {
    for ahead in [0, 100, -100, 1_000, -1_000, 3_900, -3_900, HOUR, -HOUR, 400_000 * HOUR] {
        let times = begin();
        let sender = Sender::new(&times, ahead);
        assert_eq!(sender.request(0, 2), 0, "{ahead}");
        for waiting in [1, 2, 40, 500, 3_000, 3_990, 5_000, 2] {
            let waited = sender.request(60 * SECOND, waiting);
            assert!((waited - waiting).abs() <= 32, "{ahead}: {waited} instead of {waiting}");
        }
    }
}

#[test]
fn requests_of_this_machine_that_waited_without_a_server_are_recognized() {
    for begun in [SECOND, HOUR] {
        let times = begin();
        for waiting in [3_000, 2_900, 2_500, 1] {
            assert_eq!(Sender::beside(&times).request(begun, waiting), waiting);
        }
    }
}

#[test]
fn system_times_of_other_machines_take_no_time_off() {
    for ahead in [0, 500, -90, -500, -3_900, -3_999, -5_000, HOUR, -HOUR] {
        let times = begin();
        for at in 1..40 {
            let waited = Sender::new(&times, ahead).request(at * SECOND, 2);
            assert!(waited <= 2, "{ahead}: {waited}");
        }
    }
}

#[test]
fn jump_of_our_own_system_time_takes_no_time_off() {
    for jump in [500, 3_900, HOUR, -500, -HOUR] {
        let times = begin();
        let sender = Sender::beside(&times);
        for waiting in [20, 2, 500, 2] {
            let waited = sender.request_after_jump(SECOND, waiting, jump);
            assert!(waited <= waiting, "{jump}: {waited} instead of {waiting}");
        }
        // Other clients send their requests by the new time.
        let later = Sender { ahead: jump, clock: sender.clock ^ 1, ..sender };
        assert_eq!(later.request_after_jump(9 * SECOND, 3_000, jump), 3_000, "{jump}");
    }
}

#[test]
fn machine_that_is_a_copy_of_this_one_has_a_clock_of_its_own() {
    let times = begin();
    let copied = Sender { ahead: -HOUR, ..Sender::beside(&times) };
    assert_eq!(copied.request(SECOND, 2), 0);
    assert_eq!(copied.request(2 * SECOND, 3_000), 2_998);
}

#[test]
fn clocks_that_drift_or_fall_silent_are_measured_anew() {
    for parts_per_million in [-200, -20, 20, 200] {
        let times = begin();
        let request =
            |at: i128| Sender::new(&times, at * parts_per_million / 1_000_000).request(at, 1);
        assert!((0..2_000).all(|tick| request(tick * 10 * SECOND) <= 3), "{parts_per_million}");
        for pause in [HOUR, 8 * HOUR] {
            assert!(request(20_000 * SECOND + pause) <= 3, "{parts_per_million}");
        }
    }
}

#[test]
fn backlog_that_lasts_is_not_taken_for_the_difference_of_the_clocks() {
    let times = begin();
    let sender = Sender::new(&times, -HOUR);
    sender.request(0, 1);
    for second in 1..10 * 60 {
        let waited = sender.request(second * SECOND, 3_000);
        assert!((2_690..=3_000).contains(&waited), "after {second} s: {waited}");
    }
}

#[test]
fn clocks_are_bounded_and_silent_ones_make_room() {
    let times = begin();
    let sender = |clock| Sender { clock, ..Sender::new(&times, HOUR) };
    for clock in 0..CLOCKS_MAX as u64 {
        sender(clock).request(10 * SECOND, 1);
    }
    let len = || times.clocks.lock().unwrap().by_number.len();
    assert_eq!(len(), CLOCKS_MAX);
    sender(1).request(20 * SECOND, 1);
    sender(5_000).request(20 * SECOND, 1);
    assert_eq!((len(), sender(5_000).request(20 * SECOND, 3_000)), (CLOCKS_MAX, 2_999));
    assert_eq!(sender(1).request(20 * SECOND, 3_000), 2_999, "it was heard of lately");
    assert_eq!(sender(5_001).request(20 * SECOND, 3_000), 0, "one a second");
    sender(5_001).request(20 * SECOND + 2 * HOUR, 1);
    assert_eq!(len(), 1);
}

#[test]
fn deadline_of_a_request_becomes_earlier_and_never_later() {
    let times = WaitingTimes::new();
    let stamp = |ms: u64| SentAt { ms: SentAt::now().ms - ms, ..SentAt::now() };
    let left = |waited, keep_expired| {
        let mut message = Message::default().with_deadline(Deadline::after(TIMEOUT));
        message.keep_expired = keep_expired;
        times.shorten(&mut message, Some(stamp(waited)));
        message.deadline.unwrap().remaining_ms()
    };
    assert!((3_000..=4_000).contains(&left(0, false)));
    assert!((1..=1_000).contains(&left(3_000, false)));
    assert!((3_000..=4_000).contains(&left(0, false)));
    assert_eq!(left(60_000, true), 0);
    let mut endless = Message::default();
    times.shorten(&mut endless, Some(stamp(5)));
    assert_eq!(endless.deadline, None);
}
