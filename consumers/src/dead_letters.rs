//! The dead letters, for the operator: what there is, what became of it, and sending commands once more.
//!
//! Letters and marks are records of `writ.dead-letters` ([`writ_producers::dead_letter`]), so the state of a letter is
//! a fold over that topic; nothing else is kept. A command is sent again in one transaction with its mark: both are
//! there or neither is. The transactional id is always the same. Whoever begins later fences the one before, waits for
//! what that one has committed, and reads it, so two operators never send the same letter twice without knowing.
//!
//! Everything here blocks.

use std::collections::HashMap;

use rdkafka::Message;
use rdkafka::message::{Header, OwnedHeaders};
use serde::Serialize;
use writ_producers::dead_letter::{Encoded, Entry, Letter, Mark, Origin, Original};
use writ_producers::envelope::header;
use writ_producers::kafka::Options;
use writ_producers::topics::Topics;
use writ_producers::transaction::{self, Record, Transaction, TransactionalProducer};

use crate::scan::{self, Next, Reader};

/// Letters of one transaction.
const CHUNK: usize = 50;

/// Why an operation on dead letters failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topic can't be read.
    #[error("the dead letters can't be read")]
    Read(#[from] scan::Error),
    /// Nothing was marked or sent, or at least not all of it.
    #[error("the dead letters can't be written")]
    Write(#[from] transaction::Error),
    /// No letter has this id.
    #[error("there is no dead letter {0}; `writ dead-letters list` shows all")]
    Unknown(Origin),
    /// It was replayed or dropped before.
    #[error("the dead letter {origin} was {} already; `--again` takes it once more", mark.name())]
    Done {
        /// Its id.
        origin: Origin,
        /// What became of it.
        mark: Mark,
    },
    /// A record without a key belongs to no aggregate.
    #[error("the record of the dead letter {0} has no key, so no decider could ever take it; drop it")]
    NoKey(Origin),
    /// A large original is not kept in its letter, and its topic has deleted it.
    #[error("the record of the dead letter {0} is too large to be kept in it, and its topic has deleted it")]
    Gone(Origin),
}

/// What became of a letter so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has looked after it.
    Open,
    /// As marked.
    #[serde(untagged)]
    Done(Mark),
}

impl State {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Done(mark) => mark.name(),
        }
    }
}

/// A letter without the original's value and headers, of which there may be many.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its id.
    pub origin: Origin,
    /// When it was written, milliseconds.
    pub at: i64,
    /// Why.
    pub reason: String,
    /// The original's key.
    pub key: Option<Vec<u8>>,
    /// Bytes of the original.
    pub size: usize,
    /// Consumer group of whoever gave up.
    pub group: Option<String>,
    /// What became of it.
    pub state: State,
    /// The letter that this record was replayed from: it failed again.
    pub replay_of: Option<String>,
    /// Where the letter stands: partition and offset in `writ.dead-letters`.
    place: (i32, i64),
}

/// The topic `writ.dead-letters`.
pub struct DeadLetters {
    options: Options,
    topics: Topics,
    reader: Reader,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("options", &self.options).finish_non_exhaustive()
    }
}

impl DeadLetters {
    /// Of one application.
    ///
    /// # Errors
    /// The Kafka options are invalid.
    pub fn new(options: &Options) -> Result<DeadLetters, Error> {
        let topics = Topics::new(&options.topic_prefix);
        Ok(DeadLetters { options: options.clone(), topics, reader: Reader::new(options)? })
    }

    /// All of them, oldest first.
    ///
    /// # Errors
    /// Kafka doesn't answer, or there is no such topic.
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        let topic = self.topics.dead_letters();
        let partitions = self.reader.partitions(&topic)?;
        let mut found: HashMap<Origin, Summary> = HashMap::new();
        self.reader.read::<Error>(&topic, (0..partitions).map(|partition| (partition, 0)), |record| {
            match Entry::parse(record) {
                None => tracing::debug!(
                    kafka.partition = record.partition(),
                    kafka.offset = record.offset(),
                    "a record of the dead letters is none of ours"
                ),
                Some(Entry::Mark(origin, mark)) => {
                    found.entry(origin).and_modify(|letter| letter.state = State::Done(mark));
                }
                Some(Entry::Letter(letter)) => {
                    let summary = summary(*letter, record);
                    // The first letter wins: a second one is a repeat after a crash. But not after a replay: it says
                    // that the record has failed again.
                    match found.get(&summary.origin).map(|known| known.state) {
                        Some(State::Open | State::Done(Mark::Dropped)) => {}
                        None | Some(State::Done(Mark::Replayed)) => {
                            found.insert(summary.origin.clone(), summary);
                        }
                    }
                }
            }
            Ok(Next::Go)
        })?;
        let mut letters: Vec<Summary> = found.into_values().collect();
        letters.sort_by(|a, b| (a.at, &a.origin).cmp(&(b.at, &b.origin)));
        Ok(letters)
    }

    /// One letter, whole. A large original is fetched from its own topic.
    ///
    /// # Errors
    /// [`Error::Gone`]; Kafka doesn't answer.
    pub fn fetch(&self, summary: &Summary) -> Result<Letter, Error> {
        let mut letter = self.fetch_letter(summary)?;
        if letter.left_out.is_some() {
            let origin = &letter.origin;
            let found = self.fetch_record(&origin.topic, (origin.partition, origin.offset), |record| {
                Some(Original::of(record))
            })?;
            letter.original = found.ok_or_else(|| Error::Gone(letter.origin.clone()))?;
        }
        Ok(letter)
    }

    fn fetch_letter(&self, summary: &Summary) -> Result<Letter, Error> {
        let found =
            self.fetch_record(&self.topics.dead_letters(), summary.place, |record| {
                match Entry::parse(record) {
                    Some(Entry::Letter(letter)) => Some(*letter),
                    _ => None,
                }
            })?;
        found.ok_or_else(|| Error::Unknown(summary.origin.clone()))
    }

    fn fetch_record<T>(
        &self,
        topic: &str,
        (partition, offset): (i32, i64),
        read: impl Fn(&rdkafka::message::BorrowedMessage<'_>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut found = None;
        self.reader.read::<Error>(topic, [(partition, offset)], |record| {
            if record.offset() == offset {
                found = read(record);
            }
            Ok(Next::Stop)
        })?;
        Ok(found)
    }

    /// Whether the letter is of a command, which can be sent again. Those of events can't: see the projector.
    pub fn is_command(&self, origin: &Origin) -> bool {
        origin.topic == self.topics.commands()
    }

    /// Begins to change letters: from now on nobody else does.
    ///
    /// # Errors
    /// Kafka doesn't answer.
    pub fn begin(&self) -> Result<Changes<'_>, Error> {
        let producer = TransactionalProducer::new(&self.options, &self.topics.dead_letters_writer())?;
        let known = self.list()?;
        let known = known.into_iter().map(|letter| (letter.origin.clone(), letter)).collect();
        Ok(Changes { letters: self, producer, known })
    }
}

fn summary(letter: Letter, record: &rdkafka::message::BorrowedMessage<'_>) -> Summary {
    Summary {
        at: record.timestamp().to_millis().unwrap_or_default(),
        size: letter.left_out.unwrap_or_else(|| letter.original.size()),
        group: letter.context.map(|context| context.author.group),
        state: State::Open,
        replay_of: letter.original.header(header::DEAD_LETTER).map(str::to_owned),
        place: (record.partition(), record.offset()),
        reason: letter.reason,
        key: letter.original.key,
        origin: letter.origin,
    }
}

/// The only one who changes letters at the moment.
pub struct Changes<'a> {
    letters: &'a DeadLetters,
    producer: TransactionalProducer,
    /// As of [`DeadLetters::begin`].
    known: HashMap<Origin, Summary>,
}

impl std::fmt::Debug for Changes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Changes<'_> {
    /// The letter with this id, if it may be changed. `again`: also if it was before.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Done`].
    pub fn pick(&self, origin: &Origin, again: bool) -> Result<Summary, Error> {
        let letter = self.known.get(origin).ok_or_else(|| Error::Unknown(origin.clone()))?;
        match letter.state {
            State::Done(mark) if !again => Err(Error::Done { origin: origin.clone(), mark }),
            _ => Ok(letter.clone()),
        }
    }

    /// All open letters, in the order of the originals.
    pub fn open(&self) -> Vec<Summary> {
        let open = self.known.values().filter(|letter| letter.state == State::Open);
        let mut open: Vec<Summary> = open.cloned().collect();
        open.sort_by(|a, b| a.origin.cmp(&b.origin));
        open
    }

    /// Sends the commands of `letters` once more, with their keys, values and headers, and marks them, all or nothing
    /// per 50 of them. `done` is told how many more have been sent.
    ///
    /// # Errors
    /// What was not told to `done` was not sent; after [`Error::Write`] the last ones may have been: list them again.
    pub fn send(&mut self, letters: &[Summary], mut done: impl FnMut(usize)) -> Result<(), Error> {
        for chunk in letters.chunks(CHUNK) {
            let mut originals = Vec::with_capacity(chunk.len());
            for letter in chunk {
                originals.push(self.letters.fetch(letter)?);
            }
            let topic = self.letters.topics.dead_letters();
            let mut transaction = self.producer.begin()?;
            for Letter { origin, original, .. } in originals {
                let key = original.key.as_deref().ok_or_else(|| Error::NoKey(origin.clone()))?;
                let id = origin.to_string();
                let headers = original.headers.unwrap_or_else(OwnedHeaders::new);
                transaction.write(Record {
                    topic: &origin.topic,
                    partition: None,
                    key,
                    value: original.value.as_deref(),
                    headers: Some(headers.insert(Header { key: header::DEAD_LETTER, value: Some(&id) })),
                })?;
                write(&mut transaction, &topic, Mark::Replayed.encode(&origin))?;
            }
            transaction.commit_records()?;
            done(chunk.len());
        }
        Ok(())
    }

    /// Marks letters.
    ///
    /// # Errors
    /// Kafka doesn't answer; list them again to see what was marked.
    pub fn mark(&mut self, letters: &[Origin], mark: Mark) -> Result<(), Error> {
        let topic = self.letters.topics.dead_letters();
        for chunk in letters.chunks(10 * CHUNK) {
            let mut transaction = self.producer.begin()?;
            for origin in chunk {
                write(&mut transaction, &topic, mark.encode(origin))?;
            }
            transaction.commit_records()?;
        }
        Ok(())
    }
}

fn write(transaction: &mut Transaction<'_>, topic: &str, record: Encoded) -> Result<(), transaction::Error> {
    transaction.write(Record {
        topic,
        partition: None,
        key: record.key.as_bytes(),
        value: record.value.as_deref(),
        headers: Some(record.headers),
    })?;
    Ok(())
}
