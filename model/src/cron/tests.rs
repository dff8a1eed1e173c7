//! The oracle is the definition itself: every minute is looked at.

use proptest::prelude::*;

use super::*;

fn cron(expression: &str, zone: &str) -> Cron {
    Cron::parse(expression, zone).unwrap_or_else(|fault| panic!("{expression}: {fault:?}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next `count` moments, as the clock of the zone shows them, with its offset.
fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = cron(expression, zone);
    let mut time = at(after);
    let mut found = Vec::new();
    for _ in 0..count {
        time = cron.next_after(time).unwrap();
        let instant = jiff::Timestamp::from_millisecond(time.0).unwrap();
        let zoned = instant.to_zoned_datetime(cron.zone.clone());
        found.push(zoned.strftime("%a %Y-%m-%d %H:%M %:z").to_string());
    }
    found
}

#[test]
fn in_spring_a_time_that_is_leapt_over_comes_right_after_the_leap() {
    // Berlin, 29 March 2026: 02:00 becomes 03:00.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        ["Sat 2026-03-28 02:30 +01:00", "Sun 2026-03-29 03:00 +02:00", "Mon 2026-03-30 02:30 +02:00"]
    );
    // One of several times too, and 03:00 itself isn't fired twice.
    assert_eq!(
        next("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", 3),
        ["Sat 2026-03-28 03:30 +01:00", "Sun 2026-03-29 03:00 +02:00", "Sun 2026-03-29 03:30 +02:00"]
    );
    // New York leaps at the same wall time, on another day; Troll by two hours.
    assert_eq!(
        next("15 2 8 3 *", "America/New_York", "2026-01-01T00:00:00Z", 1),
        ["Sun 2026-03-08 03:00 -04:00"]
    );
    assert_eq!(
        next("30 1 29 3 *", "Antarctica/Troll", "2026-01-01T00:00:00Z", 1),
        ["Sun 2026-03-29 03:00 +02:00"]
    );
}

#[test]
fn in_spring_a_rhythm_goes_on_as_the_clock_shows_it() {
    assert_eq!(
        next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
        ["Sun 2026-03-29 01:30 +01:00", "Sun 2026-03-29 03:00 +02:00", "Sun 2026-03-29 03:30 +02:00"]
    );
    // There is no hour 2 on that day.
    assert_eq!(
        next("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 1),
        ["Mon 2026-03-30 02:00 +02:00"]
    );
}

#[test]
fn in_autumn_a_time_that_the_clock_shows_twice_comes_once() {
    // Berlin, 25 October 2026: 03:00 becomes 02:00.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["Sun 2026-10-25 02:30 +02:00", "Mon 2026-10-26 02:30 +01:00"]
    );
    assert_eq!(
        next("0,30 2-3 * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4),
        [
            "Sun 2026-10-25 02:00 +02:00",
            "Sun 2026-10-25 02:30 +02:00",
            "Sun 2026-10-25 03:00 +01:00",
            "Sun 2026-10-25 03:30 +01:00"
        ]
    );
    // Asked in the second pass, the first is over.
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
        ["Mon 2026-10-26 02:30 +01:00"]
    );
}

#[test]
fn in_autumn_a_rhythm_comes_in_both_passes() {
    assert_eq!(
        next("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4),
        [
            "Sun 2026-10-25 02:30 +02:00",
            "Sun 2026-10-25 02:00 +01:00",
            "Sun 2026-10-25 02:30 +01:00",
            "Sun 2026-10-25 03:00 +01:00"
        ]
    );
}

#[test]
fn a_leap_day_and_the_end_of_a_month_are_found() {
    assert_eq!(
        next("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["Tue 2028-02-29 00:00 +00:00", "Sun 2032-02-29 00:00 +00:00"]
    );
    // 2100 is no leap year.
    assert_eq!(next("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["Fri 2104-02-29 00:00 +00:00"]);
    assert_eq!(
        next("0 12 L * *", "Europe/Berlin", "2028-01-31T12:00:00Z", 3),
        ["Tue 2028-02-29 12:00 +01:00", "Fri 2028-03-31 12:00 +02:00", "Sun 2028-04-30 12:00 +02:00"]
    );
    assert_eq!(
        next("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", 2),
        ["Tue 2026-03-31 00:00 +00:00", "Sun 2026-05-31 00:00 +00:00"]
    );
    assert_eq!(next("0 9 * * FRI#2", "UTC", "2026-11-01T00:00:00Z", 1), ["Fri 2026-11-13 09:00 +00:00"]);
    assert_eq!(next("0 9 * * 5L", "UTC", "2026-11-01T00:00:00Z", 1), ["Fri 2026-11-27 09:00 +00:00"]);
    assert_eq!(next("0 9 15W * *", "UTC", "2026-11-01T00:00:00Z", 1), ["Mon 2026-11-16 09:00 +00:00"]);
}

#[test]
fn a_day_of_the_month_or_a_day_of_the_week_will_do_as_in_a_crontab() {
    assert_eq!(
        next("0 0 13 * FRI", "UTC", "2026-11-01T00:00:00Z", 3),
        ["Fri 2026-11-06 00:00 +00:00", "Fri 2026-11-13 00:00 +00:00", "Fri 2026-11-20 00:00 +00:00"]
    );
}

#[test]
fn the_next_moment_lies_after_the_present_one() {
    let hourly = cron("0 * * * *", UTC);
    assert_eq!(hourly.next_after(at("2026-01-01T03:00:00.000Z")), Some(at("2026-01-01T04:00:00Z")));
    assert_eq!(hourly.next_after(at("2026-01-01T02:59:59.999Z")), Some(at("2026-01-01T03:00:00Z")));
    assert_eq!(hourly.next_after(at("2026-01-01T03:00:00.001Z")), Some(at("2026-01-01T04:00:00Z")));
    assert_eq!(hourly.next_after(Timestamp(i64::MAX)), None);
    assert_eq!(hourly.next_after(Timestamp(i64::MIN)), None);
    assert_eq!(hourly.next_after(Timestamp::MAX), None);
}

#[test]
fn what_is_wrong_with_an_expression_is_said_at_its_place() {
    let mut found = String::new();
    for (expression, zone) in [
        ("0 25 * * *", UTC),
        ("60 3 * * *", UTC),
        ("0 3 * *", UTC),
        ("0 0 3 * * *", UTC),
        ("@daily", UTC),
        ("@reboot", UTC),
        ("", UTC),
        ("every day at three", UTC),
        ("0 3 MON * *", UTC),
        ("0 3 * 13 *", UTC),
        ("0 3 * * MONTUE", UTC),
        ("0 3 * * 8", UTC),
        ("/5 * * * *", UTC),
        ("*/0 * * * *", UTC),
        ("5-1 * * * *", UTC),
        ("0 3 30 2 *", UTC),
        ("0 3 31 2,4,6 *", UTC),
        ("0 3 ü * *", UTC),
        ("0 3 * * *", "Berlin"),
        ("0 3 * * *", "europe/berlin"),
        ("0 3 * * *", "Etc/Unknown"),
        ("0 3 * * *", ""),
    ] {
        let fault = Cron::parse(expression, zone).unwrap_err();
        let marked = &expression[fault.span.clone()];
        let hint = fault.hint.unwrap_or_default();
        found.push_str(&format!("{expression} | {marked}: {} ({hint})\n", fault.message));
    }
    insta::assert_snapshot!(found);
    assert!(Cron::parse(&"1,".repeat(200), UTC).is_err());
    assert!(Cron::parse("0\t3  * *\u{a0}*", UTC).is_ok());
}

#[test]
fn every_zone_has_a_name_that_it_is_found_by() {
    let names = time_zones();
    assert!(names.len() > 300, "{} zones", names.len());
    for name in &names {
        assert!(time_zone(name).is_some() || name == "Etc/Unknown", "{name}");
    }
}

#[test]
fn what_was_missed_is_caught_up_as_the_reaction_says() {
    let nightly = cron("0 3 * * *", "Europe/Berlin");
    let (last, now) = (at("2026-11-20T02:00:00Z"), at("2026-11-23T12:00:00Z"));
    let missed = [at("2026-11-21T02:00:00Z"), at("2026-11-22T02:00:00Z"), at("2026-11-23T02:00:00Z")];
    assert_eq!(due(&nightly, CatchUp::All, last, now), missed);
    assert_eq!(due(&nightly, CatchUp::Once, last, now), missed[2..]);
    assert_eq!(due(&nightly, CatchUp::Skip, last, now), []);
    // In time, if only just.
    let tick = missed[2];
    for (catch_up, name) in CatchUp::ALL.map(|(name, catch_up)| (catch_up, name)) {
        assert_eq!(due(&nightly, catch_up, missed[1], tick), [tick], "{name}");
        assert_eq!(due(&nightly, catch_up, missed[1], Timestamp(tick.0 + GRACE)), [tick], "{name}");
        assert_eq!(due(&nightly, catch_up, tick, Timestamp(tick.0 + GRACE)), [], "{name}: it was fired");
        assert_eq!(due(&nightly, catch_up, missed[1], Timestamp(tick.0 - 1)), [], "{name}: not yet");
        assert_eq!(due(&nightly, catch_up, now, last), [], "{name}: a clock that went back");
    }
    assert_eq!(due(&nightly, CatchUp::Skip, missed[1], Timestamp(tick.0 + GRACE + 1)), []);
}

#[test]
fn what_is_caught_up_is_bounded_however_long_the_absence() {
    let ticks = due(&cron("* * * * *", UTC), CatchUp::All, Timestamp::MIN, at("2026-11-23T12:00:30Z"));
    assert_eq!((ticks.len(), ticks.last()), (MOST_TICKS, Some(&at("2026-11-23T12:00:00Z"))));
    let ticks =
        due(&cron("0 0 29 2 *", UTC), CatchUp::All, at("2019-01-01T00:00:00Z"), at("2033-01-01T00:00:00Z"));
    assert_eq!(ticks.len(), 4);
    assert_eq!(
        due(&cron("0 0 29 2 *", UTC), CatchUp::Once, Timestamp::MIN, at("2033-01-01T00:00:00Z")).len(),
        1
    );
}

const MINUTE: i64 = 60_000;
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    // Half an hour of summer time.
    "Australia/Lord_Howe",
    // Two hours.
    "Antarctica/Troll",
    // Leaps at midnight.
    "Africa/Cairo",
    "America/Havana",
    "Asia/Kathmandu",
    // Summer time is the other way round.
    "Europe/Dublin",
];

/// What the clock of the zone shows.
fn shown(zone: &TimeZone, at: i64) -> jiff::civil::DateTime {
    zone.to_datetime(jiff::Timestamp::from_millisecond(at).unwrap())
}

fn names(cron: &Cron, wall: jiff::civil::DateTime) -> bool {
    cron.pattern.is_time_matching(&Wall(wall)).unwrap()
}

/// All moments in `from..until`, whole minutes both, by looking at every minute.
fn all(cron: &Cron, from: i64, until: i64) -> Vec<i64> {
    let minutes = (from..until).step_by(usize::try_from(MINUTE).unwrap());
    match cron.kind {
        Kind::Rhythm => minutes.filter(|at| names(cron, shown(&cron.zone, *at))).collect(),
        Kind::Times => minutes
            .filter(|at| {
                let (now, before) = (shown(&cron.zone, *at), shown(&cron.zone, *at - MINUTE));
                // Whether the clock showed it in the last three hours already.
                let is_second = (1..=180).any(|back| shown(&cron.zone, at - back * MINUTE) == now);
                let mut leapt = std::iter::successors(Some(before), |wall| {
                    wall.checked_add(jiff::SignedDuration::from_mins(1)).ok()
                })
                .skip(1)
                .take_while(|wall| *wall < now);
                leapt.any(|wall| names(cron, wall)) || (!is_second && names(cron, now))
            })
            .collect(),
    }
}

fn expressions() -> impl Strategy<Value = String> {
    let minute = prop_oneof![
        Just("*".to_owned()),
        (0..60u8).prop_map(|m| m.to_string()),
        Just("*/15".to_owned()),
        (0..30u8, 30..60u8).prop_map(|(a, b)| format!("{a},{b}")),
        Just("10-50/20".to_owned())
    ];
    let hour = prop_oneof![
        Just("*".to_owned()),
        (0..4u8).prop_map(|h| h.to_string()),
        Just("0-3".to_owned()),
        Just("*/2".to_owned()),
        Just("1,2,23".to_owned())
    ];
    let day = prop_oneof![4 => Just("*".to_owned()), 1 => Just("*/2".to_owned()), 1 => Just("L".to_owned())];
    let weekday =
        prop_oneof![4 => Just("*".to_owned()), 1 => Just("SUN".to_owned()), 1 => Just("5-7".to_owned())];
    (minute, hour, day, weekday).prop_map(|(m, h, d, w)| format!("{m} {h} {d} * {w}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Around each change of the clock of 2026, and anywhere.
    #[test]
    fn every_moment_is_found_and_no_other(
        expression in expressions(),
        zone in proptest::sample::select(&ZONES[..]),
        nth in 0..3usize,
        hours in -30..6i64,
        anywhere in 0..(365 * 24 * 60i64),
        near in any::<bool>(),
    ) {
        let cron = cron(&expression, zone);
        let year = at("2026-01-01T00:00:00Z").0;
        let changes: Vec<i64> = cron.zone
            .following(jiff::Timestamp::from_millisecond(year).unwrap())
            .take(2).map(|change| change.timestamp().as_millisecond()).collect();
        let from = match changes.get(nth) {
            Some(change) if near => change + hours * 60 * MINUTE,
            _ => year + anywhere * MINUTE,
        };
        let until = from + 36 * 60 * MINUTE;
        let mut found = Vec::new();
        let mut time = Timestamp(from - 1);
        while let Some(next) = cron.next_after(time).filter(|next| next.0 < until) {
            prop_assert!(next > time);
            found.push(next.0);
            time = next;
        }
        prop_assert_eq!(found, all(&cron, from, until));
    }

    /// The ticks that are caught up are the last ones of all.
    #[test]
    fn what_is_caught_up_are_the_last_ticks(
        expression in expressions(),
        zone in proptest::sample::select(&ZONES[..]),
        last in 0..(365 * 24 * 60i64),
        minutes in 0..(20 * 24 * 60i64),
    ) {
        let cron = cron(&expression, zone);
        let last = Timestamp(at("2026-01-01T00:00:00Z").0 + last * MINUTE);
        let now = Timestamp(last.0 + minutes * MINUTE);
        let mut every = Vec::new();
        let mut time = last;
        while let Some(next) = cron.next_after(time).filter(|next| *next <= now) {
            every.push(next);
            time = next;
        }
        let newest = |most: usize| every[every.len().saturating_sub(most)..].to_vec();
        prop_assert_eq!(due(&cron, CatchUp::All, last, now), newest(MOST_TICKS));
        prop_assert_eq!(due(&cron, CatchUp::Once, last, now), newest(1));
        let in_time: Vec<Timestamp> = newest(1).into_iter().filter(|tick| tick.0 >= now.0 - GRACE).collect();
        prop_assert_eq!(due(&cron, CatchUp::Skip, last, now), in_time);
    }

    #[test]
    fn no_text_makes_it_panic(expression in any::<String>(), zone in any::<String>(), time in any::<i64>()) {
        drop(Cron::parse(&expression, &zone));
        drop(Cron::parse(&expression, UTC).map(|cron| cron.next_after(Timestamp(time))));
    }

    #[test]
    fn no_fields_make_it_panic(fields in "[0-9LWSUNMOJAEC*/,#?+ -]{1,30}", time in any::<i64>()) {
        if let Err(fault) = Cron::parse(&fields, UTC).map(|cron| cron.next_after(Timestamp(time))) {
            prop_assert!(fields.get(fault.span.clone()).is_some(), "{:?}", fault);
        }
        drop(Cron::parse(&format!("{fields} * * *"), "Europe/Berlin"));
        drop(Cron::parse(&format!("0 0 {fields}"), "Europe/Berlin"));
    }
}
