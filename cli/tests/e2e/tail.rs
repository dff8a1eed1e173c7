//! `writ tail`: what it prints, to whom, and that it prints everything once, whatever happens to the server.

mod process;

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::harness::people::Guarded;
use crate::harness::proxy::{Proxy, authority};
use crate::harness::{App, Client, LIMIT, Slot, World, client, eventually, shared, slot};
use process::{Tail, command, listen, says};

static SERVER: Slot = slot();

/// Places an order: its number.
async fn place(app: &Client) -> String {
    app.place_order().await.body["state"]["number"].as_str().unwrap().to_owned()
}

async fn pay(app: &Client, number: &str) {
    app.post(&format!("/v1/order/{number}/pay"), &json!({ "reference": "bank 4711" })).await.expect(200);
}

#[tokio::test]
async fn it_prints_what_happens_and_goes_on_where_it_was() {
    let app = shared(&SERVER).await;
    let mut tail = Tail::following(app.world(), app.base(), &["order"]).await;
    // Others use the server too: only this one's lines count.
    let number = place(&app).await;
    pay(&app, &number).await;
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let line = tail.line().await;
        if line.contains(&number) {
            lines.push(line);
        }
    }
    let head = |kind: &str, event: &str| format!("Z  {kind}  order {number}  {event}  ");
    assert!(lines[0].contains(&head("enter ", "Placed")), "{lines:?}");
    assert!(lines[0].contains("status: placed") && lines[0].contains("total: 32.29"), "{lines:?}");
    let expected = format!("{}status: placed → paid, reference: \"bank 4711\"", head("change", "Paid"));
    assert!(lines[1].ends_with(&expected), "{lines:?}");
    assert!(!lines.concat().contains('\u{1b}'), "no colours but on a terminal");

    tail.signal("INT");
    let (status, _, said) = tail.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    let resume = said.split("--from ").nth(1).expect("where to go on from").trim().to_owned();

    let missed = place(&app).await;
    let arguments = ["order", "--from", &resume, "--until-caught-up", "--url", app.base()];
    let (status, lines, said) = Tail::start(app.world(), &arguments, &[]).ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(lines.iter().filter(|line| line.contains(&missed)).count(), 1, "{lines:?}");
    assert!(!lines.concat().contains(&number), "that was shown before: {lines:?}");
}

#[tokio::test]
async fn all_rows_come_first_where_they_are_asked_for() {
    let app = shared(&SERVER).await;
    let number = place(&app).await;
    app.post(&format!("/v1/order/{number}/pay?wait=projected"), &json!({})).await.expect(200);
    let arguments = ["order", "--id", &number, "--from", "snapshot", "--fields", "number,status"];
    let mut tail = Tail::following(app.world(), app.base(), &arguments).await;
    assert!(tail.line().await.ends_with(&format!("number: {number}, status: paid")));
    app.post(&format!("/v1/order/{number}/ship"), &json!({})).await.expect(200);
    assert!(tail.line().await.ends_with(&format!("change  order {number}  Shipped  status: paid → shipped")));
    tail.signal("TERM");
    assert_eq!(tail.ended().await.0.code(), Some(0));
}

/// As `daily_sales` of the sample shop.
const DAILY: &str = "\
projection: daily_sales
fields: { day: { type: date, key: true }, orders: integer, total: { type: decimal, precision: 24, scale: 4 } }
on:
  order.placed: |
    INSERT INTO daily_sales (day, orders, total) VALUES ((:event.time AT TIME ZONE 'UTC')::date, 1, :total)
    ON CONFLICT (day) DO UPDATE SET orders = daily_sales.orders + 1, total = daily_sales.total + excluded.total
";

#[tokio::test]
async fn rows_of_a_projection_are_followed_like_those_of_a_model() {
    let world = World::new();
    world.write_model("daily.yaml", DAILY);
    let server = world.start(&[]).await;
    let app = server.client();
    let placed = app.place_order().await;
    app.get_at("/v1/projections/daily_sales", placed.position()).await.expect(200);
    let arguments = ["daily_sales", "--from", "snapshot", "--filter", "orders[gte]=1"];
    let mut tail = Tail::following(&world, server.base(), &arguments).await;
    let line = tail.line().await;
    let day = line.split_whitespace().nth(3).unwrap().to_owned();
    assert!(line.ends_with(&format!("row     daily_sales {day}  orders: 1, total: 32.2900")), "{line}");
    place(&app).await;
    let line = tail.line().await;
    let change = format!("change  daily_sales {day}  orders: 1 → 2, total: 32.2900 → 64.5800");
    assert!(line.ends_with(&change), "{line}");
    tail.signal("INT");
    let (status, _, said) = tail.ended().await;
    assert_eq!(status.code(), Some(0), "{said}");
    let resume = said.split("--from ").nth(1).expect("where to go on from").trim().to_owned();
    assert!(resume.starts_with("daily_sales:"), "{resume}");

    // Nothing has happened since; then something has.
    let again = ["daily_sales", "--filter", "orders[gte]=1", "--from", &resume, "--until-caught-up", "--url"];
    let (status, lines, said) =
        Tail::start(&world, &[&again[..], &[server.base()]].concat(), &[]).ended().await;
    assert_eq!((status.code(), lines.len()), (Some(0), 0), "{said}");
    let placed = app.place_order().await;
    app.get_at("/v1/projections/daily_sales", placed.position()).await.expect(200);
    let (status, lines, said) =
        Tail::start(&world, &[&again[..], &[server.base()]].concat(), &[]).ended().await;
    assert!(status.success() && said.contains("(changed): all rows follow"), "{said}");
    assert!(lines.len() == 1 && lines[0].contains("orders: 3"), "{lines:?}");

    let arguments = ["daily_sales", "--format", "json", "--url", server.base()];
    let mut tail = Tail::start(&world, &arguments, &[]);
    assert!(tail.line().await.contains(r#""type":"subscribed""#));
    place(&app).await;
    assert_eq!(tail.change().await["key"], json!({ "day": day }));
    let arguments = ["daily_sales", "--id", &day, "--url", server.base()];
    let (status, _, said) = Tail::start(&world, &arguments, &[]).ended().await;
    assert!(status.code() == Some(1) && said.contains("filter them by `day`"), "{said}");
}

#[tokio::test]
async fn a_filter_shows_what_fits_and_what_does_not_any_more() {
    let app = shared(&SERVER).await;
    let arguments = [
        "order",
        "--filter",
        "status=placed",
        "--filter",
        "total[gte]=100",
        "--fields",
        "number",
        "--format",
        "json",
    ];
    let mut tail = Tail::following(app.world(), app.base(), &arguments).await;
    let order = |price: &str| {
        let mut order = client::order();
        order["lines"] = json!([{ "product": "tea", "quantity": 1, "unit_price": price }]);
        order
    };
    app.post("/v1/order/place", &order("99.99")).await.expect(201);
    let dear = app.post("/v1/order/place", &order("100.00")).await.expect(201);
    let number = dear.body["state"]["number"].as_str().unwrap();
    pay(&app, number).await;
    let entered = tail.change().await;
    assert_eq!((&entered["type"], &entered["id"]), (&json!("enter"), &json!(dear.id())));
    assert_eq!(entered["row"]["state"], json!({ "number": number }));
    let left = tail.change().await;
    assert_eq!((&left["type"], &left["id"]), (&json!("leave"), &json!(dear.id())));
}

#[tokio::test]
async fn a_server_that_is_killed_or_stopped_loses_no_line_and_repeats_none() {
    let App { mut server, world } = App::start().await;
    let mut proxy = Proxy::opened(&authority(server.base())).await;
    let url = format!("http://{}", proxy.address());
    let mut tail = Tail::following(&world, &url, &["order", "--format", "json"]).await;
    let (mut placed, mut connected) = (Vec::new(), 0);
    for is_killed in [true, false] {
        for _ in 0..5 {
            placed.push(place(&server.client()).await);
        }
        if is_killed {
            server.kill();
        } else {
            assert!(server.terminate().await.success());
            tail.says("The server stops.").await;
        }
        proxy.close().await;
        server = world.start(&[]).await;
        // Nobody tells of these when they happen.
        for _ in 0..5 {
            placed.push(place(&server.client()).await);
        }
        proxy.leads_to(&authority(server.base()));
        proxy.open().await;
        connected += 1;
        eventually("it is connected again", async || {
            let said = tail.said.lock().unwrap();
            (said.matches("Connected again").count() == connected).then_some(())
        })
        .await;
    }
    tail.says("Trying again in").await;
    let last = place(&server.client()).await;
    placed.push(last.clone());
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        let change = tail.change().await;
        assert_eq!(change["type"], "enter");
        seen.push(change["row"]["state"]["number"].as_str().unwrap().to_owned());
    }
    // The partitions have no order among each other.
    seen.sort_unstable();
    placed.sort_unstable();
    assert_eq!(seen, placed);
    tail.signal("TERM");
    assert_eq!(tail.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn what_can_not_be_followed_is_an_error_that_says_what_to_do() {
    let app = shared(&SERVER).await;
    let fails = async |arguments: &[&str], code: i32| {
        Tail::start(app.world(), &[arguments, &["--url", app.base()]].concat(), &[]).fails(code).await
    };
    let said = fails(&["ordr"], 1).await;
    assert!(said.contains("`ordr`") && said.contains("/docs lists the models"), "{said}");
    let said = fails(&["order", "--filter", "totl=1"], 1).await;
    assert!(said.contains("`totl`") && said.contains("docs/queries.md"), "{said}");
    let said = fails(&["order", "--from", "yesterday"], 1).await;
    assert!(said.contains("`from`") && said.contains("--from now"), "{said}");
    let said = fails(&["order", "--filter", "total"], 2).await;
    assert!(said.contains("total[gte]=100"), "{said}");
    let said = fails(&["order", "--filter", "total=1", "--filter", "total=2"], 2).await;
    assert!(said.contains("two filters `total`"), "{said}");

    let nowhere = Proxy::closed("127.0.0.1:1").await;
    let url = format!("http://{}", nowhere.address());
    let said = Tail::start(app.world(), &["order", "--url", &url], &[]).fails(1).await;
    assert!(said.contains("there is no server at") && said.contains("cargo dev up"), "{said}");
    let url = format!("{}/elsewhere", app.base());
    let said = Tail::start(app.world(), &["order", "--url", &url], &[]).fails(1).await;
    assert!(said.contains("is no server with live updates"), "{said}");
}

#[tokio::test]
async fn head_ends_it_without_a_word() {
    let app = shared(&SERVER).await;
    let arguments = ["order", "--url", app.base()];
    let mut tail = command(app.world(), &arguments, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let (said, listening) = listen(&mut tail);
    let lines: Stdio = tail.stdout.take().unwrap().try_into().unwrap();
    // In a statement of its own: nobody but `head` may keep the reading end.
    let head = Command::new("head")
        .arg("-1")
        .stdin(lines)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    says(&said, "Following").await;
    place(&app).await;
    let shown = tokio::time::timeout(LIMIT, head.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap().lines().count(), 1);
    // It finds out with the next line.
    place(&app).await;
    let status = tokio::time::timeout(LIMIT, tail.wait()).await.unwrap().unwrap();
    listening.await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", said.lock().unwrap());
    assert_eq!(said.lock().unwrap().lines().count(), 1, "{}", said.lock().unwrap());
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_up_no_signal() {
    let app = shared(&SERVER).await;
    let tail = Tail::following(app.world(), app.base(), &["order", "--format", "json"]).await;
    // More than fits into a pipe.
    for _ in 0..150 {
        app.place_order().await;
    }
    tail.signal("INT");
    assert_eq!(tail.ends_unread().await, Some(0));
}

const LETTER: &str = "\
model: letter
fields:
  number: { type: text, key: true, max_length: 40 }
  text: { type: text, max_length: 100 }
commands:
  write: { creates: true, input: [number, text], emits: written }
allow:
  write: role('staff')
  read: role('staff')
";

#[tokio::test]
async fn a_token_is_needed_is_never_shown_and_may_be_renewed() {
    let guarded = Guarded::start(&[("letter.yaml", LETTER)]).await;
    let staff = guarded.person(&["staff"]).await;
    let (world, base) = (&guarded.world, guarded.client.base());
    let arguments = ["letter", "--url", base];
    let start = |more: &[&str], variables: &[(&str, &str)]| {
        Tail::start(world, &[arguments.as_slice(), more].concat(), variables)
    };
    let said = start(&["--token", "writ_hush"], &[]).fails(1).await;
    assert!(said.contains("refuses the sign-in by --token") && !said.contains("hush"), "{said}");
    let said = start(&[], &[("WRIT_TOKEN", "writ_hush")]).fails(1).await;
    assert!(said.contains("the variable WRIT_TOKEN") && !said.contains("hush"), "{said}");
    let by_variable = [("WRIT_URL", base), ("WRIT_TOKEN", "writ_hush")];
    let said = Tail::start(world, &["letter"], &by_variable).fails(1).await;
    assert!(said.contains("the variable WRIT_TOKEN"), "it has asked the server of the variable: {said}");
    let said = start(&["--token", "hush hush"], &[]).fails(1).await;
    assert!(said.contains("--token has no token") && !said.contains("hush"), "{said}");
    let said = start(&["--token-file", "nowhere"], &[]).fails(1).await;
    assert!(said.contains("nowhere"), "{said}");
    std::fs::create_dir_all(world.folder().join(".writ/data")).unwrap();
    let key = world.folder().join(".writ/data/api-key");
    std::fs::write(&key, "writ_hush\n").unwrap();
    let said = start(&[], &[]).fails(1).await;
    assert!(said.contains("development stack's key") && !said.contains("hush"), "{said}");

    // The file of the development stack, with the token of somebody who signs out while another one is there already.
    std::fs::write(&key, format!("{}\n", staff.access)).unwrap();
    let mut tail = start(&[], &[]);
    tail.says("Following letter").await;
    let write = async |number: &str| {
        let body = json!({ "number": number, "text": "dear" });
        guarded.admin.client.post("/v1/letter/write", &body).await.expect(201);
    };
    write("one").await;
    assert!(tail.line().await.contains("letter one  Written"));
    let again = guarded.sign_in(&staff.email).await;
    std::fs::write(&key, &again.access).unwrap();
    staff.client.post("/v1/auth/sign-out", &json!({})).await;
    tail.says("is another one now").await;
    tail.says("Connected again").await;
    write("two").await;
    assert!(tail.line().await.contains("letter two  Written"));
    again.client.post("/v1/auth/sign-out", &json!({})).await;
    let said = tail.fails(1).await;
    assert!(said.contains("refuses the sign-in by the development stack's key"), "{said}");
    assert!(!said.contains(&again.access) && !said.contains(&staff.access), "{said}");
}

#[tokio::test]
async fn the_certificate_has_to_be_one_that_the_system_trusts() {
    let world = World::new();
    let mut params = rcgen::CertificateParams::new([]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let root = params.self_signed(&authority_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(params, authority_key)).unwrap();
    let file = |name: &str, text: String| {
        let path = world.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (root, leaf, key) =
        (file("root.pem", root.pem()), file("leaf.pem", leaf.pem()), file("key.pem", key.serialize_pem()));
    let settings = [("WRIT_HTTP_TLS_CERTIFICATE", leaf.as_str()), ("WRIT_HTTP_TLS_KEY", key.as_str())];
    let server = world.spawn("server", &settings).await;
    let authority = authority(server.base());
    let port = authority.rsplit(':').next().unwrap();
    let url = |host: &str| format!("https://{host}:{port}");
    let tail = |host: &str, variables: &[(&str, &str)]| {
        Tail::start(&world, &["order", "--until-caught-up", "--url", &url(host)], variables)
    };
    let trusted = [("SSL_CERT_FILE", root.as_str())];
    eventually("it follows by TLS", async || {
        let (status, _, said) = tail("localhost", &trusted).ended().await;
        assert!(!said.contains("certificate"), "{said}");
        status.success().then_some(())
    })
    .await;
    for (host, variables) in [("localhost", [].as_slice()), ("127.0.0.1", &trusted)] {
        let said = tail(host, variables).fails(1).await;
        assert!(said.contains("there is no TLS with the server") && said.contains("SSL_CERT_FILE"), "{said}");
    }
}
