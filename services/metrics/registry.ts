/**
 * Counters, gauges and histograms, rendered as Prometheus text (format 0.0.4).
 *
 * M1  Label names are from one closed list; label values are escaped and cut.
 * M2  Each metric has at most 4,096 series; what would be more is counted in `taskring_metrics_dropped_total`.
 * M3  An `app` label goes through the list of the busiest apps, so it has at most 201 values.
 */

import { BusyApps, OTHER } from "./busy-apps.ts";
import { Histogram } from "./histogram.ts";

export type LabelName = "app" | "outcome" | "reason" | "state" | "node" | "pipe" | "fitting" | "peer" | "direction";

export interface MetricOptions {
  /** Without the prefix `taskring_`; base units, `_total` for counters. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly LabelName[];
}

export class Registry {
  readonly busyApps: BusyApps;
  readonly #metrics = new Map<string, Metric>();
  readonly #collectors: (() => void)[] = [];
  #droppedSeries = 0;

  constructor(busyApps: BusyApps = new BusyApps()) {
    this.busyApps = busyApps;
    busyApps.onDropped((app) => {
      for (const metric of this.#metrics.values()) metric.forgetApp(app);
    });
  }

  counter(options: MetricOptions): Counter {
    return this.#add(options, new Counter(this.#seriesOf(options, () => ({ value: 0 }))));
  }

  gauge(options: MetricOptions): Gauge {
    return this.#add(options, new Gauge(this.#seriesOf(options, () => ({ value: 0 }))));
  }

  histogram(options: MetricOptions): HistogramMetric {
    return this.#add(options, new HistogramMetric(this.#seriesOf(options, () => new Histogram())));
  }

  /** Called before each rendering; sets gauges that are views of something else. */
  onCollect(collect: () => void): void {
    this.#collectors.push(collect);
  }

  /** Text for `/metrics`. A collector that throws costs its own gauges only. */
  render(): string {
    this.busyApps.rerank();
    for (const collect of this.#collectors) {
      try {
        collect();
      } catch {
        this.#droppedSeries++;
      }
    }
    const lines: string[] = [];
    for (const metric of this.#metrics.values()) metric.render(lines);
    lines.push("# HELP taskring_metrics_dropped_total Samples that found no room in the metrics.");
    lines.push(
      "# TYPE taskring_metrics_dropped_total counter",
      `taskring_metrics_dropped_total ${this.#droppedSeries}`,
      "",
    );
    return lines.join("\n");
  }

  #seriesOf<Sample>(options: MetricOptions, make: () => Sample): Series<Sample> {
    return new Series({ ...options, make, busyApps: this.busyApps, onDropped: () => this.#droppedSeries++ });
  }

  #add<T extends Metric>({ name }: MetricOptions, metric: T): T {
    if (!METRIC_NAME.test(name) || this.#metrics.has(name)) throw new Error(`metric ${name}: bad or taken name`);
    this.#metrics.set(name, metric);
    return metric;
  }
}

interface Metric {
  render(lines: string[]): void;
  forgetApp(app: string): void;
}

export class Counter implements Metric {
  readonly #series: Series<{ value: number }>;

  constructor(series: Series<{ value: number }>) {
    this.#series = series;
  }

  /** Label values in the order of the declaration. */
  add(amount: number, ...labels: readonly string[]): void {
    const sample = this.#series.at(labels, amount);
    if (sample !== undefined && amount > 0) sample.value += amount;
  }

  valueOf(...labels: readonly string[]): number {
    return this.#series.peek(labels)?.value ?? 0;
  }

  forgetApp(app: string): void {
    this.#series.forgetApp(app);
  }

  render(lines: string[]): void {
    this.#series.header(lines, "counter");
    for (const [labels, { value }] of this.#series.entries())
      lines.push(`${this.#series.line("", labels)} ${shown(value)}`);
  }
}

export class Gauge implements Metric {
  readonly #series: Series<{ value: number }>;

  constructor(series: Series<{ value: number }>) {
    this.#series = series;
  }

  set(value: number, ...labels: readonly string[]): void {
    const sample = this.#series.at(labels, 0);
    if (sample !== undefined) sample.value = value;
  }

  /** For sums over the apps that share the label `other`; after `clear`. */
  add(amount: number, ...labels: readonly string[]): void {
    const sample = this.#series.at(labels, 0);
    if (sample !== undefined) sample.value += amount;
  }

  /** For ages: the largest of those that share a label. */
  raise(value: number, ...labels: readonly string[]): void {
    const sample = this.#series.at(labels, 0);
    if (sample !== undefined && value > sample.value) sample.value = value;
  }

  /** Forgets all series, so that what no longer exists is no longer shown. */
  clear(): void {
    this.#series.clear();
  }

  valueOf(...labels: readonly string[]): number {
    return this.#series.peek(labels)?.value ?? 0;
  }

  forgetApp(app: string): void {
    this.#series.forgetApp(app);
  }

  render(lines: string[]): void {
    this.#series.header(lines, "gauge");
    for (const [labels, { value }] of this.#series.entries())
      lines.push(`${this.#series.line("", labels)} ${shown(value)}`);
  }
}

export class HistogramMetric implements Metric {
  readonly #series: Series<Histogram>;

  constructor(series: Series<Histogram>) {
    this.#series = series;
  }

  record(value: number, ...labels: readonly string[]): void {
    this.#series.at(labels, 1)?.record(value);
  }

  /** The histogram itself, to be merged or asked for percentiles. */
  of(...labels: readonly string[]): Histogram | undefined {
    return this.#series.peek(labels);
  }

  forgetApp(app: string): void {
    this.#series.forgetApp(app);
  }

  render(lines: string[]): void {
    const series = this.#series;
    series.header(lines, "histogram");
    for (const [labels, histogram] of series.entries()) {
      for (const { bound, count } of histogram.cumulative()) {
        lines.push(`${series.line("_bucket", labels, shown(bound))} ${count}`);
      }
      lines.push(`${series.line("_bucket", labels, "+Inf")} ${histogram.count}`);
      lines.push(`${series.line("_sum", labels)} ${shown(histogram.sum)}`);
      lines.push(`${series.line("_count", labels)} ${histogram.count}`);
    }
  }
}

interface SeriesOptions<Sample> extends MetricOptions {
  readonly make: () => Sample;
  readonly busyApps: BusyApps;
  readonly onDropped: () => void;
}

/** The samples of one metric by label values. */
class Series<Sample> {
  readonly #options: SeriesOptions<Sample>;
  readonly #labels: readonly LabelName[];
  readonly #appAt: number;
  readonly #samples = new Map<string, { readonly labels: readonly string[]; readonly sample: Sample }>();

  constructor(options: SeriesOptions<Sample>) {
    this.#options = options;
    this.#labels = options.labels ?? [];
    this.#appAt = this.#labels.indexOf("app");
    if (this.#labels.length === 0) this.at([], 0);
  }

  /** `amount` tells how busy the labels' app was; 0 leaves the ranking alone. Undefined at the limit (M2). */
  at(given: readonly string[], amount: number): Sample | undefined {
    const labels = this.#shownLabels(given, amount);
    const key = labels.length === 1 ? (labels[0] ?? "") : labels.join("\u0000");
    const known = this.#samples.get(key);
    if (known !== undefined) return known.sample;
    if (this.#samples.size >= SERIES || labels.length !== this.#labels.length) {
      this.#options.onDropped();
      return undefined;
    }
    const sample = this.#options.make();
    this.#samples.set(key, { labels, sample });
    return sample;
  }

  peek(labels: readonly string[]): Sample | undefined {
    return this.#samples.get(labels.join("\u0000"))?.sample;
  }

  *entries(): Iterable<readonly [readonly string[], Sample]> {
    for (const { labels, sample } of this.#samples.values()) yield [labels, sample];
  }

  clear(): void {
    this.#samples.clear();
    if (this.#labels.length === 0) this.at([], 0);
  }

  forgetApp(app: string): void {
    if (this.#appAt < 0) return;
    for (const [key, { labels }] of this.#samples) if (labels[this.#appAt] === app) this.#samples.delete(key);
  }

  header(lines: string[], type: string): void {
    const name = `${PREFIX}${this.#options.name}`;
    lines.push(
      `# HELP ${name} ${this.#options.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`,
      `# TYPE ${name} ${type}`,
    );
  }

  line(suffix: string, labels: readonly string[], bound?: string): string {
    const pairs = labels.map((value, at) => `${this.#labels[at]}="${escapeLabel(value)}"`);
    if (bound !== undefined) pairs.push(`le="${bound}"`);
    return `${PREFIX}${this.#options.name}${suffix}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`}`;
  }

  #shownLabels(given: readonly string[], amount: number): readonly string[] {
    const app = this.#appAt < 0 ? undefined : given[this.#appAt];
    if (app === undefined) return given;
    const { busyApps } = this.#options;
    const label = amount > 0 ? busyApps.touch(app, amount) : app === OTHER ? OTHER : busyApps.labelOf(app);
    return label === app ? given : given.with(this.#appAt, label);
  }
}

function escapeLabel(value: string): string {
  const cut = value.length > LABEL_CHARACTERS ? value.slice(0, LABEL_CHARACTERS) : value;
  return cut.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function shown(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  return value === Number.POSITIVE_INFINITY ? "+Inf" : value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}

const PREFIX = "taskring_";
const METRIC_NAME = /^[a-z][a-z0-9_]{0,80}$/;
const SERIES = 4_096;
const LABEL_CHARACTERS = 128;
