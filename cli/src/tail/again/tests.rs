use super::*;
use crate::tail::message::Fault;

/// Tries after something was followed, or before.
fn tries(followed: bool) -> Tries {
    let mut tries = Tries::default();
    if followed {
        tries.follows();
    }
    tries
}

fn next(tries: &mut Tries, end: End, renewed: bool, share: f64) -> Result<Again, Error> {
    let target = Target::parse("https://shop.example/writ").unwrap();
    let wanted = Wanted {
        name: "order".into(),
        is_projection: false,
        id: None,
        filters: Default::default(),
        fields: None,
    };
    let credentials = Credentials::Development(".writ/data/api-key".into());
    let about = About { target: &target, wanted: &wanted, credentials: &credentials, renewed };
    tries.next(end, about, share)
}

fn problem(status: u16, slug: &str, pointer: Option<&str>) -> Problem {
    let fault = |pointer: &str| Fault { pointer: pointer.to_owned(), detail: "It isn't.".to_owned() };
    Problem {
        kind: format!("urn:writ:problem:{slug}"),
        status,
        detail: "Not so.".to_owned(),
        errors: pointer.map(fault).into_iter().collect(),
    }
}

fn closed(code: u16) -> End {
    End::Closed { code, reason: "why".to_owned() }
}

fn refused(status: u16) -> End {
    End::Refused { status, problem: None, retry_after: Some(Duration::from_secs(7)) }
}

fn gone() -> End {
    End::Unreachable(io::Error::from(io::ErrorKind::ConnectionRefused))
}

/// `3.5 s, why`, or the error with what to do.
fn verdict(followed: bool, end: End) -> String {
    match next(&mut tries(followed), end, false, 1.0) {
        Ok(again) => format!("{:.1} s: {}", again.after.as_secs_f64(), again.why),
        Err(error) => {
            let help = miette::Diagnostic::help(&error).map(|help| help.to_string());
            format!("{error}\n    {}", help.unwrap_or_default())
        }
    }
}

/// What may pass by itself, and isn't waited for before anything was followed.
fn passing() -> Vec<End> {
    let mut ends = vec![
        gone(),
        End::Broken("reset by peer".into()),
        End::Problem(problem(503, "live-unavailable", None)),
        End::Problem(problem(429, "rate-limited", None)),
    ];
    ends.extend([1001, 1005, 1006, 1008, 1011, 1012, 1013, 4408, 4429].map(closed));
    ends.extend([408, 429, 500, 502, 503, 504].map(refused));
    ends
}

/// What trying again doesn't mend.
fn lasting() -> Vec<End> {
    let mut ends = vec![
        End::Foreign("it is no WebSocket".into()),
        End::Fatal(Error::Output { source: io::Error::other("full") }),
        End::Problem(problem(404, "unknown-model", None)),
        End::Problem(problem(400, "invalid-query", Some("/totl"))),
        End::Problem(problem(400, "invalid-query", Some("/from"))),
        End::Problem(problem(401, "unauthenticated", None)),
        End::Problem(problem(403, "forbidden", None)),
    ];
    ends.extend([1002, 1003, 1007, 1009, 4401, 4403].map(closed));
    ends.extend([301, 400, 401, 403, 404, 421].map(refused));
    ends
}

#[test]
fn before_anything_was_followed_only_the_servers_own_word_lets_us_try_again() {
    for end in passing().into_iter().chain(lasting()) {
        let shown = format!("{end:?}");
        assert!(next(&mut tries(false), end, true, 0.5).is_err(), "{shown}");
    }
    assert!(next(&mut tries(false), End::Reconnect(Duration::from_secs(1)), false, 0.5).is_ok());
}

#[test]
fn later_what_may_pass_is_tried_again_and_what_does_not_is_an_error() {
    for end in passing() {
        let shown = format!("{end:?}");
        assert!(next(&mut tries(true), end, false, 0.5).is_ok(), "{shown}");
    }
    for end in lasting() {
        let shown = format!("{end:?}");
        assert!(next(&mut tries(true), end, false, 0.5).is_err(), "{shown}");
    }
}

#[test]
fn every_end_says_why_and_what_to_do() {
    let firsts = passing().into_iter().chain(lasting()).map(|end| verdict(false, end));
    insta::assert_snapshot!("first", firsts.collect::<Vec<_>>().join("\n"));
    let more = [End::Lagged, End::Permissions, End::Reconnect(Duration::from_millis(1234))];
    let laters = passing().into_iter().chain(more).map(|end| verdict(true, end));
    insta::assert_snapshot!("later", laters.collect::<Vec<_>>().join("\n"));
}

#[test]
fn another_token_is_tried_at_once() {
    for end in [closed(4401), refused(401)] {
        let again = next(&mut tries(true), end, true, 0.5).unwrap();
        assert_eq!(again.after, Duration::ZERO);
    }
}

#[test]
fn tries_become_rarer_until_something_is_followed() {
    let mut tries = tries(true);
    let waits = |tries: &mut Tries, share: f64| -> Vec<u64> {
        let after = |_| next(tries, gone(), false, share).unwrap().after.as_millis();
        (0..9).map(after).map(|millis| u64::try_from(millis).unwrap()).collect()
    };
    assert_eq!(waits(&mut tries, 1.0), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    tries.follows();
    // Never less than half of it: a server that comes back isn't met by all at once.
    assert_eq!(waits(&mut tries, 0.0), [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
}

#[test]
fn the_server_says_when_to_come_back() {
    let mut tries = tries(true);
    let soon = Duration::from_millis(40);
    assert_eq!(next(&mut tries, End::Reconnect(soon), false, 0.5).unwrap().after, soon);
    // It said so again before anything was followed: it may be one that can't stop saying it.
    assert!(next(&mut tries, End::Reconnect(soon), false, 0.5).unwrap().after > soon);
    tries.follows();
    assert_eq!(next(&mut tries, refused(503), false, 0.0).unwrap().after, Duration::from_secs(7));
    tries.follows();
    let for_ever = Duration::from_secs(1 << 40);
    assert_eq!(next(&mut tries, End::Reconnect(for_ever), false, 0.0).unwrap().after, PATIENCE);
}

#[test]
fn what_a_server_says_reaches_no_terminal_unread() {
    let evil = "\u{1b}[2J\u{202e}hush";
    for end in [
        End::Closed { code: 1002, reason: evil.to_owned() },
        End::Problem(Problem { detail: evil.to_owned(), ..problem(400, "invalid-query", None) }),
        End::Problem(problem(400, "invalid-query", Some(evil))),
        End::Foreign(evil.to_owned()),
    ] {
        let shown = verdict(true, end);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']) && shown.contains("hush"), "{shown:?}");
    }
}
