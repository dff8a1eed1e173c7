"""What schemathesis doesn't know of this interface: NDJSON, what ids there are, and what the run must not take away from itself.

`WRIT_CONTRACT_URL`, `_EMAIL` and `_PASSWORD` are those of the account that the run signs in by, without an address for nobody;
`WRIT_CONTRACT_KEPT` are the ids of that account and its roles. `WRIT_CONTRACT_STATUSES` is a file for how often
each operation gave which status: a run that only ever hears 401 has looked at nothing.
"""

import atexit
import collections
import itertools
import json
import os
import time

import jsonschema_rs
import requests
import schemathesis

NDJSON = "application/x-ndjson"
NOBODY = "00000000-0000-0000-0000-000000000000"
# Seconds after which the access token is replaced, which lives for ten minutes.
RENEWAL = 300


def setting(name):
    return os.environ.get(f"WRIT_CONTRACT_{name}", "")


KEPT = set(filter(None, setting("KEPT").split(",")))


def token():
    """An access token of a new session."""
    body = {"email": setting("EMAIL"), "password": setting("PASSWORD")}
    answer = requests.post(f"{setting('URL')}/v1/auth/sign-in", json=body, timeout=30)
    answer.raise_for_status()
    KEPT.add(answer.json()["session"])
    return answer.json()["access_token"]


class Session:
    """The one that all requests share."""

    def __init__(self):
        self.token, self.begun = token(), time.monotonic()

    def current(self):
        if time.monotonic() - self.begun > RENEWAL:
            self.__init__()
        return self.token


SESSION = Session() if setting("EMAIL") else None


class Known:
    """Ids that the run has seen, by the model in the address. Made-up ones are of nothing, and 404 says little."""

    # Addresses that make something of another model.
    MODELS = {"/v1/auth/accounts": "account", "/v1/auth/register": "account", "/v1/auth/api-keys": "api_key"}
    MOST = 30

    def __init__(self):
        self.ids = collections.defaultdict(lambda: collections.deque(maxlen=self.MOST))

    def model(self, path):
        return self.MODELS.get(path) or path.split("/")[2]

    def add(self, path, body):
        for item in [body, *body.get("items", [])]:
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                self.ids[self.model(path)].append(item["id"])

    def take(self, path, turn):
        ids = self.ids[self.model(path)]
        return ids[turn % len(ids)] if ids else None


KNOWN = Known()
TURNS = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Signs in, and in two of three calls takes an id that there is. The account of the run itself is nobody's: to disable it would
    end the run. Every second query keeps one parameter: of a dozen made-up ones there is always one that is refused."""
    path, turn = case.operation.path, next(TURNS)
    if SESSION is not None:
        case.headers["Authorization"] = f"Bearer {token() if path == '/v1/auth/sign-out' else SESSION.current()}"
    parameters = case.path_parameters
    if parameters and "id" in parameters:
        known = KNOWN.take(path, turn) if turn % 3 else None
        parameters["id"] = known or parameters["id"]
        if str(parameters["id"]) in KEPT:
            parameters["id"] = NOBODY
    if case.method == "GET" and case.query and turn % 2:
        name = list(case.query)[turn % len(case.query)]
        case.query = {name: case.query[name]}
    if path == "/v1/live" and turn % 3:
        # No made-up ticket is good, and beside one nothing else is looked at.
        case.query = {name: value for name, value in (case.query or {}).items() if name != "ticket"}
    if path.startswith("/v1/live/") and case.method == "GET":
        # A poll that waits is one request less; what is no number of seconds stays. An event stream would never end.
        case.headers["Accept"] = "application/json"
        if case.query is None or str(case.query.get("wait", 0)).isdecimal():
            case.query = {**(case.query or {}), "wait": 0}


@schemathesis.hook
def after_call(context, case, response):
    STATUSES[case.operation.label][response.status_code] += 1
    content_type = response.headers.get("content-type", [""])[0]
    if response.status_code in (200, 201) and content_type == "application/json":
        body = json.loads(response.content)
        if case.operation.path.startswith("/v1/") and isinstance(body, dict):
            KNOWN.add(case.operation.path, body)


STATUSES = collections.defaultdict(collections.Counter)


@atexit.register
def write_statuses():
    if path := setting("STATUSES"):
        with open(path, "w") as file:
            json.dump(STATUSES, file)


@schemathesis.serializer(NDJSON)
def to_lines(ctx, value):
    """One generated line is a batch of one; of negative data whatever it is."""
    if isinstance(value, (bytes, str)):
        return value
    return json.dumps(value).encode()


@schemathesis.check
def ndjson_conformance(ctx, response, case):
    """Every line of an NDJSON answer is what the document says of a line."""
    content_type = response.headers.get("content-type", [""])[0]
    if content_type.split(";")[0] != NDJSON:
        return
    document = case.operation.schema.raw_schema
    operation = document["paths"][case.operation.path][case.operation.method.lower()]
    schema = operation["responses"][str(response.status_code)]["content"][NDJSON]["schema"]
    validator = jsonschema_rs.validator_for({"allOf": [schema], "components": document["components"]})
    for line in response.content.splitlines():
        error = next(validator.iter_errors(json.loads(line)), None)
        assert error is None, f"{error.message} in {line[:500]!r}"
