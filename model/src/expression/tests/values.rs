//! What expressions evaluate to.

use super::*;

/// Expressions that are true.
#[test]
fn conditions() {
    for source in [
        // The examples of the design.
        "size(input.lines) > 0",
        "role('customer') && input.customer == actor.id",
        "state.customer == actor.id",
        "role('staff') || state.customer == actor.id",
        "sum(input.lines.map(l, l.unit_price * l.quantity)) == 440",
        "sum(input.lines.map(l, l.unit_price * l.quantity * (1 - l.discount))) == 409.0",
        // Numbers.
        "0.1 + 0.2 == 0.3",
        "1.50 == 1.5",
        "1 == 1.0 && 1 < 1.5 && 2 >= 1.9",
        "-7 / 2 == -3 && -7 % 2 == -1 && 7 / -2 == -3",
        "7 / 2.0 == 3.5",
        "1 / 3.0 == 0.3333333333333333333333333333",
        "2.0 / 3 == 0.6666666666666666666666666667",
        "-2.0 / 3 == -0.6666666666666666666666666667",
        "1 + 2 * 3 - 4 == 3 && (1 + 2) * 3 == 9",
        "-(-5) == 5 && - 5 == 0 - 5 && -2.5 == 0 - 2.5",
        "-9223372036854775808 < 0 && 0xff == 255",
        "1e3 == 1000 && 1.5e-3 == 0.0015 && .5 == 0.5",
        "0.1000000000000000000000000000000000000001 > 0.1",
        "12345678901234567890.123456789 - 12345678901234567890.0 == 0.123456789",
        "round(2.345, 2) == 2.34 && round(2.355, 2) == 2.36 && round(-2.5, 0) == -2 && round(0.5) == 0",
        "round(2.675, 2) == 2.68 && round(3, 1) == 3",
        "abs(-3) == 3 && abs(-3.5) == 3.5 && abs(duration('-1h')) == duration('1h')",
        "int(2.9) == 2 && int(-2.9) == -2 && int('42') == 42",
        "decimal('12.50') == 12.5 && decimal(3) == 3 && decimal(input.number) == 10248",
        "input.total * 1.19 == 523.6",
        "-input.total == -440 && -input.quantity == -27",
        // Lists.
        "sum([1, 2, 3]) == 6 && sum([1, 2.5]) == 3.5 && sum([]) == 0 && sum(input.empty) == 0",
        "sum(input.lines.filter(l, l.quantity > 99).map(l, l.unit_price)) == 0.0",
        "min([3, 1, 2]) == 1 && max([1, 2.5]) == 2.5 && max(['a', 'b']) == 'b'",
        "max(input.lines.map(l, l.unit_price)) == 34.8",
        "sum([duration('1h'), duration('30m')]) == duration('90m')",
        "input.lines[0].quantity == 12 && [1, 2, 3][2] == 3",
        "input.lines.all(l, l.quantity > 0) && !input.lines.all(l, l.quantity > 5)",
        "input.lines.exists(l, l.discount == 0.15) && !input.empty.exists(e, true)",
        "input.lines.exists_one(l, l.quantity == 12) && !input.lines.existsOne(l, l.quantity > 5)",
        "input.lines.map(l, l.quantity > 5, l.quantity) == [12, 10]",
        "size(input.lines.filter(l, l.gift == null)) == 3",
        "input.lines.map(l, input.tags.map(t, l.quantity)) == [[12, 12], [10, 10], [5, 5]]",
        "[1, 2].map(a, [3, 4].map(b, a * b)) == [[3, 4], [6, 8]]",
        "[1, 2].map(x, [x].map(x, x + 1)[0]) == [2, 3]",
        "'eu' in input.tags && !('us' in input.tags) && 1 in [1.0, 2]",
        "input.lines.size() == 3 && input.number.size() == 5",
        "[] == input.empty && [1, null] == input.holes",
        // Text.
        "'a' + 'b' == 'ab' && \"x\" == 'x' && r'\\d' == '\\\\d' && '\\u00e9' == 'é'",
        "size('Köln') == 4 && input.address.city == 'Köln'",
        "input.number.contains('24') && startsWith(input.number, '10') && input.number.endsWith('8')",
        "input.number.matches('^[0-9]{5}$') && !matches(input.number, '^9')",
        "'ÄbC'.lowerAscii() == 'Äbc' && upperAscii('abc') == 'ABC' && trim('  a ') == 'a'",
        "string(12.50) == '12.50' && string(7) == '7' && string(true) == 'true' && string(1e3) == '1000'",
        "'a' < 'b' && 'Z' < 'a' && string(input.status) + '!' == 'placed!'",
        "string(now) == '2026-01-02T00:00:00.000Z' && string(date(now)) == '2026-01-02'",
        "string(duration('90m')) == 'PT1H30M' && string(id) == '018f4e1c-0000-7000-8000-000000000002'",
        // Times.
        "now - input.ordered_at == duration('24h') && now > input.ordered_at",
        "now + duration('24h') == timestamp('2026-01-03T00:00:00Z')",
        "duration('PT24H') + now == timestamp('2026-01-03T01:00:00+01:00')",
        "now - duration('1h30m') < now && duration('1h') * 2 == 2 * duration('1h')",
        "date(now) == date('2026-01-02') && date(now) < input.due",
        "input.due - date(now) == duration('696h') && input.due + duration('24h') == date('2026-02-01')",
        "input.due - input.grace == date('2026-01-29') && timestamp(date('2026-01-02')) == now",
        "date('2024-02-29') - date('2024-02-28') == duration('24h') && date('0001-01-01') < date(now)",
        "duration('P1D') == duration('24h') && duration('500ms') * 2 == duration('1s')",
        "timestamp(date('0001-01-01')) < now && date(timestamp('1969-12-31T23:59:59.999Z')) == date('1969-12-31')",
        "-duration('1h') + duration('2h') - duration('1h') == duration('0s')",
        // Identity.
        "input.customer == '018F4E1C-0000-7000-8000-000000000001' && id != input.customer",
        "actor.id in [input.customer] && 'customer' in actor.roles && !role('admin')",
        "uuid('018f4e1c-0000-7000-8000-000000000002') == id && uuid(string(id)) == id",
        "input.customer in ['018f4e1c-0000-7000-8000-000000000001']",
        // Enums and objects.
        "state.status == 'placed' && state.status in ['placed', 'paid'] && 'paid' != state.status",
        "input.status == state.status && (input.paid ? 'paid' : 'placed') == input.status",
        "input.address == state.address && input.lines == state.lines",
        "(input.paid ? 'open' : input.status) == 'placed' && orElse(input.note, input.status) == 'placed'",
        // Nulls.
        "input.note == null && !has(input.note) && has(input.number) && null == input.note",
        "orElse(input.note, 'none') == 'none' && input.note.orElse('x') == 'x' && input.note != 'x'",
        "!has(input.billing.city) && orElse(input.billing.city, 'x') == 'x'",
        "orElse(input.owner, '018f4e1c-0000-7000-8000-000000000001') == input.customer",
        "input.extra == state.extra && input.extra != null && input.owner != actor.id",
        "input.note == null || size(input.note) > 3",
        "has(input.note) ? size(input.note) > 3 : true",
        "false && 1 / 0 == 1 || true",
        "true || 1 / 0 == 1",
    ] {
        assert_eq!(evaluate(source, Type::Boolean), Ok(Value::Boolean(true)), "{source}");
    }
}

#[test]
fn values_have_the_type_of_the_field() {
    let check = |source: &str, ty: Type, value: Value| {
        // Decimals are equal at any scale: compare what is written too.
        let got = evaluate(source, ty);
        assert_eq!(format!("{got:?}"), format!("{:?}", Ok::<_, String>(&value)), "{source}");
    };
    check("1", decimal(), number("1"));
    check("input.quantity", decimal(), number("27"));
    check("[1, 2.5]", list(field("n", decimal())), Value::List(vec![number("1"), number("2.5")]));
    check(
        "input.lines.map(l, l.quantity)",
        list(field("n", decimal())),
        Value::List(vec![number("12"), number("10"), number("5")]),
    );
    check("[]", list(field("n", decimal())), Value::List(vec![]));
    check("'placed'", status(), texted("placed"));
    check("input.paid ? 'paid' : 'placed'", status(), texted("placed"));
    check("input.paid ? input.status : 'paid'", status(), texted("paid"));
    check("orElse(input.note, 'none')", text(), texted("none"));
    check("input.status", text(), texted("placed"));
    check("'018f4e1c-0000-7000-8000-000000000001'", reference("customer"), id(CUSTOMER));
    check("actor.id", Type::Uuid, id(CUSTOMER));
    check("null", text(), Value::Null);
    check("input.note", text(), Value::Null);
    check("now", Type::Timestamp, Value::Timestamp(Timestamp(1_767_312_000_000)));
    check("now - input.ordered_at", Type::Duration, Value::Duration(86_400_000));
    check("input.extra", Type::Json, Value::Json(serde_json::json!({"a": [1, 2]})));
    check("{'city': 'Bonn'}", address(), object([("city", texted("Bonn")), ("zip", Value::Null)]));
    check(
        "{'zip': '1', 'city': 'Bonn'}",
        address(),
        object([("city", texted("Bonn")), ("zip", texted("1"))]),
    );
    check(
        "input.tags.map(t, {'city': t})",
        list(field("a", address())),
        Value::List(vec![
            object([("city", texted("new")), ("zip", Value::Null)]),
            object([("city", texted("eu")), ("zip", Value::Null)]),
        ]),
    );
    check("sum(input.lines.map(l, l.unit_price * l.quantity))", decimal(), number("440.00"));
    check("10 / 4.0", decimal(), number("2.5"));
    check("300 / 3.0", decimal(), number("100"));
}

#[test]
fn evaluation_errors() {
    let check = |source: &str, detail: &str| {
        assert_eq!(evaluate(source, Type::Boolean), Err(detail.to_owned()), "{source}");
    };
    check("1 / 0 == 1", "division by zero");
    check("1 % 0 == 1", "division by zero");
    check("1.0 / 0 == 1", "division by zero");
    check("9223372036854775807 + 1 > 0", "`9223372036854775807 + 1` is beyond 64 bits");
    check("0 - 9223372036854775807 - 2 < 0", "`0 - 9223372036854775807 - 2` is beyond 64 bits");
    check(
        "input.quantity * 9223372036854775807 > 0",
        "`input.quantity * 9223372036854775807` is beyond 64 bits",
    );
    check("-9223372036854775808 / -1 > 0", "`-9223372036854775808 / -1` is beyond 64 bits");
    check("-(-9223372036854775808) > 0", "`-(-9223372036854775808)` is beyond 64 bits");
    check("sum([9223372036854775807, 1]) > 0", "`sum([9223372036854775807, 1])` is beyond 64 bits");
    check("size(input.note) > 1", "`input.note` is null");
    check("input.note < 'x'", "`input.note` is null");
    check("input.billing.city == 'x'", "`input.billing` is null");
    check("sum(input.holes) > 1", "an item of `input.holes` is null");
    check("input.holes.map(h, h + 1) == [2]", "`h` is null");
    check("max(input.empty) > 1", "`input.empty` is empty");
    check("input.lines[3].quantity > 1", "`input.lines` has no item 3, it has 3");
    check("input.lines[-1].quantity > 1", "`input.lines` has no item -1, it has 3");
    check(
        "int(input.total * 1e30) > 1",
        "`int(input.total * 1e30)` can't be computed: the number is no 64-bit integer",
    );
    check(
        "int(input.mail) > 1",
        "`int(input.mail)` can't be computed: the text is no 64-bit integer such as '12'",
    );
    check(
        "decimal(input.mail) > 1",
        "`decimal(input.mail)` can't be computed: write it as digits with a point and no exponent, such as \"12.50\"",
    );
    check("uuid(input.mail) == id", "`uuid(input.mail)` can't be computed: the text is no UUID");
    check("round(1.5, 99) > 1", "numbers are rounded to 0 to 28 digits after the point, not 99");
    check("now + duration('99999999h') > now", "the result lies outside the years 0001 to 9999");
    check(
        "date('9999-12-31') + duration('24h') > input.due",
        "the result lies outside the years 0001 to 9999",
    );
    check(
        "date('0001-01-01') - duration('24h') < input.due",
        "the result lies outside the years 0001 to 9999",
    );
    check("input.due + duration('1h') > input.due", "a date takes durations of whole days, such as '48h'");
}

#[test]
fn a_null_where_a_condition_is_asked_for_is_an_error() {
    let compiled = Compiled::compile(
        "input.flag",
        Env { input: Some(&fields(vec![optional("flag", Type::Boolean)])), state: None, channel: None },
        Expected::Boolean,
    );
    let scope = Scope {
        id: Uuid::nil(),
        input: &Object::new(),
        state: None,
        now: Timestamp(0),
        actor: &Actor::default(),
    };
    let error = compiled.unwrap().evaluate(&scope).unwrap_err();
    assert_eq!(error.to_string(), "`input.flag` is null in `input.flag`");
}

/// An actor without an account must not pass for the missing owner of something.
#[test]
fn nobody_equals_nobody() {
    let nobody = Actor::default();
    for (source, expected) in [
        ("input.owner == actor.id", false),
        ("actor.id == input.owner", false),
        ("actor.id == actor.id", false),
        ("input.owner != actor.id", true),
        ("actor.id in [input.owner]", false),
        ("actor.id == null", true),
        ("actor.id != null", false),
        ("input.owner == null", true),
    ] {
        assert_eq!(evaluate_as(source, Type::Boolean, &nobody), Ok(Value::Boolean(expected)), "{source}");
    }
}

#[test]
fn cost_is_limited() {
    let steps = "more than 100000 steps";
    let tower = |step: &str| {
        format!("size(['abcdefgh'].map(s, {step}){}[0]) > 0", format!(".map(s, {step})").repeat(60))
    };
    assert_eq!(
        evaluate(&tower("s + s"), Type::Boolean),
        Err("a text has more than 1048576 bytes".to_owned())
    );
    let squares = format!("[1.5]{}[0] > 0", ".map(x, x * x)".repeat(60));
    assert_eq!(evaluate(&squares, Type::Boolean), Err("a number has more than 1000 digits".to_owned()));
    let lists = format!("size([[1]]{}) > 0", ".map(x, [x, x][0])".repeat(2));
    assert_eq!(evaluate(&lists, Type::Boolean), Ok(Value::Boolean(true)));
    let hundred = format!("[{}]", vec!["1"; 100].join(","));
    let loops = format!("{hundred}.all(a, {hundred}.all(b, {hundred}.all(c, true)))");
    assert_eq!(evaluate(&loops, Type::Boolean), Err(steps.to_owned()));
}
