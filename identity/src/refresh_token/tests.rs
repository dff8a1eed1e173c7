use proptest::prelude::*;

use super::*;

#[test]
fn a_token_shows_no_secret() {
    let token = RefreshToken::first(Uuid::now_v7());
    let next = token.next();
    let secrets = [token.shared, token.own, next.own].map(|secret| URL_SAFE_NO_PAD.encode(secret));
    let stored = serde_json::to_string(&[token.family(), token.own(), next.own()]).unwrap();
    let text = token.to_text();
    for shown in [stored, format!("{:?}", token.own()), format!("{token:?}")] {
        assert!(secrets.iter().all(|secret| !shown.contains(secret)) && !shown.contains(&*text), "{shown}");
    }
    assert_eq!(format!("{token:?}"), format!("RefreshToken {{ session: {}, .. }}", token.session()));
}

#[test]
fn a_token_is_its_text() {
    let token = RefreshToken::first(Uuid::now_v7());
    let text = token.to_text();
    assert_eq!(text.len(), 107);
    let read = RefreshToken::parse(&text).unwrap();
    assert_eq!((read.session(), read.family(), read.own()), (token.session(), token.family(), token.own()));
    for text in ["", "x", &text[1..], &text[..106], &format!("{}A", *text), &format!("{}AAAA", *text), "ü"] {
        assert_eq!(RefreshToken::parse(text).map(|_| ()), Err(Malformed), "{text}");
    }
}

#[test]
fn tokens_differ_and_those_of_a_session_have_one_family() {
    let session = Uuid::now_v7();
    let (token, other) = (RefreshToken::first(session), RefreshToken::first(session));
    assert_ne!(token.family(), other.family());
    assert_ne!(token.next().own(), token.next().own());
    assert_eq!(token.next().family(), token.family());
    // A secret is worth nothing in another session.
    let moved = RefreshToken { session: Uuid::now_v7(), ..token.clone() };
    assert_ne!((moved.family(), moved.own()), (token.family(), token.own()));
}

proptest! {
    #[test]
    fn any_text_is_a_token_or_none(text in "[A-Za-z0-9_=+/-]{100,112}") {
        if let Ok(token) = RefreshToken::parse(&text) {
            prop_assert_eq!(&*token.to_text(), &text);
        }
    }
}
