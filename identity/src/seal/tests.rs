use proptest::prelude::*;

use writ_model::secret::is_sealed;

use super::*;

const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn keys(text: &str) -> SealingKeys {
    SealingKeys::parse(text).unwrap()
}

fn place() -> Place<'static> {
    Place { model: "account", aggregate: Uuid::from_u128(7), field: "password_hash" }
}

#[test]
fn what_is_sealed_is_opened() {
    let keys = keys(NEW);
    for value in [&b""[..], b"x", &[0; 5000]] {
        let sealed = keys.seal(place(), value);
        assert_eq!(**keys.open(place(), &sealed).unwrap(), *value);
        assert!(is_sealed(&sealed) && !keys.needs_resealing(&sealed));
    }
}

#[test]
fn a_repeat_of_a_command_seals_alike() {
    let (keys, other) = (keys(NEW), Uuid::from_u128(2));
    let seal = |command, value: &[u8]| keys.seal_repeatably(place(), command, value);
    let first = seal(Uuid::nil(), b"hunter2");
    assert_eq!(seal(Uuid::nil(), b"hunter2"), first);
    assert_eq!(**keys.open(place(), &first).unwrap(), *b"hunter2");
    let elsewhere = Place { field: "pin", ..place() };
    for different in [
        seal(Uuid::nil(), b"hunter3"),
        seal(other, b"hunter2"),
        keys.seal_repeatably(elsewhere, Uuid::nil(), b"hunter2"),
    ] {
        let nonce = |text: &str| text.rsplit_once(':').unwrap().1[..16].to_owned();
        assert_ne!(nonce(&different), nonce(&first), "a nonce is for one value");
    }
}

#[test]
fn a_tag_is_of_its_purpose_its_data_and_the_ring() {
    let tag = keys(OLD).tag("a", b"x");
    let both = keys(&format!("{NEW} {OLD}"));
    assert!(both.is_tag("a", b"x", &tag), "an older key's is still good");
    for (ring, purpose, data) in [(&both, "b", &b"x"[..]), (&both, "a", b"y"), (&keys(NEW), "a", b"x")] {
        assert!(!ring.is_tag(purpose, data, &tag));
    }
    assert!(!both.is_tag("a", b"x", "") && !both.is_tag("a", b"x", &tag[1..]));
}

/// What lies in topics must open for ever: key, place and text are those of a value that an earlier build has sealed.
#[test]
fn a_value_that_was_sealed_earlier() {
    let sealed = "sealed:1:630dcd2966c43366:H3y_cSO9sdXgrNILfkJ686GJi28YUJ1RRX92JY-xZOF1HWc";
    assert_eq!(**keys(OLD).open(place(), sealed).unwrap(), *b"hunter2");
}

/// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew and Viega): the cipher is AES-256-GCM with its nonce
/// before and its tag behind, as every other implementation of it has them.
#[test]
fn aes_256_gcm_test_case_16() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let keys = keys(&STANDARD.encode(key));
    let nonce: [u8; 12] = hex("cafebabefacedbaddecaf888").try_into().unwrap();
    let plain = hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
                     b16aedf5aa0de657ba637b39",
    );
    let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let sealed =
        keys.keys[0].cipher.encrypt(&Nonce::from(nonce), Payload { msg: &plain, aad: &aad }).unwrap();
    let expected = hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
                        c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
    );
    assert_eq!(sealed, expected);
}

#[test]
fn the_newest_key_seals_and_all_open() {
    let sealed = keys(OLD).seal(place(), b"hunter2");
    let ring = keys(&format!("{NEW}\n{OLD}\n"));
    assert_eq!(**ring.open(place(), &sealed).unwrap(), *b"hunter2");
    assert!(ring.needs_resealing(&sealed));
    let anew = ring.seal(place(), b"hunter2");
    assert!(!ring.needs_resealing(&anew));
    assert!(keys(NEW).open(place(), &anew).is_ok());
    let id = keys(OLD).ids().next().unwrap().to_owned();
    assert_eq!(keys(NEW).open(place(), &sealed).unwrap_err(), Error::UnknownKey { id });
}

#[test]
fn a_value_opens_nowhere_else() {
    let keys = keys(NEW);
    let sealed = keys.seal(place(), b"hunter2");
    for elsewhere in [
        Place { model: "admin", ..place() },
        Place { aggregate: Uuid::from_u128(8), ..place() },
        Place { field: "totp_secret", ..place() },
        Place { model: "accountp", field: "assword_hash", ..place() },
    ] {
        assert_eq!(keys.open(elsewhere, &sealed).unwrap_err(), Error::Refused, "{elsewhere:?}");
    }
}

#[test]
fn a_value_names_the_key_it_was_sealed_with() {
    let ring = keys(&format!("{NEW},{OLD}"));
    let [new, old] = [0, 1].map(|index| ring.keys[index].id.clone());
    let sealed = ring.seal(place(), b"hunter2");
    assert_eq!(ring.open(place(), &sealed.replace(&new, &old)).unwrap_err(), Error::Refused);
}

#[test]
fn equal_values_look_different() {
    let keys = keys(NEW);
    assert_ne!(keys.seal(place(), b"hunter2"), keys.seal(place(), b"hunter2"));
}

#[test]
fn what_is_no_sealed_value_is_malformed() {
    let keys = keys(NEW);
    let sealed = keys.seal(place(), b"hunter2");
    let head = &sealed[..PREFIX.len() + 17];
    for text in [
        "",
        "hunter2",
        "sealed:1:",
        "sealed:1:x",
        &sealed[1..],
        &format!("{head}!!!!"),
        &format!("{head}AAAA"),
    ] {
        assert_eq!(keys.open(place(), text).unwrap_err(), Error::Malformed, "{text}");
    }
    assert_eq!(keys.open(place(), &sealed.replace("sealed:1:", "sealed:2:")).unwrap_err(), Error::Malformed);
    // A nonce and less than a tag.
    assert_eq!(keys.open(place(), &format!("{head}{}", "A".repeat(20))).unwrap_err(), Error::Refused);
}

#[test]
fn keys_are_read_or_their_fault_is_named() {
    let parse = |text: &str| SealingKeys::parse(text).map(|keys| keys.keys.len());
    assert_eq!(parse(NEW), Ok(1));
    assert_eq!(parse(&format!("  {NEW} ,\n{OLD}\r\n")), Ok(2));
    assert_eq!(parse(" \n"), Err(KeyError::Empty));
    assert_eq!(parse(&format!("{NEW} secret")), Err(KeyError::Malformed { number: 2 }));
    assert_eq!(parse("AAECAwQFBgcICQoLDA0ODw=="), Err(KeyError::Malformed { number: 1 }));
    assert_eq!(parse(&format!("{NEW} {OLD} {NEW}")), Err(KeyError::Duplicate { number: 3 }));
    assert_eq!(parse(&SealingKeys::generate()), Ok(1));
    assert_ne!(SealingKeys::generate(), SealingKeys::generate());
}

#[test]
fn no_key_is_shown() {
    assert_eq!(format!("{:?}", keys(OLD)), r#"["630dcd2966c43366"]"#);
}

proptest! {
    #[test]
    fn any_value_at_any_place(value in prop::collection::vec(any::<u8>(), 0..80), model in "[a-z_]{0,12}", field in "\\PC{0,12}", id: u128) {
        let keys = keys(NEW);
        let place = Place { model: &model, aggregate: Uuid::from_u128(id), field: &field };
        prop_assert_eq!(&**keys.open(place, &keys.seal(place, &value)).unwrap(), &value);
    }

    /// No single character of a sealed value can be another one.
    #[test]
    fn a_changed_value_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let keys = keys(NEW);
        let sealed = keys.seal(place(), b"hunter2");
        let at = at.index(sealed.len());
        let changed = format!("{}{to}{}", &sealed[..at], &sealed[at + 1..]);
        prop_assume!(changed != sealed);
        prop_assert!(keys.open(place(), &changed).is_err());
    }

    #[test]
    fn two_places_are_never_one(left in ("[ab]{0,3}", "[ab]{0,3}"), right in ("[ab]{0,3}", "[ab]{0,3}")) {
        prop_assume!(left != right);
        let data = |(model, field): &(String, String)| {
            Place { model, aggregate: Uuid::nil(), field }.associated_data("key")
        };
        prop_assert_ne!(data(&left), data(&right));
    }
}
