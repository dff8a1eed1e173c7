use serde_json::json;

use super::*;

/// Derived from the natural key `10248` of `order` in `shop`.
fn id() -> String {
    let text = Type::Text { min_length: None, max_length: None, pattern: None };
    let key = KeyOf { app: "shop".into(), model: "order".into(), ty: Box::new(text) };
    key.id("10248").unwrap().to_string()
}

fn lines(fields: Option<&str>, colours: bool) -> Lines {
    let wanted = Wanted {
        name: "order".into(),
        is_projection: false,
        id: None,
        filters: Default::default(),
        fields: fields.map(str::to_owned),
    };
    Lines::new(&wanted, colours)
}

fn show(lines: &mut Lines, message: &Json) -> String {
    lines.of(&serde_json::from_value(message.clone()).unwrap())
}

fn row(id: &str, version: u64, state: &Json) -> Json {
    json!({
        "id": id, "version": version, "state": state,
        "created_at": "2026-01-31T12:00:00.000Z", "updated_at": "2026-01-31T12:10:30.123Z",
    })
}

fn change(kind: &str, id: &str, version: u64, event: &str, data: &Json, state: &Json) -> Json {
    json!({
        "sub": "tail", "type": kind, "model": "order", "id": id, "version": version,
        "event": {
            "id": "0192f0c1-6d2e-7cc3-98c4-dc0c0c07398f", "type": format!("shop.order.{event}"),
            "time": "2026-01-31T12:10:30.123Z", "actor": null, "data": data,
        },
        "row": row(id, version, state), "position": "order:5:1234", "resume": "order:AQID",
    })
}

fn leave(id: &str) -> Json {
    json!({
        "sub": "tail", "type": "leave", "model": "order", "id": id, "position": "order:5:1235", "resume": "order:AQIE",
    })
}

/// The life of an order.
fn life(lines: &mut Lines) -> String {
    let id = id();
    let items = json!([
        { "product": "tea", "quantity": 3, "unit_price": "4.10" },
        { "product": "pot", "quantity": 1, "unit_price": "19.99" },
    ]);
    let mut state = json!({
        "number": "10248", "status": "placed", "lines": items, "total": "32.2900", "note": null, "gift": false,
    });
    let mut data = state.clone();
    data["coupon"] = json!("spring sale");
    let mut shown = show(lines, &change("enter", &id, 1, "Placed", &data, &state));
    state["status"] = json!("paid");
    let data = json!({ "status": "paid", "reference": "bank 4711" });
    shown += &show(lines, &change("change", &id, 2, "Paid", &data, &state));
    state["note"] = json!("null");
    state["total"] = json!("30.00");
    let data = json!({ "note": "null", "total": "30.00" });
    shown += &show(lines, &change("change", &id, 3, "Noted", &data, &state));
    shown + &show(lines, &leave(&id))
}

#[test]
fn the_life_of_an_order() {
    insta::assert_snapshot!(life(&mut lines(None, false)));
}

#[test]
fn colours_are_of_the_kind_only() {
    let coloured = life(&mut lines(None, true));
    let plain = life(&mut lines(None, false));
    for code in [31, 32, 33] {
        assert!(coloured.contains(&format!("\x1b[{code}m")), "{coloured:?}");
    }
    let mut without = coloured;
    for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
        without = without.replace(code, "");
    }
    assert_eq!(without, plain);
}

#[test]
fn what_was_not_seen_before_is_shown_as_it_is_now() {
    let state = json!({ "number": "10248", "status": "paid", "total": "30.00", "note": null });
    let data = json!({ "status": "paid", "note": null, "reference": "bank 4711" });
    let mut lines = lines(None, false);
    insta::assert_snapshot!(show(&mut lines, &change("change", &id(), 2, "Paid", &data, &state)));
}

#[test]
fn only_the_fields_that_are_wanted() {
    let data = json!({ "number": "10248", "status": "placed", "total": "30.00", "coupon": "spring" });
    let mut lines = lines(Some("status"), false);
    let mut shown =
        show(&mut lines, &change("enter", &id(), 1, "Placed", &data, &json!({ "status": "placed" })));
    let data = json!({ "status": "paid", "reference": "bank 4711" });
    shown += &show(&mut lines, &change("change", &id(), 2, "Paid", &data, &json!({ "status": "paid" })));
    insta::assert_snapshot!(shown);
}

#[test]
fn rows_are_shown_once_and_changes_go_on_from_them() {
    let mut lines = lines(None, false);
    let other = "0192f0c1-6d2e-7cc3-98c4-dc0c0c07398f";
    let rows = json!([
        row(&id(), 2, &json!({ "number": "10248", "status": "paid" })),
        row(other, 1, &json!({ "number": "A 7", "status": "placed", "note": null })),
    ]);
    let mut shown = show(&mut lines, &json!({ "sub": "tail", "type": "snapshot", "rows": rows }));
    // The connection broke before `ready`: the second one has changed since.
    let rows = json!([
        row(&id(), 2, &json!({ "number": "10248", "status": "paid" })),
        row(other, 2, &json!({ "number": "A 7", "status": "paid", "note": null })),
    ]);
    shown += &show(&mut lines, &json!({ "sub": "tail", "type": "snapshot", "rows": rows }));
    let state = json!({ "number": "10248", "status": "shipped" });
    let data = json!({ "status": "shipped" });
    shown += &show(&mut lines, &change("change", &id(), 3, "Shipped", &data, &state));
    insta::assert_snapshot!(shown);
}

#[test]
fn other_messages_have_no_line() {
    let mut lines = lines(None, false);
    for message in [
        json!({ "type": "welcome", "connection": id(), "account": null, "expires_at": null, "ping_seconds": 30 }),
        json!({ "type": "subscribed", "sub": "tail", "resume": "order:AQ" }),
        json!({ "type": "ready", "sub": "tail", "resume": "order:AQ" }),
        json!({ "type": "progress", "sub": "tail", "resume": "order:AQ" }),
        json!({ "type": "reset", "sub": "tail", "reason": "too_old" }),
        json!({ "type": "ended", "sub": "tail", "reason": "lagged", "resume": "order:AQ" }),
    ] {
        assert_eq!(show(&mut lines, &message), "", "{message}");
    }
}

#[test]
fn values_are_short_and_can_not_be_taken_for_another_type() {
    for (value, expected) in [
        (json!("paid"), "paid"),
        (json!("2026-01-31T12:10:30.123Z"), "2026-01-31T12:10:30.123Z"),
        (json!("Überweisung"), "Überweisung"),
        (json!(""), "\"\""),
        (json!("null"), "\"null\""),
        (json!("true"), "\"true\""),
        (json!("two words"), "\"two words\""),
        (json!("a, b: c → d"), "\"a, b: c → d\""),
        (json!(null), "null"),
        (json!(true), "true"),
        (json!(12), "12"),
        (json!(["a", "b"]), "[\"a\",\"b\"]"),
    ] {
        assert_eq!(shown(&value), expected);
    }
    let long = "x".repeat(200);
    assert_eq!(shown(&json!(long)), format!("\"{}\"…", "x".repeat(59)));
    assert_eq!(shown(&json!([long, long])), "[… 2 items]");
    assert_eq!(shown(&json!({ "a": long })), "{… 1 members}");
}

#[test]
fn nothing_that_a_terminal_obeys_gets_through() {
    let evil = "a\u{1b}[2J\u{7}\u{7f}\u{9b}31m\r\nb\u{202e}c\u{200b}\u{2028}d\u{feff}\u{e0041}";
    let state = json!({ (evil): evil, "long": evil.repeat(20), "list": [evil], "object": { (evil): evil } });
    let mut message = change("enter", evil, 1, evil, &state, &state);
    message["event"]["time"] = json!(evil);
    let mut lines = lines(None, false);
    lines.name = evil.to_owned();
    let mut shown = show(&mut lines, &message);
    state.as_object().unwrap().keys().for_each(|key| message["row"]["state"][key] = json!("new"));
    message["type"] = json!("change");
    shown += &show(&mut lines, &message);
    shown += &show(&mut lines, &json!({ "type": "snapshot", "sub": "tail", "rows": [row(evil, 9, &state)] }));
    shown += &show(&mut lines, &leave(evil));
    assert_eq!(shown.lines().count(), 4, "{shown:?}");
    // By themselves: the escapes have letters of their own.
    let bad: Vec<char> =
        shown.chars().filter(|c| evil.contains(*c) && !c.is_ascii_graphic() && *c != '\n').collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn rows_of_a_projection_are_known_by_their_keys() {
    let wanted = Wanted {
        name: "sales".into(),
        is_projection: true,
        id: None,
        filters: Default::default(),
        fields: None,
    };
    let mut lines = Lines::new(&wanted, false);
    let key = json!({ "day": "2026-01-31", "shop": "north \u{1b}[2J" });
    let row = |orders: u32| json!({ "day": "2026-01-31", "shop": "north \u{1b}[2J", "orders": orders, "note": null });
    let snapshot = json!({ "sub": "tail", "type": "snapshot", "rows": [row(1)], "keys": [key] });
    let frame = |kind: &str, row: Json| {
        json!({
            "sub": "tail", "type": kind, "projection": "sales", "key": key, "row": row, "resume": "sales:AQ",
        })
    };
    let mut shown = show(&mut lines, &snapshot);
    shown += &show(&mut lines, &snapshot);
    shown += &show(&mut lines, &frame("change", row(2)));
    let mut left = frame("leave", Json::Null);
    left.as_object_mut().unwrap().remove("row");
    shown += &show(&mut lines, &left);
    shown += &show(&mut lines, &frame("enter", row(3)));
    insta::assert_snapshot!(shown);
}
