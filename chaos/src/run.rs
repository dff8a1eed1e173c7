//! One run: start, break, heal, compare, report.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_model::Models;
use writ_model::diagnostic::Source;

use crate::checks::{self, Check};
use crate::cluster::Cluster;
use crate::events::{self, Log};
use crate::history::{Operation, Recorder};
use crate::kills::Kills;
use crate::nemesis::{Damage, Nemesis};
use crate::report::Report;
use crate::stack::Stack;
use crate::tables::Tables;
use crate::watchers::Watchers;
use crate::workload::Workload;
use crate::{Options, logs};

/// How long commands may take to have an outcome when nothing is broken any more.
const OUTCOMES: Duration = Duration::from_secs(120);
/// How long the rows may take to show all events.
const PROJECTION: Duration = Duration::from_secs(120);
/// How long those who watch may take to see all events. Longer than a broken connection takes to be noticed.
const WATCHING: Duration = Duration::from_secs(120);

/// Runs, prints the report, and gives the exit code.
///
/// # Errors
/// The run couldn't be made, or was interrupted; whatever it started is killed.
pub(crate) async fn run(options: &Options, stop: &CancellationToken) -> Result<ExitCode> {
    let dir = std::path::absolute(&options.dir).context("the folder has no absolute path")?;
    eprintln!("Seed {}; starting the servers and processes in {}.", options.seed, dir.display());
    let folder = models_folder();
    let (infra, writ) = (std::path::absolute(&options.infra)?, std::path::absolute(&options.writ)?);
    let started = tokio::select! {
        cluster = Cluster::start(&infra, &writ, &folder, &dir, options.kills.is_some()) => cluster,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    let cluster = match started {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => {
            // The processes ended with their handles.
            Stack::new(&infra, &dir).kill().await?;
            return Err(error);
        }
    };
    let result = tokio::select! {
        report = observe(options, &cluster, &folder, &dir) => report,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    let killed = cluster.kill().await;
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            eprintln!(
                "The run with seed {} failed; its logs are in {}.",
                options.seed,
                dir.join("logs").display()
            );
            return Err(error);
        }
    };
    killed?;
    println!("{report}");
    let path = dir.with_extension("json");
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    if report.passed() {
        println!("All is well. The report is in {}.", path.display());
        if !options.keep {
            cluster.stack.remove().await?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "FAILED with seed {}. The logs are in {}, the report in {}.",
        options.seed,
        dir.join("logs").display(),
        path.display()
    );
    Ok(ExitCode::FAILURE)
}

/// Breaks things under load, then compares.
async fn observe(options: &Options, cluster: &Arc<Cluster>, folder: &Path, dir: &Path) -> Result<Report> {
    let models = load(folder)?;
    let recorder = Recorder::new(options.clients);
    let apis = cluster.apis();
    let mut watchers = Watchers::start(&apis, options.watchers, options.seed).await?;
    let pause = Duration::from_millis(options.pause_ms);
    let workload = Workload::start(apis, options.clients, pause, options.seed, recorder.clone()).await?;
    let rng = ChaCha8Rng::seed_from_u64(options.seed);
    let time = Duration::from_secs_f64(options.seconds.unwrap_or(options.minutes * 60.0));
    let began = Instant::now();
    let breaking = async {
        let (cluster, recorder) = (cluster.clone(), recorder.clone());
        match options.kills {
            Some(count) => Kills { cluster, recorder, rng, count }.run().await,
            None => Nemesis { cluster, recorder, rng, only: options.faults.clone() }.run(time).await,
        }
    };
    let damage = tokio::select! {
        damage = breaking => damage?,
        error = cluster.supervise() => { error?; bail!("the supervisor ended") }
    };
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("All is healed; waiting for the outcomes of what is under way.");
    tokio::select! {
        finished = workload.finish(OUTCOMES) => finished?,
        error = cluster.supervise() => { error?; bail!("the supervisor ended") }
    }
    let (operations, surprises) = recorder.take();
    eprintln!("{} commands; reading the topics and the tables.", operations.len());
    let log = read_events(cluster, &models, &operations).await?;
    let mut checks = checks::all(&operations, &log, &models);
    checks.extend(compare_tables(cluster, &models, &log).await?);
    checks.push(compare_watchers(&mut watchers, &models, &log).await?);
    checks.extend(circumstances(options, cluster, dir, &damage, &operations, surprises, seconds)?);
    let history = serde_json::to_vec(&operations).context("the history can't be written as JSON")?;
    std::fs::write(dir.join("history.json"), history).context("the history can't be kept")?;
    Ok(Report::new(options.seed, seconds, &operations, damage.faults, checks))
}

async fn read_events(cluster: &Cluster, models: &Models, operations: &[Operation]) -> Result<Log> {
    let mut expected: HashMap<String, HashSet<Uuid>> = HashMap::new();
    for operation in operations {
        let events = operation.acknowledged().into_iter().flat_map(|answer| &answer.events);
        expected.entry(operation.request.model.to_owned()).or_default().extend(events.map(|(id, _)| *id));
    }
    let (ports, models) = (cluster.stack.ports, models.clone());
    let read = move || events::read(ports.kafka, ports.registry, &models, &expected);
    tokio::task::spawn_blocking(read).await.context("the reader of the events panicked")?
}

/// Compares until all tables agree or have had time enough.
async fn compare_tables(cluster: &Cluster, models: &Models, log: &Log) -> Result<Vec<Check>> {
    let deadline = Instant::now() + PROJECTION;
    loop {
        let checks =
            checks::tables(&log.events, &Tables::read(cluster.stack.ports.postgres, models).await?, models);
        if checks.iter().all(|check| check.violations.is_empty()) || Instant::now() > deadline {
            return Ok(checks);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Compares until everybody has seen all or has had time enough. Their connections stay from here on.
async fn compare_watchers(watchers: &mut Watchers, models: &Models, log: &Log) -> Result<Check> {
    watchers.calm_down();
    let deadline = Instant::now() + WATCHING;
    let check = loop {
        let seen: Vec<_> =
            watchers.all().iter().map(|watcher| (watcher.watch.clone(), watcher.seen())).collect();
        let check = checks::everybody_saw_all(&seen, &log.events, models);
        if check.violations.is_empty() || Instant::now() > deadline {
            break check;
        }
        sleep(Duration::from_millis(500)).await;
    };
    watchers.stop().await?;
    Ok(check)
}

/// What isn't about single commands: whether the run means something, and what the processes said.
fn circumstances(
    options: &Options,
    cluster: &Cluster,
    dir: &Path,
    damage: &Damage,
    operations: &[Operation],
    surprises: Vec<String>,
    seconds: f64,
) -> Result<Vec<Check>> {
    let mut names: Vec<_> = cluster.nodes().iter().map(|node| node.name.clone()).collect();
    names.push(cluster.extra().name.clone());
    let (lines, alarms) = logs::alarms(&dir.join("logs"), &names)?;
    let acknowledged = operations.iter().filter(|operation| operation.acknowledged().is_some()).count();
    let floor = options.floor * seconds / 60.0;
    let too_few = (acknowledged as f64) < floor || damage.faults.is_empty();
    let too_few = too_few.then(|| {
        let faults = damage.faults.len();
        format!("{acknowledged} acknowledged commands under {faults} faults; at least {floor:.0} and one are needed")
    });
    let mut log_check = Check::of("The logs have no alarm and no panic.", alarms);
    log_check.examined.push((lines, "lines"));
    Ok(vec![
        log_check,
        Check::of("Every answer is one that a client expects.", surprises),
        Check::of("No process ended by itself.", cluster.ended()),
        Check::of("After every fault all clients were served again.", damage.stuck.clone()),
        Check::of("Enough commands succeeded for the run to mean something.", too_few.into_iter().collect()),
    ])
}

fn models_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn load(folder: &Path) -> Result<Models> {
    let mut sources = Vec::new();
    for name in ["purse.yaml", "activity.yaml", "flow.yaml", "member.yaml", "register.yaml"] {
        let path = folder.join(name);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        sources.push(Source { name: name.to_owned(), text });
    }
    Models::check(crate::APP, &sources)
        .map_err(|findings| anyhow::anyhow!("the models of the harness are wrong: {findings:?}"))
}
