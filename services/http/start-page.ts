/**
 * The page at `/`: a list of what else there is. No scripts, nothing loaded from anywhere.
 */

export function startPage(title: string): string {
  const links = LINKS.map(([path, what]) => `<li><a href="${path}">${path}</a> ${what}</li>`).join("\n");
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 42em; margin: 3em auto; padding: 0 1em }</style></head>
<body>
<h1>${escapeHtml(title)}</h1>
<ul>
${links}
</ul>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

const LINKS: readonly (readonly [string, string])[] = [
  ["/metrics", "for Prometheus"],
  ["/readyz?verbose", "whether this node makes progress, check by check"],
  ["/livez", "whether the process answers"],
  ["/startupz", "whether it has been ready once"],
  ["/api/v1/status", "this node as JSON; <code>ringctl status -o json</code> asks all of them"],
];
