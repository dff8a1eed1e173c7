use proptest::prelude::*;

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;

fn started() -> (Session, RefreshToken) {
    let token = RefreshToken::first(Uuid::now_v7());
    (Session::start(&token, Timestamp(0)), token)
}

fn rotate(session: &Session, token: &RefreshToken, now: i64) -> Outcome {
    session.rotate(&token.renew().0, &Limits::default(), Timestamp(now))
}

/// The session and its token after one use of `token`.
fn rotated(session: &Session, token: &RefreshToken, now: i64) -> (Session, RefreshToken) {
    let (renewal, next) = token.renew();
    match session.rotate(&renewal, &Limits::default(), Timestamp(now)) {
        Outcome::Rotated(session) => (session, next),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_is_good_once_and_the_next_one_follows() {
    let (mut session, mut token) = started();
    for hour in 1..50 {
        let now = hour * 60 * 60 * 1000;
        (session, token) = rotated(&session, &token, now);
        assert_eq!((session.rotated_at(), session.started_at()), (Timestamp(now), Timestamp(0)));
    }
    assert_eq!(session.rotations, 49);
}

#[test]
fn an_older_token_ends_the_session_for_everyone() {
    let (session, first) = started();
    let (session, second) = rotated(&session, &first, 1);
    let (session, third) = rotated(&session, &second, 2);
    for older in [&first, &second] {
        let Outcome::Reused(ended) = rotate(&session, older, 3) else { panic!("it is an older one") };
        for token in [&first, &second, &third] {
            assert_eq!(rotate(&ended, token, 4), Outcome::Refused(Refusal::Ended(End::Reused)));
        }
        assert_eq!(ended.revoked(), ended, "the first reason stays");
    }
}

#[test]
fn there_is_no_grace_for_the_last_token() {
    let (session, first) = started();
    let (session, _) = rotated(&session, &first, 1);
    assert!(matches!(rotate(&session, &first, 1), Outcome::Reused(_)));
}

#[test]
fn a_made_up_token_ends_nothing() {
    let (session, token) = started();
    // Who has seen an access token knows the session's id, and nothing else.
    let made_up = RefreshToken::first(session.id());
    assert_eq!(rotate(&session, &made_up, 1), Outcome::Refused(Refusal::Unknown));
    let other = RefreshToken { session: Uuid::now_v7(), ..token.clone() };
    assert_eq!(rotate(&session, &other, 1), Outcome::Refused(Refusal::Unknown));
    // Not even what became of the session.
    assert_eq!(rotate(&session.revoked(), &made_up, 1), Outcome::Refused(Refusal::Unknown));
    assert_eq!(rotate(&session, &made_up, 365 * DAY), Outcome::Refused(Refusal::Unknown));
    assert!(matches!(rotate(&session, &token, 1), Outcome::Rotated(_)));
}

#[test]
fn a_session_that_is_not_used_expires() {
    let (session, token) = started();
    let at = Timestamp(14 * DAY);
    assert!(matches!(rotate(&session, &token, at.0 - 1), Outcome::Rotated(_)));
    assert_eq!(rotate(&session, &token, at.0), Outcome::Refused(Refusal::Idle { at }));
    let (session, token) = rotated(&session, &token, 10 * DAY);
    assert!(matches!(rotate(&session, &token, 24 * DAY - 1), Outcome::Rotated(_)));
    assert_eq!(
        rotate(&session, &token, 24 * DAY),
        Outcome::Refused(Refusal::Idle { at: Timestamp(24 * DAY) })
    );
}

#[test]
fn a_session_that_is_used_expires_too() {
    let (mut session, mut token) = started();
    for day in 1..90 {
        (session, token) = rotated(&session, &token, day * DAY);
    }
    let at = Timestamp(90 * DAY);
    assert!(matches!(rotate(&session, &token, at.0 - 1), Outcome::Rotated(_)));
    assert_eq!(rotate(&session, &token, at.0), Outcome::Refused(Refusal::Absolute { at }));
}

#[test]
fn a_revoked_session_is_over() {
    let (session, token) = started();
    assert_eq!(rotate(&session.revoked(), &token, 1), Outcome::Refused(Refusal::Ended(End::Revoked)));
}

#[test]
fn a_clock_that_goes_back_shortens_nothing() {
    let (session, token) = started();
    let (session, token) = rotated(&session, &token, 10 * DAY);
    let (session, _) = rotated(&session, &token, 9 * DAY);
    assert_eq!(session.rotated_at(), Timestamp(10 * DAY));
}

#[test]
fn what_is_stored_and_shown_holds_no_secret() {
    let (session, token) = started();
    let stored = serde_json::to_string(&session).unwrap();
    assert_eq!(serde_json::from_str::<Session>(&stored).unwrap(), session);
    let (renewal, next) = token.renew();
    let sent = serde_json::to_string(&renewal).unwrap();
    assert_eq!(serde_json::from_str::<Renewal>(&sent).unwrap(), renewal);
    let secrets = [token.shared, token.own, next.own].map(|secret| URL_SAFE_NO_PAD.encode(secret));
    let text = token.to_text();
    for shown in [stored, sent, format!("{session:?} {renewal:?}"), format!("{token:?}")] {
        assert!(secrets.iter().all(|secret| !shown.contains(secret)) && !shown.contains(&*text), "{shown}");
    }
    assert_eq!(format!("{token:?}"), format!("RefreshToken {{ session: {}, .. }}", token.session()));
}

#[test]
fn a_token_is_its_text() {
    let (session, token) = started();
    let text = token.to_text();
    assert_eq!(text.len(), 107);
    let read = RefreshToken::parse(&text).unwrap();
    assert!(matches!(rotate(&session, &read, 1), Outcome::Rotated(_)));
    for text in ["", "x", &text[1..], &text[..106], &format!("{}A", *text), &format!("{}AAAA", *text), "ü"] {
        assert_eq!(RefreshToken::parse(text).map(|_| ()), Err(Malformed), "{text}");
    }
}

#[test]
fn tokens_differ() {
    let (_, token) = started();
    assert_ne!(token.renew().1.own, token.renew().1.own);
    assert_ne!(started().1.shared, started().1.shared);
}

/// What someone does with the tokens that a session has had: use the newest, or the one with this index.
#[derive(Debug, Clone)]
enum Use {
    Newest,
    Any(prop::sample::Index),
}

proptest! {
    /// Whatever is presented in whatever order: only the newest token is good, any other one ends the session, and after
    /// its end nothing is good.
    #[test]
    fn one_token_at_a_time(uses in prop::collection::vec(
        prop_oneof![4 => Just(Use::Newest), 1 => any::<prop::sample::Index>().prop_map(Use::Any)], 1..30))
    {
        let (mut session, first) = started();
        let mut tokens = vec![first];
        for (now, used) in uses.iter().enumerate() {
            let index = match used {
                Use::Newest => tokens.len() - 1,
                Use::Any(index) => index.index(tokens.len()),
            };
            let (renewal, next) = tokens[index].renew();
            let ended = session.over(&Limits::default(), Timestamp(0)).is_some();
            match session.rotate(&renewal, &Limits::default(), Timestamp(now as i64)) {
                Outcome::Rotated(rotated) => {
                    prop_assert!(!ended && index == tokens.len() - 1);
                    session = rotated;
                    tokens.push(next);
                }
                Outcome::Reused(after) => {
                    prop_assert!(!ended && index < tokens.len() - 1);
                    session = after;
                }
                Outcome::Refused(refusal) => prop_assert!(ended, "{refusal}"),
            }
        }
    }

    #[test]
    fn any_text_is_a_token_or_none(text in "[A-Za-z0-9_=+/-]{100,112}") {
        if let Ok(token) = RefreshToken::parse(&text) {
            prop_assert_eq!(&*token.to_text(), &text);
        }
    }
}
