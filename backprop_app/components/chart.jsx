// One canvas for every curve: the sparkline of the rail, the loss chart, the small charts of a run.
//
// Takes new points only: a chunk is { stream, rows } and goes into the buffer of its own run, whatever run is
// shown. A row is [seq, step, loss, learning rate, gradient norm, tokens per second];
// null is a value that was not finite. Rows are merged by step in any order, the newest seq wins, so a
// doubled, late or repeated delivery changes nothing. It fetches nothing and keeps no run's past beyond
// LIMIT points.
import { useEffect, useRef, useState } from "react";

const LIMIT = 6000;
const STREAMS = 8;
const TABLE_ROWS = 200;
const buffers = new Map();

// The run that was not shown for the longest time makes room for a new one.
function bufferOf(stream) {
  const buffer = buffers.get(stream) || { rows: new Map(), sorted: [], dirty: false };
  buffers.delete(stream);
  buffers.set(stream, buffer);
  if (buffers.size > STREAMS) buffers.delete(buffers.keys().next().value);
  return buffer;
}

function merge(buffer, rows) {
  for (const row of rows) {
    const known = buffer.rows.get(row[1]);
    if (known === undefined || known[0] <= row[0]) {
      buffer.rows.set(row[1], row);
      buffer.dirty = true;
    }
  }
  if (!buffer.dirty) return;
  buffer.sorted = [...buffer.rows.values()].sort((a, b) => a[1] - b[1]);
  if (buffer.sorted.length > LIMIT) thin(buffer);
  buffer.dirty = false;
}

// Drops every second row of the older half, so that a long run keeps its shape and its newest steps.
function thin(buffer) {
  const half = Math.floor(buffer.sorted.length / 2);
  buffer.sorted = buffer.sorted.filter((_, i) => i >= half || i % 2 === 0);
  buffer.rows = new Map(buffer.sorted.map((row) => [row[1], row]));
}

// Exponential mean that does not lag at the start: the share of the past grows with the values seen, and the
// mean is divided by its weights. `views/runs.py` says the same number in words.
function smoothed(values, most) {
  let sum = 0;
  let weight = 0;
  let seen = 0;
  return values.map((value) => {
    if (value === null) return null;
    const beta = Math.min(most, seen / (seen + 10));
    seen += 1;
    sum = beta * sum + (1 - beta) * value;
    weight = beta * weight + (1 - beta);
    return sum / weight;
  });
}

function niceStep(span, parts) {
  const rough = span / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((item) => item * power >= rough * 0.999);
  return factor * power;
}

function label(value, step = 0) {
  const size = Math.abs(value);
  if (step > 0 && size < 1000) return value.toFixed(Math.min(4, Math.max(1, Math.ceil(-Math.log10(step) - 1e-9))));
  if (size !== 0 && size < 0.01) return value.toExponential(1).replace("e-", "e−").replace("-", "−");
  if (size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

const whole = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

function plain(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 100 ? whole(value) : value.toFixed(3);
}

function extent(lists) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const value of list) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low === Infinity) return [0, 1];
  if (low === high) return [low - Math.abs(low || 1) * 0.05, high + Math.abs(high || 1) * 0.05];
  return [low, high];
}

function stroke(ctx, xs, ys, colour, width) {
  ctx.beginPath();
  let pen = false;
  for (let i = 0; i < xs.length; i += 1) {
    if (ys[i] === null) {
      pen = false;
    } else if (pen) {
      ctx.lineTo(xs[i], ys[i]);
    } else {
      ctx.moveTo(xs[i], ys[i]);
      pen = true;
    }
  }
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.lineJoin = "round";
  ctx.stroke();
}

function dot(ctx, x, y, colour, radius) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fillStyle = colour;
  ctx.fill();
}

// Text that stays readable where the curve runs behind it.
function captioned(ctx, text, x, y, colour) {
  ctx.textAlign = "right";
  ctx.lineWidth = 4;
  ctx.lineJoin = "round";
  ctx.strokeStyle = colour("--panel");
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour("--text-3");
  ctx.fillText(text, x, y);
}

function lastFinite(values) {
  for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] !== null) return i;
  return -1;
}

function drawSmall(ctx, width, height, rows, options, colour) {
  const framed = options.variant === "mini";
  const top = framed ? 4 : 2;
  const bottom = framed ? height - 14 : height - 4;
  if (framed) {
    ctx.strokeStyle = colour("--grid");
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const y of [top + 0.5, bottom + 0.5]) {
      ctx.moveTo(0, y);
      ctx.lineTo(width, y);
    }
    ctx.stroke();
  }
  const raw = rows.map((row) => row[options.column]);
  const values = framed ? raw : smoothed(raw, options.smooth);
  const last = lastFinite(values);
  const [low, highest] = extent([values]);
  const floor = framed && low >= 0 ? 0 : low;
  const high = framed ? highest * 1.08 || 1 : highest;
  if (framed) {
    ctx.font = `11px ${colour("--sans")}`;
    ctx.fillStyle = colour("--text-3");
    ctx.textAlign = "left";
    ctx.fillText("0", 0, height - 2);
    ctx.textAlign = "right";
    ctx.fillText(whole(options.total), width, height - 2);
  }
  if (last < 0) return;
  const first = framed ? 0 : rows[0][1];
  const end = framed ? Math.max(options.total, rows[last][1]) : rows[last][1];
  const inset = framed ? 0 : 3;
  const xs = rows.map((row) => inset + ((row[1] - first) / (end - first || 1)) * (width - 2 * inset));
  const ys = values.map((value) =>
    value === null ? null : bottom - ((value - floor) / (high - floor || 1)) * (bottom - top),
  );
  const tone = colour(options.tone);
  stroke(ctx, xs, ys, tone, 1.5);
  if (framed) captioned(ctx, label(highest), width, top + 12, colour);
  if (!framed || rows.length === 1) dot(ctx, xs[last], ys[last], tone, 2.2);
}

function axisY(ctx, box, scale, ticks, step, colour) {
  ctx.font = `11px ${colour("--sans")}`;
  ctx.lineWidth = 1;
  for (const tick of ticks) {
    const y = Math.round(scale(tick)) + 0.5;
    ctx.strokeStyle = colour("--grid");
    ctx.beginPath();
    ctx.moveTo(box.left, y);
    ctx.lineTo(box.right, y);
    ctx.stroke();
    ctx.fillStyle = colour("--text-3");
    ctx.textAlign = "right";
    ctx.fillText(label(tick, step), box.left - 8, y + 4);
  }
}

function axisX(ctx, box, from, to, checkpoints, x, colour) {
  ctx.strokeStyle = colour("--line");
  ctx.beginPath();
  ctx.moveTo(box.left, box.bottom + 0.5);
  ctx.lineTo(box.right, box.bottom + 0.5);
  ctx.stroke();
  ctx.fillStyle = colour("--text-3");
  ctx.textAlign = "center";
  const room = (box.right - box.left) / 6;
  const step = Math.max(1, Math.round(niceStep(to - from || 1, Math.min(6, (box.right - box.left) / 70))));
  for (let tick = Math.ceil(from / step) * step; tick <= to - step * 0.4; tick += step) {
    ctx.fillText(whole(tick), x(tick), box.bottom + 18);
  }
  ctx.textAlign = room > 60 ? "center" : "right";
  ctx.fillText(whole(to), x(to), box.bottom + 18);
  ctx.strokeStyle = colour("--text-3");
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  for (const mark of checkpoints) {
    if (mark < from || mark > to) continue;
    ctx.moveTo(x(mark), box.bottom);
    ctx.lineTo(x(mark), box.bottom + 5);
  }
  ctx.stroke();
}

function valueTicks(low, high, log) {
  if (log) {
    const ticks = [];
    for (let i = 0; i <= 4; i += 1) ticks.push(10 ** (low + ((high - low) * i) / 4));
    return ticks;
  }
  const step = niceStep(high - low, 5);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) ticks.push(tick);
  return ticks;
}

// A pause takes no step, so that its band has a width of its own.
function drawBands(ctx, box, marks, x, colour) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  ctx.clip();
  ctx.fillStyle = colour("--warn");
  ctx.globalAlpha = 0.3;
  for (const [from, to] of marks.pauses) {
    const width = Math.max(5, x(to) - x(from));
    ctx.fillRect((x(from) + x(to)) / 2 - width / 2, box.top, width, box.bottom - box.top);
  }
  ctx.globalAlpha = 1;
  ctx.lineWidth = 1;
  ctx.strokeStyle = colour("--control");
  ctx.beginPath();
  for (const step of marks.boundaries) {
    const at = Math.round(x(step)) + 0.5;
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.bottom);
  }
  ctx.stroke();
  ctx.strokeStyle = colour("--text-2");
  ctx.setLineDash([2, 3]);
  ctx.beginPath();
  for (const step of marks.restarts) {
    const at = Math.round(x(step)) + 0.5;
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.bottom);
  }
  ctx.stroke();
  ctx.restore();
}

function drawEvaluations(ctx, xs, ys, colour) {
  const tone = colour("--c2");
  stroke(ctx, xs, ys, tone, 1.5);
  ctx.lineWidth = 1.75;
  for (let i = 0; i < xs.length; i += 1) {
    dot(ctx, xs[i], ys[i], colour("--panel"), 3);
    ctx.strokeStyle = tone;
    ctx.stroke();
  }
}

// Writes values at the ends of lines; of two that lie close, the upper one goes up and the lower one down.
function writeEnds(ctx, box, ends, colour) {
  const [first, second] = ends;
  const isClose = second && Math.abs(first.y - second.y) < 20 && Math.abs(first.x - second.x) < 80;
  ctx.font = `500 11px ${colour("--sans")}`;
  ctx.fillStyle = colour("--text");
  ctx.lineWidth = 4;
  ctx.lineJoin = "round";
  ctx.strokeStyle = colour("--panel");
  for (const end of ends) {
    const other = end === first ? second : first;
    const isLower = isClose && (end.y > other.y || (end.y === other.y && end === second));
    const fits = end.x + 14 + ctx.measureText(end.text).width < box.right;
    const at = [fits ? end.x + 12 : end.x - 10, isLower ? end.y + 16 : Math.max(box.top + 10, end.y - 10)];
    ctx.textAlign = fits ? "left" : "right";
    ctx.strokeText(end.text, ...at);
    ctx.fillText(end.text, ...at);
  }
}

function drawLoss(ctx, width, height, rows, options, colour) {
  const box = { left: 44, right: width - 14, top: 12, bottom: height - 34 };
  const newest = rows.length ? rows[rows.length - 1][1] : 0;
  const from = options.window ? Math.max(0, newest - options.window) : 0;
  const to = options.window ? Math.max(newest, from + 1) : Math.max(options.total, newest, 1);
  const seen = rows.filter((row) => row[1] >= from);
  const raw = seen.map((row) => row[options.column]);
  const soft = smoothed(raw, options.smooth);
  const map = (value) => (options.log ? Math.log10(Math.max(value, 1e-6)) : value);
  const judged = options.marks.evaluations.filter(([step]) => step >= from && step <= to);
  const lists = [raw, soft, judged.map(([, loss]) => loss)];
  let [low, high] = extent(lists.map((list) => list.map((value) => (value === null ? null : map(value)))));
  if (!options.log) {
    const step = niceStep(high - low, 5);
    low = Math.max(0, Math.floor(low / step) * step);
    high = Math.ceil(high / step) * step;
  }
  const y = (value) => box.bottom - ((map(value) - low) / (high - low || 1)) * (box.bottom - box.top);
  const x = (step) => box.left + ((step - from) / (to - from || 1)) * (box.right - box.left);
  axisY(ctx, box, y, valueTicks(low, high, options.log), options.log ? 0 : niceStep(high - low, 5), colour);
  axisX(ctx, box, from, to, options.marks.checkpoints, x, colour);
  drawBands(ctx, box, options.marks, x, colour);
  const xs = seen.map((row) => x(row[1]));
  const place = (list) => list.map((value) => (value === null ? null : y(value)));
  const tone = colour(options.tone);
  ctx.globalAlpha = 0.26;
  stroke(ctx, xs, place(raw), tone, 1);
  ctx.globalAlpha = 1;
  stroke(ctx, xs, place(soft), tone, 2);
  const last = lastFinite(soft);
  if (last < 0) return;
  const end = { x: xs[last], y: y(soft[last]) };
  if (options.failed) {
    ctx.fillStyle = colour("--danger");
    ctx.fillRect(Math.round(end.x) - 1, box.top, 2, box.bottom - box.top);
  }
  dot(ctx, end.x, end.y, options.failed ? colour("--danger") : tone, 4);
  const short = width < 520;
  const ends = [{ ...end, text: short ? plain(soft[last]) : `Train ${plain(soft[last])}` }];
  if (judged.length > 0) {
    const places = judged.map(([step, loss]) => [x(step), y(loss)]);
    drawEvaluations(ctx, places.map((place) => place[0]), places.map((place) => place[1]), colour);
    const [, loss] = judged[judged.length - 1];
    const [lastX, lastY] = places[places.length - 1];
    ends.push({ x: lastX, y: lastY, text: short ? plain(loss) : `Eval ${plain(loss)}` });
  }
  writeEnds(ctx, box, ends, colour);
}

// Two runs in one frame; the second is dashed as well.
function drawPair(ctx, width, height, runs, options, colour) {
  const box = { left: 44, right: width - 14, top: 12, bottom: height - 28 };
  const curves = runs.map((rows) => smoothed(rows.map((row) => row[2]), 0.9));
  const to = Math.max(1, ...runs.map((rows) => (rows.length ? rows[rows.length - 1][1] : 0)));
  let [low, high] = extent(curves);
  const step = niceStep(high - low, 4);
  low = Math.max(0, Math.floor(low / step) * step);
  high = Math.ceil(high / step) * step;
  const y = (value) => box.bottom - ((value - low) / (high - low || 1)) * (box.bottom - box.top);
  const x = (at) => box.left + (at / to) * (box.right - box.left);
  axisY(ctx, box, y, valueTicks(low, high, false), niceStep(high - low, 5), colour);
  axisX(ctx, box, 0, to, [], x, colour);
  runs.forEach((rows, i) => {
    ctx.setLineDash(i === 0 ? [] : [5, 3]);
    const ys = curves[i].map((value) => (value === null ? null : y(value)));
    stroke(ctx, rows.map((row) => x(row[1])), ys, colour(i === 0 ? "--c1" : "--c2"), 2);
  });
  ctx.setLineDash([]);
}

function paint(canvas, rows, options) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width === 0 || height === 0) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const draw = { loss: drawLoss, pair: drawPair }[options.variant] || drawSmall;
  draw(ctx, width, height, rows, options, colour);
}

function useRepaint(canvas, repaint) {
  useEffect(() => {
    const later = () => requestAnimationFrame(repaint);
    const sizes = new ResizeObserver(later);
    sizes.observe(canvas.current);
    const themes = new MutationObserver(later);
    const root = canvas.current.closest(".radix-themes") || document.documentElement;
    themes.observe(document.documentElement, { attributeFilter: ["class"] });
    themes.observe(root, { attributeFilter: ["class"] });
    document.fonts.ready.then(later);
    return () => {
      sizes.disconnect();
      themes.disconnect();
    };
  });
}

const NOTHING = { stream: "", rows: [] };
const NO_MARKS = { checkpoints: [], evaluations: [], pauses: [], restarts: [], boundaries: [] };

function count(number, word) {
  return number === 0 ? "" : `, ${number} ${word}${number === 1 ? "" : "s"}`;
}

function described(summary, shown, column, marks) {
  if (shown.length === 0) return `${summary}: no step yet`;
  const [first, newest] = [shown[0], shown[shown.length - 1]];
  const judged = marks.evaluations[marks.evaluations.length - 1];
  return (
    `${summary}: ${plain(first[column])} at step ${whole(first[1])}, ` +
    `${plain(newest[column])} at step ${whole(newest[1])}` +
    (judged ? `, evaluation ${plain(judged[1])} at step ${whole(judged[0])}` : "") +
    count(marks.pauses.length, "pause") +
    count(marks.restarts.length, "restart") +
    count(marks.boundaries.length, "new leg")
  );
}

export function Chart({
  chunk = NOTHING,
  stream = "",
  variant = "spark",
  column = 2,
  total = 0,
  smooth = 0.9,
  log = false,
  window: lastSteps = 0,
  marks = NO_MARKS,
  failed = false,
  tone = "--c1",
  summary = "",
}) {
  const canvas = useRef(null);
  merge(bufferOf(chunk.stream), chunk.rows);
  const buffer = bufferOf(stream);
  const shown = buffer.sorted;
  const options = { variant, column, total, smooth, log, window: lastSteps, marks, failed, tone };
  const repaint = () => canvas.current && paint(canvas.current, buffer.sorted, options);
  useEffect(() => {
    const frame = requestAnimationFrame(repaint);
    return () => cancelAnimationFrame(frame);
  });
  useRepaint(canvas, repaint);
  const newest = shown.length ? shown[shown.length - 1] : null;
  const text = described(summary, shown, column, marks);
  return (
    <div
      className={`plot ${variant}`}
      role="img"
      aria-label={text}
      data-stream={stream}
      data-points={shown.length}
      data-first={shown.length ? shown[0][1] : 0}
      data-last={newest ? newest[1] : 0}
    >
      <canvas ref={canvas} aria-hidden="true" />
    </div>
  );
}

// The evaluated steps and others at equal distances, the first and the last among them.
function spread(rows, evaluated) {
  if (rows.length <= TABLE_ROWS) return rows;
  const kept = new Set(rows.filter((row) => evaluated.has(row[1])).slice(-TABLE_ROWS / 2));
  const room = TABLE_ROWS - kept.size;
  for (let i = 0; i < room; i += 1) kept.add(rows[Math.round((i * (rows.length - 1)) / (room - 1))]);
  return rows.filter((row) => kept.has(row));
}

function PointRow({ row, evaluated, hasEvaluations }) {
  return (
    <tr>
      <th scope="row">{whole(row[1])}</th>
      <td className="r">{plain(row[2])}</td>
      {hasEvaluations && <td className="r">{plain(evaluated.get(row[1]))}</td>}
      <td className="r">{row[3] === null ? "–" : label(row[3])}</td>
      <td className="r">{plain(row[4])}</td>
      <td className="r">{row[5] === null ? "–" : whole(row[5])}</td>
    </tr>
  );
}

export function PointTable({ chunk = NOTHING, stream = "", marks = NO_MARKS }) {
  const [open, setOpen] = useState(false);
  merge(bufferOf(chunk.stream), chunk.rows);
  const all = bufferOf(stream).sorted;
  const evaluated = new Map(marks.evaluations);
  const rows = open ? spread(all, evaluated) : [];
  const hasEvaluations = evaluated.size > 0;
  return (
    <details className="points" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        Numbers <span className="t3">{whole(Math.min(all.length, TABLE_ROWS))} of {whole(all.length)} steps</span>
      </summary>
      {open && (
        <div className="scroll tall" role="region" aria-label="Numbers of the run by step" tabIndex={0}>
          <table className="dense num">
            <thead>
              <tr>
                <th scope="col">Step</th>
                <th scope="col" className="r">Loss</th>
                {hasEvaluations && <th scope="col" className="r">Eval loss</th>}
                <th scope="col" className="r">Learning rate</th>
                <th scope="col" className="r">Gradient norm</th>
                <th scope="col" className="r">Tokens/s</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <PointRow key={row[1]} row={row} evaluated={evaluated} hasEvaluations={hasEvaluations} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}

export function CompareChart({ first = NOTHING, second = NOTHING, streams = [], names = [] }) {
  const canvas = useRef(null);
  for (const chunk of [first, second]) merge(bufferOf(chunk.stream), chunk.rows);
  const runs = streams.map((stream) => bufferOf(stream).sorted);
  const repaint = () => canvas.current && paint(canvas.current, runs, { variant: "pair" });
  useEffect(() => {
    const frame = requestAnimationFrame(repaint);
    return () => cancelAnimationFrame(frame);
  });
  useRepaint(canvas, repaint);
  const text = runs.map((rows, i) => described(`Loss of ${names[i]}`, rows, 2, NO_MARKS)).join(". ");
  return (
    <div className="plot pair" role="img" aria-label={text} data-points={runs.map((rows) => rows.length).join(",")}>
      <canvas ref={canvas} aria-hidden="true" />
    </div>
  );
}
