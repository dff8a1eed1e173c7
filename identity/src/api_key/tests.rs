use proptest::prelude::*;

use super::*;
use writ_model::access::Access;

fn id() -> Uuid {
    Uuid::from_u128(0x0192_f0c1_6d2e_7cc3_98c4_dc0c_0c07_398f)
}

fn scopes(texts: &[&str]) -> Permissions {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_key_signs_in_with_its_scopes() {
    let key = ApiKey::generate(id());
    let stored = StoredApiKey::new(&key, scopes(&["order.read", "order.ship"]), None);
    let presented = ApiKey::parse(&key.to_text()).unwrap();
    assert_eq!(presented.id(), stored.id());
    let scopes = stored.verify(&presented, Timestamp(0)).unwrap();
    assert!(scopes.allow("order", Access::Command("ship")));
    assert!(!scopes.allow("order", Access::Command("pay")));
    assert_eq!(scopes, stored.scopes());
}

#[test]
fn the_form_stays_as_it_is() {
    // Scanners look for it.
    let key = ApiKey { id: id(), secret: Zeroizing::new("0123456789abcdef".repeat(4)) };
    let text = key.to_text();
    let (body, checksum) = text.split_at(text.len() - 8);
    let secret = "0123456789abcdef".repeat(4);
    assert_eq!(body, format!("writ_0192f0c16d2e7cc398c4dc0c0c07398f_{secret}"));
    assert_eq!(checksum, "2d5552d3");
}

#[test]
fn another_secret_or_id_is_wrong() {
    let key = ApiKey::generate(id());
    let stored = StoredApiKey::new(&key, scopes(&["*"]), None);
    assert_eq!(stored.verify(&ApiKey::generate(id()), Timestamp(0)), Err(Refusal::Wrong));
    let other = ApiKey { id: Uuid::from_u128(1), ..key };
    assert_eq!(stored.verify(&other, Timestamp(0)), Err(Refusal::Wrong));
}

#[test]
fn a_key_expires() {
    let key = ApiKey::generate(id());
    let at = Timestamp(1000);
    let stored = StoredApiKey::new(&key, scopes(&["*"]), Some(at));
    assert!(stored.verify(&key, Timestamp(999)).is_ok());
    assert_eq!(stored.verify(&key, at), Err(Refusal::Expired { at }));
    // Only its holder learns that.
    assert_eq!(stored.verify(&ApiKey::generate(id()), at), Err(Refusal::Wrong));
}

#[test]
fn what_is_no_key_is_refused() {
    let text = ApiKey::generate(id()).to_text();
    let refused = |text: &str| ApiKey::parse(text).map(|_| ()).unwrap_err();
    for other in [
        "",
        "writ",
        "writ_",
        "writ_a",
        "Bearer x",
        &text[1..],
        &text.to_uppercase(),
        &text.replace("writ", "Writ"),
    ] {
        assert_eq!(refused(other), Error::Malformed, "{other}");
    }
    let cut = &text[..text.len() - 1];
    let swapped = text.replacen("_0192", "_0129", 1);
    for mistyped in [cut, &format!("{}0", *text), &swapped, "writ__", "writ_a_b"] {
        assert_eq!(refused(mistyped), Error::Checksum, "{mistyped}");
    }
}

#[test]
fn what_is_stored_and_shown_holds_no_secret() {
    let key = ApiKey::generate(id());
    let stored = StoredApiKey::new(&key, scopes(&["order.read"]), Some(Timestamp(0)));
    let json = serde_json::to_string(&stored).unwrap();
    assert_eq!(serde_json::from_str::<StoredApiKey>(&json).unwrap(), stored);
    assert!(json.contains(r#""scopes":["order.read"],"expires_at":"1970-01-01T00:00:00.000Z""#), "{json}");
    for shown in [json, format!("{stored:?}"), format!("{key:?}")] {
        assert!(!shown.contains(key.secret.as_str()), "{shown}");
    }
    assert_eq!(format!("{key:?}"), format!("ApiKey {{ id: {}, .. }}", id()));
}

#[test]
fn keys_differ() {
    assert_ne!(ApiKey::generate(id()).to_text(), ApiKey::generate(id()).to_text());
}

proptest! {
    #[test]
    fn any_text_is_a_key_or_none(text in "\\PC{0,40}|writ_[0-9a-f]{32}_[0-9a-f]{72}") {
        if let Ok(key) = ApiKey::parse(&text) {
            prop_assert_eq!(&*key.to_text(), &text);
        }
    }

    /// One mistyped character never makes another key.
    #[test]
    fn a_mistyped_key_is_refused(at in any::<prop::sample::Index>(), to in "[0-9a-z_]") {
        let text = ApiKey::generate(id()).to_text();
        let at = at.index(text.len());
        let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
        prop_assume!(changed != *text);
        prop_assert!(ApiKey::parse(&changed).is_err());
    }
}
