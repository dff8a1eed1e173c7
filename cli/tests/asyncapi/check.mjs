// Holds the document on standard input against the JSON schema of AsyncAPI 3.0, and samples of messages against the document:
// `{"document": …, "samples": [{"message": "ping", "value": …, "fits": true}, …]}`. Says what doesn't hold.
import { readFileSync } from "node:fs";

import specs from "@asyncapi/specs";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const { document, samples } = JSON.parse(readFileSync(0, "utf8"));
// The schema of AsyncAPI brings that of JSON Schema along, so Ajv must not.
const make = (more) => addFormats(new Ajv({ strict: false, allErrors: true, logger: false, ...more }));
const faults = [];

const isDocument = make({ meta: false, validateSchema: false }).compile(specs.schemas["3.0.0"]);
if (!isDocument(document)) {
  faults.push(...isDocument.errors.map((error) => `${error.instancePath} ${error.message}`));
}

const ajv = make({});
ajv.addSchema(document, "document");
for (const { message, value, fits } of samples) {
  const check = ajv.compile({ $ref: `document#/components/messages/${message}/payload` });
  if (check(value) !== fits) {
    faults.push(`${JSON.stringify(value)} as ${message}: ${ajv.errorsText(check.errors)}`);
  }
}
if (faults.length > 0) {
  console.error(faults.join("\n"));
  process.exit(1);
}
