// Errors: every one is a problem document (RFC 9457), the server's own or one of the client in the same form.

/** A fault of one member. */
export interface Fault {
  /** JSON pointer (RFC 6901) into what was sent. */
  pointer: string;
  /** Stable name, such as `required`. */
  code: string;
  /** For people. */
  detail: string;
}

/** As the server sends it. */
export interface ProblemDocument {
  /** Stable; decide by it: `urn:writ:problem:wrong-state`. */
  type: string;
  title: string;
  /** The HTTP status; 0 if the client made the document. */
  status: number;
  detail: string;
  errors?: Fault[];
  /** The command whose outcome is not known. */
  command_id?: string | undefined;
}

/** What went wrong. */
export class WritProblem extends Error implements ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly errors: Fault[];
  readonly command_id: string | undefined;

  constructor(document: ProblemDocument, options?: ErrorOptions) {
    super(document.detail || document.title, options);
    this.name = 'WritProblem';
    this.type = document.type;
    this.title = document.title;
    this.status = document.status;
    this.detail = document.detail;
    this.errors = document.errors ?? [];
    this.command_id = document.command_id;
  }

  /** The last part of `type`: `wrong-state`. */
  get kind(): string {
    return this.type.slice(this.type.lastIndexOf(':') + 1);
  }

  /** Whether the same may succeed a moment later. */
  get isTransient(): boolean {
    return this.status === 429 || this.status >= 500;
  }

  /** A problem that the client itself finds: `urn:writ:client:closed`. */
  static ofClient(kind: string, title: string, detail: string, cause?: unknown): WritProblem {
    const document = { type: `urn:writ:client:${kind}`, title, status: 0, detail };
    return new WritProblem(document, cause === undefined ? undefined : { cause });
  }

  /** Of an HTTP response that is no success. */
  static async ofResponse(response: Response): Promise<WritProblem> {
    const text = await response.text();
    try {
      const document = JSON.parse(text) as ProblemDocument;
      if (typeof document.type === 'string' && typeof document.status === 'number') return new WritProblem(document);
    } catch {
      // Something in between has answered, such as a proxy.
    }
    const { status, statusText } = response;
    return new WritProblem({ type: 'about:blank', title: statusText || `Status ${status}`, status, detail: '' });
  }
}

/** The client was closed. */
export const closed = () => WritProblem.ofClient('closed', 'The client is closed', 'Connect anew.');
