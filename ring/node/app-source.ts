/** Where a node's app definitions come from; what is said of apps at run time goes back to it. */

import type { AppCatalogue, AppDefinition, AppOverride } from "../tasks/definition.ts";

export interface AppSource extends AppCatalogue {
  /** True if it was news. */
  override(override: AppOverride): boolean;
  /** Names and templates with their versions, as told to other members. */
  presence(): readonly { readonly match: string; readonly version: string }[];
  definitions(): Iterable<AppDefinition>;
}
