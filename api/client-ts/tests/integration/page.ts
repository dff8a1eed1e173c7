// What the page of the browser test has of it.

export { scenario } from './scenario.js';
export { together } from './together.js';
