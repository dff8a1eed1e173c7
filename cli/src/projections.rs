//! `writ projections`: what is read, how far behind it is, and what is being built.

use std::path::Path;
use std::process::ExitCode;

use miette::MietteDiagnostic;
use serde::Serialize;
use writ_projections::rebuild::{self, Projection, Projections};

use crate::rebuild::{Error, runtime};
use crate::{Failure, config};

/// What `writ projections` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Exit code 0, whatever their states are.
pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    let config = config::load(file, Vec::new())?.config;
    let found = runtime()?.block_on(async {
        let projections = Projections::new(&config.postgres).map_err(rebuild::Error::from)?;
        let found = projections.list().await?;
        let lags = projections.lags(&config.kafka).await;
        Ok::<_, Error>((found, lags))
    });
    let (found, lags) = found?;
    let lags = match lags {
        Ok(lags) => Some(lags),
        Err(error) => {
            eprintln!("How far behind they are can't be said: {error}");
            None
        }
    };
    let lag = |name: &str| lags.as_ref().and_then(|lags| lags.get(name)).copied();
    if flags.json {
        for projection in &found {
            println!("{}", json(projection, lag(&projection.name))?);
        }
    } else if found.is_empty() {
        println!("No projections yet. A server with the role projector makes them when it starts.");
    } else {
        let with_lags: Vec<_> = found.iter().map(|one| (one, lag(&one.name))).collect();
        print!("{}", table(&with_lags));
    }
    Ok(ExitCode::SUCCESS)
}

/// One line of `--json`.
#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    kind: &'a str,
    /// `live`, `stopped`, or null while the first generation is being built.
    state: Option<&'static str>,
    generation: Option<i32>,
    /// Events that it doesn't have yet.
    lag: Option<u64>,
    since: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<JsonBuild<'a>>,
}

#[derive(Serialize)]
struct JsonBuild<'a> {
    /// `building`, `held` (goes on by itself once the reason in `error` is gone) or `failed`.
    state: &'static str,
    generation: i32,
    done: i64,
    total: i64,
    applied: i64,
    since: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_at: Option<&'a str>,
}

fn json(projection: &Projection, lag: Option<u64>) -> Result<String, Failure> {
    let current = projection.current.as_ref();
    let line = Json {
        name: &projection.name,
        kind: &projection.kind,
        state: current.map(|current| if current.live { "live" } else { "stopped" }),
        generation: current.map(|current| current.generation),
        lag,
        since: current.map(|current| current.since.as_str()),
        error: current.and_then(|current| current.error.as_deref()),
        error_at: current.and_then(|current| current.error_at.as_deref()),
        build: projection.build.as_ref().map(|build| JsonBuild {
            state: build_state(build),
            generation: build.generation,
            done: build.done,
            total: build.total,
            applied: build.applied,
            since: &build.since,
            error: build.error.as_deref(),
            error_at: build.error_at.as_deref(),
        }),
    };
    serde_json::to_string(&line).map_err(|error| {
        Failure::failed(MietteDiagnostic::new(format!("a projection can't be written as JSON: {error}")))
    })
}

fn build_state(build: &rebuild::Build) -> &'static str {
    match (&build.error, &build.error_at) {
        (None, _) => "building",
        (Some(_), None) => "held",
        (Some(_), Some(_)) => "failed",
    }
}

/// A line per generation in columns; what needs somebody stands below its line.
fn table(found: &[(&Projection, Option<u64>)]) -> String {
    let mut rows = vec![(["NAME", "KIND", "STATE", "GENERATION", "LAG", "SINCE"].map(str::to_owned), None)];
    for (projection, lag) in found {
        let Projection { name, kind, current, build } = projection;
        if let Some(current) = current {
            let state = if current.live { "live" } else { "stopped" };
            let lag = lag.map_or("?".to_owned(), |lag| lag.to_string());
            let generation = current.generation.to_string();
            let cells =
                [name.clone(), kind.clone(), state.to_owned(), generation, lag, current.since.clone()];
            rows.push((cells, complaint(current.error.as_deref(), current.error_at.as_deref())));
        }
        if let Some(build) = build {
            let left = (build.total - build.done).max(0).to_string();
            let (state, generation) = (build_state(build).to_owned(), build.generation.to_string());
            let cells = [name.clone(), kind.clone(), state, generation, left, build.since.clone()];
            rows.push((cells, complaint(build.error.as_deref(), build.error_at.as_deref())));
        }
    }
    let width =
        |column: usize| rows.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    rows.iter()
        .map(|([name, kind, state, generation, lag, since], complaint)| {
            let [w0, w1, w2, w3, w4] = widths;
            let line =
                format!("{name:w0$}  {kind:w1$}  {state:w2$}  {generation:>w3$}  {lag:>w4$}  {since}\n");
            line + complaint.as_deref().unwrap_or_default()
        })
        .collect()
}

fn complaint(error: Option<&str>, at: Option<&str>) -> Option<String> {
    let at = at.filter(|at| !at.is_empty()).map_or(String::new(), |at| format!("at the event {at}: "));
    error.map(|error| format!("    {at}{}\n", error.lines().collect::<Vec<_>>().join(" ")))
}

#[cfg(test)]
mod tests {
    use writ_projections::rebuild::{Build, Current};

    use super::*;

    #[test]
    fn the_table_shows_what_is_read_what_is_built_and_what_needs_somebody() {
        let current = |generation, live| Current {
            generation,
            live,
            since: "2026-01-31T00:00:00.000Z".into(),
            error: (!live).then(|| "division by zero\nmore".into()),
            error_at: (!live).then(|| "writ.order:5:1234".into()),
        };
        let build = Build { generation: 3, done: 40, total: 1_000, ..Build::default() };
        let projection = |name: &str, kind: &str, current, build| Projection {
            name: name.into(),
            kind: kind.into(),
            current,
            build,
        };
        let found = [
            projection("daily_sales", "sql", Some(current(2, false)), Some(build)),
            projection("event_log", "event_log", Some(current(1, true)), None),
        ];
        assert_eq!(
            table(&[(&found[0], Some(12)), (&found[1], None)]),
            "\
NAME         KIND       STATE     GENERATION  LAG  SINCE
daily_sales  sql        stopped            2   12  2026-01-31T00:00:00.000Z
    at the event writ.order:5:1234: division by zero more
daily_sales  sql        building           3  960  
event_log    event_log  live               1    ?  2026-01-31T00:00:00.000Z
"
        );
    }
}
