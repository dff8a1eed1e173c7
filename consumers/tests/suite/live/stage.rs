//! What stands around a feed, and who follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use writ_consumers::live::{self, Frame, From, Item, Kind, Live, Options, Subscription, Wanted};
use writ_model::Position;
use writ_model::decide::Actor;
use writ_producers::envelope::Committed;
use writ_producers::readiness::Readiness;
use writ_producers::registry::Registry;
use writ_producers::thread;
use writ_projections::positions::Reads;
use writ_projections::query::{ListRequest, Queries, Row};
use writ_projections::{Reader, projector};

use crate::stage::{LIMIT, Running, Stage, command_of};

const ORDER: &str = "
model: order
fields:
  customer: { type: uuid }
  status: { type: enum, values: [placed, paid, shipped] }
  total: { type: decimal, precision: 12, scale: 2, optional: true }
  secret_note: { type: text, optional: true }
crud: true
allow:
  read: state.customer == actor.id
  fields:
    secret_note: role('staff')
";
const NOTE: &str = "
model: note
fields:
  text: { type: text }
crud: true
allow: { read: 'true' }
";

/// How many orders have each status, and of how much; a note that staff sees.
const SALES: &str = "
projection: sales
fields:
  status: { type: text, key: true }
  orders: { type: integer }
  total: { type: decimal, precision: 20, scale: 2 }
  cost: { type: integer }
allow:
  read: role('staff') || state.status == 'paid'
  fields: { cost: role('staff') }
on:
  order.created: |
    INSERT INTO sales (status, orders, total, cost) VALUES (:status, 1, :total, 7)
    ON CONFLICT (status) DO UPDATE SET orders = sales.orders + 1, total = sales.total + excluded.total
  order.updated: |
    INSERT INTO sales (status, orders, total, cost) VALUES (COALESCE(:status, 'none'), 0, 0, 7)
    ON CONFLICT (status) DO UPDATE SET cost = sales.cost + 1
  order.deleted: DELETE FROM sales WHERE status = 'none'
";
/// A row for each order.
const ORDERED: &str = "
projection: ordered
fields:
  order: { type: ref, to: order, key: true }
  times: { type: integer }
  until: { type: timestamp, optional: true }
allow:
  read: state.until == null || state.until > now
on:
  order.created: INSERT INTO ordered (\"order\", times) VALUES (:event.aggregate_id, 1)
  order.updated: |
    UPDATE ordered SET times = times + 1
    WHERE \"order\" = :event.aggregate_id
  order.deleted: DELETE FROM ordered WHERE \"order\" = :event.aggregate_id
";

pub(super) fn everything() -> Actor {
    Actor::unrestricted()
}

/// The account of a customer.
pub(super) fn account(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(super) fn customer(number: u128) -> Actor {
    Actor { id: Some(account(number)), ..Actor::default() }
}

pub(super) fn wanted(actor: Actor, params: &[(&str, &str)]) -> Wanted {
    of("order", actor, params)
}

pub(super) fn of(model: &str, actor: Actor, params: &[(&str, &str)]) -> Wanted {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Wanted { model: model.into(), id: None, params, actor }
}

pub(super) fn body(frame: &Frame) -> Value {
    serde_json::from_str(&format!("{{{}}}", frame.body())).unwrap()
}

pub(super) fn row(frame: &Frame) -> Value {
    body(frame)["row"].clone()
}

/// The aggregate and its version; of a leave 0.
pub(super) fn version(frame: &Frame) -> (Uuid, u64) {
    let body = body(frame);
    (body["id"].as_str().unwrap().parse().unwrap(), body["version"].as_u64().unwrap_or_default())
}

fn shown(row: &Row) -> Value {
    json!({
        "id": row.id, "version": row.version, "state": row.state,
        "created_at": row.created_at, "updated_at": row.updated_at,
    })
}

/// Topics, a schema, a decider and a projector.
pub(super) struct World {
    pub(super) stage: Stage,
    pub(super) options: writ_projections::Options,
    pub(super) queries: Queries,
    decider: Running,
    projector: Option<(CancellationToken, JoinHandle<Result<(), projector::Error>>)>,
    _folder: TempDir,
}

impl World {
    pub(super) async fn new() -> World {
        let stage = Stage::with(3, &[ORDER, NOTE, SALES, ORDERED]).await;
        let folder = tempfile::tempdir().unwrap();
        let decider = stage.decider(folder.path()).await;
        let options = writ_projections::Options {
            url: std::env::var("WRIT_POSTGRES_URL").expect("run `cargo dev test`"),
            schema: stage.kafka.topic_prefix.clone(),
            ..writ_projections::Options::default()
        };
        let queries = Queries::new(&options, None).unwrap();
        let mut world = World { stage, options, queries, decider, projector: None, _folder: folder };
        world.start_projector();
        world
    }

    pub(super) fn start_projector(&mut self) {
        let cancel = CancellationToken::new();
        let (readiness, _) = watch::channel(Readiness::Waiting("new".into()));
        let task = tokio::spawn(projector::run(
            self.options.clone(),
            self.stage.kafka.clone(),
            Registry::new(&self.stage.registry).unwrap(),
            self.stage.models.clone(),
            None,
            cancel.clone(),
            readiness,
        ));
        self.projector = Some((cancel, task));
    }

    pub(super) async fn stop_projector(&mut self) {
        let (cancel, task) = self.projector.take().unwrap();
        cancel.cancel();
        tokio::time::timeout(LIMIT, task).await.expect("it ends").unwrap().unwrap();
    }

    /// Another process that serves subscriptions.
    pub(super) fn feed(&self, options: &Options) -> Serving {
        self.feed_by(options, &self.queries)
    }

    /// One that asks PostgreSQL by these.
    pub(super) fn feed_by(&self, options: &Options, queries: &Queries) -> Serving {
        let (readiness, _) = watch::channel(Readiness::Waiting("new".into()));
        let registry = Registry::new(&self.stage.registry).unwrap();
        let (live, feed) =
            Live::new(options, &self.stage.kafka, &registry, &self.stage.models, queries, readiness);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(feed.run(cancel.clone()));
        Serving { live, cancel, task }
    }

    pub(super) async fn create(&self, id: Uuid, customer: Uuid, status: &str) -> Committed {
        let input = json!({ "customer": customer, "status": status, "total": "5.00", "secret_note": "hush" });
        self.send("order", id, "create", input).await
    }

    pub(super) async fn update(&self, id: Uuid, input: Value) -> Committed {
        self.send("order", id, "update", input).await
    }

    pub(super) async fn delete(&self, id: Uuid) -> Committed {
        self.send("order", id, "delete", json!({})).await
    }

    pub(super) async fn note(&self, id: Uuid) -> Committed {
        self.send("note", id, "create", json!({ "text": "words" })).await
    }

    async fn send(&self, model: &str, id: Uuid, name: &str, input: Value) -> Committed {
        self.decider.commit(&command_of(model, id, name, input)).await
    }

    /// So many orders at once.
    pub(super) async fn create_many(&self, count: usize) -> Vec<Uuid> {
        let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        futures::future::join_all(ids.iter().map(|id| self.create(*id, account(1), "placed"))).await;
        ids
    }

    /// A record that is no event.
    pub(super) async fn garbage(&self, model: &str, key: Uuid) {
        let producer: FutureProducer = self.stage.kafka.client("test").create().unwrap();
        let topic = self.stage.topics.events(model);
        let key = key.to_string();
        producer.send(FutureRecord::to(&topic).key(&key).payload("no event"), LIMIT).await.unwrap();
    }

    /// A transaction with a record in each partition of the model's topic.
    pub(super) async fn open_transaction(&self, model: &str) -> Open {
        let mut config = self.stage.kafka.client("test");
        let id = format!("{}.test", self.stage.kafka.topic_prefix);
        let producer: BaseProducer = config.set("transactional.id", id).create().unwrap();
        let (topic, partitions) = (self.stage.topics.events(model), self.stage.kafka.partitions);
        let begun = tokio::task::spawn_blocking(move || {
            producer.init_transactions(LIMIT).unwrap();
            producer.begin_transaction().unwrap();
            for partition in 0..partitions {
                let record = BaseRecord::to(&topic).partition(partition).key("no id").payload("no event");
                producer.send(record).unwrap();
            }
            producer.flush(LIMIT).unwrap();
            producer
        });
        Open { producer: begun.await.unwrap() }
    }

    /// Waits for the rows.
    pub(super) async fn reach(&self, positions: &[Position]) {
        self.queries.positions(self.stage.topics.clone()).wait(Reads::Rows, positions, LIMIT).await.unwrap();
    }

    /// As the list shows it.
    pub(super) async fn row(&self, actor: &Actor, id: Uuid) -> Value {
        let mut wanted = wanted(actor.clone(), &[]);
        wanted.id = Some(id);
        self.list(&wanted).await.remove(&id).expect("it is there")
    }

    /// What belongs to a subscription, as the read model has it.
    pub(super) async fn list(&self, wanted: &Wanted) -> BTreeMap<Uuid, Value> {
        let model = self.stage.models.get(&wanted.model).unwrap();
        let reader = Reader { actor: &wanted.actor, now: writ_model::Timestamp(0) };
        let mut params = wanted.params.clone();
        params.push(("limit".into(), "1000".into()));
        params.extend(wanted.id.map(|id| ("id".to_owned(), id.to_string())));
        let request = ListRequest::parse(reader.asks(&**model), &params).unwrap();
        let page = self.queries.list(&request).await.unwrap();
        assert_eq!(page.next, None, "all of it");
        page.items.iter().map(|row| (row.id, shown(row))).collect()
    }

    pub(super) async fn stop(mut self) {
        if self.projector.is_some() {
            self.stop_projector().await;
        }
        self.decider.stop().await;
        let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
        let sql = format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.options.schema);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
}

/// A transaction that isn't decided.
pub(super) struct Open {
    producer: BaseProducer,
}

impl Open {
    pub(super) async fn commit(self) {
        let committed = tokio::task::spawn_blocking(move || self.producer.commit_transaction(LIMIT));
        committed.await.unwrap().unwrap();
    }
}

/// A feed at work.
pub(super) struct Serving {
    pub(super) live: Live,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), thread::Error>>,
}

impl Serving {
    /// Once it serves, so that "now" is where the test is.
    pub(super) async fn follow(&self, wanted: Wanted, from: From) -> Follower {
        let begun = async {
            while !self.live.is_ready() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, begun).await.expect("it begins");
        Follower { subscription: self.live.subscribe(wanted, from), copy: BTreeMap::new() }
    }

    pub(super) async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("it ends").unwrap().unwrap();
    }
}

/// A subscriber with a copy of the rows.
pub(super) struct Follower {
    subscription: Subscription,
    pub(super) copy: BTreeMap<Uuid, Value>,
}

impl Follower {
    pub(super) async fn next(&mut self) -> Option<Item> {
        let item = tokio::time::timeout(LIMIT, self.subscription.next()).await.expect("something comes");
        match &item {
            Some(Item::Reset { .. }) => self.copy.clear(),
            Some(Item::Snapshot { rows }) => self.copy.extend(rows.iter().map(|row| (row.id, shown(row)))),
            Some(Item::Change(frame)) => {
                let (id, _) = version(frame);
                match frame.kind {
                    Kind::Leave => self.copy.remove(&id),
                    Kind::Enter | Kind::Change => self.copy.insert(id, row(frame)),
                };
            }
            _ => {}
        }
        item
    }

    pub(super) async fn item(&mut self) -> Item {
        self.next().await.expect("it goes on")
    }

    /// Whether nothing is there to be taken now.
    pub(super) fn is_quiet(&mut self) -> bool {
        futures::FutureExt::now_or_never(self.subscription.next()).is_none()
    }

    pub(super) async fn any_change(&mut self) -> Arc<Frame> {
        match self.item().await {
            Item::Change(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn change(&mut self, kind: Kind, id: Uuid, number: u64) -> Arc<Frame> {
        let frame = self.any_change().await;
        assert_eq!((frame.kind, version(&frame)), (kind, (id, number)));
        frame
    }

    pub(super) async fn left(&mut self, id: Uuid) {
        self.change(Kind::Leave, id, 0).await;
    }

    pub(super) async fn changes(&mut self, count: usize) -> Vec<(Uuid, u64)> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.push(version(&*self.any_change().await));
        }
        seen
    }

    pub(super) async fn items_until_ready(&mut self) -> Vec<Arc<Frame>> {
        let mut frames = Vec::new();
        loop {
            match self.item().await {
                Item::Change(frame) => frames.push(frame),
                Item::Snapshot { .. } => {}
                Item::Ready { .. } => return frames,
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn until_ready(&mut self) -> Vec<(Uuid, u64)> {
        self.items_until_ready().await.iter().map(|frame| version(frame)).collect()
    }

    pub(super) fn ids(&self) -> BTreeSet<Uuid> {
        self.copy.keys().copied().collect()
    }
}

/// The same resume with these offsets, by its text.
pub(super) fn moved(resume: &live::Resume, next: &[u64]) -> live::Resume {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let text = resume.to_string();
    let (model, encoded) = text.split_once(':').unwrap();
    // The form and the view stay.
    let mut bytes = engine.decode(encoded).unwrap()[..9].to_vec();
    for offset in next {
        let mut number = *offset;
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    format!("{model}:{}", engine.encode(bytes)).parse().unwrap()
}
