//! `GET /v1/{model}/{id}` and `GET /v1/{model}`: filters, order, pages, and reading one's own writes.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{self, Client, Slot, client, unique};

static SERVER: Slot = harness::slot();

/// All pages of a query; the parameters without `after`.
async fn all_pages(app: &Client, path: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut parameters = parameters.to_vec();
        parameters.extend(after.iter().map(|after| ("after", after.as_str())));
        let page = app.get(&client::query(path, &parameters)).await.expect(200);
        items.extend(page.body["items"].as_array().unwrap().clone());
        match page.body["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return items,
        }
        assert!(items.len() < 10_000, "the pages don't end");
    }
}

fn ids(items: &[Value]) -> HashSet<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// The given field of each item's state.
fn states<'a>(items: &'a [Value], field: &str) -> Vec<&'a Value> {
    items.iter().map(|item| &item["state"][field]).collect()
}

/// Makes notes whose body is a text that no other test has, and returns it with the last position of each partition.
async fn notes(app: &Client, notes: &[Value]) -> (String, String) {
    let group = unique("g");
    let mut positions = HashMap::new();
    for note in notes {
        let mut note = note.clone();
        note["body"] = json!(group);
        let answer = app.post("/v1/note/create", &note).await.expect(201);
        let (place, _) = answer.position().rsplit_once(':').unwrap();
        positions.insert(place.to_owned(), answer.position().to_owned());
    }
    (group, positions.into_values().collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn a_row_is_what_the_command_answered() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let path = format!("/v1/order/{}", order.id());
    let row = app.get_at(&path, order.position()).await.expect(200);
    assert_eq!(row.body["state"], order.body["state"]);
    assert_eq!(row.body["id"], order.body["id"]);
    assert_eq!(row.version(), 1);
    assert_eq!(row.header("etag"), "\"1\"");
    assert_eq!(row.body["created_at"], order.body["events"][0]["time"]);

    let number = order.body["state"]["number"].as_str().unwrap();
    assert_eq!(app.get(&format!("/v1/order/{number}")).await.expect(200).text, row.text);

    let paid = app.post(&format!("{path}/pay"), &json!({})).await.expect(200);
    let row = app.get_at(&path, paid.position()).await.expect(200);
    assert_eq!(row.body["state"], paid.body["state"]);
    assert_eq!(row.body["created_at"], order.body["events"][0]["time"]);
    assert_eq!(row.body["updated_at"], paid.body["events"][0]["time"]);
}

#[tokio::test]
async fn a_position_makes_one_read_what_one_wrote() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}", purse.id());
    let deposit = format!("{path}/deposit");
    for nth in 1..=100_u64 {
        let answer = app.post(&deposit, &json!({ "amount": 1 })).await.expect(200);
        let row = app.get_at(&path, answer.position()).await.expect(200);
        assert!(row.body["state"]["balance"].as_u64() >= Some(nth), "after deposit {nth}: {}", row.text);
        let number = purse.body["state"]["number"].as_str().unwrap();
        let list = app.get_at(&client::query("/v1/purse", &[("number", number)]), answer.position()).await;
        assert_eq!(list.expect(200).body["items"][0]["state"]["balance"], nth);
    }
}

#[tokio::test]
async fn a_position_that_is_not_reached_is_said() {
    let world = harness::World::new();
    let server = world.start(&[("WRIT_POSTGRES_POSITION_WAIT_MS", "300")]).await;
    let app = server.client();
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}", purse.id());
    let (place, _) = purse.position().rsplit_once(':').unwrap();
    app.get_at(&path, &format!("{place}:999999999")).await.problem(412, "position-not-reached");
    app.get_at(&path, purse.position()).await.expect(200);
}

#[tokio::test]
async fn filters_compare_by_the_type_of_the_field() {
    let app = harness::shared(&SERVER).await;
    let (group, position) = notes(
        &app,
        &[
            json!({ "title": "a", "stars": 1, "weight": "9.5", "due": "2026-01-09", "pinned": true }),
            json!({ "title": "b", "stars": 2, "weight": "10", "due": "2026-01-10" }),
            json!({ "title": "c", "stars": 3, "weight": "100.125", "due": "2026-02-01" }),
            json!({ "title": "d", "stars": 4 }),
        ],
    )
    .await;
    let titles = async |filter: &[(&str, &str)]| {
        let mut parameters = vec![("body", group.as_str()), ("sort", "title")];
        parameters.extend(filter);
        let page = app.get_at(&client::query("/v1/note", &parameters), &position).await.expect(200);
        let items = page.body["items"].as_array().unwrap().clone();
        states(&items, "title").iter().map(|title| title.as_str().unwrap()).collect::<String>()
    };
    for (filter, expected) in [
        (&[][..], "abcd"),
        (&[("title", "b")], "b"),
        (&[("title[ne]", "b")], "acd"),
        (&[("stars[gte]", "2"), ("stars[lt]", "4")], "bc"),
        (&[("stars[in]", "1,4,5")], "ad"),
        // As text, "9.5" would be the largest.
        (&[("weight[gt]", "9.5")], "bc"),
        (&[("weight", "100.125")], "c"),
        (&[("weight[lte]", "10.000")], "ab"),
        (&[("due[gte]", "2026-01-10")], "bc"),
        (&[("pinned", "true")], "a"),
        (&[("pinned", "false")], "bcd"),
        (&[("title", "' OR 1=1 --")], ""),
    ] {
        assert_eq!(titles(filter).await, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn references_are_found_by_id_and_by_natural_key() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let mut body = client::order();
    body["purse"] = purse.body["id"].clone();
    let order = app.post("/v1/order/place", &body).await.expect(201);
    for purse in [purse.id(), purse.body["state"]["number"].as_str().unwrap()] {
        let page =
            app.get_at(&client::query("/v1/order", &[("purse", purse)]), order.position()).await.expect(200);
        assert_eq!(page.body["items"].as_array().unwrap().len(), 1, "{purse}: {}", page.text);
        assert_eq!(page.body["items"][0]["id"], order.id());
    }
}

#[tokio::test]
async fn lists_are_sorted_by_several_fields_and_paged() {
    let app = harness::shared(&SERVER).await;
    let given: Vec<_> = (0..23)
        .map(|n| match n % 4 {
            0 => json!({ "title": format!("t{n:02}"), "stars": n % 3 }),
            _ => json!({ "title": format!("t{n:02}"), "stars": n % 3, "weight": (n % 4).to_string() }),
        })
        .collect();
    let (group, position) = notes(&app, &given).await;
    app.get_at("/v1/note?limit=1", &position).await.expect(200);

    for sort in
        ["title", "-title", "stars,-title", "-stars,title", "weight,title", "-weight,-title", "-created_at"]
    {
        let whole = all_pages(&app, "/v1/note", &[("body", &group), ("sort", sort), ("limit", "100")]).await;
        assert_eq!(whole.len(), given.len(), "{sort}");
        for limit in ["1", "5", "23"] {
            let paged =
                all_pages(&app, "/v1/note", &[("body", &group), ("sort", sort), ("limit", limit)]).await;
            assert_eq!(paged, whole, "sort={sort} limit={limit}");
        }
    }
    let sorted = all_pages(&app, "/v1/note", &[("body", &group), ("sort", "-stars,title")]).await;
    let keys: Vec<_> = sorted
        .iter()
        .map(|item| (-item["state"]["stars"].as_i64().unwrap(), item["state"]["title"].as_str().unwrap()))
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
}

#[tokio::test]
async fn paging_finds_every_row_while_others_are_written() {
    let app = harness::shared(&SERVER).await;
    let given: Vec<_> = (0..60).map(|n| json!({ "title": format!("t{n}"), "stars": n % 5 })).collect();
    let (group, position) = notes(&app, &given).await;
    app.get_at("/v1/note?limit=1", &position).await.expect(200);
    let before = ids(&all_pages(&app, "/v1/note", &[("body", &group), ("limit", "100")]).await);
    assert_eq!(before.len(), given.len());

    let reading = async {
        for _ in 0..3 {
            let items =
                all_pages(&app, "/v1/note", &[("body", &group), ("sort", "-stars"), ("limit", "7")]).await;
            let found = ids(&items);
            assert_eq!(found.len(), items.len(), "no row twice");
            assert_eq!(before.difference(&found).count(), 0, "no row is missed");
        }
    };
    let writing = join_all((0..4).map(async |_| {
        for n in 0..20 {
            let note = json!({ "title": "new", "body": group, "stars": n % 5 });
            app.post("/v1/note/create", &note).await.expect(201);
        }
    }));
    futures::future::join(reading, writing).await;
}

#[tokio::test]
async fn a_query_that_cannot_be_is_refused_with_every_fault() {
    let app = harness::shared(&SERVER).await;
    let parameters = [
        ("colour", "red"),
        ("stars", "many"),
        ("stars[like]", "1"),
        ("sort", "-nothing"),
        ("limit", "0"),
        ("after", "garbage"),
    ];
    let answer = app.get(&client::query("/v1/note", &parameters)).await.problem(400, "invalid-query");
    let pointers = answer.pointers();
    for name in ["/colour", "/stars", "/sort", "/limit"] {
        assert!(pointers.iter().any(|pointer| pointer.starts_with(name)), "{name}: {}", answer.text);
    }
    for (name, value) in parameters {
        app.get(&client::query("/v1/note", &[(name, value)])).await.problem(400, "invalid-query");
    }
    for limit in ["-1", "1e3", "99999999999999999999", ""] {
        app.get(&client::query("/v1/note", &[("limit", limit)])).await.problem(400, "invalid-query");
    }
    // A cursor belongs to its query.
    notes(&app, &[json!({ "title": "a" }), json!({ "title": "b" })]).await;
    let next = harness::eventually("there are two pages", async || {
        let page = app.get("/v1/note?sort=title&limit=1").await.expect(200);
        page.body["next"].as_str().map(str::to_owned)
    })
    .await;
    app.get(&client::query("/v1/note", &[("sort", "-stars"), ("after", &next)]))
        .await
        .problem(400, "invalid-query");
}

#[tokio::test]
async fn an_unchanged_row_is_not_sent_again() {
    let app = harness::shared(&SERVER).await;
    let purse = app.open_purse().await;
    let path = format!("/v1/purse/{}", purse.id());
    app.get_at(&path, purse.position()).await.expect(200);
    let request = app.request(reqwest::Method::GET, &path);
    let answer = client::send(client::with(request, &[("If-None-Match", "\"1\"")])).await.expect(304);
    assert_eq!(answer.text, "");
}

#[tokio::test]
async fn a_list_shows_what_was_asked_for() {
    let app = harness::shared(&SERVER).await;
    let order = app.place_order().await;
    let number = order.body["state"]["number"].as_str().unwrap();
    let parameters =
        [("number", number), ("fields", "number,status"), ("expand", "purse"), ("count", "true")];
    let list = app.get_at(&client::query("/v1/order", &parameters), order.position()).await.expect(200);
    let item = &list.body["items"][0];
    assert_eq!(item["state"], json!({ "number": number, "status": order.body["state"]["status"] }));
    assert_eq!(item["expanded"]["purse"]["id"], order.body["state"]["purse"]);
    assert_eq!(list.body["count"], json!({ "value": 1, "exact": true }));

    let one = format!("/v1/order/{}", order.id());
    let row = app.get(&client::query(&one, &parameters[1..3])).await.expect(200);
    assert_eq!(row.body["state"], item["state"]);
    assert_eq!(row.body["expanded"], item["expanded"]);
    app.get(&client::query(&one, &[("field", "number")])).await.problem(400, "invalid-query");

    let path = client::query("/v1/order", &[("number", number), ("fields", "number"), ("format", "csv")]);
    let csv = app.get(&path).await.expect(200);
    assert_eq!(csv.text, format!("number\r\n{number}\r\n"));
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"order.csv\"");
    assert!(csv.header("content-type").starts_with("text/csv"));
    let request = app.request(reqwest::Method::GET, &client::query("/v1/order", &[("number", number)]));
    let lines = client::send(client::with(request, &[("Accept", "application/x-ndjson")])).await.expect(200);
    assert_eq!(serde_json::from_str::<Value>(&lines.text).unwrap()["id"], order.id());
}

/// Everything that could end a literal, a name, a pattern or a path, in every place of a query.
#[tokio::test]
async fn hostile_queries_are_answered_or_refused() {
    let app = harness::shared(&SERVER).await;
    let (group, position) = notes(&app, &[json!({ "title": "a" }), json!({ "title": "b" })]).await;
    let long = "x".repeat(3000);
    let deep = "a.".repeat(1000);
    let hostile = [
        "'",
        "''",
        "\"",
        "\\",
        "\\'",
        "';--",
        "; DROP SCHEMA writ CASCADE; --",
        "$1",
        "$$",
        "%",
        "_",
        "%27",
        "\0",
        "\u{202e}\u{1f600}",
        "[",
        "]",
        "[]",
        "[eq]",
        "a[b]c]",
        ".",
        "..",
        "title.x",
        "title..",
        "/*",
        "*/",
        "(SELECT 1)",
        "1e999",
        "NaN",
        "-",
        ",",
        ",,",
        "title,title",
        "null",
        "{\"a\":\"\\u0000\"}",
        "((&|!",
        "\"",
        &long,
        &deep,
    ];
    let names = [
        "title",
        "title[ne]",
        "title[in]",
        "title[like]",
        "title[ilike]",
        "title[is_null]",
        "title[contains]",
        "stars",
        "stars[gt]",
        "weight",
        "due",
        "pinned",
        "id",
        "created_at[lt]",
        "sort",
        "limit",
        "after",
        "count",
        "fields",
        "expand",
        "q",
        "format",
        "as_of",
        "diff",
    ];
    let lists = [
        "/v1/note",
        "/v1/order",
        "/v1/note/0190a1f3-7c2e-7b60-9d3c-5b1f0a9e4c11",
        "/v1/projections/none",
        "/v1/events",
    ];
    let queries = hostile
        .iter()
        .flat_map(|text| names.iter().map(move |name| (*name, *text)).chain([(*text, "1"), (*text, *text)]));
    let mut refused = 0;
    for (nth, (name, value)) in queries.enumerate() {
        let path = client::query(lists[nth % lists.len()], &[(name, value)]);
        let answer = app.get(&path).await;
        assert!(matches!(answer.status, 200 | 400 | 404), "{path}: {} {}", answer.status, answer.text);
        refused += usize::from(answer.status == 400);
    }
    assert!(refused > 100, "{refused}");
    for path in [
        "/v1/note?%",
        "/v1/note?%ff=1",
        "/v1/note?title=%zz",
        "/v1/note?&&=&=",
        "/v1/projections/%27%3B--",
        "/v1/projections/a%2fb",
    ] {
        let status = app.get(path).await.status;
        assert!(matches!(status, 200 | 400 | 404), "{path}: {status}");
    }
    let left = app.get_at(&client::query("/v1/note", &[("body", &group)]), &position).await.expect(200);
    assert_eq!(left.body["items"].as_array().unwrap().len(), 2, "nothing was changed");
}

#[tokio::test]
async fn projections_are_listed_with_their_states() {
    let app = harness::shared(&SERVER).await;
    let states = harness::eventually("the rows are live", async || {
        let states = app.get("/v1/projections").await.expect(200);
        let item =
            states.body["items"].as_array().unwrap().iter().find(|item| item["name"] == "note").cloned();
        item.filter(|item| item["state"] == "live")
    })
    .await;
    assert_eq!(
        (&states["kind"], &states["building"], &states["error"]),
        (&json!("model"), &Value::Null, &Value::Null)
    );
    app.get("/v1/projections?x=1").await.problem(400, "invalid-query");
    app.get("/v1/projections/note").await.problem(404, "unknown-projection");
}
