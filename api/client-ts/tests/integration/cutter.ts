// What stands between client and server: it shows a page with the scenario, hands everything else on, and cuts WebSockets at random.

import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Mean time between two cuts, milliseconds. */
const BETWEEN = 150;

export class Cutter {
  cuts = 0;
  readonly #server: Server;
  readonly #target: URL;
  readonly #open = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;

  private constructor(target: string, files: Record<string, { type: string; text: string }>) {
    this.#target = new URL(target);
    this.#server = createServer((incoming, outgoing) => {
      const file = files[incoming.url ?? ''];
      if (file !== undefined) return outgoing.setHeader('content-type', file.type).end(file.text);
      const { method, url, headers } = incoming;
      const forwarded = request(new URL(url ?? '/', this.#target), { method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      });
      forwarded.on('error', () => outgoing.destroy());
      incoming.pipe(forwarded);
    });
    this.#server.on('upgrade', (incoming, socket, head) => this.#bridge(incoming, socket, head));
  }

  static async start(target: string, files: Record<string, { type: string; text: string }> = {}): Promise<Cutter> {
    const cutter = new Cutter(target, files);
    await new Promise<void>((resolve) => cutter.#server.listen(0, '127.0.0.1', resolve));
    cutter.#plan();
    return cutter;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    for (const cut of this.#open) cut();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The next cut, of all that is open: what is on its way in either direction is lost. */
  #plan(): void {
    this.#timer = setTimeout(
      () => {
        for (const cut of this.#open) {
          cut();
          this.cuts += 1;
        }
        this.#plan();
      },
      BETWEEN * 2 * Math.random(),
    );
  }

  #bridge(incoming: IncomingMessage, client: Duplex, head: Buffer): void {
    const server: Socket = connect(Number(this.#target.port), this.#target.hostname);
    const cut = () => {
      this.#open.delete(cut);
      client.destroy();
      server.destroy();
    };
    this.#open.add(cut);
    for (const end of [client, server]) end.on('error', cut).on('close', cut);
    server.on('connect', () => {
      const lines = [`${incoming.method} ${incoming.url} HTTP/1.1`];
      for (let index = 0; index < incoming.rawHeaders.length; index += 2) {
        lines.push(`${incoming.rawHeaders[index]}: ${incoming.rawHeaders[index + 1]}`);
      }
      server.write(`${lines.join('\r\n')}\r\n\r\n`);
      server.write(head);
      client.pipe(server).pipe(client);
    });
  }
}
