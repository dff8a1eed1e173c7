//! The model files of the tests: small, and between them every kind of thing that a test needs.

/// The application's name.
pub(crate) const APP: &str = "test";

/// File name and text.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("purse.yaml", PURSE),
    ("member.yaml", MEMBER),
    ("note.yaml", NOTE),
    ("order.yaml", ORDER),
    ("seat.yaml", SEAT),
];

/// Arithmetic over the state, guards that read it, a natural key.
const PURSE: &str = "\
model: purse
fields:
  number: { type: text, key: true, min_length: 1, max_length: 40 }
  owner: { type: text, min_length: 1, max_length: 50 }
  balance: { type: integer, min: 0 }
  status: { type: enum, values: [open, closed] }
commands:
  open:
    creates: true
    input: [number, owner]
    set: { status: \"'open'\", balance: '0' }
    emits: opened
  deposit:
    input:
      amount: { type: integer, min: 1, max: 1000000 }
      reference: { type: text, max_length: 60, optional: true }
    require:
      - that: state.status == 'open'
        else: The purse is closed.
    set: { balance: state.balance + input.amount }
    emits: deposited
  withdraw:
    input:
      amount: { type: integer, min: 1, max: 1000000 }
    require:
      - that: input.amount <= state.balance
        else: The balance doesn't cover it.
    set: { balance: state.balance - input.amount }
    emits: withdrawn
  close: { from: open, to: closed, emits: closed }
";

/// Values that no two may have: alone, without regard to case, together. Random ids.
const MEMBER: &str = "\
model: member
crud: true
fields:
  email: { type: email, unique: { ignore_case: true } }
  nick: { type: text, optional: true, unique: { ignore_case: true } }
  team: { type: text, max_length: 40 }
  number: { type: integer, optional: true }
unique: [team, number]
";

/// A unique value beside a natural key, so that a batch can name what it creates.
const SEAT: &str = "\
model: seat
crud: true
fields:
  code: { type: text, key: true, max_length: 40 }
  place: { type: text, max_length: 40, unique: true }
  note: { type: text, optional: true }
";

/// Made, changed and deleted by the commands of `crud`; a field of most types; random ids.
const NOTE: &str = "\
model: note
crud: true
fields:
  title: { type: text, min_length: 1, max_length: 100 }
  body: { type: text, max_length: 10000, optional: true }
  stars: { type: integer, min: 0, max: 5, default: 0 }
  weight: { type: decimal, precision: 8, scale: 3, optional: true }
  pinned: { type: boolean, default: false }
  due: { type: date, optional: true }
  seen_at: { type: timestamp, optional: true }
  reply_to: { type: ref, to: note, optional: true }
  tags: { type: list, of: { type: text, min_length: 1, max_length: 20 }, optional: true }
";

/// A state machine, lines with exact decimals, a reference by natural key.
const ORDER: &str = "\
model: order
fields:
  number: { type: text, key: true, min_length: 1, max_length: 40 }
  purse: { type: ref, to: purse, optional: true }
  status: { type: enum, values: [placed, paid, shipped, cancelled] }
  lines:
    type: list
    of:
      product: { type: text, min_length: 1, max_length: 60 }
      quantity: { type: integer, min: 1, max: 1000 }
      unit_price: { type: decimal, precision: 12, scale: 2, min: 0 }
  total: { type: decimal, precision: 14, scale: 2 }
  shipped_at: { type: timestamp, optional: true }
commands:
  place:
    creates: true
    input: [number, purse, lines]
    require:
      - that: size(input.lines) > 0
        else: An order needs at least one line.
    set:
      status: \"'placed'\"
      total: sum(input.lines.map(l, l.unit_price * l.quantity))
    emits: placed
  pay:
    input:
      reference: { type: text, max_length: 60, optional: true }
    from: placed
    to: paid
    emits: paid
  ship: { from: paid, to: shipped, set: { shipped_at: now }, emits: shipped }
  cancel: { from: [placed, paid], to: cancelled, emits: cancelled }
";
