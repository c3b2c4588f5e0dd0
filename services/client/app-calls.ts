/** `Apps`: tenants at run time. */

import type { HotKeysReply, HotKeysRequest } from "../../proto/key-messages.ts";
import type * as messages from "../../proto/messages.ts";
import type { Caller, CallOptions } from "./caller.ts";

const APPS = "taskring.v1.Apps";

export class AppCalls {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  async create(app: string, options?: CallOptions): Promise<void> {
    await this.#caller.unary(APPS, "Create", { app }, options);
  }

  async delete(app: string, options?: CallOptions): Promise<void> {
    await this.#caller.unary(APPS, "Delete", { app }, options);
  }

  list(query: { readonly limit?: number } = {}, options?: CallOptions): Promise<messages.ListAppsReply> {
    return this.#caller.unary(APPS, "List", query, options);
  }

  describe(app: string, options?: CallOptions): Promise<messages.App> {
    return this.#caller.unary(APPS, "Describe", { app }, options);
  }

  async pause(app: string, options?: CallOptions): Promise<void> {
    await this.#caller.unary(APPS, "Pause", { app }, options);
  }

  async resume(app: string, options?: CallOptions): Promise<void> {
    await this.#caller.unary(APPS, "Resume", { app }, options);
  }

  async setLimits(app: string, limits: messages.Limits, options?: CallOptions): Promise<void> {
    await this.#caller.unary(APPS, "SetLimits", { app, limits }, options);
  }

  async pauseKey(at: messages.KeyRequest, options?: CallOptions): Promise<void> {
    await this.#caller.unary(APPS, "PauseKey", at, options);
  }

  /** Of one node, `options.address`; the others have theirs. Takes as long as it counts. */
  hotKeys(request: Partial<HotKeysRequest> = {}, options?: CallOptions): Promise<HotKeysReply> {
    return this.#caller.unary(APPS, "HotKeys", request, options);
  }

  async resumeKey(at: messages.KeyRequest, options?: CallOptions): Promise<void> {
    await this.#caller.unary(APPS, "ResumeKey", at, options);
  }
}
