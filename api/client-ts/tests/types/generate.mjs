// Makes the types of the server's own test document, which its tests keep up to date, for the type tests. It has no SQL projection: that
// of the integration tests is added, which they compare with the server's.
import { readFile, writeFile } from 'node:fs/promises';
import openapi, { astToString } from 'openapi-typescript';

const snapshot = '../../../src/openapi/snapshots/writ_api__openapi__tests__the_document_of_a_small_model.snap';
const text = await readFile(new URL(snapshot, import.meta.url), 'utf8');
const document = JSON.parse(text.slice(text.indexOf('\n---\n') + 5));
const more = JSON.parse(await readFile(new URL('projection.json', import.meta.url), 'utf8'));
Object.assign(document.paths, more.paths);
Object.assign(document.components.schemas, more.components.schemas);
const types = await openapi(document, { defaultNonNullable: false });
await writeFile(new URL('openapi.d.ts', import.meta.url), astToString(types));
