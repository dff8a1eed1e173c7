//! The CSV tables as commands. Pure after the reading: the same files always give the same commands with the same
//! idempotency keys, so a load that was cut off can be repeated.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Orders from this day on that were never shipped stay `placed`; older ones were paid.
const UNPAID_SINCE: &str = "1998-05-01";
/// Lines of one request. Far below the server's limit of a body.
const BATCH: usize = 200;

/// One line of `POST /v1/commands`.
#[derive(Debug, Serialize)]
pub(super) struct Command {
    model: &'static str,
    command: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    input: Value,
    idempotency_key: String,
}

impl Command {
    fn new(model: &'static str, command: &'static str, key: &str, input: Value) -> Self {
        let idempotency_key = format!("sample/{model}/{key}/{command}");
        Command { model, command, id: None, input, idempotency_key }
    }

    fn to(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &str {
        self.idempotency_key.trim_start_matches("sample/")
    }

    /// The model, for counting.
    pub(super) fn model(&self) -> &'static str {
        self.model
    }

    /// The command, for counting.
    pub(super) fn command(&self) -> &'static str {
        self.command
    }

    /// The number of order lines it carries.
    pub(super) fn order_lines(&self) -> u64 {
        self.input["lines"].as_array().map_or(0, |lines| lines.len() as u64)
    }
}

/// Every command, in batches to be sent one after the other. No batch has two commands of one aggregate, so that a
/// part of a batch can be sent again without overtaking anything.
pub(super) fn batches(dir: &Path) -> Result<Vec<Vec<Command>>> {
    let mut batches = vec![categories(dir)?, products(dir)?, customers(dir)?];

    let mut lines = lines_by_order(dir)?;
    let orders = read(dir, "orders.csv")?;
    for chunk in orders.chunks(BATCH) {
        let (mut placed, mut paid, mut shipped) = (Vec::new(), Vec::new(), Vec::new());
        for order in chunk {
            let number = order.text("orderID")?;
            let Some(lines) = lines.remove(&number) else { bail!("orders.csv: order {number} has no lines") };
            placed.push(place(order, &number, lines)?);
            let shipped_on = order.optional("shippedDate")?;
            if shipped_on.is_some() || date(&order.text("orderDate")?)? < UNPAID_SINCE {
                let input = json!({ "reference": format!("payment-{number}") });
                paid.push(Command::new("order", "pay", &number, input).to(&number));
            }
            if let Some(day) = shipped_on {
                let input = json!({ "shipped_on": date(&day)? });
                shipped.push(Command::new("order", "ship", &number, input).to(&number));
            }
        }
        batches.extend([placed, paid, shipped]);
    }
    if let Some(number) = lines.keys().next() {
        bail!("order-details.csv: order {number} is not in orders.csv");
    }
    batches.retain(|batch| !batch.is_empty());
    Ok(batches)
}

fn categories(dir: &Path) -> Result<Vec<Command>> {
    let rows = read(dir, "categories.csv")?;
    let command = |row: &Row| {
        let number = row.text("categoryID")?;
        let mut input = Map::new();
        input.insert("number".into(), row.integer("categoryID")?);
        input.insert("name".into(), row.text("categoryName")?.into());
        row.put(&mut input, "description", "description")?;
        Ok(Command::new("category", "create", &number, input.into()))
    };
    rows.iter().map(command).collect()
}

fn products(dir: &Path) -> Result<Vec<Command>> {
    let rows = read(dir, "products.csv")?;
    let command = |row: &Row| {
        let number = row.text("productID")?;
        let mut input = Map::new();
        input.insert("number".into(), row.integer("productID")?);
        input.insert("name".into(), row.text("productName")?.into());
        input.insert("category".into(), row.text("categoryID")?.into());
        row.put(&mut input, "packaging", "quantityPerUnit")?;
        input.insert("price".into(), row.text("unitPrice")?.into());
        input.insert("stock".into(), row.integer("unitsInStock")?);
        input.insert("on_order".into(), row.integer("unitsOnOrder")?);
        input.insert("reorder_level".into(), row.integer("reorderLevel")?);
        input.insert("discontinued".into(), (row.text("discontinued")? == "1").into());
        Ok(Command::new("product", "create", &number, input.into()))
    };
    rows.iter().map(command).collect()
}

fn customers(dir: &Path) -> Result<Vec<Command>> {
    let rows = read(dir, "customers.csv")?;
    let command = |row: &Row| {
        let code = row.text("customerID")?;
        let mut input = Map::new();
        input.insert("code".into(), code.clone().into());
        input.insert("company".into(), row.text("companyName")?.into());
        row.put(&mut input, "contact_name", "contactName")?;
        row.put(&mut input, "contact_title", "contactTitle")?;
        row.put(&mut input, "street", "address")?;
        row.put(&mut input, "city", "city")?;
        row.put(&mut input, "region", "region")?;
        row.put(&mut input, "postal_code", "postalCode")?;
        input.insert("country".into(), row.text("country")?.into());
        row.put(&mut input, "phone", "phone")?;
        row.put(&mut input, "fax", "fax")?;
        Ok(Command::new("customer", "create", &code, input.into()))
    };
    rows.iter().map(command).collect()
}

/// The lines of each order, in the file's order.
fn lines_by_order(dir: &Path) -> Result<HashMap<String, Vec<Value>>> {
    let mut lines: HashMap<String, Vec<Value>> = HashMap::new();
    for row in read(dir, "order-details.csv")? {
        lines.entry(row.text("orderID")?).or_default().push(json!({
            "product": row.text("productID")?,
            "unit_price": row.text("unitPrice")?,
            "quantity": row.integer("quantity")?,
            "discount": row.text("discount")?,
        }));
    }
    Ok(lines)
}

fn place(order: &Row, number: &str, lines: Vec<Value>) -> Result<Command> {
    let mut ship_to = Map::new();
    ship_to.insert("name".into(), order.text("shipName")?.into());
    order.put(&mut ship_to, "street", "shipAddress")?;
    order.put(&mut ship_to, "city", "shipCity")?;
    order.put(&mut ship_to, "region", "shipRegion")?;
    order.put(&mut ship_to, "postal_code", "shipPostalCode")?;
    ship_to.insert("country".into(), order.text("shipCountry")?.into());
    let input = json!({
        "number": number,
        "customer": order.text("customerID")?,
        "ordered_on": date(&order.text("orderDate")?)?,
        "required_on": date(&order.text("requiredDate")?)?,
        "ship_to": ship_to,
        "lines": lines,
        "freight": order.text("freight")?,
    });
    Ok(Command::new("order", "place", number, input))
}

/// `1996-07-04 00:00:00.000` → `1996-07-04`. The tables know no time of day.
fn date(text: &str) -> Result<&str> {
    text.strip_suffix(" 00:00:00.000").with_context(|| format!("`{text}` is no day of the sample tables"))
}

/// One row, its cells found by the name of the column.
struct Row {
    place: String,
    cells: HashMap<String, String>,
}

impl Row {
    fn text(&self, column: &str) -> Result<String> {
        self.optional(column)?.with_context(|| format!("{}: {column} is NULL", self.place))
    }

    /// `None` for the word NULL.
    fn optional(&self, column: &str) -> Result<Option<String>> {
        let cell = self.cells.get(column).with_context(|| format!("{}: no column {column}", self.place))?;
        Ok((cell != "NULL").then(|| cell.clone()))
    }

    fn integer(&self, column: &str) -> Result<Value> {
        let text = self.text(column)?;
        let number: i64 =
            text.parse().with_context(|| format!("{}: {column} is no integer: {text}", self.place))?;
        Ok(number.into())
    }

    /// Puts the cell under `field`, unless it is NULL.
    fn put(&self, input: &mut Map<String, Value>, field: &str, column: &str) -> Result<()> {
        if let Some(text) = self.optional(column)? {
            input.insert(field.to_owned(), text.into());
        }
        Ok(())
    }
}

/// Reads a table. Its street addresses contain commas without quotes ("Rua do Paço, 67"): a cell that begins with a
/// space is the rest of the cell before it.
fn read(dir: &Path, file: &str) -> Result<Vec<Row>> {
    let path = dir.join(file);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_path(&path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let columns: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("{} is no CSV", path.display()))?;
        let place = format!("{file}:{}", record.position().map_or(0, csv::Position::line));
        let mut cells: Vec<String> = Vec::with_capacity(columns.len());
        for cell in &record {
            match cells.last_mut() {
                Some(last) if cell.starts_with(' ') => {
                    last.push(',');
                    last.push_str(cell);
                }
                _ => cells.push(cell.to_owned()),
            }
        }
        ensure!(
            cells.len() == columns.len(),
            "{place}: {} cells under {} columns",
            cells.len(),
            columns.len()
        );
        rows.push(Row { place, cells: columns.iter().cloned().zip(cells).collect() });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Vec<Command>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/sample");
        batches(&dir).expect("the tables of the repository are complete")
    }

    fn find(name: &str) -> String {
        let all = all();
        let command = all.iter().flatten().find(|c| c.name() == name).expect("a command of this name");
        serde_json::to_string(command).expect("a command is JSON")
    }

    #[test]
    fn every_row_becomes_its_commands() {
        let all = all();
        let count = |model, command| {
            all.iter().flatten().filter(|c| c.model() == model && c.command() == command).count()
        };
        assert_eq!(count("category", "create"), 8);
        assert_eq!(count("product", "create"), 77);
        assert_eq!(count("customer", "create"), 91);
        assert_eq!(count("order", "place"), 830);
        assert_eq!(count("order", "pay"), 820);
        assert_eq!(count("order", "ship"), 809);
        assert_eq!(all.iter().flatten().map(Command::order_lines).sum::<u64>(), 2155);
    }

    #[test]
    fn a_batch_has_one_command_of_an_aggregate_at_most() {
        for batch in all() {
            let mut aggregates: Vec<_> =
                batch.iter().map(|c| c.name().rsplit_once('/').expect("model/key/command").0).collect();
            let before = aggregates.len();
            aggregates.sort_unstable();
            aggregates.dedup();
            assert_eq!(aggregates.len(), before);
            assert!(before <= BATCH);
        }
    }

    #[test]
    fn lines_are_what_the_api_takes() {
        assert_eq!(
            find("product/1/create"),
            r#"{"model":"product","command":"create","input":{"number":1,"name":"Chai","category":"1","packaging":"10 boxes x 20 bags","price":"18.00","stock":39,"on_order":0,"reorder_level":10,"discontinued":false},"idempotency_key":"sample/product/1/create"}"#
        );
        assert_eq!(
            find("order/11019/place"),
            r#"{"model":"order","command":"place","input":{"number":"11019","customer":"RANCH","ordered_on":"1998-04-13","required_on":"1998-05-11","ship_to":{"name":"Rancho grande","street":"Av. del Libertador 900","city":"Buenos Aires","postal_code":"1010","country":"Argentina"},"lines":[{"product":"46","unit_price":"12.00","quantity":3,"discount":"0"},{"product":"49","unit_price":"20.00","quantity":2,"discount":"0"}],"freight":"3.17"},"idempotency_key":"sample/order/11019/place"}"#
        );
        assert_eq!(
            find("order/10248/ship"),
            r#"{"model":"order","command":"ship","id":"10248","input":{"shipped_on":"1996-07-16"},"idempotency_key":"sample/order/10248/ship"}"#
        );
    }

    #[test]
    fn commas_without_quotes_stay_in_the_address() {
        assert!(find("order/10250/place").contains(
            r#""street":"Rua do Paço, 67","city":"Rio de Janeiro","region":"RJ","postal_code":"05454-876","country":"Brazil""#
        ));
        assert!(find("customer/BLONP/create").contains(r#""street":"24, place Kléber","city":"Strasbourg""#));
    }

    /// In ten-thousandths, where the total of a line is a whole number: cents × units × hundredths.
    #[test]
    fn the_totals_add_up_exactly() {
        let hundredths = |value: &Value| -> i64 {
            let text = value.as_str().expect("a decimal is a string");
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            assert!(part.len() <= 2, "{text} has more than two decimals");
            format!("{whole}{part:0<2}").parse().expect("digits")
        };
        let mut sum = 0;
        for command in all().iter().flatten() {
            for line in command.input["lines"].as_array().into_iter().flatten() {
                let quantity = line["quantity"].as_i64().expect("an integer");
                sum += hundredths(&line["unit_price"]) * quantity * (100 - hundredths(&line["discount"]));
            }
        }
        assert_eq!(sum, 12_657_930_395);
    }
}
