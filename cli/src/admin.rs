//! `writ admin`: what can't be done over HTTP because nobody may do it there yet, or any more. Commands go the way of all
//! others, through Kafka to a running decider; whoever can reach Kafka and has the sealing key may send them.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_api::identity::keys::{self, Keys};
use writ_api::identity::login;
use writ_identity::models::{ACCOUNT, ROLE, SYSTEM};
use writ_identity::password::{self, Password, Policy};
use writ_model::decide::Actor;
use writ_model::{Models, Rejection, Timestamp};
use writ_producers::commands::{Answers, Commands};
use writ_producers::envelope::{CommandRecord, Outcome};
use writ_producers::readiness::Readiness;
use writ_producers::{replies, thread};
use writ_projections::query::Queries;

use crate::config::{Config, load};
use crate::{Failure, check};

/// The role that may do everything.
const ADMIN: &str = "admin";
/// How long a decider has for a command.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `writ admin` takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Flags {
    /// Make an account that may do everything, and the role `admin` if there is none. Without a password one is made up and
    /// printed, once.
    Create {
        /// The e-mail address, by which the account signs in.
        email: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        /// Say nothing and succeed if there is an account with this address already.
        #[arg(long)]
        if_missing: bool,
    },
    /// Give an account another password, which ends all its sessions. Without a password one is made up and printed, once.
    Password {
        /// The e-mail address, by which the account signs in.
        email: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum Error {
    #[error("the keys can't be used")]
    #[diagnostic(help(
        "The tool needs the keys of the servers; `writ config` shows where it looks for them."
    ))]
    Keys(#[source] keys::Error),
    #[error("{0}")]
    #[diagnostic(help("Choose another one, or leave --password-stdin out."))]
    Unfit(password::Unfit),
    #[error("no password can be read from standard input")]
    Input(#[source] std::io::Error),
    #[error("the tool can't start")]
    Start(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the command could not be sent")]
    #[diagnostic(help(
        "Kafka and a server with the role `decider` have to run; `writ config` shows where Kafka is."
    ))]
    Send(#[source] writ_producers::commands::Error),
    #[error("the decider refused `{command}`: {detail}")]
    Refused { command: String, detail: String },
    #[error("there is an account with the address {0} already")]
    #[diagnostic(help("`writ admin password` gives it another password."))]
    Exists(String),
    #[error("there is no account with the address {0}")]
    NoAccount(String),
    #[error("PostgreSQL can't be asked for the account")]
    Query(#[source] writ_projections::query::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::failed(error)
    }
}

pub(crate) fn run(file: Option<&Path>, flags: &Flags) -> Result<ExitCode, Failure> {
    let config = load(file, Vec::new())?.config;
    let (models, _) = check::load(&config.app, &config.models)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::Start(error.into()))?;
    let _inside = runtime.enter();
    let keys = Keys::load(&config.identity).map_err(Error::Keys)?;
    let line = Line::open(&config, models, keys)?;
    match flags {
        Flags::Create { email, password_stdin, if_missing } => {
            let chosen = Chosen::of(*password_stdin)?;
            match runtime.block_on(create(&line, email, &chosen)) {
                Err(Error::Exists(_)) if *if_missing => return Ok(ExitCode::SUCCESS),
                other => other?,
            }
            println!("made the account {email}, which may do everything");
            chosen.print();
        }
        Flags::Password { email, password_stdin } => {
            let chosen = Chosen::of(*password_stdin)?;
            runtime.block_on(change(&line, &config, email, &chosen))?;
            println!("the account {email} has another password, and all its sessions have ended");
            chosen.print();
        }
    }
    runtime.block_on(line.close());
    Ok(ExitCode::SUCCESS)
}

/// A password, and whether whoever calls knows it.
struct Chosen {
    password: Password,
    /// Shown once.
    made_up: Option<zeroize::Zeroizing<String>>,
}

impl Chosen {
    fn of(stdin: bool) -> Result<Chosen, Error> {
        if !stdin {
            let text = password::make_up();
            return Ok(Chosen { password: Password::new(text.to_string()), made_up: Some(text) });
        }
        if std::io::stdin().is_terminal() {
            eprintln!("Type the password, then a new line and Ctrl-D. It is shown as you type.");
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(Error::Input)?;
        let password = Password::new(text.trim_end_matches(['\r', '\n']).to_owned());
        Policy::default().check(&password).map_err(Error::Unfit)?;
        Ok(Chosen { password, made_up: None })
    }

    fn phc(&self) -> Result<String, Error> {
        password::hash(&self.password).map(|hash| hash.to_phc()).map_err(|error| Error::Start(error.into()))
    }

    fn print(&self) {
        if let Some(text) = &self.made_up {
            println!("password: {}", **text);
            println!("It is shown this once and stored nowhere in clear.");
        }
    }
}

async fn create(line: &Line, email: &str, chosen: &Chosen) -> Result<(), Error> {
    let role = line.models.get(ROLE).and_then(|model| model.id_of_key(ADMIN)).unwrap_or_default();
    let description = "May do everything.";
    let input = json!({ "name": ADMIN, "description": description, "permissions": ["*"] });
    match line.send(ROLE, role, "create", input).await {
        Ok(()) | Err(Error::Exists(_)) => {}
        Err(error) => return Err(error),
    }
    let input = json!({
        "login": login(email), "email": email, "roles": [role], "password": chosen.phc()?,
    });
    line.send(ACCOUNT, Uuid::now_v7(), "create", input).await.map_err(|error| match error {
        Error::Exists(_) => Error::Exists(email.to_owned()),
        error => error,
    })
}

async fn change(line: &Line, config: &Config, email: &str, chosen: &Chosen) -> Result<(), Error> {
    let queries = Queries::new(&config.postgres, None).map_err(|error| Error::Start(error.into()))?;
    let model = line.models.get(ACCOUNT).ok_or_else(|| Error::NoAccount(email.to_owned()))?;
    let found = queries.whole_by(model, "login", &login(email)).await.map_err(Error::Query)?;
    let account = found.ok_or_else(|| Error::NoAccount(email.to_owned()))?;
    line.send(ACCOUNT, account.id, "change_password", json!({ "password": chosen.phc()? })).await
}

/// The way to the decider and back.
struct Line {
    models: Models,
    keys: Keys,
    commands: Commands,
    reader: tokio::task::JoinHandle<Result<(), thread::Error>>,
    cancel: CancellationToken,
}

impl Line {
    fn open(config: &Config, models: Models, keys: Keys) -> Result<Line, Error> {
        let (answers, cancel) = (Answers::new(), CancellationToken::new());
        let (_, ready) = watch::channel(Readiness::Ready);
        let partition = replies::partition_of(answers.instance);
        let commands = Commands::new(&config.kafka, answers.clone(), partition, ready)
            .map_err(|error| Error::Start(error.into()))?;
        let (kafka, stop) = (config.kafka.clone(), cancel.clone());
        let reader =
            tokio::spawn(thread::run("writ-replies", move || replies::read(&kafka, &answers, &stop)));
        Ok(Line { models, keys, commands, reader, cancel })
    }

    async fn close(self) {
        self.cancel.cancel();
        if let Err(error) = self.reader.await {
            tracing::warn!(%error, "the reader of answers did not end well");
        }
    }

    /// Sends a command and waits for its event. With an idempotency of its own: an answer that is lost is asked for again.
    async fn send(&self, model: &str, aggregate: Uuid, command: &str, input: Json) -> Result<(), Error> {
        let id = Uuid::now_v7();
        let mut record = CommandRecord {
            id,
            model: model.to_owned(),
            aggregate,
            command: command.to_owned(),
            input,
            actor: Actor { roles: vec![SYSTEM.to_owned()], ..Actor::unrestricted() },
            expected_version: None,
            at: Timestamp::from(SystemTime::now()).0,
            idempotent: true,
            correlation: id,
            causation: None,
            traceparent: None,
            reacting: None,
        };
        if let Some(declared) = self.models.get(model).and_then(|model| model.commands.get(command)) {
            self.keys.seal(declared, &mut record);
        }
        // The reader may begin behind an answer that comes at once: the repeat gets the same outcome.
        let first = self.commands.enqueue(&record).map_err(Error::Send)?;
        let outcome = match first.outcome(PATIENCE / 10).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let again = self.commands.enqueue(&record).map_err(Error::Send)?;
                again.outcome(PATIENCE).await.map_err(Error::Send)?
            }
        };
        match outcome {
            Outcome::Committed(_) => Ok(()),
            Outcome::Rejected(Rejection::AlreadyExists { .. } | Rejection::NotUnique { .. }) => {
                Err(Error::Exists(String::new()))
            }
            Outcome::Rejected(rejection) => {
                let detail = serde_json::to_string(&rejection).unwrap_or_else(|_| format!("{rejection:?}"));
                Err(Error::Refused { command: format!("{model}.{command}"), detail })
            }
        }
    }
}
