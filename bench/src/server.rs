//! A `writ serve` process that is started, watched, stopped and killed.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use writ_producers::kafka;

use crate::connection::{Ask, Connection};
use crate::target;

const LOOK: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(20 * 60);
const TAKEN_OVER: &str = "the decider has taken over its partitions";

/// What every process of a benchmark is started with.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Holds data and logs, by the names of the processes.
    pub(crate) dir: PathBuf,
    /// The folder of the model files.
    pub(crate) models: PathBuf,
    /// Kafka, with the prefix of the topics.
    pub(crate) kafka: kafka::Options,
    /// The schema in PostgreSQL; `None`: the default one.
    pub(crate) schema: Option<String>,
    /// More variables.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
}

impl Setup {
    /// `writ` with these arguments, the addresses of the stack and what the setup says.
    pub(crate) fn writ(&self, arguments: &[&str]) -> Result<Command> {
        let program = std::env::current_exe()?.with_file_name("writ");
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .envs(target::stack_variables()?)
            .env("WRIT_KAFKA_BROKERS", &self.kafka.brokers)
            .env("WRIT_KAFKA_TOPIC_PREFIX", &self.kafka.topic_prefix)
            .env("WRIT_KAFKA_PARTITIONS", self.kafka.partitions.to_string())
            .env("WRIT_APP", "shop")
            .env("WRIT_LOG_FORMAT", "json")
            // Set by `cargo dev test`; not a key of the configuration.
            .env_remove("WRIT_TEST_STACK")
            .env_remove("WRIT_TEST_STACK_DIR")
            .env_remove("WRIT_HTTP_LISTEN")
            .envs(self.schema.as_ref().map(|schema| ("WRIT_POSTGRES_SCHEMA", schema)))
            .envs(self.settings.iter().copied())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }
}

/// The process.
pub(crate) struct Server {
    /// `host:port` of its API.
    pub(crate) address: String,
    child: Child,
    log: PathBuf,
    started: Instant,
}

/// What was seen of the process during a phase.
pub(crate) struct Phase {
    seconds: f64,
    most_mib: u64,
    end_mib: u64,
}

impl Phase {
    /// As a row. `records`: what was done in it.
    pub(crate) fn print(&self, name: &str, records: Option<u64>) {
        let rate = records.map(|records| format!("{:.0}", records as f64 / self.seconds)).unwrap_or_default();
        println!("| {name} | {:.2} | {rate} | {} | {} |", self.seconds, self.most_mib, self.end_mib);
    }
}

impl Server {
    /// Starts one with `roles`. Its data and log have its name.
    pub(crate) fn start(setup: &Setup, name: &str, roles: &str) -> Result<Server> {
        // Free at this moment; the server says so if it isn't any more.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let log = setup.dir.join(format!("{name}.log"));
        let data = setup.dir.join(name);
        let mut command = setup.writ(&["serve", "--open", "--roles", roles, "--listen", &address])?;
        command
            .arg("--models")
            .arg(&setup.models)
            .arg("--data")
            .arg(data)
            .stdout(File::options().create(true).append(true).open(&log)?)
            .stderr(File::options().create(true).append(true).open(&log)?);
        let started = Instant::now();
        let child = command.spawn().context("`writ` can't be started; build it with `cargo dev up`")?;
        Ok(Server { address, child, log, started })
    }

    /// Waits until a part of it is ready (`decider`). The phase begins with the start of the process.
    pub(crate) async fn until_ready(&mut self, part: &str) -> Result<Phase> {
        let mut most_mib = 0;
        loop {
            most_mib = most_mib.max(self.rss_mib());
            if self.is_ready(part).await {
                break;
            }
            self.check(self.started)?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(Phase { seconds: self.started.elapsed().as_secs_f64(), most_mib, end_mib: self.rss_mib() })
    }

    /// Looks at its memory for a while.
    pub(crate) async fn watch(&mut self, duration: Duration) -> Phase {
        let (started, mut most_mib) = (Instant::now(), 0);
        while started.elapsed() < duration {
            most_mib = most_mib.max(self.rss_mib());
            tokio::time::sleep(LOOK).await;
        }
        Phase { seconds: started.elapsed().as_secs_f64(), most_mib, end_mib: self.rss_mib() }
    }

    /// Waits until its decider has taken partitions over for the `nth` time since its last start.
    pub(crate) async fn until_taken_over(&mut self, nth: usize) -> Result<()> {
        let started = Instant::now();
        while self.take_overs()?.len() < nth {
            self.check(started)?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What its log says of each take-over since its last start.
    pub(crate) fn take_overs(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.log)?;
        let mut found = Vec::new();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let fields = line.get("fields").unwrap_or(&line);
            match fields["message"].as_str() {
                Some("the server starts") => found.clear(),
                Some(TAKEN_OVER) => found.push(format!(
                    "{} partitions, {} records, {} ms",
                    fields["decider.partitions"], fields["decider.restored_records"], fields["elapsed_ms"]
                )),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Stops it as an operator would. Seconds until it was gone.
    pub(crate) async fn terminate(&mut self) -> Result<f64> {
        let started = Instant::now();
        self.signal(Signal::SIGTERM)?;
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("the server ended with {status}; its log is {}", self.log.display());
        }
        Ok(started.elapsed().as_secs_f64())
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().await?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().context("the server has ended already")?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    fn check(&mut self, since: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("the server ended with {status}:\n{log}");
        }
        if since.elapsed() > LIMIT {
            bail!("the server isn't where it should be after {LIMIT:?}");
        }
        Ok(())
    }

    async fn is_ready(&self, name: &str) -> bool {
        let Ok(mut connection) = Connection::open(&self.address).await else { return false };
        let answer = connection.send(Ask::get("/readyz")).await;
        connection.close().await;
        let report: Value =
            answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or_default();
        let parts = report["parts"].as_array();
        parts.is_some_and(|parts| parts.iter().any(|part| part["name"] == name && part["ready"] == true))
    }

    fn rss_mib(&self) -> u64 {
        self.rss_kib() / 1024
    }

    /// Processor time of the process so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let pid = self.child.id().context("the server has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may have blanks; user and system time are fields 14 and 15 (proc(5)).
        let after = stat.rsplit_once(')').map(|(_, after)| after).unwrap_or_default();
        let ticks = after.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>().context("the system tells no processor time")?;
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// Resident memory; 0 where the system doesn't tell.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status =
            self.child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let line =
            status.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("VmRSS:")));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or(0)
    }
}
