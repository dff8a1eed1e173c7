//! From the text of an expression and the name of a zone to a [`Cron`], or to what is wrong with them.

use std::ops::Range;

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::{Cron, Kind};
use crate::expression::Fault;
use crate::value::Timestamp;

/// Longest expression, in bytes.
const LONGEST: usize = 200;

/// A day in 2001: an expression that never comes after it never comes.
const LONG_AGO: Timestamp = Timestamp(1_000_000_000_000);

const FORM: &str = "write five fields, minute, hour, day of the month, month, day of the week: `0 3 * * *` is every day at 03:00";

/// One of the five fields.
struct Part {
    name: &'static str,
    takes: &'static str,
    words: &'static [&'static str],
}

const PARTS: [Part; 5] = [
    Part { name: "minute", takes: "0 to 59, such as `30`, `0,30` or `*/15`", words: &[] },
    Part { name: "hour", takes: "0 to 23, such as `3`, `8-18` or `*/2`", words: &[] },
    Part {
        name: "day of the month",
        takes: "1 to 31, `L` for the last one, `15W` for the weekday nearest to the 15th",
        words: &["L", "W", "LW"],
    },
    Part {
        name: "month",
        takes: "1 to 12, or `JAN` to `DEC`",
        words: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    Part {
        name: "day of the week",
        takes: "0 to 7, where 0 and 7 are Sunday, or `SUN` to `SAT`; `FRI#2` is the second Friday of the month, `5L` the last one",
        words: &[
            "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L", "SUNL", "MONL", "TUEL", "WEDL", "THUL",
            "FRIL", "SATL",
        ],
    },
];

impl Cron {
    /// Reads `expression`, five fields as in a crontab, for the clock of `time_zone`, a name of the IANA database. Errors:
    /// what is wrong with the expression, with the place in it; or that the database has no such zone.
    pub fn parse(expression: &str, time_zone: &str) -> Result<Cron, Fault> {
        let whole =
            |message: String, hint: Option<String>| Fault { span: 0..expression.len(), message, hint };
        let zone = self::time_zone(time_zone)
            .ok_or_else(|| whole(format!("there is no time zone `{time_zone}`"), None))?;
        if expression.len() > LONGEST {
            let message =
                format!("a cron expression has at most {LONGEST} bytes, this one has {}", expression.len());
            return Err(whole(message, Some("make two reactions of it".to_owned())));
        }
        let fields = fields(expression);
        if fields.len() != PARTS.len() {
            let hint = match expression.trim_start().starts_with('@') {
                true => "there are no nicknames; `@daily` is `0 0 * * *`, `@hourly` is `0 * * * *`",
                false => FORM,
            };
            let message = format!("a cron expression has five fields, this one has {}", fields.len());
            return Err(whole(message, Some(hint.to_owned())));
        }
        for (nth, (span, part)) in fields.iter().zip(&PARTS).enumerate() {
            check_field(&expression[span.clone()], nth, part).map_err(|message| Fault {
                span: span.clone(),
                message,
                hint: Some(part.takes.to_owned()),
            })?;
        }
        let pattern = parse(expression)
            .map_err(|()| whole("this is no cron expression".to_owned(), Some(FORM.to_owned())))?;
        let is_rhythm = fields[..2].iter().any(|span| expression[span.clone()].contains('*'));
        let cron = Cron {
            expression: expression.to_owned(),
            time_zone: time_zone.to_owned(),
            pattern,
            zone,
            kind: if is_rhythm { Kind::Rhythm } else { Kind::Times },
        };
        match cron.next_after(LONG_AGO) {
            Some(_) => Ok(cron),
            None => {
                let hint = "no month that it names has such a day".to_owned();
                Err(whole("it never comes".to_owned(), Some(hint)))
            }
        }
    }
}

/// The zone of this name, with the rules that this version of the server was built with.
pub(crate) fn time_zone(name: &str) -> Option<TimeZone> {
    // The database takes names in any letter case; two spellings of one zone would make two texts of one thing.
    TimeZoneDatabase::bundled().get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// The names of all zones.
pub(crate) fn time_zones() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect()
}

/// The places of the fields, which stand between blanks.
fn fields(expression: &str) -> Vec<Range<usize>> {
    let mut fields = Vec::new();
    let mut start = None;
    for (at, letter) in expression.char_indices().chain([(expression.len(), ' ')]) {
        match (letter.is_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                fields.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    fields
}

/// Errors: what is wrong. The crate would take the name of a month for a day, and `MONTUE` for 12.
fn check_field(text: &str, nth: usize, part: &Part) -> Result<(), String> {
    let wrong = || format!("`{text}` is no {}", part.name);
    let mut words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    if !words.all(|word| part.words.contains(&word.to_uppercase().as_str())) {
        return Err(wrong());
    }
    let alone: Vec<&str> = (0..PARTS.len()).map(|other| if other == nth { text } else { "*" }).collect();
    parse(&alone.join(" ")).map(drop).map_err(|()| wrong())
}

fn parse(expression: &str) -> Result<croner::Cron, ()> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(expression).map_err(drop)
}
