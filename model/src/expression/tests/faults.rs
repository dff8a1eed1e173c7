//! What the check says of wrong expressions, and where.

use std::fmt::Write;

use super::*;

/// The source with its faults marked below it.
fn render(source: &str, faults: &[Fault]) -> String {
    let mut out = format!("{source}\n");
    for fault in faults {
        let before = source[..fault.span.start].chars().count();
        let marked = source[fault.span.clone()].chars().count().max(1);
        write!(out, "{}{} {}", " ".repeat(before), "^".repeat(marked), fault.message).unwrap();
        if let Some(hint) = &fault.hint {
            write!(out, " ({hint})").unwrap();
        }
        out.push('\n');
    }
    out.replace('\0', "␀")
}

fn faults(source: &str, expected: Expected<'_>) -> String {
    match compile(source, expected) {
        Ok(_) => panic!("`{source}` has no fault"),
        Err(faults) => render(source, &faults),
    }
}

fn table(sources: &[&str], expected: Expected<'_>) -> String {
    sources.iter().map(|source| faults(source, expected)).collect::<Vec<_>>().join("\n")
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn syntax() {
    snapshot(
        "syntax",
        &table(
            &[
                "",
                "input.quantity >",
                "(1 + 2",
                "1 + 2)",
                "input.quantity = 1",
                "input.paid & true",
                "input.paid and true",
                "'open",
                "'Köln' + é",
                "1 $ 2",
                "99999999999999999999 > 1",
                "'é' == 99999999999999999999",
                "1e999 > 1",
                "1e99999 > 1",
                "5u > 1",
                "b'x' == 'x'",
                "'\\q' == 'x'",
                "if > 1",
                "'a\0b' == 'x'",
                "Order{} == 1",
                "f(1,)",
            ],
            Expected::Boolean,
        ),
    );
}

#[test]
fn names() {
    snapshot(
        "names",
        &table(
            &[
                "inptu.quantity > 1",
                "quantity > 1",
                "lines",
                "input.qantity > 1",
                "'Köln' == input.adress.city",
                "input.address.ctiy == 'x'",
                "input.number.length > 1",
                "input.lines.quantity > 1",
                "input.extra.a == 1",
                "input == state",
                "actor == id",
                "actor.name == 'x'",
                "input.lines.map(l, l.quantiy) == [1]",
                "input.lines.map(input, true) == [true]",
                "input.lines.map(l.x, true) == [true]",
                "input.tags.map(t, t) == [t]",
                "summ(input.tags) > 1",
                "now() > input.ordered_at",
                "input.lines.sort() == input.lines",
            ],
            Expected::Boolean,
        ),
    );
}

#[test]
fn types() {
    snapshot(
        "types",
        &table(
            &[
                "1 + 1",
                "input.number",
                "input.number + 1 == 'x'",
                "input.number * 2 > 1",
                "input.total % 2 == 0",
                "input.number > 1",
                "input.quantity == '1'",
                "input.paid > false",
                "input.status < 'paid'",
                "input.status == 'payed'",
                "input.status in ['paid', 'gone']",
                "input.status == input.number && input.paid == 'placed'",
                "now > '2026-01-01T00:00:00Z'",
                "now > input.due",
                "now + 1 > now",
                "now + now > now",
                "timestamp('yesterday') < now",
                "date('2026-02-30') < input.due",
                "date('2026-02-01T10:00:00') < input.due",
                "date('20260201') < input.due",
                "timestamp('2026-01-31T12:00:00') < now",
                "timestamp('2026-01-31T12:00:00.0001Z') < now",
                "duration('1d') > input.grace",
                "duration('P1M') > input.grace",
                "duration('1us') > input.grace",
                "decimal('1,5') > 1",
                "int('1.5') > 1",
                "duration('1 fortnight') > input.grace",
                "input.customer == 'ALFKI'",
                "uuid('x') == id",
                "input.customer == input.number",
                "'a' in input.number",
                "1 in input.tags",
                "[1, 'a'] == [1]",
                "input.paid ? 1 : 'a'",
                "input.number ? true : false",
                "!input.number",
                "-input.number == 'x'",
                "input.quantity && input.number || true",
                "input.tags['a'] == 'b'",
                "input.number[0] == 'b'",
                "input.number.all(c, true)",
                "input.lines.all(l, l.quantity)",
                "input.lines.all(true)",
                "size(1) > 1",
                "size() > 1",
                "size(input.tags, 1) > 1",
                "sum(input.tags) > 1",
                "sum(1, 2) > 1",
                "max(input.lines) == input.lines[0]",
                "round('1', 2) > 1",
                "role(1)",
                "has(1)",
                "has(input)",
                "input.number.matches('(')",
                "input.number.matches(input.number)",
                "orElse(input.note, 1) == 'x'",
                "input.extra == 1",
                "input.tags + input.tags == input.tags",
                "{1: 2} == {1: 2}",
                "{'a': 1, 'a': 2} == {'a': 1}",
                "input.nope > 1 && input.paid == 1 && zzz(input.number - 1)",
            ],
            Expected::Boolean,
        ),
    );
}

#[test]
fn places() {
    let check = |field: &Field, sources: &[&str]| table(sources, Expected::Field(field));
    let shown = [
        check(
            &field("status", status()),
            &["'paied'", "input.number", "input.paid ? 'paid' : 'done'", "null"],
        ),
        check(&field("status", Type::Enum(vec!["placed".to_owned()])), &["input.status"]),
        check(
            &field("customer", reference("customer")),
            &["'ALFKI'", "input.number", "actor.id", "input.owner"],
        ),
        check(&field("note", text()), &["input.note", "1", "input.billing.city", "input.billing.zip"]),
        check(&field("quantity", integer()), &["1.5", "input.total", "'1'", "input.quantity / 2.0"]),
        check(&field("total", decimal()), &["'1.5'", "input.lines", "now"]),
        check(&field("due", Type::Date), &["now", "'2026-01-01'"]),
        check(
            &field("tags", list(field("tag", text()))),
            &["[1]", "['a', null]", "input.lines.map(l, l.gift)"],
        ),
        check(
            &field("address", address()),
            &["{'zip': '1'}", "{'city': 1, 'zipp': 'x'}", "input.number", "{}"],
        ),
        check(&optional("extra", Type::Json), &["input.number", "{'a': 1}"]),
    ];
    snapshot("places", &shown.join("\n"));
}

#[test]
fn a_creating_command_has_no_state() {
    let input = order();
    let faults = Compiled::compile(
        "state.paid && state.number == 'x'",
        Env { input: Some(&input), state: None, channel: None },
        Expected::Boolean,
    );
    snapshot("no_state", &render("state.paid && state.number == 'x'", &faults.unwrap_err()));
    let faults = Compiled::compile(
        "input.paid",
        Env { input: None, state: Some(&input), channel: None },
        Expected::Boolean,
    );
    snapshot("no_input", &render("input.paid", &faults.unwrap_err()));
}

#[test]
fn limits() {
    let only = |source: String| {
        let faults = compile(&source, Expected::Boolean).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].message.clone()
    };
    assert_eq!(only(" ".repeat(4096) + "1"), "the expression is longer than 4096 bytes (4097)");
    assert_eq!(only("(".repeat(33)), "more than 32 brackets are open here");
    assert_eq!(only("1+".repeat(200) + "1 == 1"), "the expression is more than 128 operators deep");
    assert_eq!(only("true?1:".repeat(200) + "2"), "the expression is nested too deeply");
    assert_eq!(only("1.".to_owned() + &"1".repeat(101) + " > 1"), "the number is too long");
    assert_eq!(
        only("input.number.matches('a{1000}{1000}')".to_owned()),
        "the regular expression is wrong: it is too large"
    );
}

/// Each of these would overflow the stack of a parser or checker that recurses without a limit.
#[test]
fn hostile_text_is_a_fault() {
    for n in [40, 100, 400, 1000, 1300, 2000, 10_000] {
        for source in [
            "(".repeat(n) + "1" + &")".repeat(n),
            "(".repeat(n),
            ")".repeat(n),
            "[".repeat(n) + &"]".repeat(n),
            "{1:".repeat(n),
            "f(".repeat(n),
            "!".repeat(n) + "1",
            "-".repeat(n) + "input.number",
            "-!".repeat(n) + "1",
            "a".to_owned() + &".b".repeat(n),
            "input.number".to_owned() + &"[0]".repeat(n),
            "true?1:".repeat(n) + "2",
            "a?".repeat(n),
            "1+".repeat(n) + "1",
            "1<".repeat(n) + "1",
            "1&&".repeat(n) + "1",
            "''''(".repeat(n),
            "'''\n".to_owned() + &"(".repeat(n),
            "r'\\'".to_owned() + &"(".repeat(n),
            "'\\".repeat(n),
            "é".repeat(n),
            "a.map(x,".repeat(n),
        ] {
            assert!(
                compile(&source, Expected::Boolean).is_err(),
                "{}",
                source.chars().take(40).collect::<String>()
            );
        }
    }
}

/// The deepest tree that compiles is evaluated on the 2 MB stack of a test.
#[test]
fn deep_expressions_within_the_limits_evaluate() {
    let sum = "1+".repeat(120) + "1 == 121";
    assert_eq!(evaluate(&sum, Type::Boolean), Ok(Value::Boolean(true)));
    let nested = "[".repeat(30) + "1" + &"]".repeat(30) + &"[0]".repeat(30) + " == 1";
    assert_eq!(evaluate(&nested, Type::Boolean), Ok(Value::Boolean(true)));
    let branches = "false?1:".repeat(60) + "2";
    assert_eq!(evaluate(&branches, integer()), Ok(Value::Integer(2)));
}

/// What an actor who isn't signed in would pass where the owner is null.
#[test]
fn nobody_hides_in_nothing() {
    snapshot(
        "nobody",
        &table(
            &[
                "input.owner in [actor.id]",
                "orElse(actor.id, null) == input.owner",
                "(input.paid ? actor.id : input.owner) == input.owner",
                "[actor.id] == [input.owner]",
                "[actor.id].exists(a, a == input.owner)",
                "[1].map(n, actor.id) == [input.owner]",
                "{'by': actor.id}.by != input.owner",
                "actor.id in [actor.id]",
                "!([actor.id][0] == input.owner) || input.paid",
            ],
            Expected::Boolean,
        ),
    );
    for right in [
        "actor.id == input.owner && actor.id in [input.owner] && actor.id != null",
        "orElse(actor.id, id) == input.owner || (actor.id == input.owner) == input.paid",
        "(actor.id == input.owner ? 1 : 2) == 1 && [1].exists(n, actor.id == input.owner)",
    ] {
        compile(right, Expected::Boolean).unwrap();
    }
}
